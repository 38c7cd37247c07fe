"""What the console says in sentences: the effect of an act before it happens, and the help. Pure."""

from gateway.operations import Effect
from smg_console.present import fleet
from smg_console.present.runs import BLANK, Line
from smg_console.present.states import GLYPHS

KEYS = (
    ("a", "add a worker"),
    ("c", "cordon: no new requests; once more lifts it"),
    ("d", "drain: no new requests, wait for those in flight, stay listed"),
    ("r", "resume: call a drain off"),
    ("x", "remove: drain, then leave the list"),
    ("p", "probe now"),
    ("Ctrl+R", "retry: register an unhealthy or failed worker anew"),
    ("Enter", "details of a worker"),
    ("y", "its facts as JSON"),
    ("j k ↓ ↑", "move; g and G first and last"),
    ("/", "filter, as one types: llama, state:ready, model:qwen, label:rack=b7"),
    ("Esc", "back; clears the filter"),
    ("Tab", "graphs of the fleet, or of the worker under the cursor"),
    (":  Ctrl+P", "all commands by name"),
    ("l", "log"),
    ("t", "next theme"),
    ("q", "quit; asks when requests are in flight"),
)


def effect_lines(effect: Effect, *, last: bool) -> tuple[str, ...]:
    """What taking a worker away would mean, in sentences."""
    flying = f"{effect.in_flight} request{'' if effect.in_flight == 1 else 's'} in flight"
    if not effect.routable:
        return (f"It takes no requests at present; {flying}.",)
    model = effect.model or "any model"
    if last:
        return (f"{flying}, which may finish.", f"It is the LAST worker that serves {model}: its requests will fail.")
    share = 100 * effect.left // (effect.left + 1)
    others = f"{effect.left} other worker{'' if effect.left == 1 else 's'}"
    return (f"{flying}, which may finish.", f"{others} of {model} remain: {share} % of its capacity.")


def help_lines(width: int) -> list[Line]:
    """The keys, the columns that sort, and the signs."""
    lines: list[Line] = [(("Keys", "bold accent"),)]
    lines += [((f"  {key:<11}", "bold"), (text, "")) for key, text in KEYS]
    lines += [BLANK, (("Sort the table (Shift and a letter, once more turns it round)", "bold accent"),)]
    letters = [f"{column.key} {column.title.lower()}" for column in fleet.COLUMNS if column.key != "G"]
    lines += [((f"  {'   '.join(letters[n : n + 5])}", ""),) for n in range(0, len(letters), 5)]
    lines += [BLANK, (("Signs", "bold accent"),)]
    lines += [((f"  {glyph} {state}", state.value),) for state, glyph in GLYPHS.items()]
    lines += [(("  ⊘ cordoned", "warning"),)]
    lines += [BLANK, (("Copying: hold Shift (Option on a Mac) while selecting with the mouse.", "muted"),)]
    return lines

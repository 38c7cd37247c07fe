"""What the console says in sentences: the effect of an act before it happens, what to do next, the help. Pure."""

from collections.abc import Sequence

from gateway.operations import Effect
from gateway.workers.model import State, Worker
from smg_console.present import fleet
from smg_console.present.arranging import Head
from smg_console.present.feed import clock
from smg_console.present.runs import BLANK, Line, Run, cut, cut_end, printable
from smg_console.present.states import GLYPHS, next_step, state_word

Keys = tuple[tuple[str, str], ...]
Groups = tuple[tuple[str, Keys], ...]

ACTS: Keys = (
    ("c", "cordon: no new requests; once more lifts it"),
    ("d", "drain: finish what is in flight, stay listed"),
    ("r", "resume: call a drain off"),
    ("x", "remove: drain, then leave the list"),
    ("p", "probe now"),
    ("R", "retry: register an unhealthy or failed one anew"),
    ("b", "close the circuit breaker"),
    ("y", "its facts as JSON"),
)
MOVES = (
    ("j k, arrows", "move; PgDn PgUp by pages; g and G first and last"),
    ("Enter", "details of the worker under the cursor"),
    ("Tab", "to events, diagram (arrows choose), and back"),
    ("1 to 5  0", "one state alone, as in the diagram; 0 all"),
    ("/", "filter: llama state:ready p99>500 label:rack=b7"),
    ("Esc", "clears the filter, then the marks"),
    ("Space", "mark; + all in the filter, * inverts, - none"),
    ("v  V", "group by model, role, state …; fold or open all"),
    ("Left Right", "fold or open the group"),
    ("< >  o", "choose a column; sort by it"),
    ("O", "columns: which, and in what order"),
    ("w", "graphs of the fleet, or of the worker chosen"),
)
ANYWHERE = (
    ("a", "add a worker"),
    ("u", "undo: take this console's last act back"),
    (":", "commands: drain model:llama max=2, sort p99 …"),
    ("Ctrl+P", "all of them by name, themes too"),
    ("s", "service discovery: pods seen, and why not"),
    ("z", "tokenizers: state, caches, and a text's tokens"),
    ("e", "events: the journal, followed and filtered"),
    ("m", "models and routing: policies, shares, explain"),
    (",", "settings in force, and where each came from"),
    ("!", "what is wrong: what the strip above tells of"),
    ("U", "who is connected: users over SSH and elsewhere"),
    ("l", "the log, followed and filtered"),
    ("Ctrl+S", "save a picture; reports are under Ctrl+P"),
    ("h", "graphs: a minute to a day; fleet, model, worker"),
    ("t", "next theme"),
    ("?", "this help"),
    ("Ctrl+Z", "suspend; asks, as the gateway stops with it"),
    ("q", "quit; asks when requests are in flight"),
)
HALF = 54
"""Width of the help's right column."""
LEFT = 72
"""Most that its left column takes, so that a wide screen does not tear them apart."""
SCROLLS = (
    ("j k, arrows", "scroll; PgDn PgUp by pages; g and G top and end"),
    ("Esc", "back"),
)
ON_LISTINGS = (
    ("j k, arrows", "move; PgDn PgUp by pages; g and G first and last"),
    ("Enter", "the worker an event is about"),
    ("/", "filter; a word after - must not be in it"),
    ("", "events: worker:w3 kind:drain by:api"),
    ("", "log: level:warning"),
    ("", "settings: group:health from:--port is:set"),
    ("Esc", "drops the filter; back"),
)
ON_TOKENIZERS = (
    ("j k, arrows", "move; PgDn PgUp by pages; g and G first and last"),
    ("a", "add: a directory, a tokenizer.json, owner/name"),
    ("x", "remove; says which workers use it"),
    ("R", "load one that failed again"),
    ("i  /  Enter", "type a text to see its tokens; Tab, too"),
    ("Ctrl+T", "with the tokenizer's own special tokens, or not"),
    ("Esc", "from the text to the table; back"),
)
ON_ROUTING = (
    ("j k, arrows", "move; PgDn PgUp by pages; g and G first and last"),
    ("Tab", "to the workers' shares, which scroll"),
    ("Enter  i  /", "type a prompt: who would get it, and why"),
    ("Esc", "to the table; back"),
)

ON_GRAPHS = (
    ("j k, arrows", "whose: the fleet, its models, its workers"),
    ("f  M  w", "the fleet; the next model; the next worker"),
    ("+ -", "zoom: a minute to a day"),
    ("Space", "pause and go on"),
    ("Left Right", "cursor with exact values; Shift: by ten"),
    ("PgUp PgDn", "back and on in time; g the oldest, G or End now"),
    ("1 to 8", "one graph alone; 0 all"),
    ("Esc", "cursor off, all graphs, back"),
)

ON_WORKER = (
    ("Tab", "to the next part, and the next page"),
    ("Left Right", "pages, where it has some; 1 to 6 one of them"),
    ("j k, arrows", "scroll a part; PgDn PgUp, g and G"),
    ("h", "its graphs"),
    ("Esc", "back"),
)

WORKER = (("Worker", ON_WORKER), ("Acts on the worker", ACTS))
GRAPHS = (("Graphs", ON_GRAPHS), ("Acts on the worker", ACTS))
TABLE = (("Table", MOVES), ("Acts on the worker", ACTS))
READING = (("Reading", SCROLLS),)
LISTING = (("Events, settings, log", ON_LISTINGS),)
ROUTING = (("Routing", ON_ROUTING),)
TOKENIZERS = (("Tokenizers", ON_TOKENIZERS),)
"""Groups of keys by where one is; those that work anywhere come after them."""


def standing(worker: Worker, width: int) -> str:
    """One line under the table: since when a worker is as it is, why, and what happens next or can be pressed."""
    text = f"{worker.name} {state_word(worker)} since {clock(worker.since)}: {worker.reason}; {next_step(worker)}"
    return cut_end(text, width)


def standing_group(head: Head) -> str:
    """The same of a group: what one can do with it."""
    return f"{head.title}: Enter {'opens' if head.folded else 'folds'} it, Space marks its {head.totals.workers}"


def empty_lines(address: str, query: str) -> list[Line]:
    """Instead of rows: how to get some."""
    if query:
        return [
            BLANK,
            (("  No worker fits the filter ", "warning"), (query, "bold"), ("; Esc clears it.", "warning")),
        ]
    return [
        BLANK,
        (("  No workers yet. There are three ways to add one:", "bold"),),
        BLANK,
        (("  here     ", "muted"), ("a", "bold accent"), (" opens a form", "")),
        (("  start    ", "muted"), ("smg-console --worker-urls http://host:8000", "")),
        (("  API      ", "muted"), (f'curl {address}/workers -d \'{{"url":"http://host:8000"}}\'', "")),
    ]


def effect_lines(effect: Effect, *, last: bool) -> tuple[str, ...]:
    """What taking a worker away would mean, in sentences."""
    flying = f"{effect.in_flight} request{'' if effect.in_flight == 1 else 's'} in flight"
    if not effect.routable:
        return (f"It takes no requests at present; {flying}.",)
    model = printable(effect.model or "any model")
    if last:
        return (f"{flying}, which may finish.", f"It is the LAST worker that serves {model}: its requests will fail.")
    share = 100 * effect.left // (effect.left + 1)
    others = f"{effect.left} other worker{'' if effect.left == 1 else 's'} of {model}"
    remain = "remains" if effect.left == 1 else "remain"
    return (f"{flying}, which may finish.", f"{others} {remain}: {share} % of its capacity.")


def help_lines(width: int, where: Groups) -> list[Line]:
    """The keys of where one is (`TABLE`, `READING`, …), the columns that sort, and the signs."""
    bound_here = {key for _, keys in where for key, _ in keys}
    anywhere = ("Anywhere", tuple(pair for pair in ANYWHERE if pair[0] not in bound_here))
    acts = [group for group in where if group[1] is ACTS]
    others = [group for group in where if group[1] is not ACTS]
    rest = [*(_sorts() if where is TABLE else ()), *_signs()]
    if width < 2 * HALF:
        return [*_told((*others, *acts, anywhere), 12), *rest]
    left, right = _told((*others, anywhere), 12), [*_told(acts, 3), *rest]
    pad, room = max(len(left), len(right)), min(width - HALF, LEFT)
    return [
        (*cut(a, room), *b)
        for a, b in zip([*left, *[BLANK] * (pad - len(left))], [*right, *[BLANK] * (pad - len(right))], strict=True)
    ]


def _told(groups: Sequence[tuple[str, Keys]], room: int) -> list[Line]:
    """Groups of keys, each under its title; keys take so many cells."""
    lines: list[Line] = []
    for title, keys in groups:
        lines += [((title, "bold accent"),), *(((f"  {key:<{room}}", "bold"), (text, "")) for key, text in keys), BLANK]
    return lines


def _sorts() -> list[Line]:
    words = [f"{column.key} {column.title}" for column in fleet.COLUMNS]
    lines: list[Line] = [(("Sort by: Shift and the letter, again to reverse", "bold accent"),)]
    return [*lines, *(_three(words[n : n + 3]) for n in range(0, len(words), 3)), BLANK]


def _signs() -> list[Line]:
    lines: list[Line] = [(("Signs", "bold accent"),)]
    lines += [((f"  {glyph} ", state.value), (_SIGNS[state], "")) for state, glyph in GLYPHS.items()]
    lines += [(("  ⊘ ", "warning"), ("cordoned: takes no new requests", ""))]
    lines += [(("  ✓12 ✗2 ", "bold"), ("good or bad probes in a row", ""))]
    return [*lines, BLANK, (("To copy: hold Shift (Mac: Option) and select", "muted"),)]


_SIGNS = {
    State.REGISTERING: "registering: waits for its first good probes",
    State.READY: "ready: takes requests",
    State.UNHEALTHY: "unhealthy: its probes fail",
    State.FAILED: "failed: did not come up in time",
    State.DRAINING: "draining: finishes what is in flight",
    State.GONE: "gone",
}


def _three(words: Sequence[str]) -> Line:
    runs: list[Run] = [("  ", "")]
    for word in words:
        runs += [(word[:1], "bold"), (f"{word[1:]:<12}", "")]
    return tuple(runs)

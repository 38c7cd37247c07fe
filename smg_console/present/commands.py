"""The command line of the console: what may be typed after `:`, understood, completed, and explained. Pure.

A command is a word and what follows it; workers are meant by filters, or by their names. What is wrong is said in
a sentence with what is accepted and what is nearest. Doing it is `commanding`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from smg_console.plane import WorkerRow
from smg_console.present.columns import column_of, names_known
from smg_console.present.fields import Unit, number
from smg_console.present.query import FilterError, completions, parsed, split


class CommandError(ValueError):
    """A line that is no command; the message says what is accepted."""


@dataclass(frozen=True, slots=True)
class Verb:
    """`takes`: what follows the word. `optional`: nothing need follow. `acts`: a read-only console refuses it."""

    name: str
    usage: str
    about: str
    takes: str = ""
    optional: bool = False
    acts: bool = False
    options: tuple[str, ...] = ()


WORKERS, FILTER, PLACE, THEME, COLUMN, COLUMNS, GROUP, NAME, JOB, URL = [
    "workers",
    "filter",
    "place",
    "theme",
    "column",
    "columns",
    "group",
    "name",
    "job",
    "url",
]
_ROLL = ("max", "floor", "timeout")
VERBS = {
    verb.name: verb
    for verb in (
        Verb("drain", "[FILTER] [max=N] [floor=N] [timeout=S]", "finish what is in flight, stay listed; max: rolling",
             WORKERS, True, True, _ROLL),
        Verb("remove", "[FILTER] [max=N] [floor=N] [timeout=S]", "drain, then leave the list; max: rolling",
             WORKERS, True, True, _ROLL),
        Verb("cordon", "[FILTER]", "no new requests", WORKERS, True, True),
        Verb("uncordon", "[FILTER]", "new requests again", WORKERS, True, True),
        Verb("resume", "[FILTER]", "call drains off", WORKERS, True, True),
        Verb("probe", "[FILTER]", "probe now", WORKERS, True, True),
        Verb("retry", "[FILTER]", "register unhealthy or failed workers anew", WORKERS, True, True),
        Verb("reset", "[FILTER]", "close circuit breakers", WORKERS, True, True),
        Verb("add", "[URL]", "add a worker; without a URL the form", URL, True, True),
        Verb("undo", "", "take this console's last act back", acts=True),
        Verb("pause", "[JOB]", "a rolling drain starts no more for now", JOB, True, True),
        Verb("continue", "[JOB]", "a paused rolling drain goes on", JOB, True, True),
        Verb("cancel", "[JOB]", "a rolling drain starts no more; what drains drains on", JOB, True, True),
        Verb("jobs", "", "rolling drains, in full"),
        Verb("mark", "FILTER", "mark workers", FILTER),
        Verb("unmark", "", "no marks"),
        Verb("filter", "[FILTER]", "show only these; nothing: all", FILTER, True),
        Verb("sort", "COLUMN [asc|desc]", "sort by a column", COLUMN),
        Verb("group", "model|role|state|policy|none", "group the table", GROUP),
        Verb("columns", "[COLUMN…|usual]", "show these columns; nothing: choose", COLUMNS, True),
        Verb("worker", "NAME", "a worker's screen", NAME),
        Verb("go", "PLACE", "another screen", PLACE),
        Verb("theme", "THEME", "another theme", THEME),
        Verb("help", "", "the keys"),
        Verb("quit", "", "quit"),
    )
}  # fmt: skip
ALIASES = {"q": "quit", "q!": "quit", "exit": "quit", "rm": "remove", "retire": "remove", "w": "worker", "f": "filter"}
GROUPS = ("model", "role", "state", "policy", "none")
USUAL = "usual"


@dataclass(frozen=True, slots=True)
class Known:
    """What there is: for checking and completing."""

    rows: Sequence[WorkerRow] = ()
    places: Sequence[str] = ()
    themes: Sequence[str] = ()
    jobs: Sequence[str] = ()
    """Rolling drains under way."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A command that was understood. `text` is what followed the word, without options."""

    verb: Verb
    text: str = ""
    options: Mapping[str, float] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        return self.text.split()


def understood(line: str, known: Known) -> Asked:
    """What a line means. Raises CommandError."""
    word, _, rest = line.strip().removeprefix(":").strip().partition(" ")
    if not word:
        raise CommandError(f"a command: {', '.join(VERBS)}")
    verb = _verb(word)
    options, text = _options(verb, rest.strip())
    if not verb.takes and text:
        raise CommandError(f":{verb.name} takes nothing more, given {text}")
    if verb.takes and not text and not verb.optional:
        raise CommandError(f":{verb.name} {verb.usage}: {verb.about}{_choices(verb.takes, known)}")
    _check(verb, text, known)
    return Asked(verb, text, options)


def _verb(word: str) -> Verb:
    name = ALIASES.get(word.lower(), word.lower())
    if name in VERBS:
        return VERBS[name]
    beginning = [verb for verb in VERBS if verb.startswith(name)]
    if len(beginning) == 1:
        return VERBS[beginning[0]]
    near = beginning or get_close_matches(name, VERBS, 2, 0.5)
    meant = f"did you mean {' or '.join(f':{found}' for found in near)}?" if near else f"there are {', '.join(VERBS)}"
    raise CommandError(f"there is no command {word}; {meant}")


def _options(verb: Verb, text: str) -> tuple[dict[str, float], str]:
    """The options among the words, and what is left."""
    found: dict[str, float] = {}
    left: list[str] = []
    for word in _split(text) if verb.options else ():
        name, equals, value = word.partition("=")
        if not equals or name.lower() not in verb.options:
            left.append(word)
            continue
        name = name.lower()
        amount = number(value, Unit.SECONDS) if name == "timeout" else float(value) if value.isdecimal() else None
        if amount is None or (name == "max" and not 1 <= amount <= 1000):
            accepted = {"timeout": "seconds, or 5m", "max": "1 to 1000", "floor": "0 or more"}[name]
            raise CommandError(f"{word}: given {value or 'nothing'}, expected {accepted}")
        found[name] = amount
    return found, " ".join(left) if verb.options else text


def _split(text: str) -> list[str]:
    try:
        return [word.raw for word in split(text)]
    except FilterError as error:
        raise CommandError(str(error)) from None


def _check(verb: Verb, text: str, known: Known) -> None:
    """Raises CommandError where what follows is none of what is accepted."""
    words = text.split()
    match verb.takes:
        case "workers" | "filter" if text:
            try:
                parsed(text)
            except FilterError as error:
                raise CommandError(str(error)) from None
        case "place":
            _one_of(text, known.places, "screen")
        case "theme":
            _one_of(text, known.themes, "theme")
        case "group":
            _one_of(text, GROUPS, "grouping")
        case "job" if text:
            _one_of(text, known.jobs, "rolling drain under way")
        case "column":
            _column(words[0], known)
            if len(words) > 2 or (words[1:] and words[1] not in ("asc", "desc")):
                raise CommandError(f":sort COLUMN, then asc or desc; given {' '.join(words[1:])}")
        case "columns" if text != USUAL:
            for name in columns_of(text):
                _column(name, known)
        case "name":
            find_worker(text, known.rows)


def columns_of(text: str) -> tuple[str, ...]:
    """The names of columns in a text; none where it says `usual`."""
    return () if text == USUAL else tuple(dict.fromkeys(text.replace(",", " ").split()))


def _column(name: str, known: Known) -> None:
    if column_of(name) is None:
        _one_of(name, names_known(known.rows), "column")


def _one_of(text: str, accepted: Sequence[str], what: str) -> None:
    if text in accepted:
        return
    near = get_close_matches(text, accepted, 1, 0.5)
    meant = f"did you mean {near[0]}? " if near else ""
    raise CommandError(f"there is no {what} {text}; {meant}There are {', '.join(accepted) or 'none'}")


def _choices(takes: str, known: Known) -> str:
    accepted = {"place": known.places, "theme": known.themes, "group": GROUPS}.get(takes, ())
    return f"; there are {', '.join(accepted)}" if accepted else ""


def find_worker(text: str, rows: Sequence[WorkerRow]) -> WorkerRow:
    """The worker of this name, id or URL. Raises CommandError with the nearest."""
    wanted = text.rstrip("/")
    for row in rows:
        if wanted in (row.worker.name, row.worker.id, row.worker.url, row.worker.url.partition("://")[2]):
            return row
    near = get_close_matches(text, [row.worker.name for row in rows], 3, 0.5)
    meant = f"; near are {', '.join(near)}" if near else ""
    raise CommandError(f"no worker is called {text}{meant}")


def meant(text: str, rows: Sequence[WorkerRow], now: float) -> list[WorkerRow]:
    """The workers that an act names: those of exactly these names, else all that fit the filter. Raises
    CommandError where a name is nobody's and where nobody fits: to an act `w1` is never also w10."""
    words = _split(text)
    names = {row.worker.name: row for row in rows}
    if words and all(_is_name(word) for word in words):
        found = [names[word] if word in names else find_worker(word, rows) for word in words]
        return list({row.worker.id: row for row in found}.values())
    query = parsed(text)
    fitting = [row for row in rows if query.fits(row, now)]
    if not fitting:
        raise CommandError(f"no worker fits {text}")
    return fitting


def _is_name(word: str) -> bool:
    return word[:1] == "w" and word[1:].isdecimal()


# --- completion ---


def candidates(line: str, known: Known) -> list[str]:
    """The lines that a line may be completed to."""
    word, space, rest = line.partition(" ")
    if not space:
        return [f"{verb} " if VERBS[verb].takes else verb for verb in VERBS if verb.startswith(word.lower())]
    name = ALIASES.get(word, word)
    verb = VERBS.get(name)
    if verb is None:
        return []
    before, _, last = rest.rpartition(" ")
    start = f"{word} {before} " if before else f"{word} "
    return [f"{start}{found}" for found in _following(verb, rest, last, known)]


def _following(verb: Verb, rest: str, last: str, known: Known) -> list[str]:
    choices: Sequence[str]
    match verb.takes:
        case "workers" | "filter":
            return _of_filter(verb, rest, last, known)
        case "column":
            choices = (
                ("asc", "desc")
                if " " in rest.strip() or (rest.endswith(" ") and rest.strip())
                else names_known(known.rows)
            )
        case "columns":
            choices = (*names_known(known.rows), USUAL)
        case "name":
            choices = [row.worker.name for row in known.rows]
        case "place":
            choices = known.places
        case "theme":
            choices = known.themes
        case "group":
            choices = GROUPS
        case "job":
            choices = known.jobs
        case _:
            choices = ()
    return [choice for choice in choices if choice.startswith(last) and choice != last]


def _of_filter(verb: Verb, rest: str, last: str, known: Known) -> list[str]:
    found = [f"{option}=" for option in verb.options if last and option.startswith(last)]
    cut = len(rest) - len(last)
    found += [text[cut:] for text in completions(rest, known.rows)]
    if last.startswith("w"):
        found += [row.worker.name for row in known.rows if row.worker.name.startswith(last) and row.worker.name != last]
    return found


def hint(line: str) -> str:
    """What to say beneath a line that is fine so far."""
    word = line.strip().partition(" ")[0].lower()
    verb = VERBS.get(ALIASES.get(word, word))
    if verb is None:
        return "Tab completes, Up and Down go through what was typed before: " + " ".join(VERBS)
    return f":{verb.name} {verb.usage} – {verb.about}".replace("  ", " ")

"""How much a chat template may do: steps, time, and characters it makes. Knows no Jinja; the sandbox asks it.

Templates come with models, so they are foreign programs that run in this process. Each loop round, branch, call
and filter spends a step; whatever makes text or lists first says how much. Values may be nested only so far that
writing, comparing or hashing one, which nothing can interrupt, stays short: the size of each nested value is known
from its parts, because templates cannot change a list or a dictionary once it is made.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

LIST_ITEM = 8
"""What an item of a list counts in characters."""
NODES_A_STEP = 16
MOST_GIVEN = 8_000_000
"""Characters in messages and tools: twice what any context holds."""
MOST_TEXT = 32_000_000
MOST_MADE = 128_000_000
LONG = 4096
"""Making a text of so many characters is worth a look at the clock."""


class Exceeded(Exception):
    """The template went beyond its bounds; the message says which."""


class Forbidden(Exception):
    """The template asked for something it may not have."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one rendering may use. `made` and `text` grow with what the client sent."""

    seconds: float = 2.0
    steps: int = 3_000_000
    made: int = 32_000_000
    """Characters in all strings and lists it makes, also those it drops: this bounds its memory."""
    text: int = 4_000_000
    """Characters in one string."""
    nodes: int = 200_000
    """Values in one nested value."""
    number: int = 10_000
    """The largest number that widths, counts and lengths may be."""


class Budget:
    """What is left of the bounds of one rendering."""

    __slots__ = ("_clock", "_deadline", "_known", "_made", "_nodes", "_steps", "bounds", "most_text")

    def __init__(self, bounds: Bounds, given: int, clock: Callable[[], float]) -> None:
        """`given`: characters in the client's messages and tools."""
        self.bounds = bounds
        self.most_text = min(bounds.text + 8 * given, MOST_TEXT)
        self._made = min(bounds.made + 32 * given, MOST_MADE)
        self._nodes = bounds.nodes + given // 4
        self._steps = bounds.steps
        self._clock = clock
        self._deadline = clock() + bounds.seconds
        self._known: dict[int, tuple[object, int, int]] = {}
        """Nodes and characters of nested values by identity; holding the value keeps its identity its own."""

    def spend(self, steps: int = 1) -> None:
        """Raises Exceeded when the steps or the time are used up."""
        self._steps -= steps
        if self._steps < 0:
            raise Exceeded(f"it took more than {self.bounds.steps} steps")
        self._look_at_the_clock()

    def _look_at_the_clock(self) -> None:
        if self._clock() > self._deadline:
            raise Exceeded(f"it took longer than {self.bounds.seconds:g} seconds")

    def make(self, characters: int) -> None:
        """Say that so many characters are about to be made, or were. Raises Exceeded."""
        if characters > self.most_text:
            raise Exceeded(f"it made a text of {characters} characters, at most {self.most_text} are allowed")
        self._made -= characters
        if self._made < 0:
            raise Exceeded("it made too much text in all")
        if characters > LONG:
            self._look_at_the_clock()

    def few(self, characters: int) -> None:
        """A text of so many characters is about to be taken apart. Raises Exceeded."""
        if characters > self._nodes:
            raise Exceeded(f"it takes apart a text of {characters} characters, at most {self._nodes} are allowed")

    def small(self, *numbers: object) -> None:
        """Numbers that say how much to make. Raises Exceeded."""
        for number in numbers:
            if isinstance(number, int | float) and abs(number) > self.bounds.number:
                raise Exceeded(f"it asked for {number:.4g} of something, at most {self.bounds.number} are allowed")

    def weigh(self, value: object) -> int:
        """Characters needed to write this value out. Raises Exceeded when it is nested into something huge, and
        Forbidden for what has no written form."""
        if isinstance(value, str):
            return len(value)
        return self._weight(value)[1]

    def add_up(self, made: object, *parts: object) -> None:
        """Remember a value just made of these, without walking them again."""
        nodes = characters = 0
        for part in parts:
            more = self._weight(part)
            nodes, characters = nodes + more[0], characters + more[1]
        self._remember(made, nodes, characters)

    def add_times(self, made: object, part: object, times: int) -> None:
        """Remember a value just made of the same part so many times."""
        nodes, characters = self._weight(part)
        self._remember(made, nodes * times, characters * times)

    def each(self, items: Iterable[object]) -> Iterator[object]:
        """The same items, a step for each."""
        for item in items:
            self.spend()
            if isinstance(item, dict | list | tuple):
                self._weight(item)
            yield item

    def _weight(self, value: object) -> tuple[int, int]:
        if isinstance(value, str):
            return 1, len(value) + LIST_ITEM
        known = self._known.get(id(value))
        if known is not None and known[0] is value:
            return known[1], known[2]
        nodes = characters = 0
        rest: list[object] = [value]
        while rest:
            item = rest.pop()
            nodes, characters = nodes + 1, characters + LIST_ITEM
            if isinstance(item, str):
                characters += len(item)
            elif isinstance(item, dict | list | tuple):
                known = self._known.get(id(item))
                if known is not None and known[0] is item:
                    nodes, characters = nodes + known[1], characters + known[2]
                elif isinstance(item, dict):
                    rest += item.keys()
                    rest += item.values()
                else:
                    rest += item
            elif isinstance(item, int):
                characters += item.bit_length() // 3
            elif not _plain(item):
                raise Forbidden(f"it would write or store a {type(item).__name__}")
            if nodes + len(rest) > self._nodes:
                self._remember(value, nodes + len(rest), characters)
        self.spend(nodes // NODES_A_STEP)
        if isinstance(value, dict | list | tuple):
            self._remember(value, nodes, characters)
        return nodes, characters

    def _remember(self, value: object, nodes: int, characters: int) -> None:
        if nodes > self._nodes:
            raise Exceeded(f"it made a value of more than {self._nodes} parts")
        if characters > 2 * self.most_text:
            raise Exceeded(f"it made a value with more than {2 * self.most_text} characters in it")
        self.make(LIST_ITEM)
        self._known[id(value)] = (value, nodes, characters)


def _plain(item: object) -> bool:
    """Whether a value is one that may be written: what JSON has, what is missing, and counted ranges."""
    return item is None or isinstance(item, float | range) or type(item).__name__.endswith("Undefined")


def given_size(value: object, most: int = MOST_GIVEN) -> int:
    """Characters in plain JSON data that a client sent; counting ends once there are more than `most`."""
    total, rest = 0, [value]
    while rest and total <= most:
        item = rest.pop()
        total += LIST_ITEM
        if isinstance(item, str):
            total += len(item)
        elif isinstance(item, dict):
            rest += item.keys()
            rest += item.values()
        elif isinstance(item, list | tuple):
            rest += item
    return total

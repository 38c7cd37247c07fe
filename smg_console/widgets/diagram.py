"""The state diagram: how many workers are in each state, the moves they make, and a state to see alone.

Which workers are shown is the table's filter; the diagram asks for a state with `Chosen`, and draws what was asked.
"""

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding
from textual.message import Message

from gateway.events import Event
from gateway.workers import facts
from gateway.workers.model import State
from smg_console.present import diagram
from smg_console.present.runs import BLANK, Line, Run
from smg_console.widgets.panel import Panel

LIT_S = 2.0
"""How long an arrow shines after a worker took it."""


class Diagram(Panel, can_focus=True):
    """The states and how many workers are in each; arrows shine as workers move."""

    BINDINGS: ClassVar = [
        Binding("right,l", "step(1)", "The next state", show=False),
        Binding("left,h", "step(-1)", "The state before", show=False),
        Binding("up,down,k,j", "across", "Above, below", show=False),
        Binding("enter", "done", "To the table", show=False),
    ]

    class Chosen(Message):
        """Only workers of this state are to be seen; None: all of them."""

        def __init__(self, state: State | None) -> None:
            super().__init__()
            self.state = state

    class Done(Message):
        """Back to the table."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.chosen: State | None = None
        """The state that is seen alone."""
        self._lit: dict[diagram.Move, float] = {}
        self._drawn_for: tuple[object, ...] = ()
        self._picture: list[Line] = []

    def saw(self, happened: Sequence[Event], now: float) -> None:
        """Light the arrows of what just happened."""
        for event in happened:
            if isinstance(event.fact, facts.StateChanged):
                self._lit[diagram.arrow_of((event.fact.old, event.fact.new))] = now + LIT_S
            elif isinstance(event.fact, facts.Registered):
                self._lit[None, State.REGISTERING] = now + LIT_S

    def draw(self, width: int, height: int) -> Sequence[Line]:
        watch = self.face.seen
        now = watch.gateway.now
        self._lit = {move: until for move, until in self._lit.items() if until > now}
        states = watch.overview.states
        shares = {move: 1 - (until - now) / LIT_S for move, until in self._lit.items()}
        counts = tuple(states[state] for state in State)
        wanted = (counts, tuple(shares.items()), self.chosen, self.has_focus, width, height)
        if wanted != self._drawn_for:
            self._drawn_for, self._picture = wanted, self._drawn(shares, width, height)
        self.set_titles("States", self._below())
        return self._picture

    def _below(self) -> str:
        if self.has_focus:
            return "arrows choose, Enter to the table, 0 all"
        return f"{self.chosen} alone, 0 shows all" if self.chosen is not None else ""

    def _drawn(self, shares: dict[diagram.Move, float], width: int, height: int) -> list[Line]:
        states = self.face.seen.overview.states
        if not _is_large(width, height):
            line = diagram.small(states, shares, width - 1, self.chosen)
            return [(("▸" if self.has_focus else " ", "bold accent"), *line)]
        left, above = _corner(width, height)
        indent: Run = (" " * left, "")
        lines = diagram.large(states, shares, chosen=self.chosen)
        return [*[BLANK] * above, *((indent, *line) for line in lines)]

    def on_focus(self) -> None:
        self.tick()

    def on_blur(self) -> None:
        self.tick()

    def action_step(self, step: int) -> None:
        self.post_message(self.Chosen(diagram.beside(self.chosen, step)))

    def action_across(self) -> None:
        self.post_message(self.Chosen(diagram.across(self.chosen)))

    def action_done(self) -> None:
        self.post_message(self.Done())

    def on_click(self, event: events.Click) -> None:
        """A click on a state shows it alone, a second one all again."""
        place = event.get_content_offset(self)
        if place is None:
            return
        width, height = self.size
        if _is_large(width, height):
            left, above = _corner(width, height)
            state = diagram.state_at(place.x - left, place.y - above)
        else:
            state = diagram.state_in_line(self._picture[0], place.x) if self._picture else None
        if state is not None:
            self.post_message(self.Chosen(None if state is self.chosen else state))


def _is_large(width: int, height: int) -> bool:
    return width >= diagram.WIDTH and height >= diagram.HEIGHT


def _corner(width: int, height: int) -> tuple[int, int]:
    """Where the large form begins."""
    return (width - diagram.WIDTH) // 2, (height - diagram.HEIGHT) // 2

"""The tokenizer screen: which there are, how they do, and a line that shows a text's tokens as one types."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Input

from gateway.errors import GatewayError
from gateway.tokenizers.commands import AddTokenizer, RemoveTokenizer, TokenizerCommand
from gateway.tokenizers.entry import Progress
from gateway.tokenizers.status import TokenizerStatus
from gateway.tokenizers.tokenizer import Shown
from smg_console.present import tokenizers
from smg_console.present.runs import Line
from smg_console.screens.add_tokenizer import AddTokenizerForm
from smg_console.screens.dialogs import Confirm, Question
from smg_console.widgets.panel import Panel
from smg_console.widgets.panels import Header, Keys
from smg_console.widgets.rows import Rows

if TYPE_CHECKING:
    from smg_console.app import ConsoleApp


class TokenizerKeys(Keys):
    KEYS = (
        ("Esc", "back"),
        ("a", "add"),
        ("x", "remove"),
        ("R", "retry"),
        ("Tab i", "type a text"),
        ("^t", "special tokens"),
        ("?", "help"),
    )
    DROPPED: ClassVar[tuple[str, ...]] = ("^t", "R")


class Table(Rows[TokenizerStatus]):
    """The tokenizers in rows."""

    def __init__(self) -> None:
        super().__init__(id="tokenizers")

    def rows(self) -> Sequence[TokenizerStatus]:
        return self.face.plane.tokenizers()

    def key(self, row: TokenizerStatus) -> str:
        return row.id

    def line(self, row: TokenizerStatus, width: int, *, selected: bool) -> Line:
        return tokenizers.row_line(row, width, selected=selected)

    def header(self, width: int) -> Line:
        return tokenizers.header(width)

    def empty(self, width: int) -> Sequence[Line]:
        return tokenizers.empty_lines()

    def titled(self, first: int, last: int, count: int) -> None:
        seen = f", {first} to {last} in view" if last - first + 1 < count else ""
        self.set_titles(f"Tokenizers: {count}{seen}")


class Detail(Panel):
    """The tokenizer under the cursor."""

    def draw(self, width: int, height: int) -> Sequence[Line]:
        told = self.screen.query_one(Table).current
        self.set_titles(told.name if told is not None else "")
        return [] if told is None else tokenizers.detail_lines(told, self.face.seen.gateway.now, width)


class Tokens(Panel):
    """The tokens of the text in the line above."""

    HINT = "Its tokens and their ids appear here; \\n is a line break, \\t a tab."

    def __init__(self) -> None:
        super().__init__(id="tokens")
        self.shown: Sequence[Shown] = ()
        self.problem = ""
        self.words = ""

    def draw(self, width: int, height: int) -> Sequence[Line]:
        self.set_titles(f"Playground: {self.words}" if self.words else "Playground")
        if self.problem:
            return [((f" {self.problem}", "error"),)]
        if not self.shown:
            return [((f" {self.HINT}", "muted"),)]
        return tokenizers.token_lines(self.shown, width, height)


class TextLine(Input):
    """One line for a text of several: pasted line breaks become `\\n`."""

    def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()
        event.stop()
        self.insert_text_at_cursor(tokenizers.typed_line(event.text))


class TokenizersScreen(Screen[None]):
    """See the module."""

    BINDINGS: ClassVar = [
        Binding("escape", "back", "Back"),
        Binding("a", "add", "Add a tokenizer"),
        Binding("x", "remove", "Remove"),
        Binding("R", "retry", "Load a failed one again"),
        Binding("i,slash", "type", "Type a text"),
        Binding("ctrl+t", "special", "Special tokens on and off"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._special = False

    def compose(self) -> ComposeResult:
        yield Header(id="header")
        yield Table()
        yield Detail(id="tokenizer")
        yield TextLine(placeholder="i or Tab: type a text to see its tokens", id="playground", compact=True)
        yield Tokens()
        yield TokenizerKeys(id="keys")

    def on_mount(self) -> None:
        self.table.focus()
        self._arrange(self.app.size.width, self.app.size.height)

    def on_resize(self, event: events.Resize) -> None:
        self._arrange(event.size.width, event.size.height)

    def _arrange(self, width: int, height: int) -> None:
        self.set_class(height < 34, "-small")
        self.set_class(width >= 170 and height >= 44, "-large")

    @property
    def table(self) -> Table:
        return self.query_one(Table)

    @property
    def _face(self) -> "ConsoleApp":
        return cast("ConsoleApp", self.app)

    def action_back(self) -> None:
        """From the line to the table, from the table to where one came from."""
        if self.focused is self.table:
            self.dismiss()
        else:
            self.table.focus()

    # --- the playground ---

    def action_type(self) -> None:
        self.query_one(TextLine).focus()

    def action_special(self) -> None:
        """With the tokens that the tokenizer adds of itself, or without."""
        self._special = not self._special
        self._face.say(f"special tokens of the tokenizer's own {'are added' if self._special else 'are left out'}")
        self.chosen_anew()

    def on_input_changed(self) -> None:
        self.chosen_anew()

    def on_rows_moved(self) -> None:
        self.chosen_anew()

    def on_rows_opened(self) -> None:
        self.action_type()

    def chosen_anew(self) -> None:
        """Another tokenizer or another text: show what belongs to it."""
        self.query_one(Detail).tick()
        self.run_worker(self._tokenize(), group="playground", exclusive=True, exit_on_error=False)

    async def _tokenize(self) -> None:
        told, panel = self.table.current, self.query_one(Tokens)
        text = tokenizers.typed_text(self.query_one(TextLine).value)
        panel.shown, panel.problem, panel.words = (), "", ""
        if told is not None and text:
            try:
                panel.shown = await self._face.plane.tokens(told.id, text, add_special_tokens=self._special)
                panel.words = tokenizers.counts_text(panel.shown, text, told.context_length)
            except GatewayError as error:
                panel.problem = error.message
        panel.tick()

    # --- acts ---

    def action_add(self) -> None:
        if self._face.may_act():
            self.app.push_screen(AddTokenizerForm(), self._added)

    def _added(self, command: AddTokenizer | None) -> None:
        if command is not None:
            self._give(command, f"{command.name} is being loaded from {command.source}")

    def action_retry(self) -> None:
        """What failed may have been mended."""
        told = self.table.current
        if told is None or not self._face.may_act():
            return
        if told.state is not Progress.FAILED:
            self._face.say(f"{told.name} has not failed", "warning")
        else:
            self._give(AddTokenizer(told.name, told.source), f"{told.name} is tried again")

    def action_remove(self) -> None:
        told = self.table.current
        if told is None or not self._face.may_act():
            return
        number, name = told.id, told.name

        def question() -> Question | None:
            now = next((row for row in self._face.plane.tokenizers() if row.id == number), None)
            if now is None:
                return None
            asked = tokenizers.removal_lines(now)
            return Question(f"Remove {name}?", asked, "Remove", name if now.users else "", careful=True)

        asked = question()
        if asked is not None:

            def then(answer: str | None) -> None:
                if answer:
                    self._give(RemoveTokenizer(number), f"{name} is removed")

            self.app.push_screen(Confirm(asked, question), then)

    def _give(self, command: TokenizerCommand, did: str) -> None:
        self.run_worker(self._given(command, did), name=f"{command.verb} tokenizer", exit_on_error=False)

    async def _given(self, command: TokenizerCommand, did: str) -> None:
        try:
            await self._face.plane.execute_on_tokenizers(command)
        except GatewayError as error:
            self._face.say(error.message, "error")
        else:
            self._face.say(did)
        await self._face.frame()

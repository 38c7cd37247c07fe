"""The form for a new tokenizer. What only the gateway can tell of a source comes after it."""

from gateway.errors import BadRequest
from gateway.tokenizers.commands import AddTokenizer
from gateway.tokenizers.places import place_of
from smg_console.screens.form import Field, Form


class AddTokenizerForm(Form[AddTokenizer]):
    """Asks for a tokenizer."""

    HEADING = "Add a tokenizer"
    FIELDS = (
        Field("name", "Name", "what requests call the model"),
        Field("source", "Source", "a directory, a tokenizer.json, or owner/name at HuggingFace"),
        Field("chat_template_path", "Template", "a .jinja file instead of the model's own; may be empty"),
    )
    MAIN = "source"

    def made(self) -> AddTokenizer:
        command = AddTokenizer(self.value("name"), self.value("source"), self.value("chat_template_path"))
        if not command.name:
            raise BadRequest("name: missing; expected what requests call the model", field="name")
        place_of(command.source, command.chat_template or None)
        return command

"""What can be wrong with a tokenizer or with a text given to one. Each says what to do about it."""

from gateway.errors import BadRequest, GatewayError


class TokenizerNotFound(GatewayError):
    """No tokenizer of this name or id."""

    code = "TOKENIZER_NOT_FOUND"
    status = 404


class TokenizerExists(GatewayError):
    """The name is taken; `holder` is the id of the tokenizer that has it."""

    code = "TOKENIZER_ALREADY_EXISTS"
    status = 409

    def __init__(self, message: str, holder: str) -> None:
        super().__init__(message, field="name")
        self.holder = holder


class SourceUnusable(GatewayError):
    """What the source gives makes no tokenizer; the message names the file and what is wrong with it.

    `temporary`: another try may succeed (the network, a hub that is overloaded).
    """

    code = "TOKENIZER_UNUSABLE"
    status = 422

    def __init__(self, message: str, *, temporary: bool = False) -> None:
        super().__init__(message, field="source")
        self.temporary = temporary


class TooManyTokenizers(GatewayError):
    """No room for another one."""

    code = "TOO_MANY_TOKENIZERS"
    status = 503


class TemplateUnusable(SourceUnusable):
    """The chat template does not compile."""

    code = "CHAT_TEMPLATE_UNUSABLE"


class TemplateFailed(BadRequest):
    """The chat template refused these messages, failed on them, or went beyond its bounds."""

    code = "CHAT_TEMPLATE_FAILED"


class NotText(BadRequest):
    """The text holds half of a surrogate pair, which no UTF-8 text can."""

    code = "NOT_UNICODE_TEXT"


class TextTooLong(BadRequest):
    """More text than any model's context holds."""

    code = "TEXT_TOO_LONG"


class TokenizerBroken(GatewayError):
    """The tokenizers library itself failed on this input; nothing the client did wrong."""

    code = "TOKENIZER_FAILED"

"""What routing needs to know of a request's body: its model, and whether it asks for a stream. Pure.

JSON is checked as a whole but only two members are decoded; of a multipart form only the small fields before
the file are looked at, never the file.
"""

import re
from email.message import Message

import msgspec

from gateway.errors import BadRequest
from gateway.proxy.bodies import text_of
from gateway.proxy.routes import MODEL_REQUIRED


class Hints(msgspec.Struct, frozen=True, gc=False):
    """The routing hints; None (or nothing) where the body does not say. Prompts stay as they came, not decoded."""

    model: str | None = None
    stream: bool | None = None
    messages: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    text: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()

    @property
    def prompt_text(self) -> str:
        """The prompt as text; decoded when asked for."""
        return text_of(self.messages or self.prompt or self.text or self.input)


class MissingModel(BadRequest):
    code = "missing_required_parameter"


_decoder = msgspec.json.Decoder(Hints)
_FIELD = re.compile(rb'name="?(model|stream)"?(?:;|\r\n)', re.IGNORECASE)


def hints_of(route: bytes, content_type: bytes, body: bytes) -> Hints:
    """The hints in a body. Raises BadRequest naming the member that is wrong."""
    hints = _form_hints(content_type, body) if content_type.startswith(b"multipart/form-data") else _json_hints(body)
    if hints.model is None and route in MODEL_REQUIRED:
        raise MissingModel("model: missing; expected the id of a model (GET /v1/models lists them)", field="model")
    return hints


def _json_hints(body: bytes) -> Hints:
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        what, _, where = str(error).replace("`", "").partition(" - at $.")
        field = where or None
        raise BadRequest(f"{field or 'the body'}: {what[:1].lower()}{what[1:]}", field=field) from None
    except msgspec.DecodeError as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    except UnicodeDecodeError:
        raise BadRequest("the body is not valid UTF-8") from None


def _form_hints(content_type: bytes, body: bytes) -> Hints:
    header = Message()
    header["content-type"] = content_type.decode("latin-1")
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        raise BadRequest("content-type: multipart/form-data needs a boundary", field="content-type")
    marker = b"--" + boundary.encode("latin-1")
    found: dict[str, str] = {}
    at = body.find(marker)
    while at >= 0:
        head_at = at + len(marker)
        head_end = body.find(b"\r\n\r\n", head_at, head_at + 8192)
        end = body.find(b"\r\n" + marker, head_at)
        if head_end < 0 or end < 0:
            break
        head = body[head_at : head_end + 2]
        if b"filename" not in head.lower() and (match := _FIELD.search(head)) and end - head_end < 1024:
            found[match[1].decode().lower()] = body[head_end + 4 : end].decode("utf-8", "replace").strip()
        at = end + 2
    stream = found.get("stream")
    return Hints(found.get("model"), None if stream is None else stream.lower() in ("true", "1"))

"""The files that make a tokenizer, from wherever they are: a directory or file here, or an archive a worker sent.

Everything here blocks and is for threads. What the HuggingFace hub has is fetched by `gateway.tokenizers.hub`, which
ends in a directory here too. Nothing is trusted: files have bounds, archives are read in memory by known names,
and what is broken is named with its file.
"""

import hashlib
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

import msgspec

from gateway.tokenizers.errors import SourceUnusable

TOKENIZER = "tokenizer.json"
CONFIG = "tokenizer_config.json"
SPECIALS = "special_tokens_map.json"
GENERATION = "generation_config.json"
TEMPLATE = "chat_template.jinja"
OLD_TEMPLATE = "chat_template.json"
NAMED_TEMPLATES = "additional_chat_templates"

MAX_TOKENIZER = 96 * 1024 * 1024
"""The largest published ones are some 35 MB; in memory a tokenizer takes eight times its file."""
MAX_ARCHIVE = 128 * 1024 * 1024
MAX_SMALL = 8 * 1024 * 1024
"""For each other file: a `tokenizer_config.json` that lists many added tokens has up to 2 MB."""
MAX_NAMED = 32

UNREADABLE = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
)
"""What reading a broken or hostile zip raises."""

DEFAULT = "default"
SPECIAL_NAMES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What was read, before any of it is judged further."""

    origin: str
    """Where it came from, for messages."""
    tokenizer: bytes
    templates: Mapping[str, str] = field(default_factory=dict)
    """Chat templates by name; the unnamed one is `default`."""
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    """`bos_token` and the like, as templates see them."""
    stop_ids: tuple[int, ...] = ()
    """`eos_token_id` of the generation settings."""
    max_length: int | None = None
    """`model_max_length`, where it is a real one."""


Reader = Callable[[str, int], bytes | None]
"""The bytes of a file by name, at most so many; None where there is none. Raises SourceUnusable."""


def read_path(path: Path) -> ModelFiles:
    """A `tokenizer.json` or a model directory. Raises SourceUnusable."""
    try:
        found = path.stat()
    except OSError as error:
        raise SourceUnusable(f"{path}: {(error.strerror or str(error)).lower()}") from None
    if S_ISDIR(found.st_mode):
        return gathered(str(path), lambda name, most: _read(path / name, most), _named_templates(path))
    folder = path.parent
    return gathered(str(path), lambda name, most: _read(path if name == TOKENIZER else folder / name, most), ())


def looked_at(path: Path, template: Path | None) -> None:
    """Read what is there without building anything of it. Raises SourceUnusable."""
    files = read_path(path)
    if template is not None:
        with_template(files, template)
    if (wrong := complaint(files.tokenizer)) is not None:
        raise SourceUnusable(f"{tokenizer_name(files.origin)}: {wrong}")


class _Head(msgspec.Struct):
    """As much of a `tokenizer.json` as tells one from other files; the rest is checked and not kept."""

    model: msgspec.Raw = msgspec.Raw()


def complaint(data: bytes) -> str | None:
    """What is wrong with a `tokenizer.json`, as far as can be told without building it; some 1 ms a MB."""
    if not data.strip():
        return "the file is empty"
    if data.startswith(b"version https://git-lfs"):
        return "the file is a Git LFS pointer, not the tokenizer; fetch it with 'git lfs pull'"
    try:
        head = msgspec.json.decode(data, type=_Head)
    except msgspec.ValidationError:
        return "not a JSON object"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as bad:
        return f"not valid JSON: {bad}"
    if bytes(head.model)[:1] != b"{":
        return "no object 'model', so it is not a tokenizer.json"
    return None


def tokenizer_name(origin: str) -> str:
    """The tokenizer's file, for messages."""
    return origin if origin.endswith(".json") else f"{origin}: {TOKENIZER}"


def with_template(files: ModelFiles, template: Path) -> ModelFiles:
    """The same files with this chat template as the only one. Raises SourceUnusable."""
    data = _read(template.expanduser(), MAX_SMALL)
    if data is None:
        raise SourceUnusable(f"{template}: no such file, so there is no chat template")
    if template.suffix == ".json":
        templates = _templates_of(_json(str(template), data).get("chat_template"), str(template))
    else:
        templates = {DEFAULT: _text(str(template), data)}
    return replace(files, templates=templates)


def read_archive(data: bytes, sha256: str | None, origin: str) -> ModelFiles:
    """The zip a worker sent, whose checksum must be this one where there is one. Raises SourceUnusable.

    Nothing is written anywhere, so no name in it can lead out of a directory.
    """
    got = hashlib.sha256(data).hexdigest() if sha256 is not None else None
    if sha256 is not None and got != sha256.lower():
        raise SourceUnusable(f"{origin}: its tokenizer has the SHA-256 {got}, it announced {sha256}", temporary=True)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = _members(archive)
            names = tuple(name for name in members if name.startswith(NAMED_TEMPLATES + "/"))[:MAX_NAMED]

            def read(name: str, most: int) -> bytes | None:
                member = members.get(name)
                if member is None:
                    return None
                with archive.open(member) as file:
                    return _bounded(f"{origin}: {name}", file.read(most + 1), most)

            return gathered(origin, read, names)
    except UNREADABLE as error:
        raise SourceUnusable(f"{origin}: the archive it sent cannot be read: {error}") from None


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The archive's files by their path from the directory that holds `tokenizer.json`."""
    names = [info.filename for info in archive.infolist()]
    roots = sorted((name for name in names if name.rsplit("/", 1)[-1] == TOKENIZER), key=len)
    root = roots[0][: -len(TOKENIZER)] if roots else ""
    return {info.filename[len(root) :]: info for info in archive.infolist() if info.filename.startswith(root)}


def gathered(origin: str, read: Reader, named: tuple[str, ...]) -> ModelFiles:
    """The files this reader gives. `named`: the paths of further templates. Raises SourceUnusable."""
    tokenizer = read(TOKENIZER, MAX_TOKENIZER)
    if tokenizer is None:
        raise SourceUnusable(f"{origin}: there is no {TOKENIZER}; slow tokenizers and tiktoken files are not supported")
    config = _object(origin, CONFIG, read)
    generation = _object(origin, GENERATION, read)
    return ModelFiles(
        origin=origin,
        tokenizer=tokenizer,
        templates=_templates(origin, read, config, named),
        special_tokens=_specials(config, _object(origin, SPECIALS, read)),
        stop_ids=_ids(generation.get("eos_token_id")),
        max_length=_length(config.get("model_max_length")),
    )


def _templates(origin: str, read: Reader, config: Mapping[str, Any], named: tuple[str, ...]) -> dict[str, str]:
    """All chat templates; a file of its own goes before what the settings say."""
    found = _templates_of(config.get("chat_template"), f"{origin}: {CONFIG}")
    found |= _templates_of(_object(origin, OLD_TEMPLATE, read).get("chat_template"), f"{origin}: {OLD_TEMPLATE}")
    if (data := read(TEMPLATE, MAX_SMALL)) is not None:
        found[DEFAULT] = _text(f"{origin}: {TEMPLATE}", data)
    for path in named:
        if path.endswith(".jinja") and (data := read(path, MAX_SMALL)) is not None:
            found[path.rsplit("/", 1)[-1].removesuffix(".jinja")] = _text(f"{origin}: {path}", data)
    return found


def _templates_of(value: object, where: str) -> dict[str, str]:
    """Templates as settings have them: one text, or a list of named ones."""
    if value is None:
        return {}
    if isinstance(value, str):
        return {DEFAULT: value}
    if isinstance(value, list) and all(
        isinstance(item, dict) and isinstance(item.get("name"), str) and isinstance(item.get("template"), str)
        for item in value
    ):
        return {item["name"]: item["template"] for item in value[:MAX_NAMED]}
    raise SourceUnusable(f"{where}: chat_template is neither a text nor a list of objects with name and template")


def _specials(config: Mapping[str, Any], listed: Mapping[str, Any]) -> dict[str, str]:
    """Special tokens by role; the settings go before the older separate file."""
    found = {}
    for name in SPECIAL_NAMES:
        value = config.get(name, listed.get(name))
        if isinstance(value, dict):
            value = value.get("content")
        if isinstance(value, str):
            found[name] = value
    return found


def _ids(value: object) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(item for item in values if isinstance(item, int) and not isinstance(item, bool) and item >= 0)


def _length(value: object) -> int | None:
    """Transformers writes 10**30 for "none known"."""
    return int(value) if isinstance(value, int | float) and 0 < value < 1 << 40 else None


def _object(origin: str, name: str, read: Reader) -> Mapping[str, Any]:
    data = read(name, MAX_SMALL)
    return {} if data is None else _json(f"{origin}: {name}", data)


def _json(where: str, data: bytes) -> Mapping[str, Any]:
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SourceUnusable(f"{where}: not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise SourceUnusable(f"{where}: not a JSON object")
    return value


def _text(where: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise SourceUnusable(f"{where}: not UTF-8: {error.reason} at byte {error.start}") from None


def _named_templates(folder: Path) -> tuple[str, ...]:
    found = sorted((folder / NAMED_TEMPLATES).glob("*.jinja"))[:MAX_NAMED]
    return tuple(f"{NAMED_TEMPLATES}/{path.name}" for path in found)


def _read(path: Path, most: int) -> bytes | None:
    try:
        if not S_ISREG(path.stat().st_mode):
            raise SourceUnusable(f"{path}: not a regular file")
        with path.open("rb") as file:
            return _bounded(str(path), file.read(most + 1), most)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceUnusable(f"{path}: {error.strerror or error}") from None


def _bounded(where: str, data: bytes, most: int) -> bytes:
    if len(data) > most:
        raise SourceUnusable(f"{where}: larger than {most} bytes")
    return data

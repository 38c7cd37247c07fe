"""The tokenizers as lines: the table, what there is to tell of one, and a text's tokens. Pure."""

import textwrap
from collections.abc import Sequence

from rich.cells import cell_len

from gateway.tokenizers.cache import CacheCounts
from gateway.tokenizers.entry import Progress
from gateway.tokenizers.status import TokenizerStatus
from gateway.tokenizers.tokenizer import Shown
from smg_console.present import numbers
from smg_console.present.feed import clock
from smg_console.present.runs import BLANK, Line, Run, cut, cut_end, cut_middle, fit, printable

STATES = {
    Progress.PENDING: ("◌ waits", "registering"),
    Progress.PROCESSING: ("◐ loading", "registering"),
    Progress.COMPLETED: ("● ready", "ready"),
    Progress.FAILED: ("✖ failed", "failed"),
}
STATE = 10
NUMBERS = (("VOCAB", 7), ("EXACT", 7), ("PREFIX", 8), ("MEMORY", 8), ("USERS", 7))
LEAST_NAME, MOST_NAME = 14, 48
LABEL = 15
WIDEST_TOKEN = 24
SPACE = "·"

FLAGS = ("--tokenizer-path DIR    --model-path owner/name    --chat-template FILE",)


# --- the table ---


def _name_width(width: int) -> int:
    room = width - 2 - STATE - sum(cells for _, cells in NUMBERS)
    return max(LEAST_NAME, min(MOST_NAME, room * 3 // 5))


def header(width: int) -> Line:
    """The columns' names."""
    name = _name_width(width)
    right = "".join(fit(title, cells, right=True) for title, cells in NUMBERS)
    return cut(((f" {'NAME':<{name}} {'STATE':<{STATE}}{right}  SOURCE", "bold muted"),), width)


def row_line(told: TokenizerStatus, width: int, *, selected: bool) -> Line:
    """A tokenizer in a line."""
    name = _name_width(width)
    word, style = STATES[told.state]
    values = (
        numbers.count(told.vocab_size),
        _rate(told, told.exact),
        _rate(told, told.prefix),
        numbers.size(told.memory_bytes),
        numbers.count(len(told.users)),
    )
    right = "".join(fit(value, cells, right=True) for value, (_, cells) in zip(values, NUMBERS, strict=True))
    mark = "▸" if selected else " "
    left: list[Run] = [(f"{mark}{cut_middle(printable(told.name), name)} ", "bold" if selected else "")]
    left += [(fit(word, STATE), style), (right, "")]
    why = f"  {told.source}" if told.state is not Progress.FAILED else f"  {told.message}"
    return cut((*left, (printable(why), "muted" if told.state is not Progress.FAILED else "error")), width)


def _rate(told: TokenizerStatus, counts: CacheCounts | None) -> str:
    if counts is None:
        return numbers.NONE if told.vocab_size is None else "off"
    return numbers.percent(counts.hit_rate)


def empty_lines() -> list[Line]:
    """Instead of rows: what tokenizers are for, and how to get some."""
    return [
        BLANK,
        (("  No tokenizers. Workers over gRPC need one each: it comes from the worker by itself,", "bold"),),
        (("  from these flags, or by hand:", "bold"),),
        BLANK,
        *(((f"    {text}", ""),) for text in FLAGS),
        (("    a", "bold accent"), (" adds a directory, a tokenizer.json or a HuggingFace id", "")),
    ]


# --- one of them ---


def detail_lines(told: TokenizerStatus | None, now: float, width: int) -> list[Line]:
    """All there is to tell of a tokenizer, the urgent first."""
    if told is None:
        return []
    word, style = STATES[told.state]
    since = f" since {clock(told.since)} ({numbers.age(now - told.since)}), "
    asked = "wanted by a worker or the settings" if told.automatic else "added by hand"
    lines: list[Line] = [cut(((f"  {word}", f"bold {style}"), (since + asked, "")), width)]
    if told.state is not Progress.COMPLETED:
        lines += _wrapped("", told.message, "error" if told.state is Progress.FAILED else "", width)
    lines += _wrapped("source", told.source, "", width)
    lines.append(_pair("users", _names(told.users) or "no worker at present", "" if told.users else "muted", width))
    if told.models[1:]:
        lines.append(_pair("also for", _names(told.models[1:]), "", width))
    if told.vocab_size is None:
        return lines
    lines.append(_pair("exact cache", _cache(told.exact, told.exact_off), "", width))
    lines.append(_pair("prefix cache", _cache(told.prefix, told.prefix_off), "" if told.prefix else "warning", width))
    context = f"{told.context_length:,} tokens" if told.context_length else "not said by its files"
    lines.append(_pair("context", context, "", width))
    templates = ", ".join(told.chat_templates) or told.template_error or "none: no chats"
    lines.append(_pair("chat templates", templates, "warning" if told.template_error else "", width))
    if told.shared_with:
        lines.append(_pair("shared with", _names(told.shared_with), "", width))
    lines.append(_pair("id", told.id, "muted", width))
    return lines


def _pair(name: str, value: str, style: str, width: int) -> Line:
    text = cut_end(printable(value), max(8, width - LABEL - 2))
    return ((f"  {name:<{LABEL}}", "muted"), (text, style))


def _wrapped(name: str, text: str, style: str, width: int) -> list[Line]:
    parts = textwrap.wrap(printable(text), max(20, width - LABEL - 3)) or [""]
    return [((f"  {name if not n else '':<{LABEL}}", "muted"), (part, style)) for n, part in enumerate(parts)]


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more


def _cache(counts: CacheCounts | None, off: str) -> str:
    if counts is None:
        return f"off: {off}"
    asked = f"{numbers.percent(counts.hit_rate)} of {numbers.count(counts.hits + counts.misses)} look-ups hit"
    full = f"{numbers.size(counts.bytes)} of {numbers.size(counts.max_bytes)}"
    gone = f", {numbers.count(counts.evicted)} evicted" if counts.evicted else ""
    return f"{asked}, {numbers.count(counts.entries)} entries, {full}{gone}"


def removal_lines(told: TokenizerStatus) -> tuple[str, ...]:
    """What removing it would mean, in sentences."""
    if not told.users:
        return ("No worker uses it at present.",)
    one = len(told.users) == 1
    using = f"{len(told.users)} worker{'' if one else 's'} use{'s' if one else ''} it: {_names(told.users[:6])}"
    if told.shared_with:
        using += f" (what {_names(told.shared_with)} loaded stays)"
    return (f"{using}.", f"Requests for {', '.join(told.models[:3])} are refused until it is there again.")


# --- a text's tokens ---


def typed_text(line: str) -> str:
    """What was typed in one line, with its `\\n` and `\\t` as breaks and tabs; `\\\\` is a backslash."""
    found: list[str] = []
    marks = {"n": "\n", "t": "\t", "\\": "\\"}
    n = 0
    while n < len(line):
        mark = marks.get(line[n + 1 : n + 2]) if line[n] == "\\" else None
        found.append(mark if mark is not None else line[n])
        n += 2 if mark is not None else 1
    return "".join(found)


def typed_line(text: str) -> str:
    """The line to type for a text: the opposite of `typed_text`."""
    return text.replace("\\", "\\\\").replace("\r\n", "\n").replace("\n", "\\n").replace("\t", "\\t")


def counts_text(tokens: Sequence[Shown], text: str, context_length: int | None) -> str:
    """How many, in words."""
    count, chars = len(tokens), len(text)
    told = f"{count} token{'' if count == 1 else 's'}, {chars} character{'' if chars == 1 else 's'}"
    if count:
        told += f", {chars / count:.1f} a token"
    if context_length:
        told += f", {numbers.percent(count / context_length)} of the context"
    return told


def token_lines(tokens: Sequence[Shown], width: int, height: int) -> list[Line]:
    """The tokens in rows with their ids below, as many as there is room for; the rest is counted."""
    lines: list[Line] = []
    at = 0
    while at < len(tokens) and len(lines) + 2 <= height:
        texts: list[Run] = []
        ids: list[Run] = []
        cells = 1
        while at < len(tokens):
            token = tokens[at]
            text = _token_text(token)
            wide = max(cell_len(text), len(str(token.id)))
            if texts and cells + wide + 1 > width:
                break
            style = "bold warning" if token.special else "bold accent" if at % 2 else "bold"
            texts.append((fit(text, wide), style))
            ids.append((fit(str(token.id), wide), "muted"))
            cells += wide + 1
            at += 1
        lines += [_row(texts), _row(ids)]
    if at < len(tokens) and lines:
        more = f" and {len(tokens) - at} more "
        lines[-1] = (*cut(lines[-1], width - len(more)), (more, "warning"))
    return lines


def _row(parts: Sequence[Run]) -> Line:
    runs: list[Run] = [(" ", "")]
    for n, part in enumerate(parts):
        if n:
            runs.append(("│", "muted"))
        runs.append(part)
    return tuple(runs)


def _token_text(token: Shown) -> str:
    text = token.text.replace("\n", "\\n").replace("\t", "\\t").replace(" ", SPACE)
    return cut_middle(printable(text), WIDEST_TOKEN) if cell_len(text) > WIDEST_TOKEN else printable(text) or "∅"

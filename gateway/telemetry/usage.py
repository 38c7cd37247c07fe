"""How many tokens an answer took, by what stands at its end: OpenAI's usage, Anthropic's, SGLang's meta_info. Pure.

Read from the last bytes alone, without taking the JSON apart: the numbers feed graphs, nobody is billed by them.
"""

import re
from collections.abc import Sequence

from gateway.workers.meters import TOLD_KEPT

_USAGE = re.compile(rb'"(prompt|input|completion|output)_tokens":\s*(\d{1,9})')
_PROMPT = (b"prompt", b"input")


def usage_of(end: bytes) -> tuple[int | None, int | None]:
    """Prompt and output tokens; None where it does not say. The last mention counts: streams repeat themselves."""
    prompt = output = None
    for name, digits in _USAGE.findall(end):
        if name in _PROMPT:
            prompt = int(digits)
        else:
            output = int(digits)
    return prompt, output


def told_of(ends: Sequence[tuple[bytes, int]], answers: int) -> tuple[float, float]:
    """Prompt tokens, and output tokens beyond the events already counted, of so many answers, whose first ones
    ended like this."""
    prompt = output = 0
    for end, events in ends:
        asked, given = usage_of(end)
        prompt += asked or 0
        if given is not None:
            output += given - events
    share = answers / len(ends) if len(ends) == TOLD_KEPT and answers > len(ends) else 1.0
    return prompt * share, output * share

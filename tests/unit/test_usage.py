"""Usage read from the ends of answers, as engines write them."""

import pytest

from gateway.telemetry.usage import told_of, usage_of
from gateway.workers.meters import TOLD_KEPT


@pytest.mark.parametrize(
    ("end", "wanted"),
    [
        (b'"usage":{"prompt_tokens":7,"total_tokens":10,"completion_tokens":3,"prompt_tokens_details":null}}', (7, 3)),
        (b'"usage": {"completion_tokens": 3, "prompt_tokens": 7,"prompt_tokens_details":{"cached_tokens":4}}', (7, 3)),
        (b'"meta_info":{"id":"a","finish_reason":{"type":"stop"},"prompt_tokens":5,"completion_tokens":9}}', (5, 9)),
        (b'"usage":{"input_tokens":11,"output_tokens":2}}\n\n', (11, 2)),
        (b'{"data":[],"usage":{"prompt_tokens":4,"total_tokens":4}}', (4, None)),
        (b'..."completion_tokens":1}}\n\ndata: {"usage":{"completion_tokens":2}}', (None, 2)),
        (b'data: {"choices":[]}', (None, None)),
        (b"", (None, None)),
        (b'"prompt_tokens":99999999999999', (999999999, None)),
    ],
)
def test_usage_is_found_where_engines_write_it(end: bytes, wanted: tuple[int | None, int | None]) -> None:
    assert usage_of(end) == wanted


def test_a_stream_s_own_count_is_put_right_by_the_usage_it_ends_with() -> None:
    whole, stream = b'"prompt_tokens":7,"completion_tokens":30', b'"prompt_tokens":3,"completion_tokens":10'
    assert told_of([(whole, 0), (stream, 12), (b"[DONE]", 5)], 3) == (10, 28)


def test_the_first_answers_of_a_busy_second_stand_for_all_of_it() -> None:
    ends = [(b'"prompt_tokens":7,"completion_tokens":30', 0)] * TOLD_KEPT
    assert told_of(ends, 10 * TOLD_KEPT) == (70 * TOLD_KEPT, 300 * TOLD_KEPT)
    assert told_of(ends, TOLD_KEPT // 2) == (7 * TOLD_KEPT, 30 * TOLD_KEPT), "never less than what was told"
    assert told_of(ends[:5], 50) == (35, 150), "nothing was left out"

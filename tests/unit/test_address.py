"""What counts as a worker's URL."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.workers.address import worker_url


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("http://a:8000", "http://a:8000"),
        (" http://a:8000/ ", "http://a:8000"),
        ("HTTPS://Host.Example", "https://host.example"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://10.0.0.1", "http://10.0.0.1"),
        ("grpc://a:30001", "grpc://a:30001"),
        ("GRPCS://a:30001/", "grpcs://a:30001"),
        ("grpc://[::1]:8000", "grpc://[::1]:8000"),
        ("a:8000", "http://a:8000"),
        ("10.0.0.1:8000", "http://10.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_good_urls_have_one_form(text: str, normal: str) -> None:
    assert worker_url(text) == normal
    assert worker_url(normal) == normal


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must start with"),
        ("a", "must start with"),
        ("a:8000/v1", "must start with"),
        ("ipc://a:1", "must start with"),
        ("a:99999", "no valid host and port"),
        ("secret@a:80", "must start with"),
        ("grpc://a", "needs one"),
        ("grpc://a:1/x", "more than host and port"),
        ("http://", "no valid host"),
        ("http://:80", "no valid host"),
        ("http://a b:80", "no valid host"),
        ("http://a:0", "port 0"),
        ("http://a:99999", "expected http"),
        ("http://a:x", "expected http"),
        ("http://a/v1", "more than host and port"),
        ("http://a?x=1", "more than host and port"),
        ("http://a#f", "more than host and port"),
        ("http://user:secret@a:1", "credentials"),
        ("http://user:secret/x@a", "no valid host and port"),
    ],
)
def test_bad_urls_are_refused_with_what_is_accepted(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as error:
        worker_url(text)
    assert "expected http://host:port" in str(error.value)
    assert "secret" not in str(error.value)


@given(st.text(max_size=60))
def test_any_text_gives_a_url_or_a_value_error(text: str) -> None:
    try:
        normal = worker_url(text)
    except ValueError:
        return
    assert worker_url(normal) == normal

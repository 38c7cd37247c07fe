"""Tokenizers from a HuggingFace hub, over its client and a real socket: what is fetched once, and what is refused."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from types import FrameType

import pytest

from gateway.tokenizers.errors import SourceUnusable
from gateway.tokenizers.hub import HubSettings, fetch, is_repository
from gateway.tokenizers.loading import load
from gateway.tokenizers.places import Named
from gateway.tokenizers.registry import TokenizerRegistry
from tests.unit import tokenizer_families as families

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "tokenizer.json": families.trained("qwen"),
    "chat_template.jinja": b"{{ messages[0].content }}",
    "generation_config.json": b'{"eos_token_id": 1}',
}
LARGE = bytes(64_000_000)
REFUSALS = {
    "gated": (403, "GatedRepo"),
    "private": (401, "RepoNotFound"),
    "refused": (403, ""),
}


class Hub(ThreadingHTTPServer):
    """Answers as the hub does where its client looks at the answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.seen: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        owner, name, _, revision, *rest = self.path.strip("/").split("/")
        file = "/".join(rest)
        self.server.seen.append((self.command, self.path))
        if name in REFUSALS and self.headers.get("Authorization") != "Bearer good":
            return self._refuse(*REFUSALS[name])
        if revision not in ("main", COMMIT):
            return self._refuse(404, "RevisionNotFound")
        if file not in FILES or (name == "empty" and file == "tokenizer.json"):
            return self._refuse(404, "EntryNotFound")
        data = FILES[file] if name != "large" or file != "tokenizer.json" else LARGE
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{owner}-{name}-{file}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            with suppress(ConnectionError):  # the client left
                for at in range(0, len(data), 1_000_000):
                    self.wfile.write(data[at : at + 1_000_000])
                    time.sleep(0.02 if data is LARGE else 0)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """Quiet."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def settings(hub: Hub, folder: Path, token: str | None = None, *, offline: bool = False) -> HubSettings:
    return HubSettings(token=token, cache=folder / "cache", endpoint=hub.url, offline=offline)


def quiet(_: str) -> None:
    """Nobody listens."""


def test_what_a_tokenizer_needs_is_fetched_of_one_commit_and_kept(hub: Hub, tmp_path: Path) -> None:
    said: list[str] = []
    folder = fetch("owner/name", settings(hub, tmp_path), said.append)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert (folder / "tokenizer.json").read_bytes() == FILES["tokenizer.json"]
    assert said[0] == "tokenizer.json, file 1 of 6"
    assert any(text.startswith("tokenizer.json, ") and text.endswith(" MB") for text in said)
    later = [path for _, path in hub.seen if "tokenizer.json" not in path]
    assert all(f"/{COMMIT}/" in path for path in later)
    asked = sum(method == "GET" for method, _ in hub.seen)
    assert fetch("owner/name", settings(hub, tmp_path), quiet) == folder
    assert sum(method == "GET" for method, _ in hub.seen) == asked


def test_offline_the_cache_alone_is_asked(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(SourceUnusable, match="not in the HuggingFace cache and the hub may not be asked"):
        fetch("owner/name", settings(hub, tmp_path, offline=True), quiet)
    assert hub.seen == []
    folder = fetch("owner/name", settings(hub, tmp_path), quiet)
    hub.seen.clear()
    assert fetch("owner/name", settings(hub, tmp_path, offline=True), quiet) == folder
    assert hub.seen == []


@pytest.mark.parametrize(
    ("source", "wrong", "temporary"),
    [
        ("owner/gated", "owner/gated: the repository is gated; accept its terms", False),
        ("owner/private", "owner/private: the hub has no such repository, or it is private", False),
        ("owner/refused", "owner/refused: the hub refused the token", False),
        ("owner/empty", "owner/empty: the repository has no tokenizer.json", False),
        ("owner/name@nosuch", "owner/name: the repository has no revision 'nosuch'", False),
    ],
)
def test_a_refusal_says_what_to_do(source: str, wrong: str, temporary: bool, hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(SourceUnusable) as refused:
        fetch(source, settings(hub, tmp_path), quiet)
    assert refused.value.message.startswith(wrong)
    assert refused.value.temporary is temporary


def test_a_token_opens_what_is_private_and_is_never_repeated(hub: Hub, tmp_path: Path) -> None:
    assert (fetch("owner/private", settings(hub, tmp_path, "good"), quiet) / "tokenizer.json").exists()
    wrong = settings(hub, tmp_path, "hf_wrong")
    with pytest.raises(SourceUnusable) as refused:
        fetch("owner/gated", wrong, quiet)
    assert "hf_wrong" not in refused.value.message + repr(wrong)


def test_a_hub_that_is_not_there_may_be_there_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)  # its client tries five times, with pauses
    nobody = HubSettings(cache=tmp_path, endpoint="http://127.0.0.1:9", offline=False)
    with pytest.raises(SourceUnusable, match="the HuggingFace hub could not be reached") as refused:
        fetch("owner/name", nobody, quiet)
    assert refused.value.temporary


async def test_a_download_that_nobody_wants_any_more_ends(hub: Hub, tmp_path: Path) -> None:
    loader = partial(load, hub=settings(hub, tmp_path))
    async with TokenizerRegistry(wall=time.time, rng=Random(1), loader=loader) as registry:
        entry = registry.add("large", Named("owner/large"))
        await until(lambda: " MB" in entry.progress)
        registry.remove("large")
        await until(lambda: len(registry.loads) == 0)
        await until(lambda: threads_that_load() == 0)
        registry.add("name", Named("owner/name"))
        assert (await registry.wait("name", 30)).vocab_size == 4002
    assert largest(tmp_path) < len(LARGE)


def threads_that_load() -> int:
    """Threads with a download under way."""
    return sum("_http_get" in str(names(frame)) or "fetch" in names(frame) for frame in sys._current_frames().values())


def names(frame: FrameType | None) -> list[str]:
    found = []
    while frame is not None:
        found.append(frame.f_code.co_name)
        frame = frame.f_back
    return found


def largest(folder: Path) -> int:
    """Bytes of the largest file that was kept."""
    return max((path.stat().st_size for path in folder.rglob("*") if path.is_file()), default=0)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - any condition
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("text", ["gpt2", "owner/name", "owner/name@v1.0", "a.b/c-d_e"])
def test_a_hub_id(text: str) -> None:
    assert is_repository(text)


@pytest.mark.parametrize("text", ["", "/a", "a/b/c", "../a", "a b", "a--b/c", "owner/../name", "a\n"])
def test_what_is_no_hub_id(text: str) -> None:
    assert not is_repository(text)

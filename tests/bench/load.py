"""Load by wrk: the Lua scripts that make requests, one run, and what it measured.

A run whose answers were not all right is void: its numbers say nothing. Whose CPU time a run cost is measured
elsewhere.
"""

import http.client
import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench.processes import LOAD_CORE, pinned, wrk_program
from tests.bench.workers import ANSWER_BYTES, CHUNKS, MODEL, answer_body

PATH = "/v1/chat/completions"
_DONE = r"""
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\nMEASURED {"requests":%d,"took_us":%d,"bytes":%d,"p50_us":%d,"p99_us":%d,"status":%d,"socket":%d,"timeout":%d}\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write, e.timeout))
end
"""


def chat_body(size: int, *, stream: bool = False, system: str = "", text: str = "", user: str = "") -> bytes:
    """A chat request of exactly `size` bytes; `text` begins the user's message, which is filled up. What `user` means
    is `workers`'."""

    def body(content: str) -> bytes:
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": content})
        request = {"model": MODEL, "messages": messages, "max_tokens": 64, "stream": stream}
        if user:
            request["user"] = user
        return json.dumps(request, separators=(",", ":")).encode()

    room = size - len(body(text))
    if room < 0:
        raise ValueError(f"a body of {size} bytes has no room for what it must hold")
    words = "the quick brown fox jumps over the lazy dog "
    return body(text + (words * (room // len(words) + 1))[:room])


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and what its answer must be. `script` makes wrk send it, or requests like it."""

    body: bytes
    script: str
    stream: bool = False

    @property
    def least_answer_bytes(self) -> int:
        return 64 * 100 if self.stream else ANSWER_BYTES


def same_each_time(body: bytes, *, stream: bool = False) -> Exchange:
    """The same request again and again."""
    script = f"""
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = [==[{body.decode()}]==]
{_DONE}"""
    return Exchange(body, script, stream)


MARK = "@@@@@@@@"


def shared_prefixes(prompts: int = 8, tails: int = 2000, *, system_bytes: int = 3072, size: int = 4096) -> Exchange:
    """Requests that share one of several long system prompts and differ in what follows."""
    halves = []
    for number in range(prompts):
        sentence = f"Rule {number} of assistant {number}: answer briefly, name your sources, and stay polite. "
        system = (sentence * (system_bytes // len(sentence) + 1))[:system_bytes]
        halves.append(chat_body(size, system=system, text=f"{MARK} ").decode().split(MARK))
    lists = [", ".join(f"[==[{half[side]}]==]" for half in halves) for side in (0, 1)]
    script = f"""
local heads, tails = {{ {lists[0]} }}, {{ {lists[1]} }}
local n = 0
local fields = "Host: 127.0.0.1\\r\\ncontent-type: application/json\\r\\ncontent-length: {size}\\r\\n\\r\\n"
local first = "POST {PATH} HTTP/1.1\\r\\n" .. fields
function request()
  n = n + 1
  local which = n % {prompts} + 1
  return first .. heads[which] .. string.format("%08d", (n * 7919) % {tails}) .. tails[which]
end
{_DONE}"""
    return Exchange("00000000".join(halves[0]).encode(), script)


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of wrk measured; `void` says why it does not count."""

    requests: int = 0
    seconds: float = 0.0
    p50_us: int = 0
    p99_us: int = 0
    void: str = field(default="")

    @property
    def rate(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0


def parsed(output: str, least_answer_bytes: int) -> Run:
    """wrk's output as a run."""
    found = [line for line in output.splitlines() if line.startswith("MEASURED ")]
    if not found:
        return Run(void="wrk told nothing: " + " ".join(output.split())[-200:])
    told = json.loads(found[-1].removeprefix("MEASURED "))
    return Run(
        told["requests"], told["took_us"] / 1e6, told["p50_us"], told["p99_us"], _why_void(told, least_answer_bytes)
    )


def _why_void(told: dict[str, int], least_answer_bytes: int) -> str:
    if not told["requests"]:
        return "no answers"
    for key, what in (("status", "error answers"), ("socket", "socket errors"), ("timeout", "timeouts")):
        if told[key]:
            return f"{told[key]} {what}"
    if told["bytes"] < told["requests"] * least_answer_bytes:
        return f"answers were short: {told['bytes'] // told['requests']} bytes each"
    return ""


def run_wrk(url: str, exchange: Exchange, connections: int, seconds: float) -> Run:
    """Load a gateway (or a worker) for so long, from the load generator's core."""
    whole = max(1, round(seconds))
    with tempfile.TemporaryDirectory(prefix="smg-bench-") as directory:
        script = Path(directory, "request.lua")
        script.write_text(exchange.script)
        command = [wrk_program(), "-t1", f"-c{connections}", f"-d{whole}s", "--latency", "--timeout", "10s"]
        try:
            done = subprocess.run(
                [*command, "-s", str(script), url + PATH],
                capture_output=True,
                text=True,
                timeout=whole + 30,
                check=False,
                preexec_fn=lambda: pinned(LOAD_CORE),
            )
        except subprocess.TimeoutExpired:
            return Run(void="wrk did not end")
    return parsed(done.stdout + done.stderr, exchange.least_answer_bytes)


def ask(url: str, exchange: Exchange, timeout_s: float = 10.0) -> None:
    """One request, its answer checked byte for byte. Raises OSError or ValueError."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request("POST", PATH, exchange.body, {"content-type": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
    except http.client.HTTPException as error:
        raise ValueError(f"not an HTTP answer: {error!r}") from None
    finally:
        connection.close()
    check(answer.status, body, stream=exchange.stream)


def check(status: int, body: bytes, *, stream: bool) -> None:
    """Raises ValueError unless this is what a fixed worker says."""
    if status != 200:
        raise ValueError(f"status {status}: {body[:200].decode('utf-8', 'replace')}")
    if stream:
        events = _events(body)
        if len(events) != CHUNKS + 1 or events[-1] != b"data: [DONE]":
            raise ValueError(f"{len(events)} events instead of {CHUNKS + 1}")
    elif json.loads(body) != json.loads(answer_body()):
        raise ValueError(f"another answer than the worker's: {body[:200].decode('utf-8', 'replace')}")


def _events(body: bytes) -> Sequence[bytes]:
    return [event for event in body.replace(b"\r\n", b"\n").split(b"\n\n") if event.strip()]

"""Our gRPC clients before simulated engines of both kinds, over sockets: answers, ends, failures and questions."""

import asyncio
import io
import subprocess
import zipfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import accumulate
from pathlib import Path
from shutil import which

import grpc.aio
import pytest
from smg_grpc_proto.generated import vllm_engine_pb2

from gateway.engines.generation import Bootstrap, EngineError, ErrorKind, Finish, Generate, Sampling
from gateway.engines.grpc_channel import Channel
from gateway.engines.grpc_client import EngineClient
from gateway.engines.grpc_vllm import NAME as VLLM
from gateway.engines.grpc_vllm import VllmMessages
from gateway.simulator.text import answer
from gateway.simulator.tokenizer import sim_tokenizer
from gateway.tasks import Scope
from tests.integration.grpc_world import IDS, KINDS, PROMPT, Bench, bench, ids_of, text_of
from tests.integration.simulator_world import until

END = sim_tokenizer().end_id


@pytest.fixture(params=KINDS)
async def fast(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with bench(request.param, "--speed", "20") as made:
        yield made


@pytest.fixture(params=KINDS)
async def slow(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """About fifty tokens a second: an answer can be interrupted."""
    async with bench(request.param) as made:
        yield made


async def test_an_answer_streams_token_by_token_and_says_what_the_prompt_decides(fast: Bench) -> None:
    pieces = await fast.ask(max_new_tokens=12)
    assert text_of(pieces) == answer(PROMPT, 12).text
    assert len(pieces) > 3  # an engine that is late sends several tokens at once
    assert pieces[-1].finish == Finish("length")
    assert [piece.completion_tokens for piece in pieces] == list(accumulate(len(piece.token_ids) for piece in pieces))
    assert {piece.prompt_tokens for piece in pieces} == {len(IDS)}


async def test_an_answer_that_ends_by_itself_ends_with_the_end_token(fast: Bench) -> None:
    pieces = await fast.ask(max_new_tokens=1000)
    assert ids_of(pieces)[-1] == END
    assert text_of(pieces) == answer(PROMPT).text
    assert pieces[-1].finish == Finish("stop", END if fast.kind == "sglang" else None)


async def test_choices_stop_strings_stop_tokens_and_whole_answers(fast: Bench) -> None:
    pieces = await fast.ask("several", max_new_tokens=7, n=3)
    assert [text_of(pieces, index) for index in range(3)] == [answer(PROMPT, 7, index=at).text for at in range(3)]

    said = answer(PROMPT, 30)
    stop = said.pieces[9].strip()
    cut = answer(PROMPT, 30, [stop])
    pieces = await fast.ask("stop", max_new_tokens=30, stop=(stop,))
    assert pieces[-1].finish == Finish("stop", stop)
    assert len(ids_of(pieces)) == len(cut.pieces)

    ids = sim_tokenizer().ids_of(said.pieces)
    pieces = await fast.ask("stop id", max_new_tokens=30, stop_token_ids=(ids[5],))
    assert (ids_of(pieces), pieces[-1].finish) == (ids[: ids.index(ids[5]) + 1], Finish("stop", ids[5]))

    whole = Generate("whole", IDS, Sampling(max_new_tokens=5, n=2), stream=False, logprobs=1)
    pieces = [piece async for piece in fast.client.generate(whole, timeout_s=20)]
    assert [piece.index for piece in pieces] == [0, 1]
    assert [piece.completion_tokens for piece in pieces] == [5, 5]
    assert all(len(piece.logprobs) == 5 for piece in pieces)


async def test_log_probabilities_come_with_their_tokens_and_the_prompts_once(fast: Bench) -> None:
    call = Generate("r", IDS, Sampling(max_new_tokens=4), logprobs=2, prompt_logprobs=True)
    pieces = [piece async for piece in fast.client.generate(call, timeout_s=20)]
    records = [record for piece in pieces for record in piece.logprobs]
    assert [record.token_id for record in records] == ids_of(pieces)
    assert all(record.logprob is not None and len(record.top) == 2 for record in records)
    prompts = [piece.prompt_logprobs for piece in pieces if piece.prompt_logprobs]
    assert [[record.token_id for record in each] for each in prompts] == [IDS]
    assert prompts[0][0].logprob is None


async def test_a_second_request_with_the_same_beginning_counts_what_the_cache_spared(fast: Bench) -> None:
    ids = sim_tokenizer().encode("a long prompt with many words in it. " * 20)
    for request_id, cached in (("first", False), ("second", True)):
        call = Generate(request_id, ids, Sampling(max_new_tokens=2))
        pieces = [piece async for piece in fast.client.generate(call, timeout_s=20)]
        assert (pieces[-1].cached_tokens > 0) is cached
    assert "flushed" in await fast.client.flush_cache(timeout_s=5)
    call = Generate("third", ids, Sampling(max_new_tokens=2))
    assert [piece.cached_tokens async for piece in fast.client.generate(call, timeout_s=20)][-1] == 0


@pytest.mark.parametrize(("how", "n"), [("closed", 1), ("cancelled", 1), ("closed", 3)])
async def test_whoever_leaves_frees_the_engine(slow: Bench, how: str, n: int) -> None:
    call = Generate("left", IDS, Sampling(max_new_tokens=5000, ignore_eos=True, n=n))
    if how == "closed":
        async with aclosing(slow.client.generate(call, timeout_s=60)) as answers:
            await anext(answers)
    else:
        began = asyncio.Event()

        async def listen() -> None:
            async with aclosing(slow.client.generate(call, timeout_s=60)) as answers:
                async for _ in answers:
                    began.set()

        async with Scope("listener") as scope:
            task = scope.spawn(listen(), name="listen")
            await began.wait()
            task.cancel()
    stats = await slow.idle()
    assert stats["cancelled"] == n

    async def aborted() -> object:
        return (await slow.engine.stats())["requests"].get("Abort")

    await until(aborted, "the abort by name")


async def test_an_abort_by_name_ends_the_stream_without_an_error(slow: Bench) -> None:
    call = Generate("named", IDS, Sampling(max_new_tokens=5000, ignore_eos=True))
    finish = None
    async with aclosing(slow.client.generate(call, timeout_s=60)) as answers:
        await anext(answers)
        await slow.client.abort("named")
        async for piece in answers:
            finish = piece.finish
    assert finish == Finish("abort")
    await slow.client.abort("nobody")  # nothing happens


async def test_a_deadline_ends_the_answer_and_frees_the_engine(slow: Bench) -> None:
    with pytest.raises(EngineError) as error:
        await slow.ask(timeout_s=0.3, max_new_tokens=5000, ignore_eos=True)
    assert error.value.kind is ErrorKind.TIMEOUT
    await slow.idle()


async def test_an_engine_that_dies_in_the_middle_breaks_the_answer_and_serves_again_when_it_is_back(
    slow: Bench,
) -> None:
    call = Generate("dies", IDS, Sampling(max_new_tokens=5000, ignore_eos=True))
    with pytest.raises(EngineError) as error:  # noqa: PT012 - it breaks while we listen
        async with aclosing(slow.client.generate(call, timeout_s=60)) as answers:
            await anext(answers)
            await slow.engine.kill()
            async for _ in answers:
                pass
    assert (error.value.kind, error.value.message) == (ErrorKind.UNAVAILABLE, "connection lost")
    with pytest.raises(EngineError, match="connection refused"):
        await slow.client.healthy(timeout_s=5)
    await slow.engine.restart()

    async def healthy() -> bool:
        try:
            await slow.client.healthy(timeout_s=5)
        except EngineError:
            return False
        return True

    await until(healthy, "the channel to be connected again")
    assert text_of(await slow.ask("again", max_new_tokens=3)) == answer(PROMPT, 3).text


@pytest.mark.parametrize(
    ("ids", "sampling", "text"),
    [
        ([], {}, "prompt is empty"),
        ([999_999], {}, "out of the vocabulary"),
        (IDS, {"temperature": 9.0}, "temperature"),
        (IDS, {"max_new_tokens": 0}, "at least 1"),
        (IDS, {"max_new_tokens": 40_000}, "maximum context length"),
        (IDS, {"n": 0}, "n: given 0"),
        (IDS, {"n": 100}, "n: given 100"),
        ([-1], {}, "does not fit the worker's protocol"),
        (IDS, {"stop_token_ids": (1 << 40,)}, "does not fit the worker's protocol"),
    ],
)
async def test_bad_input_is_told_as_the_callers_fault(ids: list[int], sampling: dict[str, int], text: str) -> None:
    for kind in KINDS:
        async with bench(kind, "--instant") as made:
            with pytest.raises(EngineError, match=text) as error:
                [_ async for _ in made.client.generate(Generate("bad", ids, Sampling(**sampling)), timeout_s=20)]  # type: ignore[arg-type]  # a table
            assert error.value.kind is ErrorKind.INVALID


async def test_what_the_engine_refuses_or_lacks_is_told_by_kind(fast: Bench) -> None:
    for status, kind in (
        (503, "unavailable"),
        (429, "exhausted"),
        (500, "internal"),
        (504, "timeout"),
        (400, "invalid"),
    ):
        await fast.engine.fault(status=status)
        with pytest.raises(EngineError) as error:
            await fast.ask(max_new_tokens=3)
        assert error.value.kind == kind
    await fast.engine.fault(reset=True, drop_after=3)
    with pytest.raises(EngineError, match="connection lost"):
        await fast.ask(max_new_tokens=9)
    await fast.engine.fault(reset=True, no_loads=True, models_error=True)
    assert await fast.client.loads(now=0.0, timeout_s=5) is None
    found = await fast.client.info(timeout_s=5)
    assert found.missing == ("GetModelInfo: simulated failure of GetModelInfo",)
    await fast.engine.fault(reset=True, unhealthy=True)
    with pytest.raises(EngineError, match="Engine is not alive"):
        await fast.client.healthy(timeout_s=5)
    await fast.engine.fault(no_health=True)  # by grpc.health.v1 then
    with pytest.raises(EngineError, match=r"grpc\.health\.v1: not serving"):
        await fast.client.healthy(timeout_s=5)
    await fast.engine.fault(unhealthy=False)
    await fast.client.healthy(timeout_s=5)
    await fast.engine.fault(reset=True, hang_health=True)
    with pytest.raises(EngineError, match="no answer in time"):
        await fast.client.healthy(timeout_s=0.2)


async def test_what_the_engine_tells_of_itself(fast: Bench) -> None:
    found = await fast.client.info(timeout_s=5)
    assert (found.engine, found.model_id, found.context_length) == (fast.kind, "sim-model", 32768)
    assert found.version
    call = Generate("busy", IDS, Sampling(max_new_tokens=4000, ignore_eos=True))
    async with aclosing(fast.client.generate(call, timeout_s=60)) as answers:
        await anext(answers)
        load = await fast.client.loads(now=5.0, timeout_s=5)
        with pytest.raises(EngineError, match="in flight"):
            await fast.client.flush_cache(timeout_s=5)
    assert load is not None
    assert (load.at, load.running, load.waiting) == (5.0, 1, 0)
    assert load.kv_usage
    vector = await fast.client.embed("e", IDS, timeout_s=5)
    assert (len(vector.values), vector.prompt_tokens) == (16, len(IDS))


async def test_the_tokenizer_comes_whole_or_not_at_all(fast: Bench) -> None:
    data = b"".join([part async for part in fast.client.tokenizer_archive(timeout_s=5)])
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        assert "tokenizer.json" in packed.namelist()
    await fast.engine.fault(damaged_tokenizer=True)
    with pytest.raises(EngineError, match="damaged"):
        [_ async for _ in fast.client.tokenizer_archive(timeout_s=5)]


async def test_a_prompt_of_a_million_tokens_passes_the_message_limits() -> None:
    async with bench("sglang", "--instant", "--context-length", "2000000", "--kv-tokens", "2000000") as made:
        call = Generate("long", [70] * 1_000_000, Sampling(max_new_tokens=1), text="x" * 4_000_000)
        pieces = [piece async for piece in made.client.generate(call, timeout_s=60)]
        assert pieces[-1].prompt_tokens == 1_000_000


async def test_ranks_and_disaggregation_reach_the_engine() -> None:
    meet = Bootstrap("127.0.0.1", 8998, 7)
    async with bench("sglang", "--instant", "--dp-size", "2", "--disaggregation-mode", "prefill") as made:
        pieces = [p async for p in made.client.generate(Generate("p", IDS, bootstrap=meet, rank=1), timeout_s=20)]
        assert len(ids_of(pieces)) == 1
        sent = (await made.engine.stats())["last"]["body"]
        assert '"bootstrap_room": 7' in sent
        assert '"data_parallel_rank": 1' in sent
        with pytest.raises(EngineError, match="bootstrap"):
            await made.ask("without", max_new_tokens=3)
    async with bench("vllm", "--instant") as made:
        call = Generate("p", IDS, Sampling(max_new_tokens=1), kv_transfer={"do_remote_decode": True})
        pieces = [piece async for piece in made.client.generate(call, timeout_s=20)]
        assert pieces[-1].kv_transfer is not None
        assert pieces[-1].kv_transfer["do_remote_prefill"] is True


async def test_an_engine_that_wants_a_key_gets_the_workers() -> None:
    async with bench("vllm", "--api-key", "s3cret") as made:
        with pytest.raises(EngineError, match="Unauthorized"):
            await made.client.healthy(timeout_s=5)
        channel = Channel(made.engine.url, "s3cret")
        try:
            await EngineClient(VllmMessages(), channel, lambda job, name: job.close()).healthy(timeout_s=5)
        finally:
            await channel.close()


async def test_tls_is_spoken_and_the_certificate_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if which("openssl") is None:
        pytest.skip("makes its certificate with openssl")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(cert)]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)

    async def health(request: bytes, context: object) -> bytes:
        return vllm_engine_pb2.HealthCheckResponse(healthy=True).SerializeToString()

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(health)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(VLLM, {"HealthCheck": handler}),))
    own = grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", own)
    await server.start()
    try:
        for trusted in (False, True):
            if trusted:
                monkeypatch.setenv("SSL_CERT_FILE", str(cert))
            channel = Channel(f"grpcs://127.0.0.1:{port}")
            client = EngineClient(VllmMessages(), channel, lambda job, name: job.close())
            try:
                if trusted:
                    await client.healthy(timeout_s=5)
                else:
                    with pytest.raises(EngineError, match="TLS"):
                        await client.healthy(timeout_s=5)
            finally:
                await channel.close()
    finally:
        await server.stop(None)

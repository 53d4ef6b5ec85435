"""AsyncLLM with a real core process and the bundled model: streams, aborts, crashes, restarts, ends."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from penstock import AsyncLLM, EngineArgs
from penstock.errors import ClientError, DeadlineError, EngineDeadError, NotReadyError, StartError
from penstock.observability.stats import StatsRecorder
from penstock.outputs import RequestOutput
from penstock.params import RequestOutputKind, SamplingParams

CUMULATIVE, DELTA, FINAL_ONLY = RequestOutputKind
ARGS = EngineArgs(max_model_len=256, num_gpu_blocks_override=200, cpu_threads=1, max_num_seqs=16)


class Running:
    """An engine on a loop of its own."""

    def __init__(self, runner: asyncio.Runner):
        self.runner = runner
        self.engine = AsyncLLM.from_engine_args(ARGS, StatsRecorder())
        self.engine._core.watch_every_s = 0.1

    def __call__(self, coroutine: Any) -> Any:
        return self.runner.run(asyncio.wait_for(coroutine, 60))

    async def start(self) -> None:
        await self.engine.start()
        await self.engine.wait_ready()

    async def outputs(self, prompt: Any = "Hello", **params: Any) -> list[RequestOutput]:
        own = SamplingParams(**{"max_tokens": 8, "ignore_eos": True, **params})
        return [o async for o in self.engine.generate(prompt, own, "r")]


@pytest.fixture(scope="module")
def run() -> Iterator[Running]:
    with asyncio.Runner() as runner:
        running = Running(runner)
        running(running.start())
        yield running
        running(running.engine.shutdown())


async def settled(engine: AsyncLLM) -> None:
    """Nothing is open in the front, nothing is leaked in the core."""
    assert await engine.wait_for_requests_to_drain(5)
    assert engine.num_unfinished == engine.num_prefill_tokens == 0
    assert await engine.call("check_integrity") is None
    for _ in range(200):
        stats = engine.stats
        assert stats is not None
        if (stats.running, stats.waiting) == (0, 0):
            break
        await asyncio.sleep(0.01)
    assert (stats.running, stats.waiting, stats.kv_usage) == (0, 0, 0.0)


def test_sleep_needs_its_option(run: Running) -> None:
    for wish in (run.engine.sleep(), run.engine.sleep(mode="wait"), run.engine.wake_up()):
        with pytest.raises(ClientError, match="--enable-sleep-mode"):
            run(wish)
    assert run(run.engine.is_sleeping()) is False


def test_all_output_kinds_tell_the_same(run: Running) -> None:
    async def all_kinds() -> list[list[RequestOutput]]:
        return [await run.outputs(temperature=0.0, max_tokens=24, output_kind=k) for k in RequestOutputKind]

    cumulative, delta, final = run(all_kinds())
    text, ids = final[-1].outputs[0].text, final[-1].outputs[0].token_ids
    assert (len(final), len(ids)) == (1, 24)
    assert text == run.engine.tokenizer.decode(ids)
    assert (cumulative[-1].outputs[0].text, cumulative[-1].outputs[0].token_ids) == (text, ids)
    assert "".join(o.outputs[0].text for o in delta) == text
    assert [i for o in delta for i in o.outputs[0].token_ids] == ids
    assert [o.finished for o in delta] == [False] * (len(delta) - 1) + [True]
    assert delta[-1].outputs[0].finish_reason == "length"
    run(settled(run.engine))


def test_prompts_in_all_forms_and_errors_before_any_output(run: Running) -> None:
    async def check() -> None:
        ids = run.engine.tokenizer.encode("Hello")
        for prompt in ("Hello", ids, {"prompt": "Hello"}, {"prompt_token_ids": ids, "cache_salt": "a"}):
            outputs = await run.outputs(prompt)
            assert outputs[-1].prompt_token_ids == ids
        with pytest.raises(ClientError, match="maximum context length is 256 tokens"):
            await run.engine.submit([1] * 256, SamplingParams(), "r")
        with pytest.raises(ClientError, match="maximum context length"):
            await run.engine.submit("word " * 100_000, SamplingParams(), "r")
        with pytest.raises(ClientError, match="out of vocabulary"):
            await run.engine.submit([10**6], SamplingParams(), "r")
        with pytest.raises(ClientError, match="no method"):
            await run.engine.call("__init__")

    run(check())


def test_n_stop_strings_and_logprobs_through_a_real_core(run: Running) -> None:
    async def check() -> None:
        (output,) = await run.outputs(n=3, temperature=1.0, seed=5, logprobs=2, output_kind=FINAL_ONLY)
        assert [o.index for o in output.outputs] == [0, 1, 2]
        assert all(len(o.token_ids) == len(o.logprobs or []) == 8 for o in output.outputs)
        (alone,) = await run.outputs(temperature=1.0, seed=6, output_kind=FINAL_ONLY)
        assert alone.outputs[0].token_ids == output.outputs[1].token_ids
        (plain,) = await run.outputs(temperature=0.0, max_tokens=24, output_kind=FINAL_ONLY)
        text = plain.outputs[0].text
        (stopped,) = await run.outputs(temperature=0.0, max_tokens=24, stop=text[5:8], output_kind=FINAL_ONLY)
        assert stopped.outputs[0].text == text[: text.index(text[5:8])]
        assert (stopped.outputs[0].finish_reason, stopped.outputs[0].stop_reason) == ("stop", text[5:8])

    run(check())
    run(settled(run.engine))


def test_random_cancellations_leave_nothing(run: Running) -> None:
    draw = random.Random(1)

    async def client(number: int) -> None:
        await asyncio.sleep(draw.random() * 0.5)
        params = SamplingParams(max_tokens=100, ignore_eos=True, output_kind=draw.choice([DELTA, FINAL_ONLY]), n=1)
        prompt = [draw.randrange(5, 4000) for _ in range(draw.randrange(1, 60))]
        reader = run.engine.generate(prompt, params, str(number))
        task = asyncio.create_task(anext(reader))
        await asyncio.sleep(draw.random() * 0.3)
        if draw.random() < 0.5:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await reader.aclose()

    async def all_clients() -> None:
        await asyncio.gather(*(client(i) for i in range(200)))
        await settled(run.engine)

    run(all_clients())


def test_abort_by_id_ends_the_stream_with_what_there_is(run: Running) -> None:
    async def check() -> None:
        stream = await run.engine.submit("Hello", SamplingParams(max_tokens=200, ignore_eos=True), "mine")
        await anext(stream)
        await run.engine.abort("mine")
        last = [o async for o in stream][-1]
        assert (last.finished, last.outputs[0].finish_reason) == (True, "abort")
        await settled(run.engine)

    run(check())


def test_deadlines(run: Running) -> None:
    async def check() -> None:
        params = SamplingParams(max_tokens=240, ignore_eos=True, output_kind=FINAL_ONLY)
        start = time.monotonic()
        with pytest.raises(DeadlineError):
            async for _ in run.engine.generate("Hello", params, "r", deadline=start + 0.05):
                pass
        assert time.monotonic() - start < 5
        with pytest.raises(DeadlineError):
            await run.engine.submit("Hello", params, "r", deadline=start)
        await settled(run.engine)

    run(check())


def test_frames_of_garbage_are_dropped(run: Running) -> None:
    async def check() -> None:
        assert run.engine._core._client is not None
        assert run.engine._core._client._channel is not None
        pid = run.engine.core_pid
        for frame in (
            b"",
            b"\xc1",
            b"garbage",
            b"\x92\xa3add\x01",
            b"\x91\xa7unknown",
            random.Random(2).randbytes(999),
        ):
            run.engine._core._client._channel._socket.send(frame)
        assert len((await run.outputs())[-1].outputs[0].token_ids) > 0
        assert run.engine.core_pid == pid

    run(check())


def test_an_idle_core_does_not_use_the_cpu(run: Running) -> None:
    async def idle() -> float:
        await settled(run.engine)
        process = psutil.Process(run.engine.core_pid)
        for _ in range(20):  # at first it takes memory for what will come
            before = sum(process.cpu_times()[:2])
            await asyncio.sleep(1.0)
            if (used := sum(process.cpu_times()[:2]) - before) <= 0.02:
                break
        return used

    assert run(idle()) <= 0.02


def test_a_killed_core_ends_streams_and_is_started_again(run: Running) -> None:
    async def check() -> None:
        engine = run.engine
        pid = engine.core_pid
        params = SamplingParams(max_tokens=200, ignore_eos=True, output_kind=DELTA)
        streams = [await engine.submit("Hello", params, str(i)) for i in range(8)]
        for stream in streams:
            await anext(stream)
        call = asyncio.create_task(engine.call("check_integrity"))
        await asyncio.sleep(0)
        psutil.Process(pid).kill()
        killed = time.monotonic()

        async def end(stream: Any) -> BaseException | None:
            try:
                async for _ in stream:
                    pass
            except EngineDeadError as e:
                return e
            return None

        ends = await asyncio.gather(*(end(s) for s in streams), call, return_exceptions=True)
        assert time.monotonic() - killed < 5  # about 0.05 s on an idle machine
        assert all(isinstance(e, EngineDeadError) for e in ends[:-1])
        assert ends[-1] is None or isinstance(ends[-1], EngineDeadError)
        assert (engine.is_ready, engine.is_running, engine.errored, engine.num_unfinished) == (False, True, False, 0)
        with pytest.raises(NotReadyError):
            await engine.submit("Hello", params, "r")
        await engine.wait_ready()
        assert engine.core_pid != pid
        assert len((await run.outputs())[-1].outputs[0].token_ids) > 0
        await settled(engine)

    run(check())


def test_a_stuck_core_is_killed_and_started_again(run: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        engine = run.engine
        monkeypatch.setenv("PENSTOCK_STEP_TIMEOUT_S", "0.5")
        process = psutil.Process(engine.core_pid)
        stream = await engine.submit("Hello", SamplingParams(max_tokens=200, ignore_eos=True), "r")
        await anext(stream)
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(EngineDeadError, match="no progress"):
            async for _ in stream:
                pass
        monkeypatch.setenv("PENSTOCK_STEP_TIMEOUT_S", "300")
        await engine.wait_ready()
        await settled(engine)

    run(check())


def test_a_core_that_cannot_start_says_why(tmp_path: Path, bundled_model: Path) -> None:
    for file in bundled_model.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 16)

    async def check() -> None:
        args = EngineArgs(model=str(tmp_path), max_model_len=256, num_gpu_blocks_override=50)
        engine = AsyncLLM.from_engine_args(args)
        with pytest.raises(NotReadyError):
            await engine.check_health()
        await engine.start()
        with pytest.raises(StartError, match="safetensors"):
            await engine.wait_ready()
        assert (engine.errored, engine.is_running) == (True, False)
        with pytest.raises(EngineDeadError):
            await engine.submit("Hello", None, "r")
        await engine.shutdown()

    asyncio.run(asyncio.wait_for(check(), 60))


def test_a_start_that_the_machine_refuses_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
        for base in (tmp_path / "missing", tmp_path):
            monkeypatch.setenv("PENSTOCK_RPC_BASE_PATH", str(base))
            engine = AsyncLLM.from_engine_args(ARGS)
            with pytest.raises(StartError, match="cannot"):
                await engine.start()
            assert not engine.is_ready
            assert list(tmp_path.iterdir()) == []
            await engine.shutdown()

    asyncio.run(check())


def test_a_core_that_cannot_be_started_again_is_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        engine = AsyncLLM.from_engine_args(ARGS)
        await engine.start()
        await engine.wait_ready()
        monkeypatch.setenv("PENSTOCK_RPC_BASE_PATH", str(tmp_path / "missing"))
        stream = await engine.submit("Hello", SamplingParams(max_tokens=200, ignore_eos=True), "r")
        psutil.Process(engine.core_pid).kill()
        with pytest.raises(EngineDeadError):
            async for _ in stream:
                pass
        with pytest.raises(StartError, match="folder"):
            await engine.wait_ready()
        assert (engine.errored, engine.is_running, engine.is_ready) == (True, False, False)
        with pytest.raises(EngineDeadError):
            await engine.check_health()
        await engine.shutdown()

    asyncio.run(asyncio.wait_for(check(), 60))


ORPHAN = """
import asyncio, os
from penstock import AsyncLLM, EngineArgs

async def main():
    engine = AsyncLLM.from_engine_args(EngineArgs(max_model_len=256, num_gpu_blocks_override=50))
    await engine.start()
    await engine.wait_ready()
    print(engine.core_pid, engine._core._client._folder, flush=True)
    await asyncio.sleep(100)

asyncio.run(main())
"""


def test_the_core_ends_with_its_parent() -> None:
    root = Path(__file__).parents[2]
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN], cwd=root, stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().decode().split()
        core = psutil.Process(int(pid))
        assert core.name() == "penstock-core"
        parent.kill()
        end = time.monotonic() + 5
        while core.is_running() and core.status() != psutil.STATUS_ZOMBIE:  # nobody may be there to reap it
            assert time.monotonic() < end
            time.sleep(0.02)
        assert not Path(folder).exists()
    finally:
        parent.kill()
        parent.wait()


def test_shutdown_leaves_no_process_and_no_folder(run: Running) -> None:
    """Last: it stops the module's engine."""

    async def check() -> None:
        engine = run.engine
        assert engine._core._client is not None
        folder, process = engine._core._client._folder, psutil.Process(engine.core_pid)
        assert folder is not None
        assert folder.stat().st_mode & 0o777 == 0o700
        stream = await engine.submit("Hello", SamplingParams(max_tokens=200, ignore_eos=True), "r")
        await engine.shutdown()
        with pytest.raises(EngineDeadError, match="shut down"):
            async for _ in stream:
                pass
        assert not process.is_running()
        assert not folder.exists()
        assert (engine.is_stopped, engine.is_ready, engine.errored) == (True, False, False)
        with pytest.raises(NotReadyError, match="stopped"):
            await engine.check_health()
        await engine.shutdown()

    run(check())

"""The core: three lines per step, calls by name, and how `build_core` wires it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from checking_executor import EOS, CheckingExecutor, uncontended
from penstock.config.engine_config import CacheConfig, DeviceConfig, EngineConfig, ModelConfig, SchedulerConfig
from penstock.config.shape import ModelShape, Rope
from penstock.engine.core import EngineCore, build_core
from penstock.engine.messages import AddRequest
from penstock.errors import ClientError, StartError
from penstock.executor.base import executors
from penstock.params import SamplingParams, StructuredOutputsParams
from penstock.scheduler.plan import FinishReason, StepPlan, StepResult

NUM_BLOCKS, BLOCK, MAX_TOKENS, MAX_SEQS, MAX_LEN = 20, 4, 16, 4, 48

SHAPE = ModelShape(
    architecture="Qwen3ForCausalLM",
    vocab_size=29,
    hidden_size=8,
    intermediate_size=8,
    num_layers=1,
    num_heads=1,
    num_kv_heads=1,
    head_dim=8,
    norm_eps=1e-6,
    max_position=MAX_LEN,
    rope=Rope(),
)


class BreakingExecutor(CheckingExecutor):
    """Fails as a whole."""

    def execute(self, plan: StepPlan) -> Future[StepResult]:
        future: Future[StepResult] = Future()
        future.set_exception(RuntimeError("the device is gone"))
        return future


def config(prefix_hash: str = "blake2b", **limits: Any) -> EngineConfig:
    return EngineConfig(
        model=ModelConfig(
            model="m",
            path="m",
            tokenizer_path=None,
            served_names=("m",),
            shape=SHAPE,
            dtype="float32",
            max_model_len=MAX_LEN,
        ),
        cache=CacheConfig(block_size=BLOCK, dtype="float32", prefix_hash=prefix_hash),
        scheduler=SchedulerConfig(max_num_seqs=MAX_SEQS, max_num_batched_tokens=MAX_TOKENS, **limits),
        device=DeviceConfig(),
    )


@pytest.fixture
def registered() -> Iterator[None]:
    """The checking executor in the place of the real one."""
    real = executors._entries["uni"]
    executors.register("uni", lambda config: CheckingExecutor(NUM_BLOCKS, BLOCK, MAX_TOKENS, MAX_SEQS))
    yield
    executors.register("uni", real)


@pytest.fixture
def core(registered: None) -> EngineCore:
    return build_core(config(), lambda what, fraction: None)


def add(core: EngineCore, name: str, prompt: list[int], **sampling: Any) -> SamplingParams:
    params = SamplingParams(**({"max_tokens": 6, "eos_token_ids": [EOS]} | sampling))
    core.add(AddRequest(name, prompt, params, arrival_time=0.0))
    return params


def test_requests_go_in_and_tokens_come_out(core: EngineCore) -> None:
    prompts = {f"r{i}": [i + 1] * (3 * i + 1) for i in range(8)}
    params = {name: add(core, name, prompt) for name, prompt in prompts.items()}
    tokens: dict[str, list[int]] = {name: [] for name in prompts}
    ends: dict[str, FinishReason] = {}
    while core.has_work():
        for output in core.step():
            tokens[output.request_id] += output.new_token_ids
            if output.finish_reason is not None:
                ends[output.request_id] = output.finish_reason
    for name, prompt in prompts.items():
        assert (tokens[name], ends[name]) == uncontended(prompt, params[name], MAX_LEN)[:2]
    assert core.stats().num_steps > 0
    core.call("check_integrity")


def test_a_step_with_nothing_to_run_does_not_reach_the_executor(core: EngineCore) -> None:
    assert core.step() == []  # the executor fails on a plan without rows
    core.add(AddRequest("late", [1], SamplingParams(), arrival_time=0.0, deadline=0.0))
    assert [output.finish_reason for output in core.step()] == [FinishReason.TIMEOUT]
    assert core.stats().num_steps == 0


def test_an_abort_ends_a_request_without_output(core: EngineCore) -> None:
    add(core, "a", [1, 2, 3])
    core.step()
    core.abort(["a", "never heard of"])
    assert not core.has_work()
    assert core.step() == []
    core.check_integrity()


def test_methods_are_called_by_name_and_only_listed_ones(core: EngineCore) -> None:
    assert core.call("reset_prefix_cache") is True
    add(core, "a", [1, 2, 3])
    core.step()
    assert core.call("reset_prefix_cache") is False
    for name in ("shutdown", "__init__", "executor"):
        with pytest.raises(ClientError, match=r"no method.*reset_prefix_cache"):
            core.call(name)
    assert all(callable(getattr(core, name)) for name in core.CALLABLE)


def test_a_failure_of_the_whole_step_is_the_callers(core: EngineCore) -> None:
    core.executor = BreakingExecutor(NUM_BLOCKS, BLOCK, MAX_TOKENS, MAX_SEQS)
    add(core, "a", [1])
    with pytest.raises(RuntimeError, match="the device is gone"):
        core.step()


class Overlapping(CheckingExecutor):
    """Two steps may be open; what fails does so from the second on."""

    max_in_flight = 2
    fails = False

    def execute(self, plan: StepPlan) -> Future[StepResult]:
        future: Future[StepResult] = Future()
        if self.fails and plan.step >= 2:
            future.set_exception(RuntimeError("the device is gone"))
            return future
        return super().execute(plan)


@pytest.mark.parametrize("fails", [False, True])
def test_steps_that_overlap(registered: None, fails: bool) -> None:
    executor = Overlapping(NUM_BLOCKS, BLOCK, MAX_TOKENS, MAX_SEQS, max_in_flight=2)
    executor.fails = fails
    executors.register("uni", lambda config: executor)
    core = build_core(config(), lambda what, fraction: None)
    params = add(core, "a", [1, 2, 3])
    assert core.step() == []  # the first one is still open
    assert len(executor.open) == 1
    want = uncontended([1, 2, 3], params, MAX_LEN)[0]
    (output,) = core.step()
    assert output.new_token_ids == want[:1]
    if fails:
        with pytest.raises(RuntimeError, match="the device is gone"):
            core.step()
        return
    core.call("check_integrity")  # waits for what is open, and loses nothing of it
    assert not executor.open
    tokens = [token for _ in range(20) for output in core.step() for token in output.new_token_ids]
    assert want[:1] + tokens == want
    assert not core.has_work()


@pytest.mark.usefixtures("registered")
def test_building_reports_progress_and_the_size_of_the_pool() -> None:
    progress: list[tuple[str, float]] = []
    core = build_core(config(), lambda what, fraction: progress.append((what, fraction)))
    assert progress[-1][1] == 1.0
    assert core.kv_explanation == "a fixed number of blocks"
    assert core.scheduler.kv.num_blocks == NUM_BLOCKS
    assert core.scheduler.kv.block_size == BLOCK
    assert core.scheduler.max_model_len == MAX_LEN


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "lifo"}, "unknown scheduling policy 'lifo'"),
        ({"prefix_hash": "md5"}, "unknown prefix hash 'md5'"),
        ({"enable_chunked_prefill": False, "long_prefill_token_threshold": 4}, "--long-prefill-token-threshold"),
    ],
)
def test_options_that_cannot_be_done_are_refused_in_a_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(StartError, match=message):
        build_core(config(**settings), lambda what, fraction: None)


def test_the_control_plane_does_not_import_torch() -> None:
    code = "import sys, penstock.engine.core; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class SlowCompiler(CheckingExecutor):
    """Its constraints are compiled when the test says so."""

    def __init__(self) -> None:
        super().__init__(NUM_BLOCKS, BLOCK, MAX_TOKENS, MAX_SEQS)
        self.compiled: dict[str, Future[object]] = {}

    def prepare(self, params: SamplingParams) -> Future[object]:
        assert params.structured_outputs is not None
        return self.compiled.setdefault(str(params.structured_outputs.regex), Future())


def test_a_request_waits_for_its_constraint_and_no_other_does(registered: None) -> None:
    executor = SlowCompiler()
    executors.register("uni", lambda config: executor)
    core = build_core(config(), lambda what, fraction: None)
    for name, regex in (("a", "a"), ("free", None), ("b", "b"), ("gone", "c")):
        outputs = None if regex is None else StructuredOutputsParams(regex=regex)
        core.add(AddRequest(name, [1, 2, 3], SamplingParams(max_tokens=2, structured_outputs=outputs), 0.0))
    core.abort(["gone"])

    def ended() -> dict[str, FinishReason | None]:
        return {o.request_id: o.finish_reason for _ in range(4) for o in core.step() if o.finish_reason is not None}

    assert set(ended()) == {"free"}
    assert core.has_work()
    executor.compiled["b"].set_result(object())
    assert set(ended()) == {"b"}
    executor.compiled["a"].set_exception(ValueError("too costly"))
    assert ended() == {"a": FinishReason.ERROR}
    assert not core.has_work()
    core.check_integrity()

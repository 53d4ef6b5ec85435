"""Single rules of the scheduler, each on a small case; test_traces.py has their combinations."""

from __future__ import annotations

from typing import Any

import pytest

from checking_executor import CheckingExecutor, uncontended
from penstock.errors import StartError
from penstock.kvcache.manager import KVCacheManager
from penstock.outputs import Floats
from penstock.params import PoolingParams, SamplingParams
from penstock.scheduler.plan import EngineOutput, FinishReason, RowResult, StepPlan, StepResult
from penstock.scheduler.request import Request
from penstock.scheduler.scheduler import Scheduler

BLOCK = 4
PLENTY = 100


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make(num_blocks: int = PLENTY, caching: bool = True, **options: Any) -> Scheduler:
    settings = {"max_num_seqs": 8, "max_num_batched_tokens": 32, "max_model_len": 32} | options
    return Scheduler(KVCacheManager(num_blocks, BLOCK, caching, "blake2b", b"secret"), **settings)


def request(name: str, prompt_len: int, first_token: int = 1, **options: Any) -> Request:
    sampling = {"max_tokens": 8, "ignore_eos": True} | options.pop("sampling", {})
    prompt = [first_token] * prompt_len
    return Request(name, prompt, SamplingParams(**sampling), options.pop("arrival", 0.0), **options)


def step(scheduler: Scheduler, token: int = 7) -> tuple[dict[str, int], list[EngineOutput]]:
    """One step in which every row that samples gets `token`: tokens run per request, and the outputs."""
    plan = scheduler.schedule()
    results = [RowResult(row.request_id, [token] if row.samples else []) for row in plan.rows]
    outputs = scheduler.update(plan, StepResult(plan.step, results))
    scheduler.check_integrity()
    return {row.request_id: row.num_tokens for row in plan.rows}, outputs


def reasons(outputs: list[EngineOutput]) -> dict[str, FinishReason | None]:
    return {output.request_id: output.finish_reason for output in outputs}


def test_running_rows_come_first_and_the_rest_of_the_budget_goes_to_prompts() -> None:
    scheduler = make(max_num_batched_tokens=10)
    scheduler.add(request("a", 4))
    scheduler.add(request("b", 20, first_token=2))
    assert step(scheduler)[0] == {"a": 4, "b": 6}
    scheduler.add(request("c", 3, first_token=3))
    assert step(scheduler)[0] == {"a": 1, "b": 9}
    assert step(scheduler)[0] == {"a": 1, "b": 5, "c": 3}


def test_a_long_prompt_leaves_room_for_others_under_the_threshold() -> None:
    scheduler = make(max_num_batched_tokens=10, long_prefill_token_threshold=3)
    scheduler.add(request("a", 20))
    scheduler.add(request("b", 20, first_token=2))
    assert step(scheduler)[0] == {"a": 3, "b": 3}


def test_prompts_are_cut_so_that_those_who_decode_wait_a_set_time_for_a_step() -> None:
    clock = Clock()
    limits = {"max_num_batched_tokens": 2000, "max_model_len": 3000, "num_blocks": 4000}
    scheduler = make(clock=clock, step_seconds=0.5, **limits)

    def timed(seconds_per_token: float) -> dict[str, int]:
        plan = scheduler.schedule()
        clock.now += plan.num_tokens * seconds_per_token
        results = [RowResult(row.request_id, [7] if row.samples else []) for row in plan.rows]
        scheduler.update(plan, StepResult(plan.step, results))
        return {row.request_id: row.num_tokens for row in plan.rows}

    scheduler.add(request("a", 1000, sampling={"max_tokens": 20}))
    assert timed(0.001) == {"a": 1000}  # nobody waits for it
    scheduler.add(request("b", 2500, first_token=2))
    assert timed(0.001) == {"a": 1, "b": 480}  # half a second, in whole steps of 32 tokens
    assert [timed(0.004)["b"] for _ in range(5)] == [480, 192, 128, 128, 128]  # the machine is slower now
    assert timed(1.0)["b"] == 128
    assert timed(1.0) == {"a": 1, "b": 64}  # never less
    scheduler.abort(["a"])
    assert timed(1.0)["b"] == 65  # who decoded in the step before still counts in this one
    assert timed(1.0)["b"] == 2500 - 2 * 480 - 192 - 4 * 128 - 64 - 65


def test_without_chunking_a_prompt_waits_until_it_fits() -> None:
    scheduler = make(enable_chunked_prefill=False)
    scheduler.add(request("a", 20))
    scheduler.add(request("b", 20, first_token=2))
    scheduler.add(request("c", 2, first_token=3))
    assert step(scheduler)[0] == {"a": 20}
    assert step(scheduler)[0] == {"a": 1, "b": 20, "c": 2}


def test_no_more_than_max_num_seqs_run() -> None:
    scheduler = make(max_num_seqs=2)
    for name in "abc":
        scheduler.add(request(name, 2, sampling={"max_tokens": 1}))
    assert set(step(scheduler)[0]) == {"a", "b"}
    assert set(step(scheduler)[0]) == {"c"}
    assert not scheduler.has_work()


def test_a_plan_tells_each_block_once() -> None:
    scheduler = make()
    scheduler.add(request("a", 3))
    blocks: list[int] = []
    for _ in range(8):
        plan = scheduler.schedule()
        blocks += plan.rows[0].new_block_ids
        assert len(blocks) == -(-(plan.rows[0].num_computed + plan.rows[0].num_tokens) // BLOCK)
        scheduler.update(plan, StepResult(plan.step, [RowResult("a", [7])]))
    assert len(set(blocks)) == len(blocks) == 3
    assert scheduler.kv.idle


def test_a_prompt_gets_all_its_blocks_before_it_starts() -> None:
    """Two half-done prompts that wait for each other's blocks would never come to an end without throwing one away."""
    scheduler = make(num_blocks=11, max_num_batched_tokens=4, long_prefill_token_threshold=2)
    scheduler.add(request("a", 24, sampling={"max_tokens": 1}))
    scheduler.add(request("b", 24, first_token=2, sampling={"max_tokens": 1}))
    total = 0
    while scheduler.has_work():
        total += sum(step(scheduler)[0].values())
    assert total == 48
    assert scheduler.stats().num_preemptions == 0


def test_preemption_keeps_what_was_generated() -> None:
    scheduler = make(num_blocks=9, caching=False)
    scheduler.add(request("a", 15, sampling={"max_tokens": 16}))
    scheduler.add(request("b", 15, first_token=2, sampling={"max_tokens": 16}))
    assert step(scheduler, token=5)[0] == {"a": 15, "b": 15}  # four blocks each: the pool is full
    scheduler.add(request("c", 1, first_token=3, sampling={"max_tokens": 1}))
    assert step(scheduler, token=6)[0] == {"a": 1, "b": 1}
    plan = scheduler.schedule()  # a needs a fifth block
    assert [row.request_id for row in plan.rows] == ["a"], "nobody is admitted in a step in which somebody had to go"
    assert plan.gone == ["b"]
    scheduler.update(plan, StepResult(plan.step, [RowResult("a", [7])]))
    assert scheduler.stats().num_preemptions == 1
    while "b" not in (ran := step(scheduler)[0]):
        assert "c" not in ran, "c came after b"
    assert ran["b"] >= 17
    ends: dict[str, int] = {}
    while scheduler.has_work():
        ends |= {o.request_id: o.num_preemptions for o in step(scheduler)[1] if o.finish_reason is not None}
    assert ends["b"] == 1


def test_a_preempted_request_is_replayed_as_new_with_its_tokens() -> None:
    scheduler = make(num_blocks=9, caching=False)
    scheduler.add(request("a", 15, sampling={"max_tokens": 3}))
    scheduler.add(request("b", 15, first_token=2, sampling={"max_tokens": 9}))
    step(scheduler, token=5)
    step(scheduler, token=6)
    assert reasons(step(scheduler)[1]) == {"a": FinishReason.LENGTH}
    plan = scheduler.schedule()
    assert plan.gone == ["a"] or set(plan.gone) == {"a", "b"}
    (new,) = plan.new
    assert (new.request_id, new.token_ids, new.num_prompt_tokens) == ("b", [2] * 15 + [5, 6], 15)
    assert plan.rows[0].num_computed == 0
    assert plan.rows[0].samples


def test_a_better_priority_takes_the_place_of_the_worst() -> None:
    scheduler = make(max_num_seqs=2, policy="priority")
    scheduler.add(request("low", 4, priority=5))
    scheduler.add(request("mid", 4, priority=3))
    assert list(step(scheduler)[0]) == ["mid", "low"]
    scheduler.add(request("high", 4, priority=0))
    scheduler.add(request("lowest", 4, priority=9))
    assert list(step(scheduler)[0]) == ["high", "mid"]
    assert scheduler.stats().num_preemptions == 1
    order = []
    while scheduler.has_work():
        order += [output.request_id for output in step(scheduler)[1] if output.finish_reason is not None]
    assert order == ["mid", "high", "low", "lowest"]


def test_a_better_priority_takes_blocks() -> None:
    scheduler = make(num_blocks=9, policy="priority", caching=False)
    scheduler.add(request("one", 12, priority=1))
    scheduler.add(request("two", 12, priority=2))
    step(scheduler)
    scheduler.add(request("high", 12, priority=0))
    assert list(step(scheduler)[0]) == ["high", "one"]


def test_nobody_is_preempted_for_a_request_that_would_not_fit_anyhow() -> None:
    scheduler = make(num_blocks=9, policy="priority", caching=False)
    scheduler.add(request("best", 20, priority=0))
    scheduler.add(request("low", 4, priority=5))
    step(scheduler)
    scheduler.add(request("mid", 24, priority=1))
    assert list(step(scheduler)[0]) == ["best", "low"]
    assert scheduler.stats().num_preemptions == 0


def test_equal_priorities_run_in_order_of_arrival() -> None:
    scheduler = make(max_num_seqs=1, policy="priority")
    scheduler.add(request("later", 2, arrival=2.0, sampling={"max_tokens": 1}))
    scheduler.add(request("earlier", 2, arrival=1.0, sampling={"max_tokens": 1}))
    assert list(step(scheduler)[0]) == ["earlier"]


def test_fcfs_ignores_priorities() -> None:
    scheduler = make(max_num_seqs=1)
    scheduler.add(request("first", 2, priority=9))
    scheduler.add(request("second", 2, priority=0, arrival=-1.0))
    for _ in range(8):
        assert list(step(scheduler)[0]) == ["first"]
    assert list(step(scheduler)[0]) == ["second"]


def test_a_deadline_ends_who_waits_and_not_who_runs() -> None:
    clock = Clock()
    scheduler = make(max_num_seqs=1, clock=clock)
    scheduler.add(request("runs", 2, deadline=1.0))
    scheduler.add(request("waits", 2, deadline=3.0))
    scheduler.add(request("patient", 2))
    assert reasons(step(scheduler)[1]) == {"runs": None}
    clock.now = 3.0
    assert reasons(step(scheduler)[1]) == {"runs": None}
    clock.now = 3.5
    assert reasons(step(scheduler)[1]) == {"waits": FinishReason.TIMEOUT, "runs": None}
    assert scheduler.stats().num_waiting == 1


def test_an_expired_request_alone_ends_in_a_step_without_rows() -> None:
    clock = Clock()
    scheduler = make(clock=clock)
    scheduler.add(request("late", 2, deadline=1.0))
    clock.now = 2.0
    plan = scheduler.schedule()
    assert plan == StepPlan(1, [], [], [])
    assert reasons(scheduler.update(plan, StepResult(1, []))) == {"late": FinishReason.TIMEOUT}
    assert not scheduler.has_work()


@pytest.mark.parametrize("when", ["waiting", "between", "running"])
def test_an_abort_frees_everything_and_gives_no_output(when: str) -> None:
    scheduler = make(max_num_seqs=1)
    scheduler.add(request("a", 9))
    scheduler.add(request("b", 9, first_token=2))
    plan = scheduler.schedule()
    results = StepResult(plan.step, [RowResult("a", [7])])
    if when == "waiting":
        scheduler.abort(["b", "unknown"])
        assert reasons(scheduler.update(plan, results)) == {"a": None}
        assert scheduler.stats().num_waiting == 0
        return
    if when == "between":
        scheduler.abort(["a"])
        assert scheduler.update(plan, results) == []
    else:
        scheduler.update(plan, results)
        scheduler.abort(["a"])
    assert scheduler.kv.idle
    scheduler.check_integrity()
    plan = scheduler.schedule()
    assert plan.gone == ["a"]
    assert [row.request_id for row in plan.rows] == ["b"]


def test_those_that_start_together_compute_their_common_beginning_once() -> None:
    scheduler = make(max_num_batched_tokens=64)
    prompts = {name: [1] * 12 + [token] * 3 for name, token in (("a", 2), ("b", 3), ("c", 4))}
    for name, prompt in prompts.items():
        scheduler.add(Request(name, prompt, SamplingParams(max_tokens=8), 0.0))
    assert step(scheduler)[0] == {"a": 15, "b": 3, "c": 3}
    assert scheduler.stats().prefix_hits == 24
    scheduler.abort(["a"])  # what it computed stays with those that share it
    assert step(scheduler)[0] == {"b": 1, "c": 1}


def test_only_what_is_planned_is_shared() -> None:
    scheduler = make(max_num_batched_tokens=16, long_prefill_token_threshold=6)
    scheduler.add(request("a", 20))
    scheduler.add(request("b", 20))
    assert step(scheduler)[0] == {"a": 6, "b": 6}  # one full block of a, and six of its own after that
    assert scheduler.stats().prefix_hits == 4
    scheduler.add(request("c", 20))
    assert step(scheduler)[0] == {"a": 6, "b": 6, "c": 4}
    assert scheduler.stats().prefix_hits == 4 + 16


def test_a_step_whose_owner_is_aborted_fills_the_prefix_cache() -> None:
    """It runs all the same."""
    scheduler = make()
    scheduler.add(request("a", 9))
    plan = scheduler.schedule()
    scheduler.abort(["a"])
    scheduler.update(plan, StepResult(plan.step, [RowResult("a", [7])]))
    scheduler.add(request("b", 9))
    assert step(scheduler)[0] == {"b": 1}


def test_a_failing_row_ends_alone() -> None:
    scheduler = make()
    scheduler.add(request("a", 4))
    scheduler.add(request("b", 4))
    plan = scheduler.schedule()
    results = [RowResult("a", [], error="no such luck"), RowResult("b", [7])]
    one, other = scheduler.update(plan, StepResult(plan.step, results))
    assert (one.request_id, one.finish_reason, one.error) == ("a", FinishReason.ERROR, "no such luck")
    assert (other.request_id, other.finish_reason, other.new_token_ids) == ("b", None, [7])
    assert set(step(scheduler)[0]) == {"b"}


def test_nothing_is_shared_of_a_step_that_was_not_computed() -> None:
    scheduler = make(max_num_batched_tokens=8)
    scheduler.add(request("a", 20))
    assert step(scheduler)[0] == {"a": 8}
    plan = scheduler.schedule()
    failed = [RowResult("a", [], error="memory is full")]
    scheduler.update(plan, StepResult(plan.step, failed, computed=False))
    scheduler.add(request("b", 20))
    assert step(scheduler)[0] == {"b": 8}
    scheduler.check_integrity()
    assert scheduler.stats().prefix_hits == 8


@pytest.mark.parametrize("length", [0, 32, 40])
def test_a_prompt_that_cannot_run_ends_with_an_error(length: int) -> None:
    scheduler = make()
    scheduler.add(request("bad", length))
    assert scheduler.has_work()
    ran, outputs = step(scheduler)
    assert ran == {}
    assert reasons(outputs) == {"bad": FinishReason.ERROR}
    assert not scheduler.has_work()


# sampling parameters, tokens of one row -> tokens kept, why it ends, stop reason
STOPS = [
    ({"eos_token_ids": [5, 6], "ignore_eos": False}, [6], [6], FinishReason.STOP, None),
    ({"eos_token_ids": [5, 6], "ignore_eos": True}, [6], [6], None, None),
    ({"eos_token_ids": [5], "stop_token_ids": [9]}, [9], [9], FinishReason.STOP, 9),
    ({"eos_token_ids": [5], "stop_token_ids": [5], "ignore_eos": False}, [5], [5], FinishReason.STOP, None),
    ({"eos_token_ids": [5], "stop_token_ids": [5]}, [5], [5], FinishReason.STOP, 5),
    ({"stop_token_ids": [9]}, [1, 9, 2], [1, 9], FinishReason.STOP, 9),
    ({"stop_token_ids": [9], "min_tokens": 2}, [9], [9], None, None),
    ({"stop_token_ids": [9], "min_tokens": 2}, [9, 9, 9], [9, 9], FinishReason.STOP, 9),
    ({"max_tokens": 1}, [3], [3], FinishReason.LENGTH, None),
    ({"max_tokens": 2}, [3, 4, 5], [3, 4], FinishReason.LENGTH, None),
    ({"max_tokens": 1, "stop_token_ids": [9]}, [9], [9], FinishReason.STOP, 9),
    ({"max_tokens": None}, list(range(10, 40)), list(range(10, 38)), FinishReason.LENGTH, None),  # 4 + 28 = 32
]


@pytest.mark.parametrize(("sampling", "sampled", "kept", "reason", "stop_reason"), STOPS)
def test_stops(
    sampling: dict[str, Any],
    sampled: list[int],
    kept: list[int],
    reason: FinishReason | None,
    stop_reason: int | None,
) -> None:
    scheduler = make()
    scheduler.add(request("a", 4, sampling=sampling))
    plan = scheduler.schedule()
    (output,) = scheduler.update(plan, StepResult(plan.step, [RowResult("a", sampled)]))
    assert (output.new_token_ids, output.finish_reason, output.stop_reason) == (kept, reason, stop_reason)
    assert scheduler.has_work() == (reason is None)


def test_the_first_output_and_the_statistics_tell_of_the_prefix_cache() -> None:
    clock = Clock()
    scheduler = make(clock=clock)
    for now, name in ((1.0, "a"), (2.0, "b")):
        clock.now = now
        scheduler.add(request(name, 10, sampling={"max_tokens": 2}))
        first = step(scheduler)[1][0]
        assert (first.scheduled_time, first.num_cached_tokens) == (now, 0 if name == "a" else 8)
        second = step(scheduler)[1][0]
        assert (second.scheduled_time, second.num_cached_tokens) == (None, None)
    stats = scheduler.stats()
    assert (stats.prefix_queries, stats.prefix_hits, stats.num_steps, stats.step_tokens) == (20, 8, 4, 1)
    assert scheduler.reset_prefix_cache()
    scheduler.add(request("c", 10))
    assert step(scheduler)[0] == {"c": 10}
    assert not scheduler.reset_prefix_cache()


def test_statistics_count_who_runs_and_who_waits() -> None:
    scheduler = make(max_num_seqs=2)
    for name in "abcde":
        scheduler.add(request(name, 4))
    step(scheduler)
    stats = scheduler.stats()
    assert (stats.num_running, stats.num_waiting, stats.step_tokens) == (2, 3, 8)
    assert stats.kv_usage == pytest.approx(2 / 99)
    scheduler.abort(["a", "d"])
    stats = scheduler.stats()
    assert (stats.num_running, stats.num_waiting) == (1, 2)


def test_a_pool_smaller_than_the_context_is_a_bug_of_the_caller() -> None:
    with pytest.raises(AssertionError):
        make(num_blocks=8)
    make(num_blocks=9)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(StartError, match=r"lifo.*fcfs, priority"):
        make(policy="lifo")


@pytest.mark.parametrize("policy", ["fcfs", "priority"])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_pool_of_one_and_a_fifth_requests_finishes_five_hundred(policy: str, chunked: bool) -> None:
    max_model_len, num_blocks = 40, 1 + 12
    scheduler = make(
        num_blocks,
        max_num_seqs=16,
        max_num_batched_tokens=16 if chunked else 40,
        max_model_len=max_model_len,
        enable_chunked_prefill=chunked,
        policy=policy,
    )
    executor = CheckingExecutor(num_blocks, BLOCK, 16 if chunked else 40, 16)
    requests = [
        request(f"r{i}", 1 + i * 7 % 25, first_token=i % 5, priority=i % 3, sampling={"max_tokens": 1 + i % 13})
        for i in range(500)
    ]
    for r in requests:
        scheduler.add(r)
    outputs: dict[str, list[int]] = {r.request_id: [] for r in requests}
    ended = []
    while scheduler.has_work():
        plan = scheduler.schedule()
        for output in scheduler.update(plan, executor.execute(plan).result()):
            outputs[output.request_id] += output.new_token_ids
            if output.finish_reason is not None:
                ended.append(output.request_id)
        scheduler.check_integrity()
    assert sorted(ended) == sorted(outputs)
    useful = 0
    for r in requests:
        expected = uncontended(r.token_ids[: r.num_prompt_tokens], r.params, max_model_len)[0]
        assert outputs[r.request_id] == expected
        useful += len(r.token_ids) - 1
    assert scheduler.stats().num_preemptions > 10
    assert executor.num_tokens_run < 1.5 * useful, "more than half of the work was thrown away"


def test_an_answer_that_is_complete_ends() -> None:
    """Its constraint allows nothing more; also if it has just reached its length."""
    scheduler = make()
    for name, limit in (("a", 8), ("b", 1), ("c", 8)):
        scheduler.add(request(name, 3, first_token=ord(name), sampling={"max_tokens": limit}))
    plan = scheduler.schedule()
    results = [RowResult(row.request_id, [7], complete=row.request_id != "c") for row in plan.rows]
    outputs = scheduler.update(plan, StepResult(plan.step, results))
    assert reasons(outputs) == {"a": FinishReason.STOP, "b": FinishReason.STOP, "c": None}
    assert [o.new_token_ids for o in outputs] == [[7]] * 3
    scheduler.check_integrity()


def test_a_pooling_request_ends_with_what_it_pooled() -> None:
    """It may fill the context, runs in pieces, and reads the prefix cache unless it needs every token."""
    scheduler, pooled = make(max_num_batched_tokens=20), Floats([1], b"\0\0\0\0")

    def run(name: str, prompt_len: int, params: PoolingParams) -> tuple[list[int], EngineOutput]:
        scheduler.add(request(name, prompt_len, pooling=params))
        counts = []
        while True:
            plan = scheduler.schedule()
            assert [new.pooling for new in plan.new] == ([] if counts else [params])
            (row,) = plan.rows
            counts.append(row.num_tokens)
            result = RowResult(name, [], pooled=pooled if row.samples else None)
            outputs = scheduler.update(plan, StepResult(plan.step, [result]))
            scheduler.check_integrity()
            if outputs:
                return counts, outputs[0]

    counts, output = run("whole", 32, PoolingParams())
    assert (counts, output.finish_reason, output.pooled, output.new_token_ids) == (
        [20, 12],
        FinishReason.STOP,
        pooled,
        [],
    )
    assert run("cached", 32, PoolingParams())[1].num_cached_tokens == 28
    assert run("all", 32, PoolingParams(skip_reading_prefix_cache=True))[1].num_cached_tokens == 0
    assert scheduler.kv.idle
    scheduler.add(request("long", 33, pooling=PoolingParams()))
    assert reasons(step(scheduler)[1]) == {"long": FinishReason.ERROR}

"""The scheduler: which tokens of which requests run in the next step, and what follows from a step's results.

There is no prefill and no decode: each request has tokens that are computed and tokens that are not, and a step moves
some of the second kind to the first, under one budget. Knows no tensors, no tokenizer, no text and no HTTP.

`num_computed` advances in `schedule`, so that the next step can be planned before this one's result is in: a request's
next token may run while it is still being sampled, known by its number only. `update` works with the plan's rows. Full
blocks are shared from the moment their tokens are planned, as steps run in order and write all keys before they read.
"""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Callable, Iterable

from penstock.kvcache.manager import KVCacheManager
from penstock.scheduler.open_steps import OpenStep, OpenSteps
from penstock.scheduler.outputs import output_of, output_of_row, output_without_tokens
from penstock.scheduler.pace import Pace
from penstock.scheduler.plan import (
    EngineOutput,
    FinishReason,
    Pause,
    Row,
    SchedulerStats,
    StepPlan,
    StepResult,
)
from penstock.scheduler.queue import Deadlines, WaitingQueue, ranking
from penstock.scheduler.request import Request, State

# Free blocks that an admission leaves for the growth of what runs: one per running request, at most this share of the
# pool. Who is admitted into the last blocks is likely to lose them again, and its prefill with them: with prompts and
# answers of some 250 tokens and room for 80 requests, 25 % of all tokens were computed twice without this, 10 % with a
# hundredth of the pool, 2 % with a twentieth, at 2 % more steps.
_SPARE_SHARE = 0.05


class Scheduler:
    """Continuous batching over paged KV blocks.

    `kv`, `max_model_len` and `max_in_flight` may be read by others, `pause` set.

    Args:
        kv: the pool; one sequence of max_model_len tokens must fit.
        max_num_seqs: requests that run at once.
        max_num_batched_tokens: tokens per step.
        max_model_len: prompt and answer together.
        enable_chunked_prefill: whether a prompt may be cut to what is left of a step's tokens. If not, it waits until
            it fits, and max_num_batched_tokens must be at least max_model_len.
        long_prefill_token_threshold: most tokens of one request in a step, 0 for no limit; only with chunked prefill.
        policy: "fcfs" or "priority" (lower value first, then arrival).
        step_seconds: about how long a step may last while some decode, for which prompts are cut; None for no limit.
        max_in_flight: plans that may be open: without their result. With more than one, a row samples one token.
        clock: monotonic seconds, the same as in arrival times and deadlines.
    """

    def __init__(
        self,
        kv: KVCacheManager,
        *,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        max_model_len: int,
        enable_chunked_prefill: bool = True,
        long_prefill_token_threshold: int = 0,
        policy: str = "fcfs",
        step_seconds: float | None = None,
        max_in_flight: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ):
        assert kv.max_tokens >= max_model_len, "a request that is alone must fit, or it could never finish"
        assert enable_chunked_prefill or max_num_batched_tokens >= max_model_len
        assert enable_chunked_prefill or not long_prefill_token_threshold
        assert max_num_seqs >= 1
        assert max_num_batched_tokens >= 1
        self.kv = kv
        self._max_num_seqs = max_num_seqs
        self._max_step_tokens = max_num_batched_tokens
        self.max_model_len = max_model_len
        self._chunked = enable_chunked_prefill
        self._max_row_tokens = long_prefill_token_threshold or max_num_batched_tokens
        self.pause = Pause.NOTHING
        self._pace = Pace(step_seconds if enable_chunked_prefill else None)
        self._rank = ranking(policy)
        self.max_in_flight = max_in_flight
        self._clock = clock
        self._spare_blocks = int(kv.num_blocks * _SPARE_SHARE)

        self._requests: dict[str, Request] = {}
        self._waiting = WaitingQueue()
        self._deadlines = Deadlines()
        self._running: list[Request] = []  # by rank, so the last one is the victim when blocks run out
        self._open = OpenSteps(kv.free)
        self._short = False  # somebody has to give way, and may not while a step is open
        self._gone: list[str] = []  # for the next plan
        self._outputs: list[EngineOutput] = []  # of requests that ended outside a step, for the next update

        self._num_added = 0
        self._num_steps = 0
        self._num_decoding = 0  # requests that got a token in the last step and go on
        self._step_tokens = 0
        self._prefix_queries = 0
        self._prefix_hits = 0
        self._num_preemptions = 0

    # ---- requests come and go

    def add(self, request: Request) -> None:
        """Admit a request; its last output will carry a finish reason."""
        assert request.request_id not in self._requests
        self._num_added += 1
        request.rank = self._rank(request, self._num_added)
        request.max_total = self.max_model_len
        if request.params.max_tokens is not None:
            request.max_total = min(self.max_model_len, request.num_prompt_tokens + request.params.max_tokens)
        room = 0 if request.pooling else 1  # for an answer
        if not 0 < request.num_prompt_tokens <= self.max_model_len - room:  # one bad message must not stop the others
            error = f"a prompt of {request.num_prompt_tokens} tokens in a context of {self.max_model_len}"
            self._outputs.append(EngineOutput(request.request_id, [], FinishReason.ERROR, error=error))
            return
        self._requests[request.request_id] = request
        self._waiting.push(request)
        self._deadlines.watch(request)

    def abort(self, request_ids: Iterable[str]) -> None:
        """End these without an output; unknown ids are ignored. Allowed at any time, also while their step runs: a
        result that comes later is dropped, and their blocks are free when that step is done."""
        aborted = set(request_ids)
        for request_id in aborted:
            request = self._requests.get(request_id)
            if request is not None:
                self._end(request)
        self._outputs = [output for output in self._outputs if output.request_id not in aborted]
        self._drop_ended()

    def abort_all(self) -> None:
        """End all requests; the next update gives an output for each."""
        for request in list(self._requests.values()):
            self._outputs.append(output_of(request, [], FinishReason.ABORT))
            self._end(request)
        self._drop_ended()

    def forget_worker(self) -> list[str]:
        """Take everything from what runs, and forget all cached prefixes: the worker loses its KV memory.

        Returns:
            the requests that the worker knows and has to drop.
        """
        idle = self.reset_prefix_cache(reset_running_requests=True)
        assert idle
        gone, self._gone = self._gone, []
        return gone

    @property
    def num_running(self) -> int:
        return len(self._running)

    def has_work(self) -> bool:
        """Whether a step would do anything: something runs or waits, or an output has not been delivered."""
        return bool(self._requests or self._outputs or self._open)

    # ---- planning

    def schedule(self) -> StepPlan:
        """Plan one step. A plan without rows need not be executed: it has no other content. While steps are open, it
        says that one of them has to be done before anything more can run."""
        assert len(self._open) < self.max_in_flight
        if self._deadlines:
            self._end_expired()
        plan = StepPlan(self._num_steps + 1, [], [], [])
        requests: list[Request] = []
        if self._short and self._open:
            return plan
        self._short = False
        preemptions_before = self._num_preemptions
        if self.pause is Pause.ALL:
            self._step_tokens = 0
            return plan
        if not self.pause:
            self._swap_in_better()
        budget = most = self._most_tokens()
        budget = self._plan_rows(plan, requests, self._running, budget)
        if self._num_preemptions == preemptions_before and not self._short and not self.pause:
            while budget > 0 and (request := self._admit_next(budget)):
                budget = self._plan_rows(plan, requests, [request], budget)
        if plan.rows:
            self._num_steps += 1
            self._step_tokens = most - budget
            plan.gone, self._gone = self._gone, []
            self._open.add(OpenStep(plan, requests, most - budget, self._clock()))
        elif not self._open:
            self._step_tokens = 0
        return plan

    def _most_tokens(self) -> int:
        """Tokens of this step."""
        if not self._num_decoding or self._pace.piece is None:
            return self._max_step_tokens
        return min(self._max_step_tokens, self._num_decoding + self._pace.piece)

    def _plan_rows(self, plan: StepPlan, planned: list[Request], requests: list[Request], budget: int) -> int:
        """Give each of `requests` a row while the budget lasts, and put it into `planned`; what is left of the budget.

        `requests` may be the running list itself, whose tail is cut off by preemptions meanwhile: iteration over a
        list ends where the list ends, and the cut-off have no row yet, because rows are made in the list's order.
        """
        rows, max_row_tokens, chunked = plan.rows, self._max_row_tokens, self._chunked
        step, overlaps = plan.step, self.max_in_flight > 1
        for request in requests:
            computed = request.num_computed
            known = len(request.token_ids)
            if request.num_coming:
                known += request.num_coming
                if request.needs_results or known >= request.max_total:
                    continue
            num_tokens = known - computed
            if num_tokens > max_row_tokens:
                num_tokens = max_row_tokens
            if num_tokens > budget:
                if not chunked or not budget:
                    continue  # those behind may be smaller
                num_tokens = budget
            end = computed + num_tokens
            new_block_ids: list[int] = []
            if end > request.room:
                if not self._make_room(request, end):
                    if request.state is State.RUNNING:
                        continue
                    break  # it was the last one, and is not running any more
                new_block_ids = self._introduce(plan, request)
            rows.append(Row(request.request_id, computed, num_tokens, new_block_ids, end == known))
            planned.append(request)
            request.last_step = step
            request.num_computed = end
            if overlaps and end == known:
                request.num_coming += 1
            if end >= request.publish_at:
                self.kv.publish(request, end)
            budget -= num_tokens
        return budget

    def _make_room(self, request: Request, num_tokens: int) -> bool:
        """Get blocks for a running request, if need be from those with a worse rank. False if it was itself the last
        one and has been preempted, or if it has to wait: nobody is preempted while a step is open, whose tokens would
        be lost and whose blocks could not be had."""
        while not self.kv.allocate(request, num_tokens):
            if self._open:
                self._short = True
                return False
            victim = self._running.pop()
            self._preempt(victim)
            if victim is request:
                assert self._running, "a request that is alone fits"
                return False
        return True

    def _introduce(self, plan: StepPlan, request: Request) -> list[int]:
        """The blocks that the worker does not know yet; the whole request if it does not know that either."""
        block_size = self.kv.block_size
        if request.room == 0:
            plan.new.append(request.new_row())
        new_block_ids = request.block_ids[request.room // block_size :]
        request.room = len(request.block_ids) * block_size
        return new_block_ids

    def _admit_next(self, budget: int) -> Request | None:
        """The head of the queue, if it can run in what is left of this step, made running."""
        request = self._waiting.head()
        if request is None or not self._fits(request):
            return None
        num_cached = self.kv.match(request)
        if not self._chunked and len(request.token_ids) - num_cached > budget:
            self.kv.free(request)
            return None
        self._start_head(request, num_cached)
        return request

    def _start_head(self, request: Request, num_cached: int) -> None:
        """Make the head of the queue run. It gets blocks for all tokens it has, also for those that run in later
        steps: prompts that are half done and wait for each other's blocks would be work thrown away."""
        popped = self._waiting.pop()
        assert popped is request
        fits = self.kv.allocate(request, len(request.token_ids))
        assert fits
        request.state = State.RUNNING
        request.num_computed = num_cached
        insort(self._running, request, key=_rank_of)
        if request.scheduled_time is None:
            request.scheduled_time = self._clock()
            request.num_cached_tokens = num_cached
            if self.kv.enable_caching and request.reads_cache:
                self._prefix_queries += request.num_prompt_tokens
                self._prefix_hits += num_cached

    def _fits(self, request: Request) -> bool:
        """Whether there is a seat and blocks for all tokens of a waiting request."""
        running = len(self._running)
        return running < self._max_num_seqs and self.kv.shortage(request, min(running, self._spare_blocks)) <= 0

    def _swap_in_better(self) -> None:
        """If the head of the queue ranks before what runs, it runs now, in the place of the worst if need be. Under
        fcfs this never happens: what waits came after what runs."""
        running = self._running
        while running and (head := self._waiting.head()) is not None and head.rank < running[-1].rank:
            obtainable = sum(len(r.block_ids) for r in running if r.rank > head.rank)
            if self.kv.shortage(head) > obtainable:
                return
            if self._open and not self._fits(head):
                self._short = True
                return
            while not self._fits(head) and running and head.rank < running[-1].rank:
                self._preempt(running.pop())
            if not self._fits(head):
                return
            self._start_head(head, self.kv.match(head))

    def _preempt(self, victim: Request) -> None:
        """Take everything from a request that has just been cut off the running list; its tokens are kept, and it
        starts again from what the prefix cache still has then."""
        assert not self._open
        self._num_preemptions += 1
        victim.num_preemptions += 1
        self.kv.free(victim)
        if victim.room:
            self._gone.append(victim.request_id)
        victim.num_computed = victim.room = 0
        victim.state = State.WAITING
        self._waiting.push(victim)

    def _end_expired(self) -> None:
        for request in self._deadlines.expired(self._clock()):
            self._end(request)
            self._outputs.append(EngineOutput(request.request_id, [], FinishReason.TIMEOUT))

    # ---- results

    def update(self, plan: StepPlan, result: StepResult) -> list[EngineOutput]:
        """Take in the result of the oldest open plan: new tokens and ends."""
        assert result.step == plan.step
        outputs, self._outputs = self._outputs, []
        known_outputs, ended = len(outputs), 0
        for request, row, got in zip(self._finish(plan), plan.rows, result.rows, strict=True):
            assert got.request_id == row.request_id
            if request.state is State.ENDED:
                continue  # while the step ran
            if got.error is not None or got.pooled is not None:
                if not result.computed:
                    self.kv.retract(request, row.num_computed)
                outputs.append(output_without_tokens(request, got))
                self._end(request)
                ended += 1
                continue
            token_ids = got.token_ids
            assert row.samples == bool(token_ids)
            if request.num_coming and token_ids:
                assert len(token_ids) == 1
                request.num_coming -= 1
            count, reason, stop_id = request.append(token_ids)
            if got.complete and reason is not FinishReason.STOP:
                reason = FinishReason.STOP
            if reason is None and got.logprobs is None and got.prompt_logprobs is None and request.has_output:
                if token_ids:
                    outputs.append(EngineOutput(row.request_id, token_ids))
                continue
            output = output_of_row(request, row, got, count, reason, stop_id)
            if output is not None:
                outputs.append(output)
            if reason is not None:
                self._end(request)
                ended += 1
        if ended:
            self._drop_ended()
        self._num_decoding = len(outputs) - known_outputs - ended
        return outputs

    def _finish(self, plan: StepPlan) -> list[Request]:
        """A plan's result is in: the requests of its rows."""
        if not plan.rows:
            return []
        now = self._clock()
        step = self._open.finish(plan, now)
        if step.num_tokens > len(plan.rows):
            self._pace.took(step.num_tokens, now - step.began)
        return step.requests

    def _end(self, request: Request) -> None:
        """Take everything from a request. If it was running, `_drop_ended` has to follow."""
        was_waiting = request.state is State.WAITING
        request.state = State.ENDED
        del self._requests[request.request_id]
        self._deadlines.discard(request)
        if was_waiting:
            self._waiting.discard(request)
            return
        self.kv.publish(request, request.num_computed)
        self._open.free(request)
        if request.room:
            self._gone.append(request.request_id)

    def _drop_ended(self) -> None:
        self._running = [r for r in self._running if r.state is State.RUNNING]
        assert self._requests or self._open.leaving or self.kv.idle, "blocks have leaked"

    # ---- what others may know

    def reset_prefix_cache(self, reset_running_requests: bool = False) -> bool:
        """Forget all cached prefixes; False, and nothing happens, while requests run.

        Args:
            reset_running_requests: let those that run start again from nothing, so that they do not keep it from that;
                only while no step is open.
        """
        while reset_running_requests and self._running:
            self._preempt(self._running.pop())
        return self.kv.reset()

    def stats(self) -> SchedulerStats:
        return SchedulerStats(
            num_running=len(self._running),
            num_waiting=len(self._waiting),
            kv_usage=self.kv.usage,
            step_tokens=self._step_tokens,
            prefix_queries=self._prefix_queries,
            prefix_hits=self._prefix_hits,
            num_preemptions=self._num_preemptions,
            num_steps=self._num_steps,
        )

    def check_integrity(self) -> None:
        """Assert that no block is lost or held twice, and that every request is in exactly one place. O(blocks)."""
        self.kv.check_integrity([*self._requests.values(), *self._open.leaving])
        states = [r.state for r in self._requests.values()]
        assert states.count(State.WAITING) == len(self._waiting)
        assert states.count(State.RUNNING) == len(self._running)
        assert all(not r.block_ids for r in self._requests.values() if r.state is State.WAITING)
        assert [r.rank for r in self._running] == sorted(r.rank for r in self._running)
        assert len(self._running) <= self._max_num_seqs


def _rank_of(request: Request) -> tuple[float, ...]:
    return request.rank

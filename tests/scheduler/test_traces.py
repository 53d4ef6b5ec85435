"""Random lives of an engine: 10,000 seeds, a virtual clock, and an executor that checks every plan."""

from __future__ import annotations

import random
from collections import Counter, deque
from concurrent.futures import Future
from dataclasses import dataclass, field

import pytest

from checking_executor import EOS, VOCAB, CheckingExecutor, uncontended
from penstock.kvcache.manager import KVCacheManager
from penstock.params import SamplingParams
from penstock.scheduler.plan import EngineOutput, FinishReason, StepPlan, StepResult
from penstock.scheduler.request import Request
from penstock.scheduler.scheduler import Scheduler

NUM_TRACES = 10_000
NUM_PARTS = 20
SEEN = ("stop", "length", "aborted", "error", "timeout", "preemptions", "hits")


@dataclass
class Life:
    """One request's script, and what came of it."""

    request: Request
    prompt: list[int]
    arrives: int
    aborts: int | None  # the time of the abort, in steps
    error_at: int | None
    output: list[int] = field(default_factory=list)
    logprobs: int = 0
    prompt_logprobs: list[float] = field(default_factory=list)
    ended: FinishReason | None = None
    stop_reason: int | str | None = None
    aborted: bool = False
    num_outputs: int = 0


class Trace:
    """A random pool, random limits and random requests, all from one seed.

    Args:
        max_in_flight: plans that may be open.
    """

    def __init__(self, seed: int, counts: Counter[str], max_in_flight: int = 1):
        self.rng = rng = random.Random(seed)
        self.counts = counts
        self.now = 0
        self.block_size = rng.choice((1, 2, 4))
        self.max_model_len = rng.randint(6, 20)
        full = -(-self.max_model_len // self.block_size)
        self.num_blocks = 1 + int(full * rng.choice((1.0, 1.2, 1.5, 2.0, 4.0)))
        chunked = rng.random() < 0.7
        max_step_tokens = rng.choice((1, 3, 7, 12, 30)) if chunked else self.max_model_len + rng.randint(0, 6)
        max_seqs = rng.choice((1, 2, 4, 8))
        burst = rng.choice((1, 1, 1, 3)) if max_in_flight == 1 else 1
        self.max_in_flight = max_in_flight
        self.open: deque[tuple[StepPlan, Future[StepResult]]] = deque()
        self.lives = self._lives()
        errors = {life.request.request_id: life.error_at for life in self.lives.values() if life.error_at is not None}
        self.executor = CheckingExecutor(
            self.num_blocks,
            self.block_size,
            max_step_tokens,
            max_seqs,
            burst,
            errors,
            max_in_flight,
            self.max_model_len,
        )
        self.kv = KVCacheManager(self.num_blocks, self.block_size, rng.random() < 0.85, "blake2b", b"secret")
        self.scheduler = Scheduler(
            self.kv,
            max_num_seqs=max_seqs,
            max_num_batched_tokens=max_step_tokens,
            max_model_len=self.max_model_len,
            enable_chunked_prefill=chunked,
            long_prefill_token_threshold=rng.choice((0, 1, 3)) if chunked else 0,
            policy=rng.choice(("fcfs", "priority")),
            max_in_flight=max_in_flight,
            clock=lambda: float(self.now),
        )

    def _lives(self) -> dict[str, Life]:
        rng = self.rng
        trunks = [[rng.randrange(VOCAB) for _ in range(self.max_model_len)] for _ in range(2)]
        lives = {}
        for i in range(rng.randint(1, 12)):
            shared = rng.choice(trunks)[: rng.randint(0, self.max_model_len - 2)]
            room = self.max_model_len - 1 - len(shared)
            prompt = shared + [rng.randrange(VOCAB) for _ in range(rng.randint(0 if shared else 1, room))]
            max_tokens = rng.choice((None, 1, 3, 6, 12))
            params = SamplingParams(
                max_tokens=max_tokens,
                min_tokens=rng.randint(0, min(3, max_tokens or 3)) if rng.random() < 0.3 else 0,
                ignore_eos=rng.random() < 0.5,
                stop_token_ids=[rng.randrange(VOCAB) for _ in range(rng.choice((0, 0, 1, 3)))],
                eos_token_ids=[EOS],
                logprobs=rng.choice((None, None, 1)),
                prompt_logprobs=1 if rng.random() < 0.1 else None,
                presence_penalty=rng.choice((0.0, 0.0, 0.0, 1.0)),
            )
            arrives = rng.randint(0, 12)
            request = Request(
                f"r{i}",
                prompt,
                params,
                float(arrives) + rng.random(),
                priority=rng.randint(0, 2),
                cache_salt=rng.choice((None, None, None, "a", "b")),
                deadline=arrives + rng.random() * 15 if rng.random() < 0.2 else None,
            )
            aborts = arrives + rng.randint(0, 12) if rng.random() < 0.2 else None
            error_at = rng.randint(0, 3) if rng.random() < 0.05 else None
            lives[request.request_id] = Life(request, prompt, arrives, aborts, error_at)
        return lives

    def run(self) -> None:
        while self.now <= 12 or self.scheduler.has_work():
            self.now += 1
            assert self.now < 2000, "it does not come to an end"
            for life in self.lives.values():
                if life.arrives == self.now - 1:
                    self.scheduler.add(life.request)
            self._abort_some(0.5)
            plan = self.scheduler.schedule()
            self._check_blocks()
            if plan.rows:
                self.open.append((plan, self.executor.execute(plan)))
                self.counts["overlaps"] += len(self.open) > 1
            else:
                assert plan == StepPlan(plan.step, [], [], [])
            self._abort_some(1.0)  # what is left of this step's, while steps run
            self._check_blocks()
            outputs: list[EngineOutput] = []
            if not self.open:
                outputs = self.scheduler.update(plan, StepResult(plan.step, []))
            elif len(self.open) == self.max_in_flight or not plan.rows:
                plan, result = self.open.popleft()
                outputs = self.scheduler.update(plan, result.result())
            self._check_blocks()
            for output in outputs:
                self._take(output)
        self._check_ends()

    def _check_blocks(self) -> None:
        self.scheduler.check_integrity()
        pool = self.kv._pool
        assert not any(pool.is_free(block_id) for block_id in self.executor.blocks_in_writing()), "freed too early"

    def _abort_some(self, share: float) -> None:
        for life in self.lives.values():
            due = life.aborts is not None and life.aborts == self.now - 1 and not life.aborted
            if due and self.rng.random() < share:
                life.aborted = True
                self.scheduler.abort([life.request.request_id, "unknown"])

    def _take(self, output: EngineOutput) -> None:
        life = self.lives[output.request_id]
        assert life.ended is None, "an output after the last one"
        assert not life.aborted, "an output after an abort"
        ran = output.request_id in self.executor.ever_known
        if life.num_outputs == 0 and ran:
            assert output.num_cached_tokens is not None
            assert output.num_cached_tokens < len(life.prompt)
            assert life.request.deadline is None or output.scheduled_time <= life.request.deadline
        else:
            assert output.num_cached_tokens is None
            assert output.scheduled_time is None
        assert output.new_token_ids or output.prompt_logprobs or output.finish_reason is not None
        life.num_outputs += 1
        life.output += output.new_token_ids
        life.logprobs += len(output.logprobs or ())
        life.prompt_logprobs += [p.logprobs[0] for p in output.prompt_logprobs or ()]
        if output.finish_reason is not None:
            life.ended, life.stop_reason = output.finish_reason, output.stop_reason

    def _check_ends(self) -> None:
        assert self.kv.idle
        for life in self.lives.values():
            params, request_id = life.request.params, life.request.request_id
            tokens, reason, stop_reason = uncontended(life.prompt, params, self.max_model_len, life.error_at)
            assert life.output == tokens[: len(life.output)]
            assert life.aborted or life.ended is not None, "a request without an end"
            if life.ended is FinishReason.TIMEOUT:
                assert request_id not in self.executor.ever_known, "it has run and then timed out"
                assert life.request.deadline < self.now
            elif life.ended is not None:
                assert (life.output, life.ended, life.stop_reason) == (tokens, reason, stop_reason)
                assert life.logprobs == (len(tokens) if params.logprobs is not None else 0)
                positions = range(1, len(life.prompt)) if params.prompt_logprobs is not None else ()
                if reason is not FinishReason.ERROR:
                    assert life.prompt_logprobs == [-float(p) for p in positions]
            self.counts["aborted" if life.ended is None else str(life.ended)] += 1
            wasted = self.executor.sampled.get(request_id, 0) - len(life.output)
            if self.max_in_flight > 1 and not life.aborted:
                assert wasted <= self.max_in_flight - 1
                self.counts["wasted"] += wasted
        stats = self.scheduler.stats()
        assert (stats.num_running, stats.num_waiting, stats.kv_usage) == (0, 0, 0.0)
        assert self.scheduler.reset_prefix_cache()
        self.counts["preemptions"] += stats.num_preemptions
        self.counts["hits"] += stats.prefix_hits > 0
        self.counts["steps"] += stats.num_steps


@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("part", range(NUM_PARTS))
def test_random_traces(part: int, overlapping: bool) -> None:
    counts: Counter[str] = Counter()
    per_part = NUM_TRACES // NUM_PARTS
    for seed in range(part * per_part, (part + 1) * per_part):
        try:
            Trace(seed, counts, (2, 2, 2, 3)[seed % 4] if overlapping else 1).run()
        except AssertionError as e:
            raise AssertionError(f"seed {seed}: {e}") from e
    for what in (*SEEN, *(("overlaps", "wasted") if overlapping else ())):
        assert counts[what] > per_part // 50, f"the traces hardly show {what}: {counts}"

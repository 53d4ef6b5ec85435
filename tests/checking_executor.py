"""An executor without a model that checks every plan it gets, and the reference for what it must lead to.

It keeps for each KV slot which prefix its content stands for, as real KV would: the fingerprint of all tokens
up to the slot's own. So it sees when a row attends to a slot that was never written, was written for another prefix, or
is overwritten while somebody else still needs it. All rows of a step write before any reads, as in a layer of a model.
The next token is a function of the fingerprint alone. A plan is open until its result is asked for: until then nobody
else may be given what it writes to, or run what depends on the answer that it continues.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from penstock.executor.base import Executor
from penstock.params import SamplingParams
from penstock.scheduler.plan import FinishReason, NewRow, Row, RowResult, StepPlan, StepResult, TokenLogprobs
from penstock.worker.capacity import KVCapacity

VOCAB = 29
EOS = 0


def fingerprint(parent: int, token_id: int) -> int:
    return hash((parent, token_id))


def next_token(state: int, num_output: int, params: SamplingParams) -> int:
    """The sampler: masks what may end the request before min_tokens."""
    token_id = (state >> 7) % VOCAB
    if num_output < params.min_tokens:
        while token_id in params.all_stop_token_ids:
            token_id = (token_id + 1) % VOCAB
    return token_id


def uncontended(
    prompt: list[int], params: SamplingParams, max_model_len: int, error_at: int | None = None
) -> tuple[list[int], FinishReason, int | None]:
    """What a request must give: its tokens, why it ends and its stop reason. Written without a scheduler.

    Args:
        error_at: number of output tokens at which the device fails for this row.
    """
    state, output = 0, []
    for token_id in prompt:
        state = fingerprint(state, token_id)
    while True:
        if error_at is not None and len(output) >= error_at:
            return output, FinishReason.ERROR, None
        token_id = next_token(state, len(output), params)
        output.append(token_id)
        state = fingerprint(state, token_id)
        if token_id == EOS and not params.ignore_eos and len(output) >= params.min_tokens:
            return output, FinishReason.STOP, None
        if token_id in (params.stop_token_ids or []) and len(output) >= params.min_tokens:
            return output, FinishReason.STOP, token_id
        if len(output) == params.max_tokens or len(prompt) + len(output) == max_model_len:
            return output, FinishReason.LENGTH, None


class OpenPlan(Future[StepResult]):
    """A step whose result nobody has asked for."""

    def __init__(self, executor: CheckingExecutor, plan: StepPlan, result: StepResult):
        super().__init__()
        self._executor = executor
        self.plan = plan
        self._result_when_asked = result

    def result(self, timeout: float | None = None) -> StepResult:
        assert self._executor.open.popleft() is self, "results are asked for in another order than that of the plans"
        return self._result_when_asked


def reads_answer(params: SamplingParams) -> bool:
    """Whether a worker needs the tokens of the answer on the host. Written without the scheduler."""
    penalties = params.repetition_penalty != 1 or params.presence_penalty != 0 or params.frequency_penalty != 0
    return penalties or bool(params.bad_words_token_ids) or params.structured_outputs is not None


class WorkerRow:
    """What a worker would keep for one request."""

    def __init__(self, new: NewRow):
        assert 0 < new.num_prompt_tokens <= len(new.token_ids)
        self.token_ids = new.token_ids
        self.num_prompt_tokens = new.num_prompt_tokens
        self.params = new.params
        self.block_ids: list[int] = []
        self.num_computed: int | None = None  # None until the first row
        self.prints: list[int] = []
        self.extend_prints()

    def extend_prints(self) -> None:
        state = self.prints[-1] if self.prints else 0
        for token_id in self.token_ids[len(self.prints) :]:
            state = fingerprint(state, token_id)
            self.prints.append(state)


class CheckingExecutor(Executor):
    """Runs plans against the model of KV content.

    Args:
        max_step_tokens, max_rows: limits that every plan must keep.
        burst: tokens per sampling row; more than one stands for speculation.
        errors: request id -> number of its output tokens at which its rows fail.
        max_in_flight: plans that may be open.
        max_len: no request may run that would get longer.
    """

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        max_step_tokens: int,
        max_rows: int,
        burst: int = 1,
        errors: dict[str, int] | None = None,
        max_in_flight: int = 1,
        max_len: int | None = None,
    ):
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.max_step_tokens = max_step_tokens
        self.max_rows = max_rows
        self.burst = burst
        self.errors = errors or {}
        self.most_open = max_in_flight
        self.max_len = max_len
        self.open: deque[OpenPlan] = deque()
        self.written: dict[int, set[int]] = {}  # step -> blocks that it writes to, while it is open
        self.sampled: dict[str, int] = {}  # request -> length of the answer with all that was ever sampled
        self.known: dict[str, WorkerRow] = {}
        self.ever_known: set[str] = set()
        self.last_step = 0
        self.num_tokens_run = 0
        self.content: list[list[int | None]] = [[None] * block_size for _ in range(num_blocks)]

    def initialize(self, on_progress: Callable[[str, float], None]) -> None:
        on_progress("nothing to load", 1.0)

    def kv_capacity(self) -> KVCapacity:
        return KVCapacity(self.num_blocks, "a fixed number of blocks")

    def allocate_kv(self, num_blocks: int) -> None:
        assert num_blocks == self.num_blocks

    def sleep(self, level: int, gone: list[str]) -> None:
        assert sorted(gone) == sorted(self.known)
        self.known.clear()
        self.content = [[None] * self.block_size for _ in range(self.num_blocks)]

    def wake_up(self, parts: frozenset[str]) -> None:
        pass

    def call(self, method: str, *args: Any) -> list[Any]:
        raise NotImplementedError(method)

    def shutdown(self) -> None:
        self.known.clear()

    def execute(self, plan: StepPlan) -> Future[StepResult]:
        assert len(self.open) < self.most_open, "more plans are open than may be"
        assert plan.step == self.last_step + 1
        self.last_step = plan.step
        self._take_in(plan)
        assert plan.rows, "an empty plan was executed"
        assert len({row.request_id for row in plan.rows}) == len(plan.rows) <= self.max_rows
        assert plan.num_tokens <= self.max_step_tokens
        self.num_tokens_run += plan.num_tokens
        settled = {
            (state.block_ids[i // self.block_size], i % self.block_size)
            for state in self.known.values()
            for i in range(state.num_computed or 0)
        }
        for row in plan.rows:
            self._check(row)
        for row in plan.rows:
            self._write(row, settled)
        for row in plan.rows:
            self._read(row)
        future = OpenPlan(self, plan, StepResult(plan.step, [self._result(row) for row in plan.rows]))
        self.open.append(future)
        return future

    def blocks_in_writing(self) -> set[int]:
        """What open plans write to."""
        return {block_id for open_plan in self.open for block_id in self.written[open_plan.plan.step]}

    def _take_in(self, plan: StepPlan) -> None:
        for request_id in plan.gone:
            del self.known[request_id]  # a KeyError if it is not known
        for new in plan.new:
            assert new.request_id not in self.known
            self.known[new.request_id] = WorkerRow(new)
            self.ever_known.add(new.request_id)
        assert {new.request_id for new in plan.new} <= {row.request_id for row in plan.rows}
        handed_out = {block_id for row in plan.rows for block_id in row.new_block_ids}
        firsts = {new.request_id for new in plan.new}
        begun = [
            (row.new_block_ids, row.num_computed // self.block_size) for row in plan.rows if row.request_id in firsts
        ]
        shared = {block_id for block_ids, computed in begun for block_id in block_ids[:computed]}
        assert not (handed_out - shared) & self.blocks_in_writing(), "a block is handed out that a step writes to"
        self.written[plan.step] = set()

    def _check(self, row: Row) -> None:
        """Tokens follow on from the last step's, and there are blocks for them."""
        state = self.known[row.request_id]
        end = row.num_computed + row.num_tokens
        assert row.num_tokens > 0
        assert end <= len(state.token_ids), "a token runs that nobody has sampled yet"
        assert row.samples == (end == len(state.token_ids))
        if row.samples:
            self._check_sampling(row, state)
        if state.num_computed is None:
            assert row.num_computed % self.block_size == 0, "only full blocks are shared"
            assert row.num_computed == 0 or state.params.prompt_logprobs is None
        else:
            assert row.num_computed == state.num_computed
        state.block_ids += row.new_block_ids
        assert all(0 < block_id < self.num_blocks for block_id in row.new_block_ids)
        assert len(set(state.block_ids)) == len(state.block_ids)
        assert len(state.block_ids) * self.block_size >= end

    def _check_sampling(self, row: Row, state: WorkerRow) -> None:
        """It may become longer, and what its next token depends on is known."""
        most = state.num_prompt_tokens + (state.params.max_tokens or len(state.token_ids) + 1)
        assert len(state.token_ids) < min(most, self.max_len or most), "a step beyond the longest answer"
        if reads_answer(state.params):
            sampling = {r.request_id for open_plan in self.open for r in open_plan.plan.rows if r.samples}
            assert row.request_id not in sampling, "it samples before the answer so far is known"

    def _write(self, row: Row, settled: set[tuple[int, int]]) -> None:
        """
        Args:
            settled: slots that somebody relies on, or that have been written in this step.
        """
        state = self.known[row.request_id]
        end = row.num_computed + row.num_tokens
        for position in range(row.num_computed, end):
            slot = (state.block_ids[position // self.block_size], position % self.block_size)
            assert slot not in settled, f"{row.request_id} writes where others read, or a second time"
            settled.add(slot)
            self.written[self.last_step].add(slot[0])
            self.content[slot[0]][slot[1]] = state.prints[position]
        state.num_computed = end

    def _read(self, row: Row) -> None:
        """All slots up to the row's last hold its own prefix."""
        state = self.known[row.request_id]
        end = row.num_computed + row.num_tokens
        for i in range(0, end, self.block_size):
            wanted = state.prints[i : min(i + self.block_size, end)]
            held = self.content[state.block_ids[i // self.block_size]][: len(wanted)]
            assert held == wanted, f"{row.request_id} attends to the KV of another prefix"

    def _result(self, row: Row) -> RowResult:
        state = self.known[row.request_id]
        num_output = len(state.token_ids) - state.num_prompt_tokens
        if row.samples and num_output >= self.errors.get(row.request_id, num_output + 1):
            state.token_ids.append(0)  # what was planned before this is known runs some token
            state.extend_prints()
            return RowResult(row.request_id, [], error="the device failed")
        sampled: list[int] = []
        for _ in range(self.burst if row.samples else 0):
            if row.request_id in self.errors and num_output == self.errors[row.request_id]:
                break
            sampled.append(next_token(state.prints[-1], num_output, state.params))
            state.token_ids.append(sampled[-1])
            state.extend_prints()
            num_output += 1
        if row.samples:
            self.sampled[row.request_id] = num_output
        result = RowResult(row.request_id, sampled)
        if state.params.logprobs is not None:
            result.logprobs = [TokenLogprobs([t], [-0.5], 1) for t in sampled]
        if state.params.prompt_logprobs is not None:
            first, end = row.num_computed + 1, row.num_computed + row.num_tokens
            last = min(end, state.num_prompt_tokens - 1)
            result.prompt_logprobs = [
                TokenLogprobs([state.token_ids[p]], [-float(p)], 1) for p in range(first, last + 1)
            ]
        return result

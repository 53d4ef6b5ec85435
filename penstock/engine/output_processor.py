"""OutputProcessor: the core's outputs find their open requests, and their callers are told.

It owns the open requests. Stop strings are found here (in their detokenizers); the core learns of them by an abort.
Feeds the statistics. Does no I/O; `async_engine` and `sync_engine` send what it returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from penstock.engine.request_state import FINAL_ONLY, Answer, OpenRequest
from penstock.errors import ClientError, DeadlineError, EngineError, PenstockError
from penstock.observability.logging import get_logger
from penstock.observability.stats import RequestStats, StatsRecorder
from penstock.params import NO_TOKEN_ALLOWED
from penstock.scheduler.plan import EngineOutput, FinishReason, SchedulerStats

logger = get_logger(__name__)

FAILED = "The engine failed while it worked on this request."


class OutputProcessor:
    """All open requests of one engine.

    Args:
        stats: None counts nothing.
    """

    def __init__(self, stats: StatsRecorder | None = None):
        self._answers: dict[str, Answer] = {}
        self._by_request_id: dict[str, list[OpenRequest]] = {}
        self._stats = stats
        self._changed: dict[OpenRequest, None] = {}  # whose callers have not been told yet
        self.num_prefill_tokens = 0  # of prompts whose first output has not come

    @property
    def num_unfinished(self) -> int:
        """Open answers."""
        return len(self._answers)

    def add(self, request: OpenRequest) -> None:
        """Open a request."""
        self._by_request_id.setdefault(request.request_id, []).append(request)
        for answer in request.answers:
            self._answers[answer.core_id] = answer
            self.num_prefill_tokens += len(request.prompt_token_ids)
        if self._stats is not None:
            self._stats.queued(len(request.answers))

    def process(self, outputs: Sequence[EngineOutput], now: float) -> list[str]:
        """Take the outputs of a step. Call `tell` then.

        Args:
            now: monotonic seconds.

        Returns:
            Core ids that the core must abort: answers that a stop string ended, or whose request failed.
        """
        aborts: list[str] = []
        answers = self._answers
        for output in outputs:
            answer = answers.get(output.request_id)
            if answer is None:
                continue  # aborted here while the core still worked on it
            try:
                self._process_one(answer, output, now, aborts)
            except Exception:  # boundary: what breaks on one request's output ends that request alone
                logger.exception("Request %s failed while its output was handled", answer.request.request_id)
                aborts += self.abort(answer.request, now, EngineError(FAILED))
        return aborts

    def tell(self) -> None:
        """Call `on_output` of the requests that `process` found something new for, once each."""
        changed, self._changed = self._changed, {}
        for request in changed:
            if request.on_output is not None:
                request.on_output()

    def _process_one(self, answer: Answer, output: EngineOutput, now: float, aborts: list[str]) -> None:
        request = answer.request
        if answer.last_time == 0.0 or output.prompt_logprobs:
            self._first(answer, output, now)
        elif self._stats is not None and output.new_token_ids:
            count = len(output.new_token_ids)
            self._stats.inter_token((now - answer.last_time) / count, count)
            self._stats.generated(count)
        if output.new_token_ids or output.pooled is not None:
            answer.last_time = now
        if answer.update(output):
            aborts.append(answer.core_id)
        if answer.finish_reason is not None:
            self._ended(answer, output, now, aborts)
        elif request.kind is FINAL_ONLY or not (output.new_token_ids and answer.dirty):
            return
        self._changed[request] = None

    def step_stats(self, stats: SchedulerStats) -> None:
        """Take the core's snapshot after a step."""
        if self._stats is not None:
            self._stats.step(
                stats.num_running,
                stats.num_waiting,
                stats.kv_usage,
                stats.step_tokens,
                stats.prefix_queries,
                stats.prefix_hits,
                stats.num_preemptions,
                stats.num_steps,
            )

    def abort(self, request: OpenRequest, now: float, error: PenstockError | None = None) -> list[str]:
        """End an open request; its caller gets the error, or else what there is. Returns the core ids to abort."""
        open_answers = [a for a in request.answers if a.core_id in self._answers]
        if not open_answers:
            return []
        if error is not None and request.error is None:
            request.error = error
        for answer in open_answers:
            answer.abort(with_text=error is None)
            self._forget(answer)
        self._close(request, now)
        if request.on_output is not None:
            request.on_output()
        return [a.core_id for a in open_answers]

    def abort_ids(self, request_ids: Iterable[str], now: float) -> list[str]:
        """End requests by their callers' ids; unknown ones are ignored. Returns the core ids to abort."""
        aborts: list[str] = []
        for request_id in request_ids:
            for request in list(self._by_request_id.get(request_id, ())):
                aborts += self.abort(request, now)
        return aborts

    def fail_all(self, error: PenstockError, now: float) -> None:
        """End every open request with an error: the core is gone, and nothing runs or waits in it any more."""
        if (stats := self._stats) is not None:
            stats.step(0, 0, 0.0, 0, stats.prefix_queries, stats.prefix_hits, stats.preemptions, 0)
        for requests in list(self._by_request_id.values()):
            for request in list(requests):
                self.abort(request, now, error)

    def _first(self, answer: Answer, output: EngineOutput, now: float) -> None:
        """What only a request's first outputs bring."""
        request, metrics = answer.request, answer.request.metrics
        if answer.index == 0:
            request.add_prompt_logprobs(output)
        if metrics.scheduled_time is None:
            metrics.scheduled_time = output.scheduled_time
        if request.num_cached_tokens is None:
            request.num_cached_tokens = output.num_cached_tokens
        if answer.last_time or not (output.new_token_ids or output.pooled is not None):
            return
        self.num_prefill_tokens -= len(request.prompt_token_ids)
        if metrics.first_token_time is None:
            metrics.first_token_time = now
        if self._stats is not None:
            self._stats.prompt(len(request.prompt_token_ids), output.num_cached_tokens or 0)
            if output.new_token_ids:
                self._stats.first_token(now - metrics.arrival_time)
                self._stats.generated(len(output.new_token_ids))

    def _ended(self, answer: Answer, output: EngineOutput, now: float, aborts: list[str]) -> None:
        request = answer.request
        self._forget(answer)
        request.num_preemptions += output.num_preemptions
        reason = output.finish_reason
        if reason is FinishReason.TIMEOUT:
            request.error = DeadlineError("The request's deadline passed before it was answered.")
        elif reason is FinishReason.ERROR and output.error == NO_TOKEN_ALLOWED:
            param = "structured_outputs" if answer.is_constrained else "allowed_token_ids"
            request.error = ClientError(f"The answer could not go on: {output.error}.", param)
        elif reason is FinishReason.REFUSED:
            request.error = ClientError(f"{output.error}.", "structured_outputs")
        elif reason is FinishReason.ERROR:
            logger.error("Request %s failed in the engine: %s", request.request_id, output.error)
            request.error = EngineError(FAILED)
        if request.error is not None:
            for other in request.answers:
                if other.core_id in self._answers:
                    self._forget(other)
                    aborts.append(other.core_id)
        if request.finished:
            self._close(request, now)

    def _forget(self, answer: Answer) -> None:
        del self._answers[answer.core_id]
        if not answer.last_time:
            self.num_prefill_tokens -= len(answer.request.prompt_token_ids)

    def _close(self, request: OpenRequest, now: float) -> None:
        same_id = self._by_request_id[request.request_id]
        same_id.remove(request)
        if not same_id:
            del self._by_request_id[request.request_id]
        metrics = request.metrics
        metrics.finished_time = now
        metrics.last_token_time = max(a.last_time for a in request.answers) or None
        if self._stats is not None:
            self._stats.finished(_stats_of(request, now))


def _stats_of(request: OpenRequest, now: float) -> RequestStats:
    m = request.metrics
    first, last = m.first_token_time, m.last_token_time
    reason = "error" if request.error is not None else request.answers[0].finish_reason
    return RequestStats(
        prompt_tokens=len(request.prompt_token_ids),
        generation_tokens=sum(a.num_tokens for a in request.answers),
        finish_reason=reason or "error",
        cached_tokens=request.num_cached_tokens or 0,
        max_tokens=request.max_tokens,
        n=request.num_returned,
        num_preemptions=request.num_preemptions,
        e2e_s=now - m.arrival_time,
        queue_s=None if m.scheduled_time is None else m.scheduled_time - m.arrival_time,
        prefill_s=None if first is None or m.scheduled_time is None else first - m.scheduled_time,
        decode_s=None if first is None or last is None else last - first,
        longest_answer=max(a.num_tokens for a in request.answers),
    )

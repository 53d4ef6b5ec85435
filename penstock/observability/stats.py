"""What the server counts: plain counters, gauges and histograms, cheap enough for every token.

The engine front feeds a `StatsRecorder`; `prometheus.py` renders it when it is scraped, `periodic.py` reads it for
the periodic line. Knows no HTTP, no Prometheus and no engine; used from one thread (the event loop).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

TTFT_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
TOKEN_TIME_BUCKETS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
REQUEST_TIME_BUCKETS = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0),
    *(960.0, 1920.0, 7680.0),
)
STEP_TOKEN_BUCKETS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
N_BUCKETS = (1, 2, 5, 10, 20)
PREEMPTION_BUCKETS = (1, 2, 3, 4, 5, 10, 20)
FINISH_REASONS = ("stop", "length", "abort", "error", "repetition")
REJECTION_REASONS = ("max_num_queued_reqs", "max_num_queued_tokens")


def one_two_five(limit: int) -> tuple[int, ...]:
    """1, 2, 5, 10, 20, 50, ... up to `limit`."""
    steps = [m * 10**e for e in range(len(str(max(limit, 1)))) for m in (1, 2, 5)]
    return tuple(b for b in steps if b <= limit) or (1,)


class Histogram:
    """Counts of observed values by bucket, with their sum.

    Args:
        bounds: upper bounds of the buckets, ascending; a last one to infinity is added.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]):
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, n: int = 1) -> None:
        """Count `value` as seen `n` times."""
        self.counts[bisect_left(self.bounds, value)] += n
        self.total += value * n

    @property
    def count(self) -> int:
        return sum(self.counts)


class NoHistogram(Histogram):
    """Counts nothing: for --disable-log-stats."""

    __slots__ = ()

    def observe(self, value: float, n: int = 1) -> None:
        pass


@dataclass(slots=True)
class RequestStats:
    """One finished request. Times are in seconds; None where the request never got that far.

    Attributes:
        finish_reason: one of FINISH_REASONS; anything else (a timeout) counts as "error".
        max_tokens: the limit that applied, None if the context was the only one.
        n: answers asked for.
        longest_answer: most tokens of one answer; None if there is only one.
        e2e_s: from arrival to the end. queue_s: from arrival to the first step that ran it. prefill_s: from then to
            the first token. decode_s: from the first to the last token.
    """

    prompt_tokens: int
    generation_tokens: int
    finish_reason: str
    cached_tokens: int = 0
    max_tokens: int | None = None
    n: int = 1
    num_preemptions: int = 0
    e2e_s: float | None = None
    queue_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    longest_answer: int | None = None


class StatsRecorder:
    """Everything measured about one engine.

    Args:
        max_model_len: bounds the buckets that count tokens.
        histograms: keep them; gauges and counters are kept in any case.
    """

    def __init__(self, max_model_len: int = 1 << 17, histograms: bool = True) -> None:
        histogram = self._histogram = Histogram if histograms else NoHistogram
        self.running = 0
        self.waiting = 0
        self.kv_usage = 0.0
        self.num_steps = 0
        # Since the engine started; the engine counts these itself, so they are set, not added.
        self.prefix_queries = 0
        self.prefix_hits = 0
        self.preemptions = 0
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.cached_prompt_tokens = 0
        self.requests_finished = dict.fromkeys(FINISH_REASONS, 0)
        self.rejections = dict.fromkeys(REJECTION_REASONS, 0)
        self.step_tokens = histogram(STEP_TOKEN_BUCKETS)
        self.ttft = histogram(TTFT_BUCKETS)
        self.inter_token_latency = histogram(TOKEN_TIME_BUCKETS)
        self.time_per_output_token = histogram(TOKEN_TIME_BUCKETS)
        self.e2e = histogram(REQUEST_TIME_BUCKETS)
        self.queue_time = histogram(REQUEST_TIME_BUCKETS)
        self.inference_time = histogram(REQUEST_TIME_BUCKETS)
        self.prefill_time = histogram(REQUEST_TIME_BUCKETS)
        self.decode_time = histogram(REQUEST_TIME_BUCKETS)
        self.request_n = histogram(N_BUCKETS)
        self.request_preemptions = histogram(PREEMPTION_BUCKETS)
        self.set_limit(max_model_len)

    def set_limit(self, max_model_len: int) -> None:
        """Start the histograms of token counts anew, for a context of so many tokens."""
        histogram, tokens = self._histogram, one_two_five(max_model_len)
        self.request_prompt_tokens = histogram(tokens)
        self.request_generation_tokens = histogram(tokens)
        self.request_longest_answer = histogram(tokens)
        self.request_max_tokens = histogram(tokens)
        self.request_computed_tokens = histogram(tokens)

    def step(
        self,
        running: int,
        waiting: int,
        kv_usage: float,
        step_tokens: int,
        prefix_queries: int,
        prefix_hits: int,
        preemptions: int,
        num_steps: int,
    ) -> None:
        """A snapshot of the engine. The last four are totals since it started (as in `SchedulerStats`); a snapshot
        that comes without a new step repeats the last one's tokens."""
        self.running = running
        self.waiting = waiting
        self.kv_usage = kv_usage
        self.prefix_queries = prefix_queries
        self.prefix_hits = prefix_hits
        self.preemptions = preemptions
        if step_tokens and num_steps != self.num_steps:
            self.step_tokens.observe(step_tokens)
        self.num_steps = num_steps

    def queued(self, answers: int) -> None:
        """A request for so many answers is on its way to the engine, whose next snapshot counts it."""
        self.waiting += answers

    def prompt(self, tokens: int, cached: int) -> None:
        """A prompt has been computed, `cached` tokens of it taken from the prefix cache."""
        self.prompt_tokens += tokens
        self.cached_prompt_tokens += cached

    def generated(self, tokens: int) -> None:
        """New tokens for some request."""
        self.generation_tokens += tokens

    def first_token(self, seconds: float) -> None:
        """A request got its first token, so long after it arrived."""
        self.ttft.observe(seconds)

    def inter_token(self, seconds: float, n: int = 1) -> None:
        """`n` tokens followed an earlier one of the same request, `seconds` apart."""
        self.inter_token_latency.observe(seconds, n)

    def finished(self, r: RequestStats) -> None:
        """A request ended, for whatever reason."""
        reason = r.finish_reason if r.finish_reason in self.requests_finished else "error"
        self.requests_finished[reason] += 1
        self.request_prompt_tokens.observe(r.prompt_tokens)
        self.request_computed_tokens.observe(r.prompt_tokens - r.cached_tokens)
        longest = r.generation_tokens if r.longest_answer is None else r.longest_answer
        self.request_generation_tokens.observe(r.generation_tokens)
        self.request_longest_answer.observe(longest)
        self.request_n.observe(r.n)
        self.request_preemptions.observe(r.num_preemptions)
        if r.max_tokens is not None:
            self.request_max_tokens.observe(r.max_tokens)
        if r.e2e_s is not None:
            self.e2e.observe(r.e2e_s)
        if r.queue_s is not None:
            self.queue_time.observe(r.queue_s)
        if r.prefill_s is not None:
            self.prefill_time.observe(r.prefill_s)
            self.inference_time.observe(r.prefill_s + (r.decode_s or 0.0))
        if r.decode_s is not None:
            self.decode_time.observe(r.decode_s)
            if longest > 1:
                self.time_per_output_token.observe(r.decode_s / (longest - 1))

    def rejected(self, reason: str) -> None:
        """A request was turned away because the queue was full; `reason` is one of REJECTION_REASONS."""
        self.rejections[reason] += 1

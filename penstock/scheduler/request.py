"""Request: what the scheduler knows about one request, from admission to its last token. Integers and strings only."""

from __future__ import annotations

import enum

from penstock.kvcache.spec import KVSequence
from penstock.params import PoolingParams, SamplingParams
from penstock.scheduler.plan import FinishReason, NewRow
from penstock.scheduler.repetition import repeats_itself


class State(enum.Enum):
    WAITING = 0  # in the queue; holds no blocks
    RUNNING = 1  # holds blocks for all its tokens, or is about to get one more in this step
    ENDED = 2


class Request(KVSequence):
    """One request.

    Attributes:
        token_ids: the prompt and all that has been generated; generated tokens survive a preemption.
        num_computed: tokens whose KV will be in the cache once every step planned so far has run.
        num_coming: tokens that open steps sample: they follow `token_ids` and may run before they are known.
        needs_results: its next token cannot be sampled, or there is none, before the ones before it are known here.
        last_step: the last one that it has a row in.
        room: tokens for which the worker has been told blocks; 0 if the worker does not know the request.
        repetition: what counts as an answer that repeats itself; None for nothing.
        rank: place in the order of the policy, lower first; unique.
        max_total: length at which it ends, prompt and answer together.
        scheduled_time: when it was first admitted to run.
        num_cached_tokens: prompt tokens found in the prefix cache when it was first admitted.
        has_output: the front has had an output of it.
        pooling: how it is pooled; None if it generates.
        prompt_logprobs_sent: prompt positions from 1 on that the front has had; a replay computes them again.
    """

    __slots__ = (
        "arrival_time",
        "deadline",
        "end_token_ids",
        "eos_token_ids",
        "has_output",
        "last_step",
        "max_total",
        "min_total",
        "needs_results",
        "num_cached_tokens",
        "num_coming",
        "num_computed",
        "num_preemptions",
        "num_prompt_tokens",
        "params",
        "pooling",
        "priority",
        "prompt_logprobs_sent",
        "rank",
        "repetition",
        "request_id",
        "room",
        "scheduled_time",
        "state",
    )

    def __init__(
        self,
        request_id: str,
        prompt_token_ids: list[int],
        params: SamplingParams,
        arrival_time: float,
        *,
        priority: int = 0,
        cache_salt: str | None = None,
        deadline: float | None = None,
        pooling: PoolingParams | None = None,
    ):
        reads_cache = params.prompt_logprobs is None and not (pooling and pooling.skip_reading_prefix_cache)
        super().__init__(list(prompt_token_ids), cache_salt, reads_cache)
        self.request_id = request_id
        self.params = params
        self.pooling = pooling
        self.arrival_time = arrival_time
        self.priority = priority
        self.deadline = deadline
        self.num_prompt_tokens = len(prompt_token_ids)
        self.min_total = self.num_prompt_tokens + params.min_tokens
        self.max_total = 0  # set on admission, with the context length
        self.eos_token_ids = frozenset(() if params.ignore_eos else params.eos_token_ids)
        self.end_token_ids = self.eos_token_ids | frozenset(params.stop_token_ids or ())
        wanted = params.repetition_detection
        self.repetition = wanted if wanted is not None and wanted.max_pattern_size else None
        self.rank: tuple[float, ...] = ()  # set on admission, by the policy
        self.state = State.WAITING
        self.num_computed = self.num_coming = self.last_step = 0
        self.needs_results = pooling is not None or _depends_on_answer(params)
        self.num_preemptions = 0
        self.room = 0
        self.scheduled_time: float | None = None
        self.num_cached_tokens = 0
        self.has_output = False
        self.prompt_logprobs_sent = 0

    def new_row(self) -> NewRow:
        """What a worker that has no state for it is told."""
        return NewRow(self.request_id, list(self.token_ids), self.num_prompt_tokens, self.params, self.pooling)

    def append(self, token_ids: list[int]) -> tuple[int, FinishReason | None, int | None]:
        """Append sampled tokens up to the one that ends the request.

        Returns:
            how many were appended, why the request ends if it does, and which of the caller's stop tokens did it.
        """
        known = self.token_ids
        for count, token_id in enumerate(token_ids, 1):
            known.append(token_id)
            total = len(known)
            if token_id in self.end_token_ids and total >= self.min_total:
                is_eos = token_id in self.eos_token_ids
                return count, FinishReason.STOP, None if is_eos else token_id
            if total >= self.max_total:
                return count, FinishReason.LENGTH, None
            wanted = self.repetition
            if wanted and total >= self.min_total and repeats_itself(known, self.num_prompt_tokens, wanted):
                return count, FinishReason.REPETITION, None
        return len(token_ids), None, None


def _depends_on_answer(params: SamplingParams) -> bool:
    """Whether what may come next depends on the answer so far otherwise than through the model: workers look it up
    where they keep tokens, in host memory."""
    return (
        params.structured_outputs is not None
        or params.thinking is not None
        or bool(params.bad_words_token_ids)
        or (params.repetition_penalty, params.frequency_penalty, params.presence_penalty) != (1.0, 0.0, 0.0)
    )

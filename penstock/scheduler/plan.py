"""Where the control plane meets the device plane: a StepPlan goes down, a StepResult comes up.

A step is data. There is no prefill and no decode: a plan says for each request how many of its tokens run now.
Everything here may cross a process, so it is plain and knows neither tensors nor HTTP.

    request's tokens    [ cached or computed | runs in this step | later ]
                        0     num_computed   ^                   ^ num_computed + num_tokens
"""

from __future__ import annotations

import enum

import msgspec

from penstock.outputs import Floats
from penstock.params import PoolingParams, SamplingParams


class FinishReason(enum.IntEnum):
    """Why a request ended; `str()` gives the API's word."""

    STOP = 0
    LENGTH = 1
    ABORT = 2
    ERROR = 3
    TIMEOUT = 4  # its deadline passed while it waited; the front answers 408
    REPETITION = 5
    REFUSED = 6  # its constraint does not compile for the model's vocabulary; the front answers 400

    def __str__(self) -> str:
        return self.name.lower()


class Pause(enum.IntEnum):
    """What a scheduler holds back. Requests are admitted all the same, and wait."""

    NOTHING = 0
    NEW = 1  # what runs goes on, nothing joins it
    ALL = 2


class NewRow(msgspec.Struct, array_like=True, gc=False):
    """A request for which the worker has no state: new, or back after a preemption.

    Attributes:
        token_ids: the prompt and, after a preemption, what had been generated.
        num_prompt_tokens: how many of them are the prompt.
        pooling: how to pool it, for a request that pools and samples nothing.
    """

    request_id: str
    token_ids: list[int]
    num_prompt_tokens: int
    params: SamplingParams
    pooling: PoolingParams | None = None


class Row(msgspec.Struct, array_like=True, gc=False):
    """One request's share of a step.

    Attributes:
        num_computed: tokens whose KV is already in the cache: the position of the first token that runs.
        num_tokens: how many run now.
        new_block_ids: blocks to append to the request's block table before the step.
        samples: whether the last token that runs is the last one known, so that a next one is sampled, or the whole
            text is pooled.
    """

    request_id: str
    num_computed: int
    num_tokens: int
    new_block_ids: list[int]
    samples: bool


class StepPlan(msgspec.Struct, array_like=True, gc=False):
    """What one step runs.

    Attributes:
        gone: requests that finished, were aborted or were preempted since the last plan; drop their state first.
        new: rows without state; each also stands in `rows`.
        rows: the batch, in order.
    """

    step: int
    gone: list[str]
    new: list[NewRow]
    rows: list[Row]

    @property
    def num_tokens(self) -> int:
        return sum(r.num_tokens for r in self.rows)


class TokenLogprobs(msgspec.Struct, array_like=True, gc=False):
    """Log probabilities at one position.

    Attributes:
        token_ids: the sampled (or, for a prompt, the actual) token, then the most likely ones in order. The sampled
            one appears again among those if it is one of them.
        logprobs: one per token id; the same token has the same bits in both places.
        rank: of the first token; 1 is the most likely.
        ranks: of those after it, if they are not the most likely ones but tokens that the request named.
    """

    token_ids: list[int]
    logprobs: list[float]
    rank: int
    ranks: list[int] | None = None


class RowResult(msgspec.Struct, array_like=True, gc=False):
    """What one row of a step gave.

    Attributes:
        token_ids: sampled tokens: one for a row that samples (more with speculation), none for another.
        logprobs: one per sampled token, if asked for.
        prompt_logprobs: for the prompt tokens num_computed+1 .. num_computed+num_tokens, as far as they are prompt
            tokens; only if asked for. The prompt's first token has none.
        error: set if this row alone failed; the request ends, others go on.
        complete: the answer's constraint allows nothing after these tokens, so the request ends.
        pooled: what a request pooled whose last token ran.
    """

    request_id: str
    token_ids: list[int]
    logprobs: list[TokenLogprobs] | None = None
    prompt_logprobs: list[TokenLogprobs] | None = None
    error: str | None = None
    complete: bool = False
    pooled: Floats | None = None


class StepResult(msgspec.Struct, array_like=True, gc=False):
    """Results of the plan with the same step number, in the order of its rows.

    Attributes:
        computed: false if memory did not suffice for it: the keys and values of its tokens are not there.
    """

    step: int
    rows: list[RowResult]
    computed: bool = True


class EngineOutput(msgspec.Struct, array_like=True, gc=False):
    """What the engine tells the front about one request after a step.

    Attributes:
        finish_reason: set on the last output of a request; every admitted request gets exactly one.
        stop_reason: the stop token id that ended it; None for end of sequence or length.
        num_cached_tokens: prompt tokens taken from the prefix cache; on the first output only, else None.
        scheduled_time: when the request first ran, monotonic seconds; on the first output only.
        error: text for the log when finish_reason is ERROR, and for the client when it is REFUSED.
        num_preemptions: how often it had to start again; on the last output only.
        pooled: what the request pooled; on the last output of one that pools.
    """

    request_id: str
    new_token_ids: list[int]
    finish_reason: FinishReason | None = None
    stop_reason: int | str | None = None
    logprobs: list[TokenLogprobs] | None = None
    prompt_logprobs: list[TokenLogprobs] | None = None
    num_cached_tokens: int | None = None
    scheduled_time: float | None = None
    error: str | None = None
    num_preemptions: int = 0
    pooled: Floats | None = None


class SchedulerStats(msgspec.Struct, array_like=True, gc=False):
    """A snapshot after a step, for metrics and the log. The last four count since the engine started."""

    num_running: int
    num_waiting: int
    kv_usage: float  # share of KV blocks in use, 0..1
    step_tokens: int
    prefix_queries: int  # prompt tokens looked up in the prefix cache
    prefix_hits: int  # and found
    num_preemptions: int
    num_steps: int

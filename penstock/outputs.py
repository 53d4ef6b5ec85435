"""What a caller gets back: plain values with vLLM's names. Built by `engine/output_processor.py`."""

from __future__ import annotations

import sys
from array import array
from typing import Any

import msgspec


class Logprob(msgspec.Struct):
    """Log probability of one token at one position.

    Attributes:
        logprob: natural logarithm of the probability before any sampling parameter is applied.
        rank: 1 for the most likely token of the vocabulary, 2 for the next.
        decoded_token: the token's text.
    """

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


PositionLogprobs = dict[int, Logprob]  # token id -> Logprob; the sampled (or prompt) token is always in it, and first


class CompletionOutput(msgspec.Struct):
    """One of a request's answers.

    Attributes:
        index: 0..n-1.
        text, token_ids: the answer, or what is new in it, as the request's output kind says.
        cumulative_logprob: sum over the sampled tokens, when logprobs were asked for.
        logprobs: one dict per token of `token_ids`.
        finish_reason: "stop", "length", "abort", "repetition", or None while it runs.
        stop_reason: the stop string or stop token id that ended it; None for end of sequence or length.
    """

    index: int
    text: str
    token_ids: list[int]
    cumulative_logprob: float | None = None
    logprobs: list[PositionLogprobs] | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None

    def finished(self) -> bool:
        return self.finish_reason is not None


class RequestMetrics(msgspec.Struct):
    """When things happened to a request; seconds of the monotonic clock, None if they have not."""

    arrival_time: float
    scheduled_time: float | None = None
    first_token_time: float | None = None
    last_token_time: float | None = None
    finished_time: float | None = None


class RequestOutput(msgspec.Struct):
    """A request and its answers so far (or what is new in them).

    Attributes:
        prompt: text of the prompt, None if it came as token ids.
        prompt_logprobs: one entry per prompt token, the first None.
        num_cached_tokens: prompt tokens that the prefix cache supplied.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool
    prompt_logprobs: list[PositionLogprobs | None] | None = None
    num_cached_tokens: int | None = None
    metrics: RequestMetrics | None = None


class BeamSearchSequence(msgspec.Struct):
    """One answer of a beam search.

    Attributes:
        tokens: those of the prompt, then those generated, an end token included.
        logprobs: one dict per generated token.
        cum_logprob: sum of the log probabilities of the generated tokens.
        text: of `tokens`.
        finish_reason: "stop" or "length".
    """

    tokens: list[int]
    logprobs: list[PositionLogprobs]
    cum_logprob: float = 0.0
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


class BeamSearchOutput(msgspec.Struct):
    """What a beam search found for one prompt, the best first."""

    sequences: list[BeamSearchSequence]


class Floats(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """An array of float32 that crosses processes.

    Attributes:
        shape: one size, or two: rows and columns.
        raw: the numbers, row after row, little-endian.
    """

    shape: list[int]
    raw: bytes

    def tolist(self) -> list[Any]:
        """The numbers, as a list or a list of rows."""
        numbers = array("f", self.raw)
        if sys.byteorder == "big":
            numbers.byteswap()
        if len(self.shape) == 1:
            return numbers.tolist()
        rows, columns = self.shape
        return [numbers[i * columns : (i + 1) * columns].tolist() for i in range(rows)]


class PoolingOutput(msgspec.Struct):
    """What a model pooled of one request.

    Attributes:
        data: `Floats`; from `LLM.encode` a torch tensor. A vector, or one vector per token.
    """

    data: Any


class EmbeddingOutput(msgspec.Struct):
    """A vector for a text."""

    embedding: list[float]

    @property
    def hidden_size(self) -> int:
        return len(self.embedding)


class ClassificationOutput(msgspec.Struct):
    """A score for every label, in the model's order."""

    probs: list[float]

    @property
    def num_classes(self) -> int:
        return len(self.probs)


class ScoringOutput(msgspec.Struct):
    """How well two texts fit together."""

    score: float


class PoolingRequestOutput(msgspec.Struct):
    """A pooling request and its result."""

    request_id: str
    prompt_token_ids: list[int]
    outputs: Any  # PoolingOutput, EmbeddingOutput, ClassificationOutput or ScoringOutput
    finished: bool = True
    num_cached_tokens: int | None = None


class EmbeddingRequestOutput(PoolingRequestOutput):
    """Its `outputs` is an EmbeddingOutput."""


class ClassificationRequestOutput(PoolingRequestOutput):
    """Its `outputs` is a ClassificationOutput."""


class ScoringRequestOutput(PoolingRequestOutput):
    """Its `outputs` is a ScoringOutput."""

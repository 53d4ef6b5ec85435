"""BeamSearch: which sequences to follow, step by step, when the likeliest answer is wanted and nothing is sampled.

Knows no engine: whoever drives it asks for one more token of every running beam with log probabilities, and hands
those in. The rules (what may finish, scores, when to stop) are those of transformers' beam search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from penstock.engine.logprobs import LogprobFormatter
from penstock.errors import ClientError
from penstock.outputs import CompletionOutput, PositionLogprobs
from penstock.params import BeamSearchParams, RequestOutputKind, SamplingParams
from penstock.scheduler.plan import TokenLogprobs
from penstock.tokenizers.tokenizer import Tokenizer


class Beam(msgspec.Struct):
    """A sequence that is followed, or that has ended.

    Attributes:
        token_ids: generated so far, an end token included.
        positions: the log probabilities at each of them.
        total: sum of the log probabilities of `token_ids`.
        score: `total` divided by the length to the power of the length penalty; set when it has ended.
        finish_reason: "stop" or "length" when it has ended.
    """

    token_ids: list[int] = []
    positions: list[PositionLogprobs] = []
    total: float = 0.0
    score: float = 0.0
    finish_reason: str | None = None

    @property
    def chosen(self) -> Iterable[TokenLogprobs]:
        """Per token: it, then the likeliest ones."""
        for token_id, position in zip(self.token_ids, self.positions, strict=True):
            ranked = sorted(position.items(), key=lambda item: item[1].rank or 0)
            own = position[token_id]
            ids, values = [token_id, *(i for i, _ in ranked)], [own.logprob, *(p.logprob for _, p in ranked)]
            yield TokenLogprobs(ids, values, own.rank or 0)


class _Candidate(NamedTuple):
    total: float
    beam: int
    token_id: int


class BeamSearch:
    """One search.

    Args:
        params: width, length and how scores are made.
        eos_ids: the model's tokens that end a sequence, unless they are ignored.
        stop_token_ids: the caller's.
        max_logprobs: most log probabilities that the engine gives per token; -1 for all.
        shown_logprobs: alternatives per token that the caller wants to see.

    Attributes:
        running: the sequences that need one more token; the best first.
        finished: those that have ended; the best first.
        stop_ids: the caller's tokens that end a sequence.
        done: nothing that is running could become better than what has ended.

    Raises:
        ClientError: so many beams need more log probabilities than the engine gives.
    """

    def __init__(
        self,
        params: BeamSearchParams,
        *,
        eos_ids: Iterable[int],
        stop_token_ids: Iterable[int] = (),
        max_logprobs: int,
        shown_logprobs: int = 0,
    ):
        self.params = params
        self._width = params.beam_width
        self._max_tokens = params.max_tokens
        self.stop_ids = frozenset(stop_token_ids)
        self._end_ids = self.stop_ids | (frozenset() if params.ignore_eos else frozenset(eos_ids))
        self._penalty = params.length_penalty
        self._early_stopping = params.early_stopping
        # Of every beam's best tokens up to len(end_ids) may end it; that must leave enough to go on with.
        self._num_logprobs = max(self._width + len(self._end_ids), shown_logprobs)
        if max_logprobs != -1 and self._num_logprobs > max_logprobs:
            raise ClientError(
                f"{self._width} beams need {self._num_logprobs} log probabilities of every token, and --max-logprobs "
                f"allows {max_logprobs}.",
                "n",
            )
        self.running = [Beam()]
        self.finished: list[Beam] = []
        self.done = False

    def limit(self, room: int) -> None:
        """Generate no more than that many tokens: the context has no more room."""
        self._max_tokens = min(self._max_tokens, room)

    def step_params(self, prompt_logprobs: int | None = None) -> SamplingParams:
        """What to ask of the engine for each running beam: prompt and its tokens in, one token out."""
        return SamplingParams(
            temperature=0.0,
            max_tokens=1,
            logprobs=self._num_logprobs,
            prompt_logprobs=prompt_logprobs,
            stop_token_ids=sorted(self.stop_ids),  # only to be checked against the vocabulary
            ignore_eos=True,
            seed=0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def update(self, positions: Sequence[PositionLogprobs]) -> None:
        """Take the log probabilities of the next token of each running beam, in their order."""
        length = len(self.running[0].token_ids) + 1
        candidates = self._candidates(positions, length)
        at_limit = length >= self._max_tokens
        for rank, candidate in enumerate(candidates):
            ends = candidate.token_id in self._end_ids
            if rank < self._width and (ends or at_limit):
                self._finish(self._grown(candidate, positions), "stop" if ends else "length")
        self.finished = sorted(self.finished, key=lambda b: -b.score)[: self._width]
        going_on = [] if at_limit else [c for c in candidates if c.token_id not in self._end_ids][: self._width]
        self.running = [self._grown(c, positions) for c in going_on]
        self.done = not self.running or self._cannot_improve(length)

    def _candidates(self, positions: Sequence[PositionLogprobs], length: int) -> list[_Candidate]:
        """All ways to go on, the likeliest first; equal ones in the order of beams, then of token ids."""
        too_short = length < min(self.params.min_tokens, self._max_tokens)
        barred: frozenset[int] = self._end_ids if too_short else frozenset()
        candidates = [
            _Candidate(beam.total + entry.logprob, index, token_id)
            for index, (beam, position) in enumerate(zip(self.running, positions, strict=True))
            for token_id, entry in position.items()
            if token_id not in barred
        ]
        return sorted(candidates, key=lambda c: (-c.total, c.beam, c.token_id))

    def _grown(self, candidate: _Candidate, positions: Sequence[PositionLogprobs]) -> Beam:
        beam = self.running[candidate.beam]
        return Beam(
            [*beam.token_ids, candidate.token_id],
            [*beam.positions, positions[candidate.beam]],
            candidate.total,
        )

    def _finish(self, beam: Beam, reason: str) -> None:
        if len(self.finished) >= self._width and self._early_stopping is True:
            return
        beam.score = beam.total / len(beam.token_ids) ** self._penalty
        beam.finish_reason = reason
        self.finished.append(beam)

    def _cannot_improve(self, length: int) -> bool:
        """Whether enough have ended, and (but for early stopping) all are better than a running one can become."""
        if len(self.finished) < self._width:
            return False
        if self._early_stopping is True:
            return True
        longest = self._max_tokens if self._early_stopping == "never" and self._penalty > 0 else length
        return self.running[0].total / longest**self._penalty <= self.finished[-1].score


def beam_outputs(
    search: BeamSearch, count: int, tokenizer: Tokenizer | None, as_text: Callable[[list[int]], str] | None = None
) -> list[CompletionOutput]:
    """The best `count` sequences as answers of a request, with log probabilities.

    Args:
        tokenizer: spells the tokens of the log probabilities.
        as_text: the text of an answer's tokens; None for no text.
    """
    outputs = []
    for index, beam in enumerate(search.finished[:count]):
        ids, ended = beam.token_ids, beam.finish_reason == "stop"
        # The token that ended an answer gives no text unless that is asked for.
        shown = ids[:-1] if ended and not search.params.include_stop_str_in_output else ids
        formatter = LogprobFormatter(tokenizer)
        outputs.append(
            CompletionOutput(
                index,
                "" if as_text is None else as_text(shown),
                ids,
                beam.total,
                [formatter.position(entry) for entry in beam.chosen],
                beam.finish_reason,
                ids[-1] if ended and ids[-1] in search.stop_ids else None,
            )
        )
    return outputs

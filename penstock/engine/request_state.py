"""What the front keeps of an open request: its answers as they grow, and what its caller has not yet seen of them.

An `Answer` takes the core's outputs for one core request; an `OpenRequest` joins the answers of one caller's request
and builds its outputs when they are asked for, so a slow reader gets several steps in one output. No I/O here.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.engine.detokenizer import Detokenizer
from penstock.engine.logprobs import LogprobFormatter
from penstock.errors import PenstockError
from penstock.outputs import CompletionOutput, PositionLogprobs, RequestMetrics, RequestOutput
from penstock.params import RequestOutputKind, SamplingParams
from penstock.scheduler.plan import EngineOutput, FinishReason
from penstock.tokenizers.tokenizer import Tokenizer

DELTA, FINAL_ONLY = RequestOutputKind.DELTA, RequestOutputKind.FINAL_ONLY


class Answer:
    """One of a request's answers: one request of the core.

    Args:
        core_id: the core's name for it.
        params: as sent to the core.
        tokenizer: None if there is to be no text.
        at_start: the prompt has no visible text.
        show_logprobs: the caller asked for them (the core may compute them to choose the best answers).
    """

    __slots__ = (
        *("request", "index", "core_id", "num_tokens", "cumulative_logprob", "finish_reason", "stop_reason"),
        *("_ids", "_pieces", "_logprobs", "_kind", "_detokenizer", "_at_end", "_formatter", "_with_logprobs"),
        *("_show_logprobs", "_keep_last", "_end_ids", "_interval", "_num_shown", "dirty", "taken_finish", "last_time"),
    )

    def __init__(
        self,
        request: OpenRequest,
        index: int,
        core_id: str,
        params: SamplingParams,
        tokenizer: Tokenizer | None,
        *,
        at_start: bool,
        show_logprobs: bool,
    ):
        self.request = request
        self.index = index
        self.core_id = core_id
        self.num_tokens = 0
        self.cumulative_logprob: float | None = None
        self.finish_reason: str | None = None
        self.stop_reason: int | str | None = None
        self.dirty = False
        self.taken_finish = False
        self.last_time = 0.0
        self._ids: list[int] = []
        self._pieces: list[str] = []
        self._logprobs: list[PositionLogprobs] = []
        self._kind = params.output_kind
        self._with_logprobs = params.logprobs is not None
        self._show_logprobs = show_logprobs
        self._formatter = LogprobFormatter(tokenizer) if show_logprobs else None
        self._detokenizer: Detokenizer | None = None
        if tokenizer is not None:
            stream = tokenizer.text_stream(
                skip_special_tokens=params.skip_special_tokens,
                spaces_between_special_tokens=params.spaces_between_special_tokens,
                at_start=at_start,
                kept_ids=params.kept_special_token_ids or (),
            )
            stop = params.stop or ()
            self._detokenizer = Detokenizer(stream, stop, params.include_stop_str_in_output, params.min_tokens)
        # Without stop strings a caller who wants only the end gets all the text made at the end.
        self._at_end = self._kind == FINAL_ONLY and not params.stop
        self._keep_last = params.include_stop_str_in_output
        # A constraint may end an answer with a token that is part of it.
        self._end_ids = params.all_stop_token_ids if params.structured_outputs is not None else None
        self._interval = params.stream_interval or 1
        self._num_shown = 0

    @property
    def is_constrained(self) -> bool:
        """Whether its structure was asked for."""
        return self._end_ids is not None

    def update(self, output: EngineOutput) -> bool:
        """Take what the core says after a step; true if a stop string ended the answer before the core did."""
        ids = output.new_token_ids
        reason = output.finish_reason
        if not ids and reason is None:
            return False
        stopped = False
        if self._detokenizer is not None and not self._at_end:
            ids, stopped = self._add_text(ids, reason)
        self.num_tokens += len(ids)
        self._ids += ids
        if self._with_logprobs and output.logprobs:
            self._add_logprobs(output, len(ids))
        if stopped:
            assert self._detokenizer is not None
            self.finish_reason, self.stop_reason = "stop", self._detokenizer.stop_found
        elif reason is not None:
            self._end(reason, output.stop_reason)
        shown = self._num_shown
        self.dirty = not shown or self.num_tokens - shown >= self._interval or self.finish_reason is not None
        return stopped and reason is None

    def _add_text(self, ids: list[int], reason: FinishReason | None) -> tuple[list[int], bool]:
        """Detokenize; the token that ended the answer gives no text. Returns the ids that count, and if a stop hit."""
        detokenizer = self._detokenizer
        assert detokenizer is not None
        text, used = detokenizer.feed(self._shown(ids, reason))
        if text:
            self._pieces.append(text)
        if detokenizer.stop_found is not None:
            return ids[:used], True
        return ids, False

    def _shown(self, ids: list[int], reason: FinishReason | None) -> list[int]:
        """The ids that are text: not the one that ended the answer."""
        if reason is not FinishReason.STOP or self._keep_last:
            return ids
        return ids if self._end_ids is not None and ids[-1] not in self._end_ids else ids[:-1]

    def _add_logprobs(self, output: EngineOutput, count: int) -> None:
        entries = (output.logprobs or [])[:count]
        total = self.cumulative_logprob or 0.0
        for entry in entries:
            total += entry.logprobs[0]
        self.cumulative_logprob = total
        if self._formatter is not None:
            self._logprobs += [self._formatter.position(e) for e in entries]

    def _end(self, reason: FinishReason, stop_reason: int | str | None) -> None:
        detokenizer = self._detokenizer
        if detokenizer is not None:
            if self._at_end:
                self._pieces.append(detokenizer.feed(self._shown(self._ids, reason))[0])
            self._pieces.append(detokenizer.finish())
        self.finish_reason, self.stop_reason = str(reason), stop_reason

    def abort(self, with_text: bool = True) -> None:
        """End it before its time; its text is only completed if somebody will see it."""
        if self.finish_reason is None:
            if with_text:
                self._end(FinishReason.ABORT, None)
            self.finish_reason = str(FinishReason.ABORT)
            self.dirty = True

    def take(self) -> CompletionOutput:
        """The answer as its caller wants to see it now."""
        self.dirty = False
        self._num_shown = self.num_tokens
        self.taken_finish = self.finish_reason is not None
        text = "".join(self._pieces)
        ids, logprobs = self._ids, self._logprobs
        if self._kind is DELTA:
            self._ids, self._pieces, self._logprobs = [], [], []
        elif self.finish_reason is None:
            ids, self._pieces, logprobs = list(ids), [text], list(logprobs)
        return CompletionOutput(
            self.index,
            text,
            ids,
            self.cumulative_logprob if self._show_logprobs else None,
            logprobs if self._show_logprobs else None,
            self.finish_reason,
            self.stop_reason,
        )


class OpenRequest:
    """A caller's request.

    Args:
        request_id: the caller's name for it.
        params: the caller's, checked; decides the output kind and how many answers are returned.
        on_output: called when there is something new for the caller.

    Attributes:
        answers: one per core request; more than `params.n` if the best are to be chosen.
        error: what the request ended with instead of an output.
    """

    __slots__ = (
        *("request_id", "prompt", "prompt_token_ids", "answers", "error", "on_output", "metrics", "num_cached_tokens"),
        *("kind", "num_returned", "max_tokens", "num_preemptions"),
        *("_prompt_logprobs", "_prompt_formatter", "_prompt_logprobs_seen"),
    )

    def __init__(
        self,
        request_id: str,
        prompt: str | None,
        prompt_token_ids: list[int],
        params: SamplingParams,
        arrival_time: float,
        tokenizer: Tokenizer | None,
        on_output: Callable[[], None] | None = None,
    ):
        self.request_id = request_id
        self.prompt = prompt
        self.prompt_token_ids = prompt_token_ids
        self.kind = params.output_kind
        self.num_returned = params.n
        self.max_tokens = params.max_tokens
        self.answers: list[Answer] = []
        self.error: PenstockError | None = None
        self.on_output = on_output
        self.metrics = RequestMetrics(arrival_time)
        self.num_cached_tokens: int | None = None
        self.num_preemptions = 0  # of answers that ended in the core
        self._prompt_formatter = LogprobFormatter(tokenizer) if params.prompt_logprobs is not None else None
        self._prompt_logprobs: list[PositionLogprobs | None] = [None]
        self._prompt_logprobs_seen = False

    @property
    def chooses_best(self) -> bool:
        """More answers are sampled than returned, so nothing can be shown before all are there."""
        return len(self.answers) > self.num_returned

    @property
    def finished(self) -> bool:
        return self.error is not None or all(a.finish_reason is not None for a in self.answers)

    def add_prompt_logprobs(self, output: EngineOutput) -> None:
        """Take a part of the prompt's log probabilities (those of the first answer; the others repeat them)."""
        if self._prompt_formatter is not None and output.prompt_logprobs:
            self._prompt_logprobs += [self._prompt_formatter.position(e) for e in output.prompt_logprobs]

    def take(self) -> RequestOutput | None:
        """What is new for the caller, or None if there is nothing.

        Raises:
            PenstockError: the request failed.
        """
        if self.error is not None:
            raise self.error.with_traceback(None)  # one error may end many requests
        if (self.kind is FINAL_ONLY or self.chooses_best) and not self.finished:
            return None
        answers = [a for a in self.answers if a.dirty]
        if self.chooses_best:
            answers = self._best()
        if not answers:
            return None
        outputs = [a.take() for a in answers]
        return RequestOutput(
            self.request_id,
            self.prompt,
            self.prompt_token_ids,
            outputs,
            all(a.taken_finish for a in self.answers) or self.chooses_best,
            self._take_prompt_logprobs(),
            self.num_cached_tokens,
            self.metrics,
        )

    def _best(self) -> list[Answer]:
        """The answers the model finds most likely, numbered anew; ties keep their order."""
        ranked = sorted(self.answers, key=lambda a: -(a.cumulative_logprob or 0.0))[: self.num_returned]
        if not any(a.dirty for a in ranked):
            return []
        for index, answer in enumerate(ranked):
            answer.index = index
        return ranked

    def _take_prompt_logprobs(self) -> list[PositionLogprobs | None] | None:
        if self._prompt_formatter is None or (self.kind is DELTA and self._prompt_logprobs_seen):
            return None
        self._prompt_logprobs_seen = True
        return self._prompt_logprobs

"""What the front is told of a request: outputs made of what its rows gave."""

from __future__ import annotations

from penstock.scheduler.plan import EngineOutput, FinishReason, Row, RowResult, TokenLogprobs
from penstock.scheduler.request import Request


def output_of(
    request: Request, token_ids: list[int], reason: FinishReason | None, error: str | None = None
) -> EngineOutput:
    """An output; the first one and the last one of a request say more about it."""
    output = EngineOutput(request.request_id, token_ids, reason, error=error)
    if reason is not None:
        output.num_preemptions = request.num_preemptions
    if not request.has_output:
        request.has_output = True
        output.num_cached_tokens = request.num_cached_tokens
        output.scheduled_time = request.scheduled_time
    return output


def output_without_tokens(request: Request, got: RowResult) -> EngineOutput:
    """The last output of a request that failed or pooled."""
    reason = FinishReason.STOP if got.error is None else FinishReason.ERROR
    output = output_of(request, [], reason, error=got.error)
    output.pooled = got.pooled
    return output


def output_of_row(
    request: Request, row: Row, got: RowResult, count: int, reason: FinishReason | None, stop_id: int | None
) -> EngineOutput | None:
    """The output of a row that is not just one more token; None if the front learns nothing from it.

    Args:
        count: how many of its tokens the request took.
    """
    prompt_logprobs = _unsent_prompt_logprobs(request, row, got.prompt_logprobs or [])
    if not (count or prompt_logprobs):
        return None
    output = output_of(request, got.token_ids[:count], reason)
    output.stop_reason = stop_id
    output.logprobs = None if got.logprobs is None else got.logprobs[:count]
    output.prompt_logprobs = prompt_logprobs or None
    return output


def _unsent_prompt_logprobs(request: Request, row: Row, computed: list[TokenLogprobs]) -> list[TokenLogprobs]:
    """Those of a row's prompt logprobs that the front has not had: after a preemption they are computed again."""
    first = row.num_computed + 1  # position of computed[0]
    unsent = computed[max(0, request.prompt_logprobs_sent + 1 - first) :]
    request.prompt_logprobs_sent += len(unsent)
    return unsent

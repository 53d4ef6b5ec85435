"""Sampler: logits of one step -> one token per row, with logprobs where they were asked for.

Order: raw logprobs are taken from the logits as the model gave them; processors change the logits (structured masks,
then the request's own); then the greedy token, or temperature, min_p, top_k, top_p and a draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from penstock.ops.choose_tokens import NO_TOKEN, Choice, choose_tokens
from penstock.params import NO_TOKEN_ALLOWED
from penstock.sampling.batch_params import BatchParams, RowGroup
from penstock.sampling.counter_rng import uniforms
from penstock.sampling.history import Int64Array, RowHistory
from penstock.sampling.logits_processors import LogitsProcessor
from penstock.sampling.logprobs import list_logprobs, named_logprobs
from penstock.scheduler.plan import TokenLogprobs

# Dimensions in tensor names: S rows that sample, R some of them, V vocabulary.


@dataclass(frozen=True)
class Sampled:
    """Result of a step, one entry per row.

    Attributes:
        token_ids: int64 [S] on the host; NO_TOKEN for a row that failed.
        logprobs: one per row that asked for them, by row index.
        errors: why rows failed, by row index.
    """

    token_ids: Int64Array
    logprobs: dict[int, TokenLogprobs]
    errors: dict[int, str]


class Sampler:
    """Holds no state: a token is a function of its row's logits, parameters, history and position."""

    def sample(
        self,
        logits_SV: torch.Tensor,
        params: BatchParams,
        history: RowHistory,
        masks: Sequence[LogitsProcessor] = (),
    ) -> Sampled:
        """Choose the next token of every row.

        Args:
            logits_SV: float32; changed in place.
            masks: applied after the processors of `params`; the place for constraints from outside.
        """
        processors = [*params.processors, *masks]
        raw_RV = self._raw_rows(logits_SV, params.logprobs, keep=bool(processors))
        for processor in processors:
            processor.apply(logits_SV, history)
        tokens_S = self._choose(logits_SV, params, history)
        token_ids = tokens_S.cpu().numpy()
        errors = {int(row): _why_no_token(logits_SV[row]) for row in np.flatnonzero(token_ids == NO_TOKEN)}
        logprobs: dict[int, TokenLogprobs] = {}
        if raw_RV is not None:
            logprobs = self._logprobs(raw_RV, tokens_S, params)
            for row in errors:
                logprobs.pop(row, None)
        return Sampled(token_ids, logprobs, errors)

    @staticmethod
    def _raw_rows(logits_SV: torch.Tensor, group: RowGroup, keep: bool) -> torch.Tensor | None:
        if not len(group.rows):
            return None
        if group.covers_all:
            return logits_SV.clone() if keep else logits_SV
        return logits_SV[_index(group.rows, logits_SV)]

    @staticmethod
    def _choose(logits_SV: torch.Tensor, params: BatchParams, history: RowHistory) -> torch.Tensor:
        uniform_S = params.top_p_S  # any numbers will do if no row draws
        if params.any_draw:
            uniform_S = torch.from_numpy(uniforms(params.keys_S, history.num_tokens_S)).to(logits_SV.device)
        choice = Choice(params.temperature_S, params.min_p_S, params.top_k_S, params.top_p_S, uniform_S)
        return choose_tokens(logits_SV, choice)

    @staticmethod
    def _logprobs(raw_RV: torch.Tensor, tokens_S: torch.Tensor, params: BatchParams) -> dict[int, TokenLogprobs]:
        rows = params.logprobs.rows
        tokens_R = tokens_S[_index(rows, raw_RV)].clamp(min=0)
        found = list_logprobs(raw_RV, tokens_R, params.num_logprobs_S[rows])
        result = dict(zip(rows.tolist(), found, strict=True))
        for row, ids in params.scored:
            values, ranks = named_logprobs(raw_RV[int(np.searchsorted(rows, row))], ids)
            own = result[row]
            result[row] = TokenLogprobs(own.token_ids + ids.tolist(), own.logprobs + values, own.rank, ranks)
        return result


def _index(rows: Int64Array, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(rows).to(like.device)


def _why_no_token(logits_V: torch.Tensor) -> str:
    if bool((logits_V == -torch.inf).all()):
        return NO_TOKEN_ALLOWED
    return "the model gave logits that are not finite"

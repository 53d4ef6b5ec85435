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
from penstock.platforms.base import Device, HostCopy
from penstock.sampling.batch_params import BatchParams, RowGroup
from penstock.sampling.counter_rng import uniforms
from penstock.sampling.history import Int64Array, RowHistory
from penstock.sampling.logits_processors import LogitsProcessor
from penstock.sampling.logprobs import Scored, score, score_named
from penstock.scheduler.plan import TokenLogprobs

# Dimensions in tensor names: S rows that sample, R some of them, V vocabulary.


@dataclass(frozen=True)
class Sampled:
    """What a step sampled, as the host sees it, one entry per row.

    Attributes:
        token_ids: int64 [S]; NO_TOKEN for a row that failed.
        logprobs: one per row that asked for them, by row index.
        errors: why rows failed, by row index.
    """

    token_ids: Int64Array
    logprobs: dict[int, TokenLogprobs]
    errors: dict[int, str]


@dataclass(frozen=True)
class Drawn:
    """What a step sampled, on the device and on its way to the host.

    Attributes:
        tokens_S: int64, on the device; NO_TOKEN for a row that failed.
        copy: of these.
        logits_SV: as they were when the tokens were chosen.
        scored: log probabilities of the rows that asked for them, in the order of `rows`; None if none did.
        named: of tokens that a row named itself, by row.
    """

    tokens_S: torch.Tensor
    copy: HostCopy
    logits_SV: torch.Tensor
    rows: Int64Array
    scored: Scored | None
    named: list[tuple[int, Int64Array, Scored]]

    def read(self) -> Sampled:
        """Waits for it."""
        token_ids = self.copy.wait().numpy()
        errors = {int(row): _why_no_token(self.logits_SV[row]) for row in np.flatnonzero(token_ids == NO_TOKEN)}
        logprobs: dict[int, TokenLogprobs] = {}
        if self.scored is not None:
            logprobs = dict(zip(self.rows.tolist(), self.scored.read(), strict=True))
            for row, ids, named in self.named:
                own, of_ids = logprobs[row], named.read()
                values, ranks = [x.logprobs[0] for x in of_ids], [x.rank for x in of_ids]
                logprobs[row] = TokenLogprobs(own.token_ids + ids.tolist(), own.logprobs + values, own.rank, ranks)
            for row in errors:
                logprobs.pop(row, None)
        return Sampled(token_ids, logprobs, errors)


class Sampler:
    """Holds no state: a token is a function of its row's logits, parameters, history and position.

    Args:
        device: where the logits are.
    """

    def __init__(self, device: Device):
        self._device = device

    def sample(
        self,
        logits_SV: torch.Tensor,
        params: BatchParams,
        history: RowHistory,
        masks: Sequence[LogitsProcessor] = (),
    ) -> Drawn:
        """Choose the next token of every row, without waiting for the device.

        Args:
            logits_SV: float32; changed in place.
            masks: applied after the processors of `params`; the place for constraints from outside.
        """
        processors = [*params.processors, *masks]
        raw_RV = self._raw_rows(logits_SV, params.logprobs, keep=bool(processors))
        for processor in processors:
            processor.apply(logits_SV, history)
        tokens_S = self._choose(logits_SV, params, history)
        copy = self._device.copy_out(tokens_S)
        rows, scored, named = params.logprobs.rows, None, []
        if raw_RV is not None:
            tokens_R = tokens_S[params.logprobs.index_R].clamp(min=0)
            scored = score(raw_RV, tokens_R, params.num_logprobs_S[rows], self._device)
            for row, ids in params.scored:
                named.append((row, ids, score_named(raw_RV[int(np.searchsorted(rows, row))], ids, self._device)))
        return Drawn(tokens_S, copy, logits_SV, rows, scored, named)

    @staticmethod
    def _raw_rows(logits_SV: torch.Tensor, group: RowGroup, keep: bool) -> torch.Tensor | None:
        if not len(group.rows):
            return None
        if group.covers_all:
            return logits_SV.clone() if keep else logits_SV
        return logits_SV[group.index_R]

    def _choose(self, logits_SV: torch.Tensor, params: BatchParams, history: RowHistory) -> torch.Tensor:
        uniform_S = params.top_p_S  # any numbers will do if no row draws
        if params.any_draw:
            uniform_S = self._device.copy_in(torch.from_numpy(uniforms(params.keys_S, history.num_tokens_S)))
        choice = Choice(params.temperature_S, params.min_p_S, params.top_k_S, params.top_p_S, uniform_S)
        return choose_tokens(logits_SV, choice)


def _why_no_token(logits_V: torch.Tensor) -> str:
    if bool((logits_V == -torch.inf).all()):
        return NO_TOKEN_ALLOWED
    return "the model gave logits that are not finite"

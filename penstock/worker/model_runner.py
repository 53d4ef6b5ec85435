"""ModelRunner: one step plan in, one step result out. The only place where batch, model and sampler meet."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from penstock.attention.base import AttentionBackend
from penstock.layers.pooler import Pooler
from penstock.models.interface import Model
from penstock.sampling.history import Int64Array
from penstock.sampling.logprobs import list_logprobs
from penstock.sampling.sampler import Sampled, Sampler
from penstock.scheduler.plan import RowResult, StepPlan, StepResult, TokenLogprobs
from penstock.structured.masks import Constraints
from penstock.worker.forward import EagerForward, Forward
from penstock.worker.input_batch import NO_PROMPT_LOGPROBS, InputBatch, StepRows
from penstock.worker.pooling import PoolingRows
from penstock.worker.step_inputs import StepInputs, build_inputs

# Dimensions in tensor names: T running tokens, S rows that sample, H hidden size, V vocabulary.
LOGITS_AT_ONCE = 1 << 20  # for logprobs of prompts: they stay in the cache and are reused


class ModelRunner:
    """Runs plans in order.

    Args:
        model: loaded.
        backend: allocated; owns the KV memory.
        vocab_size: width of the model's logits.
        device: where the model lies.
        constraints: of structured outputs; without them requests that ask for any are not to come here.
        pooler: of a model that pools and generates nothing.
        forward: runs the model; None to call it step by step.
    """

    def __init__(
        self,
        model: Model,
        backend: AttentionBackend,
        vocab_size: int,
        device: torch.device,
        constraints: Constraints | None = None,
        pooler: Pooler | None = None,
        forward: Forward | None = None,
    ):
        self._model = model
        self._forward = forward or EagerForward(model, backend)
        self._backend = backend
        self._vocab_size = vocab_size
        self._device = device
        self._batch = InputBatch(vocab_size, device)
        self._sampler = Sampler()
        self._constraints = constraints
        self._pooling = None if pooler is None else PoolingRows(pooler)

    @torch.inference_mode()
    def execute(self, plan: StepPlan) -> StepResult:
        """Run a step. A request whose own values are at fault gets an error in its row; anything else is raised."""
        rows = self._batch.apply(plan)
        if self._constraints is not None:
            self._constraints.apply(plan)
        results = [RowResult(row.request_id, []) for row in plan.rows]
        if results:
            self._run(plan, rows, results)
        for row, reason in rows.failed.items():
            results[row].error = reason
        return StepResult(plan.step, results)

    @torch.inference_mode()
    def idle(self) -> bool:
        """See `Forward.idle`."""
        return self._forward.idle()

    def describe(self) -> dict[str, int]:
        """See `Forward.describe`."""
        return self._forward.describe()

    def _run(self, plan: StepPlan, rows: StepRows, results: list[RowResult]) -> None:
        inputs = build_inputs(rows, self._batch, self._backend.block_size, self._device)
        if self._pooling is not None:
            self._pooling.apply(plan)
            self._pool(plan, rows, inputs, results)
            return
        hidden_TH = self._forward.run(inputs.token_ids_T, inputs.attention, self._wanted(rows, inputs))
        for row, logprobs in self._prompt_logprobs(hidden_TH, rows, inputs):
            results[row].prompt_logprobs = logprobs
        if len(rows.sampling):
            self._sample(hidden_TH, rows, inputs, results)

    def _pool(self, plan: StepPlan, rows: StepRows, inputs: StepInputs, results: list[RowResult]) -> None:
        assert self._pooling is not None
        hidden_TH = self._forward.run(inputs.token_ids_T, inputs.attention, None, inputs.segments_T)
        for row, pooled in self._pooling.take(hidden_TH, plan, rows, inputs, self._batch):
            results[row].pooled = pooled

    def _wanted(self, rows: StepRows, inputs: StepInputs) -> torch.Tensor | None:
        """The tokens whose hidden states anybody looks at: those that are sampled from; None for all."""
        everything = len(inputs.last_hidden_S) == len(inputs.token_ids_T)
        if everything or (self._batch.num_prompt_logprobs[rows.slots_R] != NO_PROMPT_LOGPROBS).any():
            return None
        return torch.from_numpy(inputs.last_hidden_S).to(self._device)

    def _sample(self, hidden_TH: torch.Tensor, rows: StepRows, inputs: StepInputs, results: list[RowResult]) -> None:
        logits_SV = self._logits(hidden_TH, inputs.last_hidden_S)
        slots_S = rows.slots_R[rows.sampling]
        sampling = rows.sampling.tolist()
        request_ids = [results[row].request_id for row in sampling]
        masks = self._constraints.masks(request_ids) if self._constraints is not None else ()
        sampled = self._sampler.sample(logits_SV, self._batch.params(slots_S), self._batch.history(slots_S), masks)
        for row, token_id in zip(sampling, sampled.token_ids.tolist(), strict=True):
            results[row].token_ids.append(token_id)
        for index, logprobs in sampled.logprobs.items():
            results[sampling[index]].logprobs = [logprobs]
        if sampled.errors:
            for index, error in sampled.errors.items():
                results[sampling[index]].token_ids.clear()
                results[sampling[index]].error = error
        if masks and self._constraints is not None:
            for index in self._constraints.accept(request_ids, sampled.token_ids):
                results[sampling[index]].complete = True
        self._append(slots_S, sampled)

    def _append(self, slots_S: Int64Array, sampled: Sampled) -> None:
        if sampled.errors:
            good = np.setdiff1d(np.arange(len(slots_S)), list(sampled.errors))
            self._batch.append(slots_S[good], sampled.token_ids[good])
        else:
            self._batch.append(slots_S, sampled.token_ids)

    def _logits(self, hidden_TH: torch.Tensor, places_S: Int64Array) -> torch.Tensor:
        if len(places_S) == hidden_TH.shape[0]:  # the wanted ones alone, or ascending and distinct, so all of them
            return self._model.logits(hidden_TH)
        return self._model.logits(hidden_TH[torch.from_numpy(places_S).to(self._device)])

    def _prompt_logprobs(
        self, hidden_TH: torch.Tensor, rows: StepRows, inputs: StepInputs
    ) -> Iterator[tuple[int, list[TokenLogprobs]]]:
        """(row, logprobs of the prompt tokens that follow its running tokens) for rows that want them."""
        wanted_R = self._batch.num_prompt_logprobs[rows.slots_R]
        for row in np.flatnonzero(wanted_R != NO_PROMPT_LOGPROBS).tolist():
            slot, computed = int(rows.slots_R[row]), int(rows.num_computed_R[row])
            count = min(int(rows.num_tokens_R[row]), int(self._batch.num_prompt[slot]) - 1 - computed)
            if count <= 0:
                continue
            targets = self._batch.tokens[slot, computed + 1 : computed + 1 + count].astype(np.int64)
            hidden = hidden_TH[int(inputs.first_hidden_R[row]) :][:count]
            yield row, self._logprobs_of(hidden, torch.from_numpy(targets).to(self._device), int(wanted_R[row]))

    def _logprobs_of(self, hidden_PH: torch.Tensor, targets_P: torch.Tensor, num_top: int) -> list[TokenLogprobs]:
        found: list[TokenLogprobs] = []
        step = max(1, LOGITS_AT_ONCE // self._vocab_size)
        for start in range(0, len(targets_P), step):
            logits_PV = self._model.logits(hidden_PH[start : start + step])
            num_top_P = np.full(logits_PV.shape[0], num_top, np.int64)
            found += list_logprobs(logits_PV, targets_P[start : start + step], num_top_P)
        return found

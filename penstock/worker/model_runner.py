"""ModelRunner: one step plan in, one step result out. The only place where batch, model and sampler meet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from penstock.attention.base import AttentionBackend
from penstock.layers.pooler import Pooler
from penstock.models.interface import Model
from penstock.ops.choose_tokens import NO_TOKEN
from penstock.platforms.base import Device
from penstock.sampling.history import Int64Array
from penstock.sampling.logits_processors import LogitsProcessor
from penstock.sampling.logprobs import list_logprobs
from penstock.sampling.sampler import Drawn, Sampled, Sampler
from penstock.scheduler.plan import RowResult, StepPlan, StepResult, TokenLogprobs
from penstock.structured.masks import Constraints
from penstock.worker.forward import EagerForward, Forward
from penstock.worker.input_batch import NO_PROMPT_LOGPROBS, InputBatch, StepRows
from penstock.worker.placing import OneCopy, as_they_are
from penstock.worker.pooling import PoolingRows
from penstock.worker.step_inputs import InputBuilder, StepInputs
from penstock.worker.tokens_ahead import Sampling, TokensAhead

# Dimensions in tensor names: T running tokens, S rows that sample, H hidden size, V vocabulary.
LOGITS_AT_ONCE = 1 << 20  # for logprobs of prompts: they stay in the cache and are reused
LOGITS_ON_DEVICE = 1 << 26  # the same where each product reads the head from memory anyway


@dataclass(frozen=True)
class IssuedStep:
    """A step that the device has been told, and what its results are made of.

    Attributes:
        results: all that is known of them.
        drawn: what its rows sample; None if none does.
        sampling: where the tokens belong; None if nothing was planned before they are known.
        masked: whether constraints have to hear of them.
    """

    plan: StepPlan
    rows: StepRows
    results: list[RowResult]
    drawn: Drawn | None = None
    sampling: Sampling | None = None
    masked: bool = False


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
        overlaps: a plan may come before the results of the one before it have been read.
        packs: the device has memory of its own, and takes a step's arrays in one copy.
    """

    def __init__(
        self,
        model: Model,
        backend: AttentionBackend,
        vocab_size: int,
        device: Device,
        constraints: Constraints | None = None,
        pooler: Pooler | None = None,
        forward: Forward | None = None,
        *,
        overlaps: bool = False,
        packs: bool = False,
    ):
        self._model = model
        self._forward = forward or EagerForward(model, backend)
        self._backend = backend
        self._vocab_size = vocab_size
        self._device = device
        self._batch = InputBatch(vocab_size, device.copy_in)
        self._ahead = TokensAhead(self._batch, device.torch_device) if overlaps else None
        place = OneCopy(device.copy_in) if packs else as_they_are
        self._inputs = InputBuilder(self._batch, backend.block_size, place, backend.needs_lens, self._ahead)
        self._sampler = Sampler(device)
        self._constraints = constraints
        self._pooling = None if pooler is None else PoolingRows(pooler)

    def execute(self, plan: StepPlan) -> StepResult:
        """Run a step. A request whose own values are at fault gets an error in its row; anything else is raised."""
        return self.finish(self.start(plan))

    @torch.inference_mode()
    def start(self, plan: StepPlan) -> IssuedStep:
        """Tell the device to run a step, and do not wait for it."""
        rows = self._batch.apply(plan)
        if self._constraints is not None:
            self._constraints.apply(plan)
        results = [RowResult(row.request_id, []) for row in plan.rows]
        return self._run(plan, rows, results) if results else IssuedStep(plan, rows, results)

    @torch.inference_mode()
    def finish(self, step: IssuedStep) -> StepResult:
        """Wait for a step that has been started; in the order of the starts."""
        if step.drawn is not None:
            self._take(step, step.drawn)
        for row, reason in step.rows.failed.items():
            step.results[row].error = reason
        return StepResult(step.plan.step, step.results)

    @torch.inference_mode()
    def idle(self) -> bool:
        """See `Forward.idle`."""
        return self._forward.idle()

    def describe(self) -> dict[str, int]:
        """See `Forward.describe`."""
        return self._forward.describe()

    def _run(self, plan: StepPlan, rows: StepRows, results: list[RowResult]) -> IssuedStep:
        inputs = self._inputs.build(rows)
        if self._pooling is not None:
            self._pooling.apply(plan)
            self._pool(plan, rows, inputs, results)
            return IssuedStep(plan, rows, results)
        hidden_TH = self._forward.run(inputs.token_ids_T, inputs.attention, self._wanted(rows, inputs))
        for row, logprobs in self._prompt_logprobs(hidden_TH, rows, inputs):
            results[row].prompt_logprobs = logprobs
        if len(rows.ended) and self._ahead is not None:
            self._batch.lengthen(rows.ended)
        if not len(rows.sampling):
            return IssuedStep(plan, rows, results)
        return self._sample(hidden_TH, plan, rows, inputs, results)

    def _pool(self, plan: StepPlan, rows: StepRows, inputs: StepInputs, results: list[RowResult]) -> None:
        assert self._pooling is not None
        hidden_TH = self._forward.run(inputs.token_ids_T, inputs.attention, None, inputs.segments_T)
        for row, pooled in self._pooling.take(hidden_TH, plan, rows, inputs, self._batch):
            results[row].pooled = pooled

    def _wanted(self, rows: StepRows, inputs: StepInputs) -> torch.Tensor | None:
        """The tokens whose hidden states anybody looks at: those that are sampled from; None for all."""
        if (self._batch.num_prompt_logprobs[rows.slots_R] != NO_PROMPT_LOGPROBS).any():
            return None
        return inputs.last_rows_S

    def _sample(
        self, hidden_TH: torch.Tensor, plan: StepPlan, rows: StepRows, inputs: StepInputs, results: list[RowResult]
    ) -> IssuedStep:
        # The wanted rows alone, or ascending and distinct ones, and so all of them, or some of them.
        every_row = inputs.last_rows_S is None or hidden_TH.shape[0] == len(inputs.last_hidden_S)
        logits_SV = self._model.logits(hidden_TH if every_row else hidden_TH[inputs.last_rows_S])
        slots_S = rows.slots_R[rows.sampling]
        masks: Sequence[LogitsProcessor] = ()
        if self._constraints is not None:
            sampling_ids = [results[row].request_id for row in rows.sampling.tolist()]
            masks = self._constraints.masks(sampling_ids, self._device.copy_in)
        drawn = self._sampler.sample(logits_SV, self._batch.params(slots_S), self._batch.history(slots_S), masks)
        sampling = None
        if self._ahead is not None:
            assert inputs.sampling_slots_S is not None
            sampling = self._ahead.sampled(slots_S, inputs.sampling_slots_S, drawn.tokens_S)
        return IssuedStep(plan, rows, results, drawn, sampling, bool(masks))

    def _take(self, step: IssuedStep, drawn: Drawn) -> None:
        """Read what a step sampled."""
        results, sampling = step.results, step.rows.sampling.tolist()
        sampled = drawn.read()
        for row, token_id in zip(sampling, sampled.token_ids.tolist(), strict=True):
            results[row].token_ids.append(token_id)
        for index, logprobs in sampled.logprobs.items():
            results[sampling[index]].logprobs = [logprobs]
        for index, error in sampled.errors.items():
            results[sampling[index]].token_ids.clear()
            results[sampling[index]].error = error
        token_ids = self._remember(step, sampled)
        if step.masked and self._constraints is not None:
            for index in self._constraints.accept([results[row].request_id for row in sampling], token_ids):
                results[sampling[index]].complete = True

    def _remember(self, step: IssuedStep, sampled: Sampled) -> Int64Array:
        """Append the tokens to their requests; those of requests that are still there, others as NO_TOKEN."""
        slots_S, token_ids = step.rows.slots_R[step.rows.sampling], sampled.token_ids
        if self._ahead is not None and step.sampling is not None:
            there_S = self._ahead.seen(step.sampling, token_ids)
            return np.where(there_S, token_ids, NO_TOKEN)
        if sampled.errors:
            good = np.setdiff1d(np.arange(len(slots_S)), list(sampled.errors))
            self._batch.append(slots_S[good], token_ids[good])
        else:
            self._batch.append(slots_S, token_ids)
        return token_ids

    def _prompt_logprobs(
        self, hidden_TH: torch.Tensor, rows: StepRows, inputs: StepInputs
    ) -> Iterator[tuple[int, list[TokenLogprobs]]]:
        """(row, logprobs of the prompt tokens that follow its running tokens) for rows that want them. They are waited
        for: they may be many, and would take the device's memory until then."""
        wanted_R = self._batch.num_prompt_logprobs[rows.slots_R]
        for row in np.flatnonzero(wanted_R != NO_PROMPT_LOGPROBS).tolist():
            slot, computed = int(rows.slots_R[row]), int(rows.num_computed_R[row])
            count = min(int(rows.num_tokens_R[row]), int(self._batch.num_prompt[slot]) - 1 - computed)
            if count <= 0:
                continue
            targets = self._batch.tokens[slot, computed + 1 : computed + 1 + count].astype(np.int64)
            hidden = hidden_TH[int(inputs.first_hidden_R[row]) :][:count]
            targets_P = self._device.copy_in(torch.from_numpy(targets))
            yield row, self._logprobs_of(hidden, targets_P, int(wanted_R[row]))

    def _logprobs_of(self, hidden_PH: torch.Tensor, targets_P: torch.Tensor, num_top: int) -> list[TokenLogprobs]:
        found: list[TokenLogprobs] = []
        at_once = LOGITS_ON_DEVICE if self._device.has_own_memory else LOGITS_AT_ONCE
        step = max(1, at_once // self._vocab_size)
        for start in range(0, len(targets_P), step):
            logits_PV = self._model.logits(hidden_PH[start : start + step])
            num_top_P = np.full(logits_PV.shape[0], num_top, np.int64)
            found += list_logprobs(logits_PV, targets_P[start : start + step], num_top_P, self._device)
        return found

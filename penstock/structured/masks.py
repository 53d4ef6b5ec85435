"""Constraints: those of the worker's running answers, and their masks as one processor of a step's logits."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
import numpy.typing as npt
import torch

from penstock.errors import PenstockError
from penstock.observability.logging import get_logger
from penstock.ops.token_mask import apply_token_mask
from penstock.params import SamplingParams
from penstock.sampling.history import RowHistory
from penstock.sampling.logits_processors import CopyIn, LogitsProcessor
from penstock.scheduler.plan import NewRow, StepPlan
from penstock.structured.base import GrammarError, mask_words
from penstock.structured.constraint import Constraint
from penstock.structured.manager import GrammarManager
from penstock.structured.spec import spec_of
from penstock.structured.thinking import Thinking

# Dimensions in tensor names: S rows that sample, R constrained ones among them, W words of a mask, V vocabulary.
logger = get_logger(__name__)


class Constraints:
    """What running answers may say.

    Args:
        manager: compiles.
        vocab_size: width of the model's logits.
    """

    def __init__(self, manager: GrammarManager, vocab_size: int):
        self._manager = manager
        self._words = mask_words(vocab_size)
        self._of_request: dict[str, Constraint | None] = {}  # None: it failed, and nothing is allowed any more

    def prepare(self, params: SamplingParams) -> Future[object]:
        """Compile ahead of the request's first step. Whoever holds the future keeps what was compiled.

        Args:
            params: with a constraint.
        """
        assert params.structured_outputs is not None
        future: Future[object] = Future()
        try:
            future = self._manager.prepare(spec_of(params.structured_outputs))  # type: ignore[assignment]
        except PenstockError as e:
            future.set_exception(e)
        return future

    def apply(self, plan: StepPlan) -> None:
        """Bring the state up to date with a plan: who is gone, and who is new, or back from a preemption."""
        if self._of_request:
            for request_id in plan.gone:
                self._of_request.pop(request_id, None)
        for new in plan.new:
            if new.params.structured_outputs is not None or new.params.thinking is not None:
                self._of_request[new.request_id] = self._started(new)

    def masks(self, request_ids_S: Sequence[str], copy_in: CopyIn | None = None) -> list[LogitsProcessor]:
        """What forbids tokens to these rows of a step's logits; empty if none of them is constrained.

        Args:
            copy_in: of the device where the logits are, see `apply_token_mask`.
        """
        if not self._of_request:
            return []
        rows = [row for row, request_id in enumerate(request_ids_S) if request_id in self._of_request]
        if not rows:
            return []
        masks_RW = np.zeros((len(rows), self._words), np.int32)
        for row, mask_W in zip(rows, masks_RW, strict=True):
            constraint = self._of_request[request_ids_S[row]]
            try:
                if constraint is not None:
                    constraint.fill_mask(mask_W)
            except GrammarError as e:  # a row that allows nothing ends its request, and no other
                self._fail(request_ids_S[row], e)
                mask_W.fill(0)
        return [TokenMask(rows, masks_RW, copy_in)]

    def accept(self, request_ids_S: Sequence[str], token_ids_S: npt.NDArray[np.int64]) -> list[int]:
        """Advance by the sampled tokens, negative ones are none; the rows whose answers are complete."""
        complete: list[int] = []
        if not self._of_request:
            return complete
        for row, (request_id, token_id) in enumerate(zip(request_ids_S, token_ids_S.tolist(), strict=True)):
            constraint = self._of_request.get(request_id)
            if constraint is None or token_id < 0:
                continue
            try:
                constraint.accept([token_id])
                if constraint.done:
                    complete.append(row)
                elif constraint.idle:
                    del self._of_request[request_id]
            except GrammarError as e:
                self._fail(request_id, e)
        return complete

    def close(self) -> None:
        """Compile nothing more."""
        self._manager.close()

    def _started(self, new: NewRow) -> Constraint | None:
        params = new.params
        try:
            grammar = None
            if params.structured_outputs is not None:
                grammar = self._manager.prepare(spec_of(params.structured_outputs)).result().start()
            thinking = None if params.thinking is None else Thinking(params.thinking)
            end_ids = params.eos_token_ids
            constraint = Constraint(grammar, thinking, end_ids if params.ignore_eos else (), end_ids)
            answer_ids = new.token_ids[new.num_prompt_tokens :]
            if constraint.accept(answer_ids) < len(answer_ids):
                raise GrammarError("the answer so far does not follow it")
        except (GrammarError, PenstockError) as e:
            self._fail(new.request_id, e)
            return None
        return constraint

    def _fail(self, request_id: str, error: Exception) -> None:
        logger.warning("The constraint of a request failed: %s", error)
        self._of_request[request_id] = None


class TokenMask(LogitsProcessor):
    """Forbids what masks forbid.

    Args:
        rows: which rows of the logits are constrained.
        masks_RW: int32, as in `structured/base.py`.
        copy_in: see `apply_token_mask`.
    """

    def __init__(self, rows: list[int], masks_RW: npt.NDArray[np.int32], copy_in: CopyIn | None = None):
        self._rows = rows
        self._masks_RW = masks_RW
        self._copy_in = copy_in

    def apply(self, logits_SV: torch.Tensor, rows: RowHistory) -> None:
        apply_token_mask(logits_SV, self._rows, self._masks_RW, self._copy_in)

"""PoolingRows: the requests of a pooling engine between steps, and what they give when their last token has run.

Hidden states of a text that runs in pieces are kept here until it is whole, if its pooling needs them all.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from penstock.layers.pooler import Pooler, PoolingRow
from penstock.outputs import Floats
from penstock.params import PoolingParams
from penstock.scheduler.plan import StepPlan
from penstock.worker.input_batch import InputBatch, StepRows
from penstock.worker.step_inputs import StepInputs


class PoolingRows:
    """What pooling knows of every request that the worker knows."""

    def __init__(self, pooler: Pooler):
        self._pooler = pooler
        self._params: dict[str, PoolingParams] = {}
        self._parts: dict[str, list[torch.Tensor]] = {}

    def apply(self, plan: StepPlan) -> None:
        """Bring the state up to date with a plan."""
        for request_id in plan.gone:
            self._params.pop(request_id, None)
            self._parts.pop(request_id, None)
        for new in plan.new:
            assert new.pooling is not None, "a pooling engine samples nothing"
            self._params[new.request_id] = new.pooling

    def take(
        self, hidden_TH: torch.Tensor, plan: StepPlan, rows: StepRows, inputs: StepInputs, batch: InputBatch
    ) -> Iterator[tuple[int, Floats]]:
        """(row, what it pooled) for the rows whose last token has run."""
        finished, pooling = [], []
        for i, row in enumerate(plan.rows):
            if i in rows.failed:
                continue
            params = self._params[row.request_id]
            start = int(inputs.first_hidden_R[i])
            hidden_LH = hidden_TH[start : start + row.num_tokens]
            if self._pooler.needs_all_rows(params):
                if row.num_computed or not row.samples:
                    self._parts.setdefault(row.request_id, []).append(hidden_LH.clone())
                if row.samples and row.num_computed:
                    hidden_LH = torch.cat(self._parts.pop(row.request_id))
            if row.samples:
                slot = int(rows.slots_R[i])
                token_ids = batch.tokens[slot, : batch.num_tokens[slot]].astype(np.int64)
                finished.append(i)
                pooling.append(PoolingRow(hidden_LH, torch.from_numpy(token_ids).to(hidden_TH.device), params))
        for i, pooled in zip(finished, self._pooler.pool(pooling), strict=True):
            yield i, Floats(list(pooled.shape), pooled.cpu().numpy().astype("<f4").tobytes())

"""Plans of the largest steps that an engine may run, for measuring what they take. What they compute means nothing."""

from __future__ import annotations

from penstock.params import SamplingParams
from penstock.scheduler.plan import NewRow, Row, StepPlan


def largest_step(max_num_seqs: int, max_num_batched_tokens: int, max_model_len: int, block_size: int) -> StepPlan:
    """As many rows as may run, all of which sample, and as many tokens as a step may have.

    All rows write to the same blocks, 1 to those of the longest row.
    """
    each = max(1, min(max_num_batched_tokens // max_num_seqs, max_model_len))
    first = max(1, min(max_num_batched_tokens - each * (max_num_seqs - 1), max_model_len))
    params = SamplingParams(temperature=1.0, top_p=0.9, seed=1, max_tokens=1, logprobs=1)
    plan = StepPlan(0, [], [], [])
    for i in range(max_num_seqs):
        count = first if i == 0 else each
        plan.new.append(NewRow(str(i), [0] * count, count, params))
        plan.rows.append(Row(str(i), 0, count, list(range(1, 1 + -(-count // block_size))), samples=True))
    return plan


def step_behind(plan: StepPlan, max_model_len: int, block_size: int) -> StepPlan:
    """One more token for each of its rows that may get longer, while its results have not been read."""
    behind = StepPlan(plan.step + 1, [], [], [])
    for row in plan.rows:
        end = row.num_computed + row.num_tokens
        if end < max_model_len:
            behind.rows.append(Row(row.request_id, end, 1, [1] if end % block_size == 0 else [], samples=True))
    return behind

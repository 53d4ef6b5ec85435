"""A step for which the device's memory does not suffice: tried again with freed memory given back first, or refused.

The engine goes on either way where steps follow each other. Where they overlap, the second error is that of the whole
step, and ends the core.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from penstock.observability.logging import get_logger
from penstock.platforms.base import Device
from penstock.scheduler.plan import Row, RowResult, StepPlan, StepResult
from penstock.worker.out_of_memory import TOO_LARGE_STEP, explain, is_full

T = TypeVar("T")
logger = get_logger(__name__)


def try_twice(run: Callable[[StepPlan], T], plan: StepPlan, device: Device) -> T:
    """`run(plan)`, and once more if memory is full; the second error is raised.

    Args:
        run: takes in who is gone and new and which blocks are, before it takes memory.
    """
    try:
        return run(plan)
    except Exception as e:  # all but full memory is passed on
        if not is_full(device, e):
            raise
        logger.warning("%s The step is tried again.", explain(device, e, describe(plan), TOO_LARGE_STEP))
    known = [Row(row.request_id, row.num_computed, row.num_tokens, [], row.samples) for row in plan.rows]
    return run(StepPlan(plan.step, [], [], known))


def run_or_refuse(run: Callable[[StepPlan], StepResult], plan: StepPlan, device: Device) -> StepResult:
    """As `try_twice`; the second time, all rows of the step fail, each with the sentence that says what to change."""
    try:
        return try_twice(run, plan, device)
    except Exception as e:  # all but full memory is passed on
        if not is_full(device, e):
            raise
        text = explain(device, e, describe(plan), TOO_LARGE_STEP)
        logger.error("%s Its %d requests fail.", text, len(plan.rows))
        failed = [RowResult(row.request_id, [], error=text) for row in plan.rows]
        return StepResult(plan.step, failed, computed=False)


def describe(plan: StepPlan) -> str:
    """What was going on."""
    return f"a step of {plan.num_tokens} tokens of {len(plan.rows)} requests ran"

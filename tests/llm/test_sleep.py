"""LLM.sleep and wake_up: a wish that cannot be granted, and a wait that is cut short, leave an engine that runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock import LLM, SamplingParams
from penstock.errors import ClientError

PROMPTS, GREEDY = ["The capital of France", "Water boils"], SamplingParams(temperature=0.0, max_tokens=8)


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    llm = LLM(enable_sleep_mode=True)
    yield llm
    llm.shutdown()


def answers(llm: LLM) -> list[list[int]]:
    return [output.outputs[0].token_ids for output in llm.generate(PROMPTS, GREEDY, use_tqdm=False)]


def test_a_refused_sleep_holds_nothing_up(llm: LLM) -> None:
    before = answers(llm)
    for mode in ("wait", "abort"):
        with pytest.raises(ClientError, match="level must be 0, 1 or 2, not 3"):
            llm.sleep(3, mode)
        assert answers(llm) == before


def test_an_interrupted_wait_holds_nothing_up(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    before = answers(llm)
    engine = llm.engine
    with monkeypatch.context() as patched:
        patched.setattr(engine._core.scheduler.__class__, "num_running", property(lambda self: 1))
        patched.setattr(engine, "step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            llm.sleep(1, "wait")
    assert not llm.is_sleeping()
    assert answers(llm) == before


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("level", [1, 2])
def test_the_same_tokens_afterwards(llm: LLM, level: int) -> None:
    before = answers(llm)
    llm.sleep(level, "wait")
    assert llm.is_sleeping()
    assert llm.wake_up(["weights"]) is False
    assert llm.wake_up()
    assert answers(llm) == before

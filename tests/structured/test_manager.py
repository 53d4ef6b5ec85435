"""Compiling once, off the caller's thread; keeping what is recent or in use."""

from __future__ import annotations

import gc
import threading

import pytest

from penstock.structured.base import CompiledGrammar, GrammarEngine, GrammarError
from penstock.structured.manager import GrammarManager
from penstock.structured.spec import GrammarSpec


class Counting(GrammarEngine):
    """Tells what it compiled, and waits if it is told to."""

    def __init__(self, engine: GrammarEngine):
        self.engine = engine
        self.compiled: list[str] = []
        self.go = threading.Event()
        self.go.set()

    def compile(self, spec: GrammarSpec) -> CompiledGrammar:
        assert threading.current_thread() is not threading.main_thread()
        self.go.wait(10)
        self.compiled.append(spec.text)
        return self.engine.compile(spec)


@pytest.fixture
def counting(byte_engine: GrammarEngine) -> Counting:
    return Counting(byte_engine)


def regex(text: str) -> GrammarSpec:
    return GrammarSpec("regex", text, "")


def test_compiles_once_and_waits_for_nobody(counting: Counting) -> None:
    manager = GrammarManager(lambda: counting)
    counting.go.clear()
    first, second, other = manager.prepare(regex("a")), manager.prepare(regex("a")), manager.prepare(regex("b"))
    assert not first.done()
    counting.go.set()
    assert first.result(10) is second.result(10)
    assert other.result(10) is not first.result()
    assert counting.compiled == ["a", "b"]
    manager.close()


def test_recent_ones_are_kept(counting: Counting) -> None:
    manager = GrammarManager(lambda: counting, max_kept_chars=3 * 1100)
    for text in ("a", "b", "c", "a", "d"):
        manager.prepare(regex(text)).result(10)
    gc.collect()
    manager.prepare(regex("a")).result(10)
    assert counting.compiled == ["a", "b", "c", "d"]
    manager.prepare(regex("b")).result(10)
    assert counting.compiled[4:] == ["b"]
    manager.close()


def test_what_somebody_holds_is_not_compiled_again(counting: Counting) -> None:
    manager = GrammarManager(lambda: counting, max_kept_chars=1)
    held = manager.prepare(regex("a"))
    held.result(10)
    for text in "bcd":
        manager.prepare(regex(text)).result(10)
    assert manager.prepare(regex("a")) is held
    assert counting.compiled == ["a", "b", "c", "d"]
    manager.close()


def test_a_refusal_is_told_to_whoever_asks(counting: Counting) -> None:
    manager = GrammarManager(lambda: counting)
    for _ in range(2):
        with pytest.raises(GrammarError, match="unclosed"):
            manager.prepare(regex("(")).result(10)
    assert len(counting.compiled) == 1
    manager.close()

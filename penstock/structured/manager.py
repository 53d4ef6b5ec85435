"""GrammarManager: compiles constraints on a thread of its own, each once, and keeps the recent ones.

A step never waits for a compiler: the engine core has a request's constraint prepared before it schedules the request,
and holds what it got until the request ends.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

from penstock.structured.base import CompiledGrammar, GrammarEngine
from penstock.structured.deep_thread import DeepThread
from penstock.structured.spec import GrammarSpec

MAX_KEPT_CHARS = 1 << 20  # texts of the kept constraints: compiled, some 50 bytes a character
_ENTRY_CHARS = 1024  # what even the shortest one counts

Prepared = Future[CompiledGrammar]


class GrammarManager:
    """A cache in front of one engine. May be used by several threads.

    Args:
        make_engine: makes the engine, on the compiling thread, when the first constraint comes.
        max_kept_chars: bound of the least-recently-used cache.
    """

    def __init__(self, make_engine: Callable[[], GrammarEngine], max_kept_chars: int = MAX_KEPT_CHARS):
        self._make_engine = make_engine
        self._max_kept_chars = max_kept_chars
        self._engine: GrammarEngine | None = None
        self._lock = threading.Lock()
        self._kept: OrderedDict[GrammarSpec, Prepared] = OrderedDict()
        self._kept_chars = 0
        self._alive: weakref.WeakValueDictionary[GrammarSpec, Prepared] = weakref.WeakValueDictionary()
        self._thread = DeepThread()  # one: it shares the cores with the steps

    def prepare(self, spec: GrammarSpec) -> Prepared:
        """Compile, or find what was compiled. As long as somebody holds the future, the same one is given again.

        The future raises GrammarError for what the engine refuses, and StartError if there can be no engine.
        """
        with self._lock:
            prepared = self._kept.get(spec) or self._alive.get(spec)
            if prepared is None:
                prepared = self._alive[spec] = self._thread.submit(self._compile, spec)
            self._keep(spec, prepared)
            return prepared

    def close(self) -> None:
        """Drop what waits to be compiled; what is being compiled ends within its limits."""
        self._thread.close()

    def _compile(self, spec: GrammarSpec) -> CompiledGrammar:
        if self._engine is None:
            self._engine = self._make_engine()
        return self._engine.compile(spec)

    def _keep(self, spec: GrammarSpec, prepared: Prepared) -> None:
        if spec in self._kept:
            self._kept.move_to_end(spec)
            return
        self._kept[spec] = prepared
        self._kept_chars += _weight(spec)
        while self._kept_chars > self._max_kept_chars and len(self._kept) > 1:
            oldest, _ = self._kept.popitem(last=False)
            self._kept_chars -= _weight(oldest)


def _weight(spec: GrammarSpec) -> int:
    return len(spec.text) + _ENTRY_CHARS

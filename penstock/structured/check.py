"""ConstraintCheck: whether a constraint can be followed at all, said before its request is sent to the core.

Compiles with the default engine for a vocabulary of single bytes, under the limits that hold in the core: what passes
here is well-formed and affordable there. Needs no tokenizer. Takes milliseconds, at worst about a second.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from concurrent.futures import Future

from penstock.params import StructuredOutputsParams
from penstock.structured.base import GrammarEngine, GrammarError, engines
from penstock.structured.deep_thread import DeepThread
from penstock.structured.spec import GrammarSpec, field_of, refused, spec_of
from penstock.structured.vocabulary import Vocabulary

REMEMBERED = 4096  # constraints known to be good
_END = 256


class ConstraintCheck:
    """Remembers what was good. May be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._engine: GrammarEngine | None = None
        self._thread = DeepThread()

    def known(self, params: StructuredOutputsParams) -> bool:
        """Whether `check` would return at once.

        Raises:
            ClientError: as `check`, for what needs no compiling to be seen.
        """
        key = _key(spec_of(params))
        with self._lock:
            if key not in self._good:
                return False
            self._good.move_to_end(key)
            return True

    def check(self, params: StructuredOutputsParams) -> None:
        """
        Raises:
            ClientError: the constraint is malformed, unsupported or too costly; the message names its field.
        """
        if not self.known(params):
            self.begin(params).result()

    def begin(self, params: StructuredOutputsParams) -> Future[None]:
        """As `check`, on the compiling thread; what it raises comes out of the future. Waiting for it takes no thread.

        Raises:
            ClientError: for what needs no compiling to be seen.
        """
        return self._thread.submit(self._compile, spec_of(params), field_of(params))

    def _compile(self, spec: GrammarSpec, field: str) -> None:
        """On the compiling thread."""
        with self._lock:
            if _key(spec) in self._good:
                return
        if self._engine is None:  # imported now: most servers start without ever needing it
            self._engine = engines.get("llguidance")(_bytes())
        try:
            self._engine.compile(spec)
        except GrammarError as e:
            raise refused(f"{field} cannot be used: {e}") from None
        with self._lock:
            self._good[_key(spec)] = None
            if len(self._good) > REMEMBERED:
                self._good.popitem(last=False)


def _bytes() -> Vocabulary:
    """Every byte a token."""
    return Vocabulary([bytes([i]) for i in range(256)] + [b""], [_END])


def _key(spec: GrammarSpec) -> bytes:
    return hashlib.blake2b("\0".join(spec).encode(), digest_size=16).digest()

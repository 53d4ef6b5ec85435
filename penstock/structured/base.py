"""Grammar engines behind one interface: an engine compiles, a compiled grammar starts, a started one follows an answer.

A grammar is a set of byte strings. Its mask allows exactly the tokens whose bytes keep the answer a prefix of one of
them, and the end-of-sequence tokens where the answer is one of them: a function of the answer and of nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from penstock.plugins import Registry
from penstock.structured.spec import GrammarSpec

if TYPE_CHECKING:  # the front checks constraints, and starts without numpy
    import numpy as np
    import numpy.typing as npt

    MaskRow = npt.NDArray[np.int32]  # [ceil(vocabulary / 32)]; bit i of word w is token 32 * w + i; 1 allows
else:
    MaskRow = Any

engines = Registry(
    "structured outputs backend",
    {
        "llguidance": "penstock.structured.llguidance:LLGuidanceEngine",
        "xgrammar": "penstock.structured.xgrammar:XGrammarEngine",
    },
)


class GrammarError(Exception):
    """A grammar that an engine cannot compile, or an answer that outgrew what it may cost; one sentence."""


def mask_words(vocab_size: int) -> int:
    """Words of a mask row."""
    return (vocab_size + 31) // 32


class Grammar(ABC):
    """One answer's place in a grammar. Not thread-safe."""

    @abstractmethod
    def accept(self, token_ids: Sequence[int]) -> int:
        """Advance over these tokens, up to the first that the grammar does not allow; how many it took.

        Raises:
            GrammarError: following the answer costs more than the engine's limits.
        """

    @abstractmethod
    def rollback(self, count: int) -> None:
        """Take back the last `count` accepted tokens, also those that ended the answer."""

    @abstractmethod
    def fill_mask(self, row: MaskRow) -> None:
        """Write the tokens that may come next; bits beyond the vocabulary are 0.

        Raises:
            GrammarError: as `accept`.
        """

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether the answer is complete and nothing but the end of the sequence may follow."""


class CompiledGrammar(ABC):
    """A compiled grammar; may be shared by threads."""

    @abstractmethod
    def start(self) -> Grammar:
        """At the beginning of an answer."""


class GrammarEngine(ABC):
    """Compiles grammars for one vocabulary. A constructor takes a Vocabulary."""

    @abstractmethod
    def compile(self, spec: GrammarSpec) -> CompiledGrammar:
        """Compile; on a `DeepThread`, for constraints of strangers: it may recurse deeply.

        Raises:
            GrammarError: it is malformed, uses what this engine does not know, or costs too much.
        """

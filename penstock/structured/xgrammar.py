"""Grammars through xgrammar: an alternative engine, which compiles everything first and then fills masks fast.

It knows no limits of its own, so compiling happens in a process that can be killed (`xgrammar_compiler.py`). What it
would not enforce, and what it cannot compile in time, is left to llguidance, or refused if there is to be no fallback.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import penstock
from penstock import envs
from penstock.errors import StartError
from penstock.observability.logging import get_logger
from penstock.structured.base import CompiledGrammar, Grammar, GrammarEngine, GrammarError, MaskRow, mask_words
from penstock.structured.ebnf import is_ebnf
from penstock.structured.spec import DEFAULT_WHITESPACE, GrammarSpec
from penstock.structured.tags import format_of
from penstock.structured.vocabulary import Vocabulary
from penstock.structured.xgrammar_compiler import tokenizer_info

try:
    import xgrammar
except ImportError as e:
    raise StartError(
        f"the structured outputs backend xgrammar is not installed ({e}); "
        "pip install penstock[xgrammar] (it brings triton along)."
    ) from e

logger = get_logger(__name__)

COMPILE_TIMEOUT_S = 5.0
START_TIMEOUT_S = 120.0
_MAX_ERROR_CHARS = 300

# Members of a schema that xgrammar reads over, or turns into something wider (optional groups of a pattern, ipv4).
_NOT_ENFORCED = frozenset(
    [
        "format",
        "pattern",
        "multipleOf",
        "uniqueItems",
        "contains",
        "minContains",
        "maxContains",
        "not",
        "if",
        "then",
        "else",
        "oneOf",
        "dependentSchemas",
        "dependentRequired",
        "dependencies",
        "unevaluatedProperties",
        "unevaluatedItems",
        "$dynamicRef",
        "$recursiveRef",
        "patternProperties",
        "propertyNames",
        "minProperties",
        "maxProperties",
    ]
)


class XGrammarEngine(GrammarEngine):
    """Compiles for one vocabulary.

    Args:
        fallback: compiles what this one refuses; None refuses.
    """

    def __init__(self, vocabulary: Vocabulary, fallback: GrammarEngine | None = None):
        self._vocabulary = vocabulary
        self._fallback = fallback
        self._info = tokenizer_info(vocabulary.pieces, vocabulary.eos_ids)
        self._masks = _Masks(vocabulary)
        self._lock = threading.Lock()
        self._compiler: _Compiler | None = None
        atexit.register(self.close)

    def compile(self, spec: GrammarSpec) -> CompiledGrammar:
        try:
            return self._compile(spec)
        except GrammarError as e:
            if self._fallback is None:
                raise
            logger.info("xgrammar leaves a constraint to llguidance: %s", e)
            return self._fallback.compile(spec)

    def close(self) -> None:
        """End the compiling process; another one starts when it is needed."""
        with self._lock:
            if self._compiler is not None:
                self._compiler.kill()
                self._compiler = None

    def _compile(self, spec: GrammarSpec) -> CompiledGrammar:
        order = _order(spec)
        with self._lock:
            if self._compiler is None:
                self._compiler = _Compiler(self._vocabulary)
            answer = self._compiler.ask(order, COMPILE_TIMEOUT_S)
            if answer is None:
                self._compiler = None
        if answer is None:
            raise GrammarError(f"it takes more than {COMPILE_TIMEOUT_S:g} seconds or too much memory to compile")
        if "error" in answer:
            raise GrammarError(" ".join(str(answer["error"]).split())[:_MAX_ERROR_CHARS])
        compiled = xgrammar.CompiledGrammar.deserialize_json(answer["compiled"], self._info)
        return _Compiled(compiled, self._masks)


class _Compiler:
    """The compiling process, for one order at a time."""

    def __init__(self, vocabulary: Vocabulary):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "penstock.structured.xgrammar_compiler"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=envs.for_child(str(Path(penstock.__file__).parent.parent)),
        )
        pieces = [piece.hex() for piece in vocabulary.pieces]
        if self.ask({"pieces": pieces, "eos_ids": list(vocabulary.eos_ids)}, START_TIMEOUT_S) is None:
            raise GrammarError("the process that compiles for xgrammar did not start")

    def ask(self, order: dict[str, Any], timeout_s: float) -> dict[str, Any] | None:
        """Its answer; None if there was none in time, and then the process is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = threading.Timer(timeout_s, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = b""
        finally:
            timer.cancel()
        if not line.endswith(b"\n"):
            self.kill()
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


class _Masks:
    """Mask rows that are the same for every grammar: all words [W] of uint32."""

    def __init__(self, vocabulary: Vocabulary):
        self.num_words = mask_words(len(vocabulary))
        self.known = self._of(range(len(vocabulary)))
        self.ends = self._of(vocabulary.eos_ids)

    def _of(self, token_ids: Sequence[int]) -> npt.NDArray[np.uint32]:
        bits = np.zeros(self.num_words * 32, np.uint8)
        bits[np.array(token_ids, np.int64)] = 1
        return np.packbits(bits, bitorder="little").view(np.uint32)


class _Compiled(CompiledGrammar):
    def __init__(self, compiled: Any, masks: _Masks):
        self._compiled = compiled
        self._masks = masks

    def start(self) -> Grammar:
        return _Grammar(xgrammar.GrammarMatcher(self._compiled), self._masks)


class _Grammar(Grammar):
    def __init__(self, matcher: Any, masks: _Masks):
        self._matcher = matcher
        self._masks = masks

    def accept(self, token_ids: Sequence[int]) -> int:
        for count, token_id in enumerate(token_ids):
            if self._matcher.is_terminated() or not self._matcher.accept_token(token_id):
                return count
        return len(token_ids)

    def rollback(self, count: int) -> None:
        if count:
            self._matcher.rollback(count)

    def fill_mask(self, row: MaskRow) -> None:
        assert row.shape == (self._masks.num_words,)
        words = row.view(np.uint32)
        if self._matcher.is_terminated():
            words[:] = self._masks.ends
        else:
            self._matcher.fill_next_token_bitmask(row.reshape(1, -1), 0)
            words &= self._masks.known

    @property
    def done(self) -> bool:
        if self._matcher.is_terminated():
            return True
        if not self._matcher.is_completed():
            return False
        row = np.zeros(self._masks.num_words, np.int32)
        self.fill_mask(row)
        return not (row.view(np.uint32) & ~self._masks.ends).any()


def _order(spec: GrammarSpec) -> dict[str, Any]:
    """What the compiling process is asked.

    Raises:
        GrammarError: xgrammar has no such thing, or does not hold to it.
    """
    if spec.whitespace not in ("", DEFAULT_WHITESPACE) and spec.kind != "grammar":
        raise GrammarError("xgrammar has no whitespace_pattern")
    text = spec.text
    if spec.kind == "grammar" and not is_ebnf(text):
        raise GrammarError("xgrammar does not read grammars in Lark's form")
    if spec.kind == "tags":
        text = json.dumps({"type": "structural_tag", "format": format_of(json.loads(text))})
    if spec.kind in ("json", "tags"):
        unknown = sorted(_NOT_ENFORCED.intersection(_members(json.loads(text))))
        if unknown:
            raise GrammarError(f"xgrammar does not enforce {unknown[0]}")
    return {"kind": spec.kind, "text": text, "compact": not spec.whitespace}


def _members(value: Any) -> Iterator[str]:
    """Names of members anywhere in a schema, and pairs of them that do not go together."""
    if isinstance(value, list):
        for item in value:
            yield from _members(item)
    elif isinstance(value, dict):
        yield from value
        if len(value.get("allOf", ())) > 1:
            yield "not"
        for item in value.values():
            yield from _members(item)

"""Grammars through llguidance: the default engine. It compiles as it goes, and counts what everything costs.

What a grammar may cost is limited in the engine's own units, so that neither compiling nor a step's mask can hurt other
requests, and the same answer meets the same limits whatever else runs: a started grammar shares nothing that grows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from llguidance._lib import LLParserLimits

from penstock.structured.base import CompiledGrammar, Grammar, GrammarEngine, GrammarError, MaskRow
from penstock.structured.lark import NO_FORCING, choice_terminal, grammar_text, json_rule, regex_terminal
from penstock.structured.spec import GrammarSpec
from penstock.structured.tags import tags_to_lark
from penstock.structured.vocabulary import Vocabulary

# Units and speeds: https://github.com/guidance-ai/llguidance/blob/main/parser/src/api.rs. Ambiguous grammars cost more
# per item the more there are: 50,000 items, the engine's default, were two seconds for one mask; 10,000 are 20 ms.
LIMITS = LLParserLimits(
    max_items_in_row=2_000,
    initial_lexer_fuel=1_000_000,
    step_lexer_fuel=200_000,
    step_max_items=10_000,
    max_lexer_states=50_000,
    max_grammar_size=200_000,
    verbose_errors=False,
)
_MAX_ERROR_CHARS = 300
_EXCERPT = re.compile(r"^\s*\d+ \|", re.M)


class LLGuidanceEngine(GrammarEngine):
    """Compiles for one vocabulary."""

    def __init__(self, vocabulary: Vocabulary):
        self._tokenizer = LLTokenizer(_Tokens(vocabulary), eos_token=list(vocabulary.eos_ids))
        self._words = (len(vocabulary) + 31) // 32

    def compile(self, spec: GrammarSpec) -> CompiledGrammar:
        try:
            source = _source(spec)
        except ValueError as e:
            raise GrammarError(str(e)) from e
        matcher = LLMatcher(self._tokenizer, source, log_level=0, limits=LIMITS)
        _check(matcher)
        # Some limits show only at the first mask; the copy keeps the original as it was.
        first = matcher.deep_copy()
        first.compute_bitmask()
        _check(first)
        return _Compiled(matcher, self._words)


class _Tokens(TokenizerWrapper):
    """The vocabulary in the form that LLTokenizer asks for."""

    def __init__(self, vocabulary: Vocabulary):  # not as the base class's, which takes a tokenizer apart
        self.is_tokenizer_wrapper = True
        self.bos_token_id = None
        self.tokens = list(vocabulary.pieces)
        self.special_token_ids: list[int] = []
        self.eos_token_id = vocabulary.eos_ids[0]

    def __call__(self, text: str) -> list[int]:
        """Tokenize; asked for only to force tokens, which is off."""
        return []


class _Compiled(CompiledGrammar):
    def __init__(self, matcher: LLMatcher, words: int):
        self._matcher = matcher
        self._words = words

    def start(self) -> Grammar:
        return _Grammar(self._matcher.deep_copy(), self._words)


class _Grammar(Grammar):
    def __init__(self, matcher: LLMatcher, words: int):
        self._matcher = matcher
        self._words = words

    def accept(self, token_ids: Sequence[int]) -> int:
        count = self._matcher.try_consume_tokens(list(token_ids))
        _check(self._matcher)
        return count

    def rollback(self, count: int) -> None:
        if count:
            self._matcher.rollback(count)
            _check(self._matcher)

    def fill_mask(self, row: MaskRow) -> None:
        assert row.shape == (self._words,)
        assert row.flags.c_contiguous
        self._matcher.unsafe_compute_mask_ptr(row.ctypes.data, row.nbytes)
        _check(self._matcher)

    @property
    def done(self) -> bool:
        return self._matcher.is_stopped() and not self._matcher.is_error()


def _check(matcher: LLMatcher) -> None:
    if matcher.is_error():
        text = matcher.get_error().replace("<non-verbose/>", "")
        said = _EXCERPT.split(text, maxsplit=1)[0]  # what follows shows our own text around the caller's
        raise GrammarError(" ".join(said.split()).rstrip(".")[:_MAX_ERROR_CHARS])


def _source(spec: GrammarSpec) -> str:
    """The constraint in the engine's own JSON."""
    others: dict[str, str] = {}
    if spec.kind == "json":
        lark = "start: " + json_rule(json.loads(spec.text), spec.whitespace)
    elif spec.kind == "regex":
        lark = "start: " + regex_terminal(spec.text)
    elif spec.kind == "choice":
        lark = "start: CHOICE\nCHOICE: " + choice_terminal(json.loads(spec.text))
    elif spec.kind == "grammar":
        lark = grammar_text(spec.text)
    else:
        lark, others = tags_to_lark(json.loads(spec.text), spec.whitespace)
    named = {"": lark, **others}
    grammars = [{"name": name or "main", "lark_grammar": f"{text}\n{NO_FORCING}"} for name, text in named.items()]
    return json.dumps({"grammars": grammars}, ensure_ascii=False)

"""Constraints as Lark text, in the dialect that llguidance reads.

Source of the dialect: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llguidance._lib import regex_to_lark

from penstock.structured.ebnf import ebnf_to_lark, is_ebnf

ANY_TEXT = r"/(?s:.)*/"

# Without it the engine writes out, token by token, all text that is certain to follow: a cost without a bound.
NO_FORCING = '%llguidance {"no_forcing": true}\n'


def literal(text: str) -> str:
    """A string as a terminal."""
    return json.dumps(text, ensure_ascii=False)


def regex_terminal(pattern: str) -> str:
    r"""A regular expression as a terminal. \d, \w and \s are ASCII: nobody means Bengali digits by \d."""
    return f"/{regex_to_lark(pattern, 'dws')}/"


def any_text(excludes: Sequence[str]) -> str:
    """Free text, as a terminal, that holds none of these strings."""
    if not excludes:
        return ANY_TEXT
    strings = " | ".join(literal(e) for e in excludes)
    return f"{ANY_TEXT} & ~({ANY_TEXT} ({strings}) {ANY_TEXT})"


def json_rule(schema: dict[str, Any] | bool, whitespace: str) -> str:
    """JSON that a schema allows, as the right-hand side of a rule.

    Args:
        whitespace: regex of what may stand between tokens; "" for nothing.
    """
    if isinstance(schema, bool):
        schema = {} if schema else {"not": {}}
    options = {"whitespace_pattern": whitespace} if whitespace else {"whitespace_flexible": False}
    own = schema.get("x-guidance")
    merged = {**schema, "x-guidance": {**(own if isinstance(own, dict) else {}), **options}}
    return "%json " + json.dumps(merged, ensure_ascii=False, separators=(",", ":"))


def grammar_text(text: str) -> str:
    """A caller's grammar, in either form, as Lark.

    Raises:
        EBNFError: it is EBNF, and malformed.
    """
    return ebnf_to_lark(text) if is_ebnf(text) else text


def choice_terminal(choices: Sequence[str]) -> str:
    """One of some strings."""
    return " | ".join(literal(c) for c in choices)

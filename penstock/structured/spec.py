"""GrammarSpec: what a request's constraint means, normalised, bounded in size, and a key of caches.

Knows no grammar engine: whether the text of a schema, regex or grammar is right is for an engine to say.
"""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

from penstock.errors import ClientError
from penstock.params import StructuredOutputsParams

MAX_CHARS = 1 << 18  # of a schema, regex, grammar, or all choices together
MAX_DEPTH = 64  # of a schema, counting every object and list
MAX_VALUES = 20_000  # in a schema
MAX_PROPERTIES = 2_000  # of one object: the cost of compiling grows with the square
MAX_CHOICES = 10_000
MAX_WHITESPACE_CHARS = 256

# A model that is lost in blanks never ends; this holds a space, or a line break and any usual indentation.
DEFAULT_WHITESPACE = r"\x20|\x0D?\x0A[\x20\x09]{0,48}"

PARAM = "structured_outputs"


class GrammarSpec(NamedTuple):
    """One constraint.

    Attributes:
        kind: what `text` is. json: a JSON schema; choice: a JSON list of strings; tags: a structural tag as JSON.
        whitespace: regex of what may stand between the tokens of JSON, at most once at each place; "" for nothing.
    """

    kind: Literal["json", "regex", "choice", "grammar", "tags"]
    text: str
    whitespace: str = DEFAULT_WHITESPACE


def spec_of(params: StructuredOutputsParams) -> GrammarSpec:
    """
    Raises:
        ClientError: the constraint is empty, too large or not JSON where it must be; the message names the field.
    """
    whitespace = DEFAULT_WHITESPACE if params.whitespace_pattern is None else params.whitespace_pattern
    if len(whitespace) > MAX_WHITESPACE_CHARS:
        raise refused(f"whitespace_pattern may have {MAX_WHITESPACE_CHARS} characters")
    if params.disable_any_whitespace:
        whitespace = ""
    closed = params.disable_additional_properties
    if params.json is not None:
        schema = _parsed(params.json, "json")
        if not isinstance(schema, dict | bool):
            raise refused("json must be a JSON schema: an object, or its text")
        return GrammarSpec("json", _dumped(close_objects(schema) if closed else schema), whitespace)
    if params.json_object is not None:
        if params.json_object is not True:
            raise refused("json_object must be true if it is set; to have no constraint, leave it out")
        return GrammarSpec("json", '{"type":"object"}', whitespace)
    if params.regex is not None:
        return GrammarSpec("regex", _text(params.regex, "regex"), "")
    if params.choice is not None:
        return GrammarSpec("choice", _dumped(_choices(params.choice)), "")
    if params.grammar is not None:
        return GrammarSpec("grammar", _text(params.grammar, "grammar"), whitespace)
    tag = _parsed(_text(params.structural_tag or "", "structural_tag"), "structural_tag")
    if not isinstance(tag, dict):
        raise refused("structural_tag must be a JSON object")
    return GrammarSpec("tags", _dumped(tag), whitespace)


def field_of(params: StructuredOutputsParams) -> str:
    """The field that holds the constraint."""
    names = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")
    return next(n for n in names if getattr(params, n) is not None)


def refused(why: str) -> ClientError:
    """The error for a constraint that cannot be followed."""
    return ClientError(f"{PARAM}.{why}.", PARAM)


def close_objects(schema: Any) -> Any:
    """The schema with `additionalProperties: false` in every object that lists properties and does not say."""
    if isinstance(schema, list):
        return [close_objects(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {k: v if k in ("enum", "const", "default", "examples") else close_objects(v) for k, v in schema.items()}
    lists = isinstance(schema.get("properties"), dict) and "type" in schema
    if lists and "additionalProperties" not in schema and "patternProperties" not in schema:
        closed["additionalProperties"] = False
    return closed


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise refused(f"{name} must be a string")
    if not value:
        raise refused(f"{name} cannot be an empty string")
    if len(value) > MAX_CHARS:
        raise refused(f"{name} may have {MAX_CHARS} characters, got {len(value)}")
    if "\0" in value:
        raise refused(f"{name} cannot hold the character NUL")
    if not _is_unicode(value):
        raise refused(f"{name} holds characters that are not valid Unicode (lone surrogates)")
    return value


def _choices(choices: Any) -> list[str]:
    if not isinstance(choices, list) or not all(isinstance(c, str) for c in choices):
        raise refused("choice must be a list of strings")
    if not choices:
        raise refused("choice cannot be an empty list")
    if len(choices) > MAX_CHOICES:
        raise refused(f"choice may hold {MAX_CHOICES} strings, got {len(choices)}")
    _text("\n".join(choices) + "\n", "choice")
    return list(dict.fromkeys(choices))


def _parsed(value: Any, name: str) -> Any:
    """JSON text, or what it would parse to, as an object whose size is checked."""
    if isinstance(value, str):
        text = _text(value, name)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            raise refused(f"{name} is not valid JSON") from None
    check_size(value, name)
    return value


def check_size(value: Any, name: str) -> None:
    """Refuse what is large or deep before anything walks it recursively."""
    level, count, chars = [value], 0, 0
    for _ in range(MAX_DEPTH):
        count += len(level)
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                if len(item) > MAX_PROPERTIES:
                    raise refused(f"{name} has an object with more than {MAX_PROPERTIES} members")
                chars += sum(len(k) for k in item if isinstance(k, str))
                deeper.extend(item.values())
            elif isinstance(item, list | tuple):
                deeper.extend(item)
            elif isinstance(item, str):
                chars += len(item)
            elif isinstance(item, int) and not -(2**1000) < item < 2**1000:
                raise refused(f"{name} holds an integer of more than 300 digits")
        if count > MAX_VALUES or chars > MAX_CHARS:
            raise refused(f"{name} may hold {MAX_VALUES} values and {MAX_CHARS} characters in all")
        if not deeper:
            return
        level = deeper
    raise refused(f"{name} is nested deeper than {MAX_DEPTH} levels")


def _dumped(value: Any) -> str:
    """Compact JSON that keeps the order of members: it is the order of the answer's."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as e:
        raise refused(f"json cannot be written as JSON: {e}") from None
    if not _is_unicode(text):
        raise refused("json holds characters that are not valid Unicode (lone surrogates)")
    return text


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)

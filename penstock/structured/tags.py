"""Structural tags into Lark: free text in which certain strings open parts that follow a schema or grammar.

Reads the older form {"structures": [{begin, schema, end}], "triggers": [...]} and the newer
{"type": "structural_tag", "format": {...}}. Source of both: the Structural Tag pages of https://xgrammar.mlc.ai/docs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from penstock.structured.lark import any_text, grammar_text, json_rule, literal, regex_terminal

MAX_FORMATS = 1000

Format = dict[str, Any]


class TagError(ValueError):
    """A structural tag that is malformed or of a kind that is not known; one sentence."""


def tags_to_lark(tag: Format, whitespace: str) -> tuple[str, dict[str, str]]:
    """Lark text whose rule `start` is the tag, and grammars by the names under which it refers to them (`@name`).

    Args:
        whitespace: what may stand between the tokens of JSON, see GrammarSpec.

    Raises:
        TagError: the tag is not of a known form.
        ValueError: a grammar inside cannot be read.
    """
    writer = _Writer(whitespace)
    start = writer.expr(format_of(tag), [""])
    return f"start: {start}\n" + "\n".join(writer.lines) + "\n", writer.grammars


def format_of(tag: Format) -> Any:
    """The newer form's `format`, of either form.

    Raises:
        TagError: the older form is malformed.
    """
    if "structures" not in tag:
        return tag.get("format")
    structures, triggers = tag.get("structures"), tag.get("triggers")
    if not isinstance(structures, list) or not structures:
        raise TagError("structures must be a list with at least one {begin, schema, end}")
    tags = []
    for item in structures:
        if not isinstance(item, dict) or "begin" not in item:
            raise TagError("each of structures must be an object {begin, schema, end}")
        schema = item.get("schema", {})
        if isinstance(schema, str):
            try:
                schema = json.loads(schema)
            except (ValueError, RecursionError):
                raise TagError("the schema of a structure is not valid JSON") from None
        content = {"type": "json_schema", "json_schema": schema}
        tags.append({"type": "tag", "begin": item["begin"], "content": content, "end": item.get("end", "")})
    return {"type": "triggered_tags", "triggers": triggers, "tags": tags}


class _Writer:
    """Collects rules. Every `expr` writes what a format is, followed by one of the strings in `ends`: text that is
    free can only stop where that string comes."""

    def __init__(self, whitespace: str):
        self.lines: list[str] = []
        self.grammars: dict[str, str] = {}
        self._whitespace = whitespace
        self._count = 0
        self._kinds: dict[str, Callable[[Format, Sequence[str]], str]] = {
            "const_string": lambda f, ends: literal(_string(f, "value")) + _closing(ends),
            "json_schema": lambda f, ends: self._json(f) + _closing(ends),
            "regex": lambda f, ends: self._terminal(regex_terminal(_string(f, "pattern"))) + _closing(ends),
            "grammar": lambda f, ends: self._grammar(_string(f, "grammar")) + _closing(ends),
            "any_text": lambda f, ends: self._any_text(_strings(f, "excludes", []), ends),
            "sequence": self._sequence,
            "or": lambda f, ends: _either([self.expr(e, ends) for e in _formats(f, "elements")]),
            "tag": lambda f, ends: self._tag(f, ends, with_begin=True),
            "triggered_tags": self._triggered,
            "tags_with_separator": self._separated,
            "optional": lambda f, ends: f"({self.expr(f.get('content'), [''])})?" + _closing(ends),
            "star": lambda f, ends: f"({self.expr(f.get('content'), [''])})*" + _closing(ends),
            "plus": lambda f, ends: f"({self.expr(f.get('content'), [''])})+" + _closing(ends),
        }

    def expr(self, item: Any, ends: Sequence[str]) -> str:
        self._count += 1
        if self._count > MAX_FORMATS:
            raise TagError(f"a structural tag may have {MAX_FORMATS} parts")
        kind = item.get("type") if isinstance(item, dict) else None
        if not isinstance(kind, str) or kind not in self._kinds:
            raise TagError(f"format must be an object whose type is one of {', '.join(self._kinds)}; got {kind!r}")
        return self._kinds[kind](item, ends)

    def _define(self, prefix: str, text: str, options: str = "") -> str:
        name = f"{prefix}{len(self.lines)}"
        self.lines.append(f"{name}{options}: {text}")
        return name

    def _terminal(self, text: str) -> str:
        return self._define("T", text)

    def _json(self, item: Format) -> str:
        schema = item.get("json_schema")
        if not isinstance(schema, dict | bool) or item.get("style", "json") != "json":
            raise TagError("json_schema needs a JSON schema, and no style but json")
        return self._define("j", json_rule(schema, self._whitespace))

    def _grammar(self, text: str) -> str:
        name = f"g{len(self.grammars)}"
        self.grammars[name] = grammar_text(text)
        return f"@{name}"

    def _any_text(self, excludes: list[str], ends: Sequence[str]) -> str:
        free = self._terminal(any_text(excludes))
        if list(ends) == [""]:
            return free
        if "" in ends:
            raise TagError("free text cannot end both with a string and with nothing")
        return self._define("l", f"{free} {_either([literal(e) for e in ends])}", "[lazy]")

    def _sequence(self, item: Format, ends: Sequence[str]) -> str:
        elements = _formats(item, "elements")
        texts, place = [], 0
        while place < len(elements):
            here, after = elements[place], elements[place + 1 : place + 2]
            place += 1
            if not after:
                texts.append(self.expr(here, ends))
            elif not _is_free(here):
                texts.append(self.expr(here, [""]))
            elif after[0].get("type") == "const_string":
                texts.append(self.expr(here, [_string(after[0], "value")]))
                if place + 1 == len(elements):
                    texts.append(_closing(ends))
                place += 1
            elif after[0].get("type") == "tag":
                texts.append(self.expr(here, [_string(after[0], "begin")]))
                last = place + 1 == len(elements)
                texts.append(self._tag(after[0], ends if last else [""], with_begin=False))
                place += 1
            else:
                raise TagError("after free text in a sequence there must be a const_string or a tag")
        return " ".join(texts)

    def _tag(self, item: Format, ends: Sequence[str], *, with_begin: bool) -> str:
        if item.get("type", "tag") != "tag":
            raise TagError("tags must be formats of type tag")
        begin = literal(_string(item, "begin")) + " " if with_begin else ""
        end = item.get("end", "")
        own = [end] if isinstance(end, str) else _strings(item, "end")
        return f"{begin}{self.expr(item.get('content'), own or [''])}{_closing(ends)}"

    def _triggered(self, item: Format, ends: Sequence[str]) -> str:
        triggers, excludes = _strings(item, "triggers"), _strings(item, "excludes", [])
        rests: dict[str, list[str]] = {t: [] for t in triggers}
        for tag in _formats(item, "tags"):
            begin = _string(tag, "begin")
            found = [t for t in triggers if t and begin.startswith(t)]
            if len(found) != 1:
                raise TagError(f"the begin {begin[:80]!r} must start with exactly one of the triggers")
            rest = begin[len(found[0]) :]
            rests[found[0]].append(self._tag({**tag, "begin": rest}, [""], with_begin=bool(rest)))
        heads = [
            self._any_text(excludes, [trigger]) + " " + _either(options)
            for trigger, options in rests.items()
            if options
        ]
        tags = self._define("r", _either(heads))
        if item.get("stop_after_first"):
            return (tags if item.get("at_least_one") else f"{tags}?") + _closing(ends)
        tail = self._any_text([*excludes, *(t for t in triggers if t)], ends)
        return f"{tags}{'+' if item.get('at_least_one') else '*'} {tail}"

    def _separated(self, item: Format, ends: Sequence[str]) -> str:
        tags = self._define("r", _either([self._tag(t, [""], with_begin=True) for t in _formats(item, "tags")]))
        separator = _string(item, "separator")
        more = "" if item.get("stop_after_first") else f" ({literal(separator)} {tags})*"
        text = f"{tags}{more}"
        return (text if item.get("at_least_one") else f"({text})?") + _closing(ends)


def _is_free(item: Format) -> bool:
    return item.get("type") in ("any_text", "triggered_tags")


def _either(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else "(" + " | ".join(texts) + ")"


def _closing(ends: Sequence[str]) -> str:
    return "" if list(ends) == [""] else " " + _either([literal(e) for e in ends])


def _string(item: Format, name: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise TagError(f"{item.get('type', 'a tag')} needs a string {name}")
    return value


def _strings(item: Format, name: str, default: list[str] | None = None) -> list[str]:
    value = item.get(name, default)
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise TagError(f"{item.get('type', 'a tag')} needs a list of strings {name}")
    return value


def _formats(item: Format, name: str) -> list[Format]:
    value = item.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(v, dict) for v in value):
        raise TagError(f"{item.get('type', 'a tag')} needs a list of objects {name}")
    return value

"""EBNF in the form of llama.cpp's GBNF (`root ::= ...`) into the Lark form that llguidance reads.

Source of the form: https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md. Rules that do not recurse
become terminals, each one regular expression, because a lexer that takes the longest match would cut `[a-z]* "b"`
in the wrong place; of other rules, every run of such parts becomes one. Takes time linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_NESTING = 100

_TOKEN = re.compile(
    r"""(?P<skip>(?:\s|\#[^\n]*)+)
      | (?P<define>[A-Za-z_][\w.-]*\s*::=)
      | (?P<name>[A-Za-z_][\w.-]*)
      | (?P<literal>"(?:[^"\\\n]|\\.)*")
      | (?P<set>\[(?:[^\]\\\n]|\\.)*\])
      | (?P<repeat>[*+?]|\{\s*\d{1,6}\s*(?:,\s*(?:\d{1,6})?\s*)?\})
      | (?P<mark>[()|.])""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.S)


class EBNFError(ValueError):
    """The text is not of this form; one sentence with the line."""


Fail = Callable[[str], EBNFError]  # the error that says where in the text the reader is


@dataclass
class Part:
    """A piece of a right-hand side.

    Attributes:
        kind: text (as Lark writes it), name, seq or alt.
        repeat: what follows it: "", "*", "+", "?" or "{m,n}".
    """

    kind: str
    text: str = ""
    parts: list[Part] = field(default_factory=list)
    repeat: str = ""


def is_ebnf(text: str) -> bool:
    """Whether a grammar is written in this form, and not in Lark's."""
    return "::=" in text


def ebnf_to_lark(text: str) -> str:
    """
    Raises:
        EBNFError: it cannot be read, a rule is missing, or there is no rule `root`.
    """
    rules = _parse(text)
    if "root" not in rules:
        raise EBNFError("there is no rule named root")
    references = {name: _names_in(part) for name, part in rules.items()}
    for name, used in references.items():
        missing = used - rules.keys()
        if missing:
            raise EBNFError(f"rule {name} uses {min(missing)}, which is not defined")
    return _Writer(rules, _regular(references)).lark()


def _parse(text: str) -> dict[str, Part]:
    rules: dict[str, Part] = {}
    stack: list[Part] = []
    place = 0

    def fail(what: str) -> EBNFError:
        return EBNFError(f"line {text.count(chr(10), 0, place) + 1}: {what}")

    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise fail(f"cannot read {text[place : place + 20]!r}")
        kind, token = str(match.lastgroup), match.group()
        if kind == "define":
            name = token[:-3].rstrip()
            if len(stack) > 1 or name in rules:
                raise fail("a parenthesis is not closed" if len(stack) > 1 else f"rule {name} is defined twice")
            rules[name] = Part("alt", parts=[Part("seq")])
            stack = [rules[name]]
        elif kind != "skip":
            if not stack:
                raise fail("expected `name ::= ...`")
            _add(stack, kind, token, fail)
        place = match.end()
    if len(stack) > 1:
        raise fail("a parenthesis is not closed")
    return rules


def _add(stack: list[Part], kind: str, token: str, fail: Fail) -> None:
    """One token of a right-hand side; the top of the stack is the alternation it stands in."""
    sequence = stack[-1].parts[-1].parts
    if kind == "name":
        sequence.append(Part("name", token))
    elif kind == "literal":
        sequence.append(Part("text", _literal(token, fail)))
    elif kind == "set":
        sequence.append(Part("text", _set(token, fail)))
    elif kind == "repeat":
        if not sequence or sequence[-1].repeat:
            raise fail(f"nothing to repeat before {token!r}")
        sequence[-1].repeat = re.sub(r"\s", "", token)
    elif token == "(":
        if len(stack) > MAX_NESTING:
            raise fail(f"more than {MAX_NESTING} parentheses inside each other")
        group = Part("alt", parts=[Part("seq")])
        sequence.append(group)
        stack.append(group)
    elif token == ")":
        if len(stack) == 1:
            raise fail("a parenthesis is closed that was not opened")
        stack.pop()
    elif token == "|":
        stack[-1].parts.append(Part("seq"))
    else:
        sequence.append(Part("text", r"/(?s:.)/"))


def _unescaped(text: str, fail: Fail) -> list[tuple[str, bool]]:
    """(character, whether it was escaped) of the inside of a literal or set."""
    found: list[tuple[str, bool]] = []
    place = 0
    while place < len(text):
        if text[place] != "\\":
            found.append((text[place], False))
            place += 1
            continue
        match = _ESCAPE.match(text, place)
        if match is None:
            raise fail("a backslash at the end")
        code = match[1] or match[2] or match[3]
        if code and (int(code, 16) > 0x10FFFF or 0xD800 <= int(code, 16) < 0xE000):
            raise fail(f"{match[0]} is no character")
        found.append((chr(int(code, 16)) if code else _ESCAPES.get(match[4], match[4]), True))
        place = match.end()
    return found


def _code(char: str) -> str:
    """A character as every regular expression can hold it, in a set or outside."""
    return char if char.isascii() and char.isalnum() else f"\\u{{{ord(char):x}}}"


def _literal(token: str, fail: Fail) -> str:
    return "/" + "".join(_code(c) for c, _ in _unescaped(token[1:-1], fail)) + "/" if len(token) > 2 else '""'


def _set(token: str, fail: Fail) -> str:
    chars = _unescaped(token[1:-1], fail)
    negated = bool(chars) and chars[0] == ("^", False)
    chars = chars[negated:]
    inside, i = "", 0
    while i < len(chars):
        low = chars[i][0]
        if i + 2 < len(chars) and chars[i + 1] == ("-", False):
            high = chars[i + 2][0]
            if high < low:
                raise fail(f"the range in {token!r} is the wrong way round")
            inside += f"{_code(low)}-{_code(high)}"
            i += 3
        else:
            inside += _code(low)
            i += 1
    if not inside:
        if negated:
            return r"/(?s:.)/"
        raise fail("an empty set [] matches nothing")
    return f"/[{'^' if negated else ''}{inside}]/"


def _names_in(part: Part) -> set[str]:
    if part.kind == "name":
        return {part.text}
    return set().union(*(_names_in(p) for p in part.parts))


def _regular(references: dict[str, set[str]]) -> set[str]:
    """Rules that lead to no recursion: all they use is regular."""
    left = {name: len(used) for name, used in references.items()}
    users: dict[str, list[str]] = {name: [] for name in references}
    for name, used in references.items():
        for other in used:
            users[other].append(name)
    ready = [name for name, count in left.items() if not count]
    regular: set[str] = set()
    while ready:
        name = ready.pop()
        regular.add(name)
        for user in users[name]:
            left[user] -= 1
            if not left[user]:
                ready.append(user)
    return regular


class _Writer:
    """Lark text of parsed rules."""

    def __init__(self, rules: dict[str, Part], regular: set[str]):
        self._rules = rules
        self._regular = regular
        self._number = {name: i for i, name in enumerate(rules)}
        self._terminals: dict[str, str] = {}

    def lark(self) -> str:
        lines = []
        for name, part in self._rules.items():
            text = self._terminal_text(part) if name in self._regular else self._rule_text(part)
            lines.append(f"{self._name(name)}: {text}")
        lines += [f"{name}: {text}" for text, name in self._terminals.items()]
        return f"start: {self._name('root')}\n" + "\n".join(lines) + "\n"

    def _name(self, name: str) -> str:
        return f"{'T' if name in self._regular else 'r'}{self._number[name]}"

    def _is_terminal(self, part: Part) -> bool:
        return part.text in self._regular if part.kind == "name" else all(self._is_terminal(p) for p in part.parts)

    def _terminal_text(self, part: Part) -> str:
        if part.kind == "text":
            return part.text + part.repeat
        if part.kind == "name":
            return self._name(part.text) + part.repeat
        if part.kind == "seq":
            return " ".join(self._terminal_text(p) for p in part.parts) or '""'
        return "(" + " | ".join(self._terminal_text(p) for p in part.parts) + ")" + part.repeat

    def _rule_text(self, part: Part) -> str:
        if part.kind == "seq":
            return self._sequence(part.parts)
        if part.kind == "alt":
            return "(" + " | ".join(self._rule_text(p) for p in part.parts) + ")" + part.repeat
        return self._name(part.text) + part.repeat

    def _sequence(self, parts: list[Part]) -> str:
        """Every run of terminal parts as one terminal of its own."""
        texts: list[str] = []
        run: list[Part] = []
        for part in [*parts, None]:
            if part is not None and self._is_terminal(part):
                run.append(part)
                continue
            if run:
                text = " ".join(self._terminal_text(p) for p in run)
                texts.append(self._terminals.setdefault(text, f"X{len(self._terminals)}"))
                run = []
            if part is not None:
                texts.append(self._rule_text(part))
        return " ".join(texts) or '""'

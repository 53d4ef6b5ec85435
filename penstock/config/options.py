"""What an option is: a dataclass field that carries its help, choices and other spellings, and a type that is checked.

`option()` declares one inside a section; `options_of()` lists those of a class. Command line, YAML, docs and the
keywords of `LLM` are derived from that list. Knows no option by name.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import re
import types
import typing
from dataclasses import dataclass
from typing import Any

from penstock.errors import StartError

# How a value is written on the command line.
#   bool: --x and --no-x    int, float, str    human: integer that may end in k (thousand), K (1024), m, M, g, G, t, T
#   strs: several values    json: a JSON value; an object may also be given by dotted keys
KINDS = ("bool", "int", "float", "str", "human", "strs", "json")


@dataclass(frozen=True)
class Option:
    """One option, as everything outside the section sees it.

    Attributes:
        name: field name, with underscores; the flag is "--" and the name with dashes.
        kind: one of KINDS.
        flags: other complete spellings, such as "-q".
        section: title of the section that declares it ("Model").
        words: values that it may also take, of another type: "auto" for a number, say.
        optional: None is a value, too.
    """

    name: str
    kind: str
    default: Any
    help: str
    choices: tuple[Any, ...] | None
    flags: tuple[str, ...]
    section: str
    words: tuple[str | int, ...]
    optional: bool

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[Any, ...] | None = None,
    flags: tuple[str, ...] = (),
    kind: str | None = None,
    words: tuple[str | int, ...] = (),
) -> Any:
    """A dataclass field that is an option. `kind` is only needed where the type does not tell it."""
    metadata = {"help": help, "choices": choices, "flags": flags, "kind": kind, "words": words}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: default.copy(), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@functools.cache
def options_of(cls: type) -> tuple[Option, ...]:
    """The options of a class made of sections, in the order of declaration."""
    section_of = {
        name: base.__dict__["TITLE"]
        for base in reversed(cls.__mro__)
        if "TITLE" in base.__dict__
        for name in inspect.get_annotations(base)
    }
    out = []
    for f in dataclasses.fields(cls):
        meta = f.metadata
        default = f.default_factory() if callable(f.default_factory) else f.default
        kind = meta["kind"] or _kind_of(f.type)
        assert kind in KINDS, (f.name, kind)
        more = {k: meta[k] for k in ("help", "choices", "flags", "words")}
        out.append(Option(f.name, kind, default, section=section_of[f.name], optional=_takes_none(f.type), **more))
    return tuple(out)


def _kind_of(annotation: Any) -> str:
    """The kind that a field's type stands for; None beside another type does not count."""
    if isinstance(annotation, types.UnionType):
        members = [t for t in typing.get_args(annotation) if t is not type(None)]
        annotation = members[0]
    if typing.get_origin(annotation) is list:
        return "strs"
    if typing.get_origin(annotation) is dict:
        return "json"
    return {bool: "bool", int: "int", float: "float", str: "str"}[annotation]


def _takes_none(annotation: Any) -> bool:
    return isinstance(annotation, types.UnionType) and type(None) in typing.get_args(annotation)


def parse_bool(text: str) -> bool:
    """true or false, in words that YAML and shells use."""
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.lower() not in words:
        raise ValueError(f"must be true or false, not {text!r}")
    return words[text.lower()]


_HUMAN = re.compile(r"(-?\d+)(\.\d+)?([kmgtKMGT]?)")


def parse_human(text: str) -> int:
    """1k = 1000, 1K = 1024, 25.6k = 25600; a fraction only goes with the decimal suffixes k, m, g, t."""
    match = _HUMAN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"must be an integer such as 4096, 4k (4000) or 4K (4096), not {text!r}")
    whole, fraction, suffix = match.groups()
    power = 1 + "kmgt".index(suffix.lower()) if suffix else 0
    if fraction and not suffix.islower():
        raise ValueError(f"can have a fraction only before k, m, g or t, not {text!r}")
    if fraction and len(fraction) - 1 > 3 * power:
        raise ValueError(f"must come to a whole number, not {text!r}")
    scale = 1024**power if suffix.isupper() else 1000**power
    digits = (fraction or ".")[1:]
    sign = -1 if whole.startswith("-") else 1
    return int(whole) * scale + sign * int(digits or 0) * scale // 10 ** len(digits)


def parse_json(text: str) -> Any:
    """A JSON value."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as e:
        raise ValueError(f"must be JSON, not {text!r} ({e})") from None


def parse_text(option: Option, text: str) -> Any:
    """The value that a word on the command line, or a text where another type belongs, stands for.

    Raises:
        ValueError: it stands for none; the message goes behind the option's name.
    """
    if text in option.words or option.kind in ("str", "strs"):
        return text
    if option.kind in ("int", "float"):
        try:
            return int(text) if option.kind == "int" else float(text)
        except ValueError:
            raise ValueError(f"must be {_CALLED[option.kind]}, not {text!r}") from None
    return {"bool": parse_bool, "human": parse_human, "json": parse_json}[option.kind](text)


_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "human": (int,),
    "float": (int, float),
    "str": (str,),
    "strs": (str, list, tuple),
    "json": (dict, list),
}
_CALLED = {
    "bool": "true or false",
    "int": "an integer",
    "human": "an integer",
    "float": "a number",
    "str": "text",
    "strs": "text or a list of texts",
    "json": "a JSON object",
}


def check_fields(args: Any) -> None:
    """Check and convert the fields of an object made of sections, whoever made it.

    Raises:
        StartError: a value has the wrong type or is not among the choices.
    """
    cls: type = type(args)
    for o in options_of(cls):
        value = getattr(args, o.name)
        if value is None and o.optional:
            continue
        if isinstance(value, str) and o.kind not in ("str", "strs"):
            try:
                value = parse_text(o, value)
            except ValueError as e:
                raise StartError(f"{o.flag} {e}.") from None
            setattr(args, o.name, value)
        if value in o.words and o.words:
            continue
        if not isinstance(value, _TYPES[o.kind]) or (isinstance(value, bool) and o.kind != "bool"):
            words = "".join(f" or {word}" for word in o.words)
            raise StartError(f"{o.flag} must be {_CALLED[o.kind]}{words}, not {value!r}.")
        if o.choices is not None and value not in o.choices:
            raise StartError(f"{o.flag} must be one of {', '.join(map(str, o.choices))}, not {value!r}.")

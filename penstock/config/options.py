"""What an option is: a dataclass field that carries its help, choices and other spellings.

`option()` declares one inside a section; `options_of()` lists those of a class. Command line, YAML, docs and the
keywords of `LLM` are derived from that list. Knows no option by name.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from dataclasses import dataclass
from typing import Any

# How a value is written on the command line.
#   bool: --x and --no-x    int, float, str    human: integer with k, M, GiB-like suffixes
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
        words: values that a number may also take by name, such as "auto".
    """

    name: str
    kind: str
    default: Any
    help: str
    choices: tuple[Any, ...] | None
    flags: tuple[str, ...]
    section: str
    words: tuple[str, ...]

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
    words: tuple[str, ...] = (),
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
        section = section_of[f.name]
        out.append(Option(f.name, kind, default, meta["help"], meta["choices"], meta["flags"], section, meta["words"]))
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

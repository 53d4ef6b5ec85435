"""The Jinja environment in which chat templates run: sandboxed, and bounded in steps, sizes and output.

Bounded: loop rounds and macro calls together, the length of `range`, of every string that an operator, a filter or a
method makes, of integers and of the output. Not bounded: the memory of many lists or strings just below the limits,
and one long run of a regular filter over a big input that the caller supplied; the caller limits its inputs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.sandbox
from jinja2 import nodes

MAX_STEPS = 400_000  # loop rounds and macro calls of one rendering
MAX_STRING = 16 << 20  # characters that one expression may make
MAX_NUMBER = 1 << 20  # widths and counts handed to filters and methods
_STEP = "__penstock_step__"
_CHECK = "__penstock_check__"
_WIDE_FORMAT = re.compile(r"\d{6}")


class TemplateLimitError(jinja2.TemplateError):
    """A template asked for more than it is given."""


class GenerationTag(jinja2.ext.Extension):
    """`{% generation %}...{% endgeneration %}` marks an assistant's words for training; here it is just its body."""

    tags = {"generation"}

    def parse(self, parser: Any) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Steps:
    """Counts what one rendering does; called at every loop round and macro call."""

    def __init__(self, limit: int = MAX_STEPS):
        self._left = limit

    def __call__(self) -> str:
        self._left -= 1
        if self._left < 0:
            raise TemplateLimitError("the template loops too long")
        return ""


class ChatTemplateEnvironment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """What transformers gives chat templates, with limits."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols], cache_size=0
        )
        self.globals.pop("lipsum", None)
        self.globals["raise_exception"] = _raise
        self.globals["strftime_now"] = _strftime_now
        self.globals[_CHECK] = check_size
        self.filters["tojson"] = _tojson
        for name, function in list(self.filters.items()):
            self.filters[name] = _bounded(function)

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        _add_limits(source)
        return super()._generate(source, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse what would be too big before it is made."""
        if operator == "**":
            _check_power(left, right)
        elif operator == "*":
            _check_product(left, right)
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
        return check_size(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls of methods and functions; macros only take a step."""
        if getattr(__obj, "__name__", "") in ("format", "format_map"):
            method = getattr(__obj, "__wrapped__", __obj)  # the sandbox wraps a string's format
            _check_format(str(getattr(method, "__self__", "")))
        if __obj is not __self.globals.get("range"):
            _check_numbers(args, kwargs)
        return check_size(super().call(__context, __obj, *args, **kwargs))


def check_size(value: Any) -> Any:
    """The value, unless it is a string, a list or a number too big."""
    if isinstance(value, str) and len(value) > MAX_STRING:
        raise TemplateLimitError("the template makes a string that is too long")
    if isinstance(value, (list, tuple)) and len(value) > MAX_NUMBER:
        raise TemplateLimitError("the template makes a list that is too long")
    return value


def _add_limits(template: nodes.Template) -> None:
    """Put a step into every loop round and macro call, and a check around every `~`."""
    repeated: list[nodes.For | nodes.Macro] = [*template.find_all(nodes.For), *template.find_all(nodes.Macro)]
    for body in repeated:
        body.body.insert(0, nodes.ExprStmt(_call(_STEP, [], body.lineno), lineno=body.lineno))
    _wrap_concats(template)


def _wrap_concats(node: nodes.Node) -> None:
    for field, value in node.iter_fields():
        if isinstance(value, nodes.Node):
            setattr(node, field, _wrapped(value))
        elif isinstance(value, list):
            value[:] = [_wrapped(v) if isinstance(v, nodes.Node) else v for v in value]


def _wrapped(node: nodes.Node) -> nodes.Node:
    _wrap_concats(node)
    return _call(_CHECK, [node], node.lineno) if isinstance(node, nodes.Concat) else node


def _call(name: str, args: list[Any], lineno: int) -> nodes.Call:
    return nodes.Call(nodes.Name(name, "load", lineno=lineno), args, [], None, None, lineno=lineno)


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that refuses big widths and big results."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if function.__name__ == "do_format":
            _check_format(str(args[0]))
        _check_numbers(args[1:], kwargs)
        return check_size(function(*args, **kwargs))

    return run


def _check_numbers(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for value in (*args, *kwargs.values()):
        if isinstance(value, int) and abs(value) > MAX_NUMBER:
            raise TemplateLimitError("the template uses a number that is too big")


def _check_format(pattern: str) -> None:
    if _WIDE_FORMAT.search(pattern) or "*" in pattern:
        raise TemplateLimitError("the template formats with a width that is too big")


def _check_product(left: Any, right: Any) -> None:
    for one, other in ((left, right), (right, left)):
        if isinstance(one, (str, list, tuple)) and isinstance(other, int) and len(one) * other > MAX_STRING:
            raise TemplateLimitError("the template repeats something too often")
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > 4096:
        raise TemplateLimitError("the template makes a number that is too big")


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > 4096:
        raise TemplateLimitError("the template makes a number that is too big")


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is, where Jinja's own filter would escape it for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def step_variables() -> dict[str, Any]:
    """What every rendering must add to its variables."""
    return {_STEP: Steps()}

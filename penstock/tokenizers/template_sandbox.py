"""The Jinja environment in which chat templates run: sandboxed, and bounded in time, steps, sizes and output.

Bounded: loop rounds and macro calls together, the length of `range`, of every string that an operator, a filter or a
method makes and of all of them together, of integers, and processor time between two such points. Not bounded: one long
run of a filter over a big input. Templates of strangers run in a process of their own besides: `template_process.py`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
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
MAX_MADE = 1 << 27  # characters and list entries that one rendering may make in all
MAX_SECONDS = 1.0  # of processor time for one rendering
_LOOK_EVERY = 64  # steps between two looks at the clock
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


class Budget:
    """Counts what one rendering does; called at every loop round and macro call."""

    def __init__(self) -> None:
        self._steps = MAX_STEPS
        self._made = MAX_MADE
        self._end = time.thread_time() + MAX_SECONDS

    def __call__(self) -> str:
        self._steps -= 1
        if self._steps < 0:
            raise TemplateLimitError("the template loops too long")
        if not self._steps % _LOOK_EVERY:
            self._look()
        return ""

    def made(self, size: int) -> None:
        """Something of that many characters or entries has come into being."""
        self._made -= size
        if self._made < 0:
            raise TemplateLimitError("the template makes too many strings")
        self()

    def _look(self) -> None:
        if time.thread_time() > self._end:
            raise TemplateLimitError("the template takes too long")


_budget: ContextVar[Budget] = ContextVar("budget")


@contextmanager
def rendering() -> Iterator[dict[str, Any]]:
    """Around one rendering, with a budget of its own; gives what its variables must hold besides."""
    budget = Budget()
    token = _budget.set(budget)
    try:
        yield {_STEP: budget}
    finally:
        _budget.reset(token)


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
        name, owner = getattr(__obj, "__name__", ""), getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            _check_method(name, owner, args)
        if __obj is not __self.globals.get("range"):
            _check_numbers(args, kwargs)
        return check_size(super().call(__context, __obj, *args, **kwargs))


def check_size(value: Any) -> Any:
    """The value, unless it is a string, a list or a number too big."""
    if isinstance(value, str) and len(value) > MAX_STRING:
        raise TemplateLimitError("the template makes a string that is too long")
    if isinstance(value, (list, tuple)) and len(value) > MAX_NUMBER:
        raise TemplateLimitError("the template makes a list that is too long")
    if isinstance(value, (str, list, tuple)):
        _budget.get().made(len(value))
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
        name = function.__name__
        if name == "do_format":
            _check_format(str(args[0]))
        elif name == "do_replace":
            _check_method("replace", str(args[1]), args[2:])
        elif name.endswith("do_join"):
            _check_method("join", str(args[2]) if len(args) > 2 else "", args[1:2])
        _check_numbers(args[1:], kwargs)
        return check_size(function(*args, **kwargs))

    return run


def _check_method(name: str, text: str, args: tuple[Any, ...]) -> None:
    """Refuse what a string's method would make too big."""
    size = 0
    if name == "replace" and len(args) > 1 and isinstance(args[0], str):
        size = len(text) + text.count(args[0]) * len(str(args[1]))
    elif name == "join" and args and isinstance(args[0], (list, tuple)):
        size = sum(len(str(a)) + len(text) for a in args[0])
    elif name == "expandtabs":
        size = len(text) + text.count("\t") * int(args[0] if args else 8)
    elif name == "translate":
        size = MAX_STRING + 1
    if size > MAX_STRING:
        raise TemplateLimitError("the template makes a string that is too long")


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

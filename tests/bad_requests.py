"""A seeded, endless supply of requests of which most are bad, for every route that a server's OpenAPI page describes.

Sound bodies are changed by the page's schemas: a field gets another value of its type, a value of another type, or goes
away. Then some are damaged byte by byte, sent with strange headers, by a wrong method, or given up by their client.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
GENERATING = (CHAT, COMPLETIONS, RESPONSES, "/v1/messages")
JSON_TYPE = {"content-type": "application/json"}

WORDS = ("hello", "Penstock", "", " ", "\0", "\n", "é", "\U0001f600", "a" * 5000, "<|im_end|>", "{{ 1/0 }}", "{%", "%s")
NUMBERS = (0, 1, -1, 2, 5, 2**31, 2**32 + 1, 2**63 - 1, -(2**63), 2**63, 10**30, 0.5, -0.0, 1.5, 1e308, 1e-30)
RAW_NUMBERS = ("NaN", "Infinity", "-Infinity", "1e999", "-0", "01", "1" * 5000, "0x10", "'a'", "-", "1e", "True")
RAW_SURROGATE = '"\\ud800"'  # JSON can name half a character; UTF-8 cannot
NAMES = ("", "1", "-1", "type", "99999999", "__proto__", "model", "é", "a" * 2000)
QUERIES = ("config_format", "reset_running_requests", "stream", "starting_after", "order", "after", "limit", "a")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "BREW")
HEADERS = (
    {"x-request-timeout-ms": "abc"},
    {"x-request-timeout-ms": "-5"},
    {"x-request-timeout-ms": "9" * 40},
    {"x-request-timeout-ms": "1"},
    {"x-request-id": "a" * 3000},
    {"x-request-id": "\xff\xfe"},
    {"content-type": "text/plain"},
    {"content-type": ""},
    {"content-type": "multipart/form-data"},
    {"content-type": "application/json; charset=utf-16"},
    {"content-encoding": "gzip"},
    {"authorization": "Bearer \xff"},
    {"authorization": "a" * 5000},
    {"x-api-key": "\x80"},
    {"anthropic-version": "never"},
    {"anthropic-beta": "a," * 2000},
    {"accept": "image/png"},
    {"accept-encoding": "x" * 2000},
    {"host": "[::1"},
    {"origin": "null"},
    {"expect": "200-ok"},
    {"endpoint-load-metrics-format": "nonsense"},
    {f"x-{i}": "y" for i in range(80)},
)
SCHEMAS: tuple[Any, ...] = (
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False},
    {"$ref": "#"},
    {"$ref": "#/$defs/none"},
    {"$ref": "http://127.0.0.1:1/x.json"},
    {"$defs": {"n": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/n"}]}}, "$ref": "#/$defs/n"},
    {"type": "array", "minItems": 10**9, "items": {}},
    {"type": "string", "pattern": "(a+)+$"},
    {"type": "string", "pattern": "(("},
    {"type": "string", "minLength": 10**12},
    {"type": "wizard"},
    {"enum": []},
    {"enum": [f"v{i}" for i in range(3000)]},
    {"allOf": [{"type": "string"}, {"type": "integer"}]},
    {"not": {}},
    {"properties": 5},
    {"type": "number", "minimum": 3, "maximum": 1},
    True,
    {},
)
GRAMMARS = ('root ::= "a"', "root ::= root", 'start: "a"', "start: start", "%llguidance {}", "::=", "a" * 4000, "")
PATTERNS = ("a{2}", "(a+)+b", "(", "a{1,100000}", "(?=a)", "\\", "[^\\s\\S]", ".*" * 500, "", "(?P<a>", "\\u{110000}")
TOOLS: tuple[Any, ...] = (
    {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMAS[0]}},
    *({"type": "function", "function": {"name": "f", "parameters": s}} for s in SCHEMAS),
    {"type": "function", "name": "f", "parameters": {}},
    {"type": "function", "function": {"name": "a b\n\0" * 50}},
    {"type": "function", "function": {"name": 5}},
    {"type": "function", "function": None},
    {"type": "web_search"},
    {"name": "f", "input_schema": SCHEMAS[0]},
    {"name": "f", "input_schema": 5},
    {},
)
CALLS: tuple[Any, ...] = (
    [],
    [{"type": "function", "id": "a", "function": {"name": "f", "arguments": "{}"}}],
    [{"type": "function", "id": 5, "function": {"name": "f", "arguments": "{"}}],
    [{"type": "function", "function": {"name": "f", "arguments": [1]}}],
    [{"type": "function", "function": 5}],
    [None],
)


def _format(schema: Any) -> Json:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}}


# Values that have the right type, or nearly, and get far into the server.
FRAGMENTS: dict[str, tuple[Any, ...]] = {
    "tools": (*([t] for t in TOOLS), [TOOLS[0]] * 2, [TOOLS[0]] * 300, []),
    "tool_choice": (
        *("auto", "none", "required", "any", ""),
        *({"type": kind} for kind in ("auto", "any", "tool", "none", "function", "wizard")),
        {"type": "function", "function": {"name": "get_weather"}},
        {"type": "function", "function": {"name": 5}},
        {"type": "tool", "name": "f"},
        {"type": "function", "name": "f"},
        {"type": "allowed_tools", "tools": 5},
    ),
    "response_format": (*map(_format, SCHEMAS), {"type": "json_object"}, {"type": "text"}, {"type": "json_schema"}),
    "text": (*({"format": {"type": "json_schema", "name": "a", "schema": s}} for s in SCHEMAS), {"format": {}}),
    "output_format": tuple({"type": "json_schema", "schema": s} for s in SCHEMAS),
    "structured_outputs": (
        *({"json": s} for s in SCHEMAS),
        *({"regex": p} for p in PATTERNS),
        *({"grammar": g} for g in GRAMMARS),
        *({"choice": c} for c in ([], [""], ["a"] * 2000, [5], ["a", "b"])),
        {"json": {}, "regex": "a"},
        {"wizard": 1},
        {"structural_tag": "{}"},
    ),
    "guided_json": (*SCHEMAS, "{", "[]"),
    "guided_regex": PATTERNS,
    "guided_choice": ([], [""], ["a"] * 2000, [5], ["a", "b"]),
    "guided_grammar": GRAMMARS,
    "structural_tag": ("{}", "{", "5", '{"type": "structural_tag", "format": {"type": "any_text"}}'),
    "stop": ("a", "", [""], [None], ["a"] * 200, ["b" * 5000], "\0"),
    "stop_sequences": ([""], ["a"] * 200, ["\0"]),
    "logit_bias": ({"5": 100}, {"5": 1e308}, {"-1": 1}, {"a": 1}, {"99999999": 1}, {"5": None}, {" 5": 1}),
    "chat_template": ("{{ messages }}", "{%", "{{ 1/0 }}", "{% for i in range(10**9) %}a{% endfor %}"),
    "chat_template_kwargs": ({"messages": []}, {"enable_thinking": "wizard"}, {"": {}}, {"add_generation_prompt": 1}),
    "stream_options": ({}, {"include_usage": True, "continuous_usage_stats": True}, {"include_usage": "a"}),
    "thinking": (
        *({"type": t, "budget_tokens": b} for t in ("enabled", "disabled", "x") for b in (None, 0, 1024, 2**63)),
        {"type": "adaptive"},
    ),
    "reasoning": ({"effort": "high"}, {"effort": "none", "summary": "auto"}, {"effort": 5}, {}),
    "reasoning_effort": ("none", "minimal", "high", "wizard", ""),
    "include": ([], ["reasoning.encrypted_content"], ["wizard"], [5]),
    "previous_response_id": ("resp_none", "", "../x", "a" * 5000),
    "truncation": ("auto", "disabled", "wizard"),
    "encoding_format": ("float", "base64", "bytes", "wizard"),
    "embed_dtype": ("float32", "float16", "bfloat16", "fp8_e4m3", "wizard"),
    "endianness": ("little", "big", "native", "wizard"),
    "task": ("embed", "classify", "token_embed", "token_classify", "wizard", "score"),
    "n": (1, 2, 3, 0, -1, 10**6),
    "best_of": (1, 2, 3, 0, -1, 10**6),
    "use_beam_search": (True, False),
    "prompt": (
        "",
        "a " * 3000,
        [],
        [[]],
        [""],
        ["a"] * 40,
        [1, 2, 3],
        [[1], [2, 3]],
        [-1],
        [2**31],
        [1, "a"],
        [[1], "a"],
    ),
    "input": (
        *("", "a " * 3000, [], [[]], [""], ["a"] * 40, [1, 2, 3], [[1], [2]], [-1], [[2**31]], [1, "a"]),
        *([{"type": kind}] for kind in ("message", "reasoning", "function_call", "function_call_output", "wizard")),
        [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}],
        [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}],
        [{"type": "function_call_output", "call_id": "none", "output": 5}],
        [{"type": "function_call", "call_id": "a", "name": "f", "arguments": "{"}],
        [{"type": "reasoning", "summary": [], "encrypted_content": "zzz"}],
    ),
    "system": ("a", [{"type": "text", "text": "a"}], [{"type": "image"}], [{}], [{"type": "text", "text": 5}]),
}


@dataclass
class Case:
    """One request.

    Attributes:
        target: path and query, as they stand in the request line.
        route: the path template of the document that is meant; "" for none.
        leave_s: the client goes away after so long; None if it waits.
        fields: names of what the route's body may have.
    """

    method: str
    target: str
    route: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    leave_s: float | None = None
    fields: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.method} {self.target[:200]} {str(self.headers)[:200]} {self.body[:500]!r}"


class Cases:
    """The same supply for the same seed and document, but for the ids that it is told of."""

    def __init__(self, document: Json, seed: int):
        self._rng = random.Random(seed)
        self._schemas: Json = document["components"]["schemas"]
        self._ids = ["resp_none"]
        self._bodies: dict[str, Json] = {}
        self._bare: list[str] = []
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if "requestBody" in operation:
                    self._bodies[path] = operation["requestBody"]["content"]["application/json"]["schema"]
                else:
                    self._bare.append(path)
        weights = {path: 6 if path in GENERATING else 2 for path in self._bodies}
        self._paths = [path for path, weight in weights.items() for _ in range(weight)]

    def next(self) -> Case:
        rng = self._rng
        if rng.random() < 0.07:
            return self._stray()
        path = rng.choice(self._paths)
        fields = self._properties(self._bodies[path])
        body: Any = self._sound(path)
        for _ in range(rng.choice((0, 0, 1, 1, 1, 1, 2, 3))):
            self._change(body, fields)
        raw = json.dumps(body).encode()
        if rng.random() < 0.15:
            raw = rng.choice(BREAKERS)(raw, rng)
        headers = JSON_TYPE | (rng.choice(HEADERS) if rng.random() < 0.06 else {})
        target = path.replace("{", "").replace("}", "") + ("?a=%ff&stream=true" if rng.random() < 0.02 else "")
        leave_s = rng.uniform(0.001, 0.2) if rng.random() < 0.06 else None
        return Case("POST", target, path, raw, headers, leave_s, frozenset(fields))

    def learn(self, answer: bytes) -> None:
        """Take the ids of responses out of an answer, for requests about them."""
        found = re.findall(rb'"(resp_[0-9a-f]+)"', answer[:5000])
        self._ids = [*self._ids, *(i.decode() for i in found[:1])][-20:]

    def _stray(self) -> Case:
        """Another method, a path that is none, a query."""
        rng = self._rng
        path = rng.choice((*self._paths, *self._bare * 3, "/nothing", "/v1", "//v1/models", "/v1/models/x/y"))
        names = (*WORDS, "../..", "%", "a" * 9000, *self._ids * 2)
        target = re.sub(r"\{\w+\}", lambda _: quote(rng.choice(names), safe=""), path)
        method = rng.choice(METHODS)
        if method in ("GET", "POST") and rng.random() < 0.6:
            query = rng.choice(QUERIES)
            target += f"?{query}=" + quote(str(rng.choice((*WORDS, *NUMBERS, "json", "true"))))
        route = path if path in self._bodies or path in self._bare else ""
        return Case(method, target, route, rng.choice((b"", b"{}", b"\0")), rng.choice((JSON_TYPE, {})))

    def _sound(self, path: str) -> Json:
        """A body that is answered with 200 by a model that can."""
        rng = self._rng
        if path not in SOUND:
            return self._fitting(self._bodies[path], 0) or {}
        body: Json = SOUND[path](self)
        if path == RESPONSES and rng.random() < 0.2:
            body |= rng.choice(({"previous_response_id": rng.choice(self._ids)}, {"background": True, "store": True}))
        if path in GENERATING:
            limit = "max_output_tokens" if path == RESPONSES else "max_tokens"
            body |= {limit: rng.randrange(1, 12), "temperature": rng.choice((0, 0.7, 1))}
            if rng.random() < 0.3:
                body["stream"] = True
        return body

    def _change(self, body: Json, fields: dict[str, Json]) -> None:
        rng = self._rng
        name = rng.choice([*fields] or ["a"])
        kind = rng.randrange(10)
        if kind < 2:
            body[name] = self._fitting(fields.get(name, {}), 0)
        elif kind < 5:
            name = rng.choice([n for n in FRAGMENTS if n in fields] or ["a"])
            body[name] = rng.choice(FRAGMENTS.get(name, WORDS))
        elif kind < 7:
            body[name] = self._odd()
        elif kind == 7:
            body.pop(rng.choice([*body] or ["a"]), None)
        elif kind == 8:
            body[rng.choice(NAMES)] = self._odd()
        else:
            self._change_inside(body)

    def _change_inside(self, body: Any) -> None:
        """One value somewhere in the tree is replaced or removed, or has a neighbour of its own kind."""
        rng = self._rng
        nodes: list[tuple[Any, Any]] = []
        todo = [body]
        while todo and len(nodes) < 500:
            node = todo.pop()
            places = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
            nodes += [(node, place) for place in places]
            todo += [node[place] for place in places]
        if not nodes:
            return
        node, place = rng.choice(nodes)
        if isinstance(node, dict) and rng.random() < 0.3:
            del node[place]
        elif isinstance(node, list) and rng.random() < 0.2:
            node.append(node[place])
        else:
            node[place] = self._odd()

    def _properties(self, schema: Json) -> dict[str, Json]:
        schema = self._resolved(schema)
        found: dict[str, Json] = dict(schema.get("properties", {}))
        for other in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            found |= self._properties(other)
        return found

    def _resolved(self, schema: Json) -> Json:
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        return schema

    def _fitting(self, schema: Json, depth: int) -> Any:
        """A value of the schema's type; its range is not looked at."""
        rng = self._rng
        schema = self._resolved(schema)
        for several in ("anyOf", "oneOf"):
            if several in schema:
                return self._fitting(rng.choice(schema[several]), depth)
        if "enum" in schema:
            return rng.choice(schema["enum"])
        kind = schema.get("type")
        if kind == "object" and "properties" in schema:
            required = schema.get("required", ())
            return {
                name: self._fitting(inner, depth + 1)
                for name, inner in schema["properties"].items()
                if name in required or rng.random() < 0.1
            }
        if kind == "array":
            return [
                self._fitting(schema.get("items") or {}, depth + 1) for _ in range(rng.randrange(3) if depth < 4 else 0)
            ]
        if kind == "integer":
            return rng.choice([n for n in NUMBERS if isinstance(n, int)])
        simple = {"string": WORDS, "number": NUMBERS, "boolean": (True, False), "null": (None,)}
        return rng.choice(simple[kind]) if kind in simple else self._odd(depth + 1)

    def _odd(self, depth: int = 0) -> Any:
        """Any JSON value, odd ones preferred."""
        rng = self._rng
        kind = rng.randrange(9 if depth < 3 else 5)
        if kind == 0:
            return rng.choice((None, True, False))
        if kind in (1, 2):
            return rng.choice(NUMBERS)
        if kind in (3, 4):
            return rng.choice(WORDS)
        if kind == 5:
            return {rng.choice(NAMES): self._odd(depth + 1)}
        if kind == 6:
            return [self._odd(depth + 1)] * rng.choice((1, 2, 70, 1500 if depth == 0 else 2))
        return rng.choice(([], {}, [[]], [None], [""], [{}], {"": None}, [[[]]], [1, "a"], [0.0]))

    def text(self) -> str:
        return " ".join(self._rng.choice(WORDS) for _ in range(self._rng.randrange(1, 6)))

    def ids(self) -> list[int]:
        return [self._rng.randrange(4096) for _ in range(self._rng.randrange(1, 30))]

    def prompt(self) -> Any:
        return self._rng.choice((self.text, self.ids, lambda: [self.ids() for _ in range(self._rng.randrange(1, 4))]))()

    def messages(self) -> list[Any]:
        rng = self._rng
        messages: list[Any] = []
        for _ in range(rng.randrange(1, 4)):
            odd = rng.random() < 0.15
            role = rng.choice(
                ("system", "tool", "developer", "wizard", 5, None) if odd else ("user", "user", "assistant")
            )
            text = self.text()
            content = rng.choice(
                (*[text] * 20, *[[{"type": "text", "text": text}]] * 5, None, 3, [{"type": "image_url"}])
            )
            message = {"role": role, "content": content}
            if rng.random() < 0.06:
                message["tool_calls"] = rng.choice((*CALLS, self._odd()))
            messages.append(message if rng.random() < 0.98 else self._odd())
        return messages

    def blocks(self) -> list[Any]:
        """Messages in Anthropic's form."""
        rng = self._rng
        kinds = ({"type": "thinking", "thinking": "a", "signature": ""}, {"type": "tool_result", "tool_use_id": "a"})
        more = (
            {"type": "tool_use", "id": "a", "name": "f", "input": {}},
            {"type": "image"},
            {"type": "redacted_thinking"},
        )
        return [
            {
                "role": rng.choice(("user", "user", "user", "assistant")),
                "content": self.text()
                if rng.random() < 0.85
                else [{"type": "text", "text": "a"}, rng.choice(kinds + more)],
            }
            for _ in range(rng.randrange(1, 4))
        ]


SOUND: dict[str, Callable[[Cases], Json]] = {
    CHAT: lambda c: {"messages": c.messages()},
    COMPLETIONS: lambda c: {"prompt": c.prompt()},
    RESPONSES: lambda c: {"input": c.text()},
    "/v1/messages": lambda c: {"model": "penstock-tiny", "messages": c.blocks()},
    "/v1/messages/count_tokens": lambda c: {"model": "penstock-tiny", "messages": c.blocks()},
    "/tokenize": lambda c: {"prompt": c.text()},
    "/detokenize": lambda c: {"tokens": c.ids()},
    "/v1/embeddings": lambda c: {"input": c.text()},
    "/pooling": lambda c: {"input": c.text()},
    "/classify": lambda c: {"input": c.text()},
    **dict.fromkeys(("/score", "/v1/score"), lambda c: {"text_1": c.text(), "text_2": [c.text()]}),
    **dict.fromkeys(("/rerank", "/v1/rerank", "/v2/rerank"), lambda c: {"query": c.text(), "documents": [c.text()]}),
    "/invocations": lambda c: {"prompt": c.text(), "max_tokens": 3},
}


def _replace_a_value(body: bytes, rng: random.Random) -> bytes:
    """One number or string becomes something that JSON may not hold, or that UTF-8 cannot."""
    new = rng.choice((*RAW_NUMBERS, RAW_SURROGATE)).encode()
    found = [m.span(1) for m in re.finditer(rb': ("[^"]*"|[0-9.]+)', body)]
    if not found:
        return new
    start, end = rng.choice(found)
    return body[:start] + new + body[end:]


def _flip(body: bytes, rng: random.Random) -> bytes:
    flipped = bytearray(body)
    for _ in range(rng.randrange(1, 4)):
        flipped[rng.randrange(len(flipped))] = rng.randrange(256)
    return bytes(flipped)


def _giant(body: bytes, rng: random.Random) -> bytes:
    """The first string is very long, or the first list."""
    many = rng.choice((b'"' + b"a " * 500_000 + b'"', b"[" + b"1," * 200_000 + b"1]", b'["' + b'a","' * 50_000 + b'"]'))
    return re.sub(rb': ("[^"]*"|\[)', lambda m: b": " + many, body, count=1)


BREAKERS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *[_replace_a_value] * 5,
    *[_flip] * 3,
    _giant,
    lambda body, rng: body[: rng.randrange(len(body))],
    lambda body, rng: body + rng.choice((b"}", b"\0", b" ", b"[]")),
    lambda body, rng: b"\xef\xbb\xbf" + body,
    lambda body, rng: body.decode().encode("utf-16"),
    lambda body, rng: body.replace(b'"', b"\xc3\x28", 1),
    lambda body, rng: body.replace(b": ", b': "\xff\xed\xa0\x80", "a": ', 1),
    lambda body, rng: b'{"messages": ' + b"[" * rng.choice((100, 5000, 200_000)) + b"]" * 100 + b"}",
    lambda body, rng: b'{"messages": [{"role": "user", "content": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}]}",
    lambda body, rng: body[:-1] + b', "messages": 5, "prompt": 5, "input": 5, "model": 5}',  # a name twice
    lambda body, rng: rng.choice((b"", b"null", b"[]", b"5", b'"a"', b"{}", b" " * 100_000)),
)

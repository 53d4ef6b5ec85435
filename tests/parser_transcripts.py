"""Answers of models, well formed and not, with the messages that they are. Used by tests/parsers."""

# ruff: noqa: E501  (an answer is easier to read on one line)

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

BAR, LOW = "\uff5c", "\u2581"


def deepseek(words: str) -> str:
    """A special token of DeepSeek's models."""
    return f"<{BAR}{words.replace(' ', LOW)}{BAR}>"


def tool(name: str, **types: Any) -> dict[str, Any]:
    """A request's tool; parameters by JSON type, or by schema."""
    properties = {k: t if isinstance(t, dict) else {"type": t} for k, t in types.items()}
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}}


TOOLS = [
    tool("get_weather", city="string", days="integer"),
    tool("write_file", path="string", text="string", mode={"type": ["string", "null"]}),
    tool(
        "plot",
        points="array",
        options="object",
        scale="number",
        grid="boolean",
        title={"anyOf": [{"type": "string"}, {"type": "null"}]},
        size={"anyOf": [{"type": "integer"}, {"type": "string"}]},
        kind={"enum": ["line", "bar"]},
    ),
    tool("now"),
]


@dataclass
class Transcript:
    """What a model wrote (`text`), and the message that it is: (name, arguments) of each call."""

    parser: str
    text: str
    content: str | None = None
    calls: list[tuple[str, str]] = field(default_factory=list)
    reasoning: str | None = None
    tools: list[dict[str, Any]] | None = field(default_factory=lambda: TOOLS)
    ids: list[str] | None = None

    def __str__(self) -> str:
        return f"{self.parser}: {self.text[:40]!r}"


def _hermes(one: str) -> str:
    return f"<tool_call>\n{one}\n</tool_call>"


PARIS = '{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}'
PARIS_ARGUMENTS = '{"city": "Paris", "days": 3}'
NOW = '{"name": "now", "arguments": {}}'
PARIS_CALL, NOW_CALL = ("get_weather", PARIS_ARGUMENTS), ("now", "{}")
HARD_ARGUMENTS = (
    '{"path": "a \\"b\\" {c}.py", "text": "if x < 3:\\n\\tprint(\'}]\', \\"\\\\\\\\\\")\\n# \u4f60\u597d \\u00e9 \U0001f600 </tool",'
    ' "mode": [[], {}, {"k": [null, -1.5e3, true]}]}'
)
HARD_CALL = ("write_file", HARD_ARGUMENTS)

HERMES = [
    Transcript("hermes", "Plain words, 2 < 3 and <b>tags</b>.", "Plain words, 2 < 3 and <b>tags</b>."),
    Transcript("hermes", "", ""),
    Transcript("hermes", " \n", " \n"),
    Transcript("hermes", _hermes(PARIS), None, [PARIS_CALL]),
    Transcript("hermes", "\n\n" + _hermes(PARIS) + "\n", None, [PARIS_CALL]),
    Transcript("hermes", "I look it up.\n\n" + _hermes(PARIS), "I look it up.\n\n", [PARIS_CALL]),
    Transcript("hermes", _hermes(PARIS) + "\n" + _hermes(NOW), None, [PARIS_CALL, NOW_CALL]),
    Transcript("hermes", "A " + _hermes(PARIS) + " B " + _hermes(NOW) + "\nC", "A  B \nC", [PARIS_CALL, NOW_CALL]),
    Transcript("hermes", _hermes('{"name": "write_file", "arguments": ' + HARD_ARGUMENTS + "}"), None, [HARD_CALL]),
    Transcript("hermes", f"<tool_call>{PARIS}", None, [PARIS_CALL]),
    Transcript("hermes", f"<tool_call>{PARIS}<tool_call>{NOW}", None, [PARIS_CALL, NOW_CALL]),
    # Members in another order, and others besides.
    Transcript(
        "hermes",
        _hermes('{"arguments": {"city": "Oslo"}, "name": "get_weather"}'),
        None,
        [("get_weather", '{"city": "Oslo"}')],
    ),
    Transcript("hermes", _hermes('{"id": "x", "type": "function", "name": "now", "arguments": {}}'), None, [NOW_CALL]),
    Transcript(
        "hermes",
        _hermes('{"name": "get_weather", "parameters": {"city": "Rome"}}'),
        None,
        [("get_weather", '{"city": "Rome"}')],
    ),
    Transcript("hermes", _hermes('{"name": "now"}'), None, [NOW_CALL]),
    Transcript("hermes", _hermes('{"name": "now", "arguments": null}'), None, [NOW_CALL]),
    Transcript("hermes", _hermes('{"name": "now", "arguments": ""}'), None, [("now", '""')]),
    Transcript(
        "hermes",
        _hermes('{"name": "get_weather", "arguments": "{\\"city\\": \\"Bonn\\"}"}'),
        None,
        [("get_weather", '{"city": "Bonn"}')],
    ),
    Transcript("hermes", _hermes("[" + PARIS + ", " + NOW + "]"), None, [PARIS_CALL, NOW_CALL]),
    Transcript("hermes", _hermes(PARIS + "\n" + NOW), None, [PARIS_CALL, NOW_CALL]),
    # Brackets that are missing, or too many.
    Transcript("hermes", _hermes(PARIS[:-1]), None, [PARIS_CALL]),
    Transcript("hermes", _hermes(PARIS[:-2]), None, [("get_weather", '{"city": "Paris", "days": 3\n}')]),
    Transcript("hermes", _hermes(PARIS + "}"), None, [PARIS_CALL]),
    Transcript(
        "hermes", _hermes('{"name": "f", "arguments": {"a": [1, {"b": 2]}}'), None, [("f", '{"a": [1, {"b": 2}]}')]
    ),
    # Strings that JSON does not allow.
    Transcript("hermes", _hermes('{"name": "f", "arguments": {"a": "x\n\ty"}}'), None, [("f", '{"a": "x\\n\\ty"}')]),
    Transcript(
        "hermes",
        _hermes('{"name": "f", "arguments": {"a": "\\d+ \\u12 \\\' \\u00e9"}}'),
        None,
        [("f", '{"a": "\\\\d+ \\\\u12 \' \\u00e9"}')],
    ),
    # Cut off: the call is told as far as it goes, a beginning without a name is content.
    Transcript("hermes", 'Well <tool_call>\n{"name": "get_we', 'Well <tool_call>\n{"name": "get_we'),
    Transcript("hermes", '<tool_call>\n{"name": "f"', None, [("f", "")]),
    Transcript("hermes", '<tool_call>\n{"name": "f", "arguments": {"a": "x', None, [("f", '{"a": "x')]),
    Transcript("hermes", "Well <tool", "Well <tool"),
    Transcript("hermes", "Well <tool_call>", "Well <tool_call>"),
    # No calls.
    Transcript("hermes", _hermes("not JSON"), _hermes("not JSON")),
    Transcript("hermes", _hermes('{"city": "Paris"}'), _hermes('{"city": "Paris"}')),
    Transcript("hermes", _hermes('{"name": 7, "arguments": {}}'), _hermes('{"name": 7, "arguments": {}}')),
    Transcript("hermes", _hermes('{"name": "", "arguments": {}}'), _hermes('{"name": "", "arguments": {}}')),
    Transcript("hermes", _hermes("[]"), _hermes("[]")),
    Transcript("hermes", "Use </tool_call> to end.", "Use </tool_call> to end."),
    # A stray marker before the real one; text where only calls should be.
    Transcript("hermes", "<tool_call> hm, <tool_call>" + NOW + "</tool_call>", "<tool_call> hm, ", [NOW_CALL]),
    Transcript("hermes", f"<tool_call>{NOW} so be it</tool_call> Bye", " so be it Bye", [NOW_CALL]),
    Transcript("hermes", f"<tool_call>[{NOW}, oops]</tool_call> Bye", "oops] Bye", [NOW_CALL]),
    Transcript("hermes", f'<tool_call>{NOW}, {{"no": 1}}</tool_call>', '{"no": 1}', [NOW_CALL]),
]

JSON_LISTS = [
    Transcript("granite", f"<|tool_call|>[{PARIS}, {NOW}]", None, [PARIS_CALL, NOW_CALL]),
    Transcript("granite", f"<tool_call>[{PARIS}]", None, [PARIS_CALL]),
    Transcript("granite", f"Let me see. <tool_call> [{PARIS}]\nSo.", "Let me see. \nSo.", [PARIS_CALL]),
    Transcript("granite", f"<|tool_call|>{PARIS}", None, [PARIS_CALL]),
    Transcript("granite", "<|tool_call|>none", "<|tool_call|>none"),
    Transcript("granite", f"[{PARIS}]", f"[{PARIS}]"),
    Transcript("granite-20b-fc", f"<function_call> {PARIS}\n<function_call> {NOW}", None, [PARIS_CALL, NOW_CALL]),
    Transcript("granite-20b-fc", f"Yes: <function_call>{PARIS}</function_call>", "Yes: ", [PARIS_CALL]),
    Transcript("granite-20b-fc", "<function_call> nothing", "<function_call> nothing"),
    Transcript("granite4", _hermes(PARIS), None, [PARIS_CALL]),
    Transcript("jamba", f"<tool_calls>[\n  {PARIS},\n  {NOW}\n]</tool_calls>", None, [PARIS_CALL, NOW_CALL]),
    Transcript("jamba", f"Here:\n<tool_calls>[{PARIS}]</tool_calls> done", "Here:\n done", [PARIS_CALL]),
    Transcript("jamba", f"<tool_calls>[{PARIS}", None, [PARIS_CALL]),
    Transcript("jamba", "<tool_calls></tool_calls>", "<tool_calls></tool_calls>"),
    Transcript(
        "internlm",
        "Sure<|action_start|><|plugin|>\n" + PARIS.replace("arguments", "parameters") + "<|action_end|>\n",
        "Sure",
        [PARIS_CALL],
    ),
    Transcript("internlm", f"<|action_start|> <|plugin|> {NOW} <|action_end|>", None, [NOW_CALL]),
    Transcript(
        "internlm",
        "<|action_start|><|interpreter|>\n1 + 1<|action_end|>",
        "<|action_start|><|interpreter|>\n1 + 1<|action_end|>",
    ),
    Transcript("internlm", "<|action_start|><|plugin|>?", "<|action_start|><|plugin|>?"),
    Transcript(
        "longcat",
        f"<longcat_tool_call>{PARIS}</longcat_tool_call>\n<longcat_tool_call>{NOW}</longcat_tool_call>",
        None,
        [PARIS_CALL, NOW_CALL],
    ),
    Transcript("phi4_mini_json", f"functools[{PARIS}, {NOW}]", None, [PARIS_CALL, NOW_CALL]),
    Transcript("phi4_mini_json", "import functools[sic]", "import functools[sic]"),
    Transcript("phi4_mini_json", "Use functools.", "Use functools."),
]

MISTRAL = [
    Transcript("mistral", f"[TOOL_CALLS][{PARIS}, {NOW}]", None, [PARIS_CALL, NOW_CALL]),
    Transcript("mistral", f"[TOOL_CALLS] [{PARIS}]", None, [PARIS_CALL]),
    Transcript("mistral", f"[TOOL_CALLS]{PARIS}", None, [PARIS_CALL]),
    Transcript(
        "mistral",
        '[TOOL_CALLS][{"arguments": {"city": "Nice {1}"}, "name": "get_weather"}]',
        None,
        [("get_weather", '{"city": "Nice {1}"}')],
    ),
    Transcript("mistral", f"A set {{x}}. [TOOL_CALLS]get_weather[ARGS]{PARIS_ARGUMENTS}", "A set {x}. ", [PARIS_CALL]),
    Transcript("mistral", f"[TOOL_CALLS]get_weather{PARIS_ARGUMENTS}[TOOL_CALLS]now{{}}", None, [PARIS_CALL, NOW_CALL]),
    Transcript(
        "mistral", f"[TOOL_CALLS]write_file[ARGS]{HARD_ARGUMENTS}[TOOL_CALLS]now[ARGS]{{}}", None, [HARD_CALL, NOW_CALL]
    ),
    Transcript("mistral", "[TOOL_CALLS]now[CALL_ID]abcDEF123[ARGS]{}", None, [NOW_CALL], ids=["abcDEF123"]),
    Transcript("mistral", "[TOOL_CALLS]now[ARGS] and more", "and more", [NOW_CALL]),
    Transcript(
        "mistral", '[TOOL_CALLS]f[ARGS]{"a": [1, 2[TOOL_CALLS]g[ARGS]{}', None, [("f", '{"a": [1, 2]}'), ("g", "{}")]
    ),
    Transcript(
        "mistral", '[TOOL_CALLS]f[ARGS]{"a": [[1], "[TOOL_CALLS]"]}', None, [("f", '{"a": [[1], "[TOOL_CALLS]"]}')]
    ),
    Transcript("mistral", "[TOOL_CALLS] I do not know", "[TOOL_CALLS] I do not know"),
    Transcript("mistral", "An array [TOOL] and [1, 2].", "An array [TOOL] and [1, 2]."),
    Transcript("mistral", "[TOOL_CALLS]get_w", "[TOOL_CALLS]get_w"),
]

LLAMA = [
    Transcript("llama3_json", PARIS.replace("arguments", "parameters"), None, [PARIS_CALL]),
    Transcript("llama3_json", "\n " + PARIS, None, [PARIS_CALL]),
    Transcript("llama3_json", f"<|python_tag|>{PARIS}; {NOW}", None, [PARIS_CALL, NOW_CALL]),
    Transcript("llama3_json", f"{PARIS};{NOW}", None, [PARIS_CALL, NOW_CALL]),
    Transcript("llama3_json", f"[{PARIS}, {NOW}]", None, [PARIS_CALL, NOW_CALL]),
    Transcript("llama3_json", '{"type": "function", "name": "now", "parameters": {}}', None, [NOW_CALL]),
    Transcript("llama3_json", f"I call it. <|python_tag|>{NOW}", "I call it. ", [NOW_CALL]),
    Transcript("llama3_json", f"{NOW}\nThat was it", "\nThat was it", [NOW_CALL]),
    Transcript("llama3_json", f"{NOW}, and so on", ", and so on", [NOW_CALL]),
    # JSON answers are no calls.
    Transcript("llama3_json", '{"name": "Ada", "age": 36}', '{"name": "Ada", "age": 36}'),
    Transcript("llama3_json", '{"name": "Ada"}', '{"name": "Ada"}'),
    Transcript("llama3_json", '{"name": "Ada", "parameters": {}}', '{"name": "Ada", "parameters": {}}'),
    Transcript("llama3_json", '{"rows": [1, 2]}', '{"rows": [1, 2]}'),
    Transcript("llama3_json", "[1, 2]", "[1, 2]"),
    Transcript("llama3_json", f"See {PARIS}", f"See {PARIS}"),
    Transcript("llama3_json", '<|python_tag|>print("hi")', '<|python_tag|>print("hi")'),
    Transcript("llama3_json", '{"name": "other", "parameters": {}}', None, [("other", "{}")], tools=None),
    Transcript("llama4_json", PARIS, None, [PARIS_CALL]),
]

PYTHONIC = [
    Transcript("pythonic", "[get_weather(city='Paris', days=3)]", None, [PARIS_CALL]),
    Transcript("pythonic", "[get_weather(city='Paris', days=3), now()]", None, [PARIS_CALL, NOW_CALL]),
    Transcript("pythonic", "Well:\n[now()]\nand", "Well:\n\nand", [NOW_CALL]),
    Transcript(
        "pythonic",
        "[plot(points=[(1, 2), (-3, .5)], options={'a': {'b': [None, True, false, null]}, 2: \"x\"}, scale=-1_000.50,)]",
        None,
        [
            (
                "plot",
                '{"points": [[1, 2], [-3, 0.5]], "options": {"a": {"b": [null, true, false, null]}, "2": "x"}, "scale": -1000.5}',
            )
        ],
    ),
    Transcript(
        "pythonic",
        "[write_file(path=\"it's {a}.py\", text='''x = \"y\"\n]) \\'''' r'\\d')]",
        None,
        [("write_file", '{"path": "it\'s {a}.py", "text": "x = \\"y\\"\\n]) \'\\\\d"}')],
    ),
    Transcript(
        "pythonic",
        "[write_file(text='a\nb', path='c\\\\')]",
        None,
        [("write_file", '{"text": "a\\nb", "path": "c\\\\"}')],
    ),
    Transcript(
        "pythonic",
        "[write_file(text='\\x41\\u4f60\\101\\q', path='')]",
        None,
        [("write_file", '{"text": "A\u4f60A\\\\q", "path": ""}')],
    ),
    Transcript("pythonic", "[ get_weather( city = 'Oslo' ) ]", None, [("get_weather", '{"city": "Oslo"}')]),
    # What is no literal becomes a string.
    Transcript(
        "pythonic",
        "[get_weather(city=Oslo, days=1 + f(2, 3))]",
        None,
        [("get_weather", '{"city": "Oslo", "days": "1 + f(2, 3)"}')],
    ),
    Transcript("pythonic", "[plot(scale=1e999)]", None, [("plot", '{"scale": "1e999"}')]),
    Transcript("pythonic", "[f.g-h(from=1)]", None, [("f.g-h", '{"from": 1}')], tools=None),
    # Lists that are none.
    Transcript("pythonic", "[1, 2]", "[1, 2]"),
    Transcript("pythonic", "[link](url)", "[link](url)"),
    Transcript("pythonic", "[other(a=1)]", "[other(a=1)]"),
    Transcript("pythonic", "[now(1)]", "[now(1)]"),
    Transcript("pythonic", "[now(a==1)]", "[now(a==1)]"),
    Transcript("pythonic", "as in [now()]", "as in [now()]"),
    Transcript("pythonic", "[", "["),
    Transcript("pythonic", "[now", "[now"),
    # Cut off, or broken after the first argument.
    Transcript("pythonic", "[get_weather(city='Par", None, [("get_weather", '{"city": "\'Par')]),
    Transcript("pythonic", "[get_weather(city='Paris'", None, [("get_weather", '{"city": "\'Paris\'')]),
    Transcript("pythonic", "[get_weather(city='Paris', 7)] so", "7)] so", [("get_weather", '{"city": "Paris"}')]),
    Transcript("pythonic", "[get_weather(city='Paris']", None, [("get_weather", '{"city": "Paris"}')]),
    Transcript("pythonic", "[now(), other()]", ", other()]", [NOW_CALL]),
    Transcript("pythonic", "[now(),]", None, [NOW_CALL]),
    Transcript("llama4_pythonic", "<|python_start|>[now()]<|python_end|>", None, [NOW_CALL]),
    Transcript("llama4_pythonic", "[now(), get_weather(city='Paris', days=3)]", None, [NOW_CALL, PARIS_CALL]),
    Transcript(
        "llama4_pythonic",
        "Hm. <|python_start|> [other(a=[1, [2]])]\n<|python_end|> Yes",
        "Hm.  Yes",
        [("other", '{"a": [1, [2]]}')],
    ),
    Transcript("llama4_pythonic", "<|python_start|>now()<|python_end|>", None, [NOW_CALL]),
    Transcript("llama4_pythonic", f"<|python_start|>{PARIS}<|python_end|>", None, [PARIS_CALL]),
    Transcript(
        "llama4_pythonic",
        "<|python_start|>[get_weather(city='Rome'<|python_end|>",
        None,
        [("get_weather", '{"city": "Rome"}')],
    ),
    Transcript("llama4_pythonic", "<|python_start|>x = 1<|python_end|>", "<|python_start|>x = 1<|python_end|>"),
    Transcript(
        "lfm2",
        'Yes.<|tool_call_start|>[get_weather(city="Paris", days=3)]<|tool_call_end|>Now.',
        "Yes.Now.",
        [PARIS_CALL],
    ),
]


def _coder(name: str, *parameters: tuple[str, str]) -> str:
    body = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in parameters)
    return f"<tool_call>\n<function={name}>\n{body}</function>\n</tool_call>"


XML = [
    Transcript("qwen3_coder", _coder("get_weather", ("city", "Paris"), ("days", "3")), None, [PARIS_CALL]),
    Transcript(
        "qwen3_coder", "First.\n" + _coder("now") + "\n" + _coder("now") + "\n", "First.\n", [NOW_CALL, NOW_CALL]
    ),
    Transcript(
        "qwen3_coder",
        _coder("write_file", ("path", "a.html"), ("text", '\n<p class="x">\n  a < b & c\\n\n</p>\n'), ("mode", "null")),
        None,
        [
            (
                "write_file",
                '{"path": "a.html", "text": "\\n<p class=\\"x\\">\\n  a < b & c\\\\n\\n</p>\\n", "mode": null}',
            )
        ],
    ),
    Transcript(
        "qwen3_coder",
        _coder(
            "plot",
            ("points", "[[1, 2], [3, 4]]"),
            ("options", "{'a': True}"),
            ("scale", "2"),
            ("grid", "True"),
            ("title", "none"),
            ("size", "7"),
            ("kind", "5"),
        ),
        None,
        [
            (
                "plot",
                '{"points": [[1, 2], [3, 4]], "options": {"a": true}, "scale": 2, "grid": true, "title": null, "size": 7, "kind": "5"}',
            )
        ],
    ),
    Transcript(
        "qwen3_coder",
        _coder(
            "plot",
            ("points", "a, b"),
            ("options", "[" * 2000),
            ("scale", "NaN"),
            ("grid", "maybe"),
            ("title", "7"),
            ("size", "big"),
        ),
        None,
        [
            (
                "plot",
                '{"points": "a, b", "options": "'
                + "[" * 2000
                + '", "scale": "NaN", "grid": "maybe", "title": "7", "size": "big"}',
            )
        ],
    ),
    # Without schemas, values are strings.
    Transcript(
        "qwen3_coder", _coder("f", ("a", "5"), ("b", "null")), None, [("f", '{"a": "5", "b": "null"}')], tools=None
    ),
    Transcript("qwen3_coder", "<function=now>\n</function>\n</tool_call>", None, [NOW_CALL]),
    Transcript(
        "qwen3_coder",
        "<tool_call><function=get_weather><parameter=city>Paris</parameter><parameter=days>3</parameter></function></tool_call>",
        None,
        [PARIS_CALL],
    ),
    Transcript(
        "qwen3_coder",
        "<tool_call>\n<function=now></function>\n<function=now></function>\n</tool_call>",
        None,
        [NOW_CALL, NOW_CALL],
    ),
    # Closing tags that are missing.
    Transcript(
        "qwen3_coder",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n<parameter=days>\n3\n</function>\n</tool_call>",
        None,
        [PARIS_CALL],
    ),
    Transcript(
        "qwen3_coder",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n<parameter=days>\n3\n</tool_call> ok",
        " ok",
        [PARIS_CALL],
    ),
    Transcript("qwen3_coder", "<tool_call>\n<function=now>\n" + _coder("now"), None, [NOW_CALL, NOW_CALL]),
    # Cut off.
    Transcript(
        "qwen3_coder",
        "<tool_call>\n<function=write_file>\n<parameter=text>\nabc\n</para",
        None,
        [("write_file", '{"text": "abc\\n</para')],
    ),
    Transcript(
        "qwen3_coder",
        "<tool_call>\n<function=get_weather>\n<parameter=days>\n3",
        None,
        [("get_weather", '{"days": "3')],
    ),
    Transcript("qwen3_coder", "<tool_call>\n<function=get_weather>\n", None, [("get_weather", "")]),
    Transcript("qwen3_coder", "Hm <tool_call>\n<function=get_we", "Hm <tool_call>\n<function=get_we"),
    # No calls, and text between.
    Transcript("qwen3_coder", "<tool_call>\nsomething\n</tool_call>", "<tool_call>\nsomething\n</tool_call>"),
    Transcript("qwen3_coder", "<function=>", "<function=>"),
    Transcript("qwen3_coder", "<tool_call><function=now>note</function></tool_call>", "note", [NOW_CALL]),
    Transcript(
        "qwen3_coder", "<tool_call><function=now></function> <function=></tool_call>", " <function=>", [NOW_CALL]
    ),
    Transcript(
        "seed_oss",
        "<seed:tool_call>\n<function=get_weather>\n<parameter=city>Paris</parameter>\n<parameter=days>3</parameter>\n</function>\n</seed:tool_call>",
        None,
        [PARIS_CALL],
    ),
    Transcript(
        "minimax_m2",
        '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Paris</parameter>\n<parameter name="days">3</parameter>\n</invoke>\n'
        '<invoke name="now">\n</invoke>\n</minimax:tool_call>',
        None,
        [PARIS_CALL, NOW_CALL],
    ),
    Transcript(
        "deepseek_v32",
        f'Let me.\n\n<{BAR}DSML{BAR}function_calls>\n<{BAR}DSML{BAR}invoke name="get_weather">\n<{BAR}DSML{BAR}parameter name="city" string="true">Paris\n'
        f'</{BAR}DSML{BAR}parameter>\n<{BAR}DSML{BAR}parameter name="days" string="false">3</{BAR}DSML{BAR}parameter>\n</{BAR}DSML{BAR}invoke>\n'
        f"</{BAR}DSML{BAR}function_calls>",
        "Let me.\n\n",
        [("get_weather", '{"city": "Paris\\n", "days": 3}')],
    ),
    Transcript(
        "glm45",
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
        None,
        [PARIS_CALL],
    ),
    Transcript(
        "glm47",
        "\nOk.<tool_call>get_weather<arg_key>city</arg_key><arg_value>Paris</arg_value><arg_key>days</arg_key><arg_value>3</arg_value></tool_call>",
        "\nOk.",
        [PARIS_CALL],
    ),
    Transcript("glm45", "<tool_call>now</tool_call>\n<tool_call>now\n</tool_call>", None, [NOW_CALL, NOW_CALL]),
    Transcript(
        "glm45",
        "<tool_call>write_file\n<arg_key>text</arg_key>\n<arg_value>\n a <b>\n</arg_value>\n</tool_call>",
        None,
        [("write_file", '{"text": "\\n a <b>\\n"}')],
    ),
    Transcript(
        "glm45",
        '<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>{"x": [1]}</arg_value>\n<arg_key>b</arg_key>\n<arg_value>two</arg_value>\n</tool_call>',
        None,
        [("f", '{"a": {"x": [1]}, "b": "two"}')],
        tools=None,
    ),
    Transcript(
        "glm45",
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Par",
        None,
        [("get_weather", '{"city": "Par')],
    ),
    Transcript(
        "glm45",
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</tool_call>",
        None,
        [("get_weather", '{"city": "Paris"}')],
    ),
    Transcript("glm45", "<tool_call>no call here</tool_call>", "<tool_call>no call here</tool_call>"),
    Transcript("glm45", "<tool_call>no", "<tool_call>no"),
]


def _kimi(call_id: str, arguments: str) -> str:
    return f"<|tool_call_begin|>{call_id}<|tool_call_argument_begin|>{arguments}<|tool_call_end|>"


def _kimi_section(*calls: str) -> str:
    return "<|tool_calls_section_begin|>" + "".join(calls) + "<|tool_calls_section_end|>"


def _deepseek_v3(name: str, arguments: str) -> str:
    return f"{deepseek('tool call begin')}function{deepseek('tool sep')}{name}\n```json\n{arguments}\n```{deepseek('tool call end')}"


def _deepseek_section(*calls: str) -> str:
    return deepseek("tool calls begin") + "\n".join(calls) + deepseek("tool calls end")


def _deepseek_v31(name: str, arguments: str) -> str:
    return f"{deepseek('tool call begin')}{name}{deepseek('tool sep')}{arguments}{deepseek('tool call end')}"


SECTIONS = [
    Transcript(
        "kimi_k2",
        "I look.  " + _kimi_section(_kimi("functions.get_weather:0", PARIS_ARGUMENTS), _kimi("functions.now:1", "{}")),
        "I look.  ",
        [PARIS_CALL, NOW_CALL],
        ids=["functions.get_weather:0", "functions.now:1"],
    ),
    Transcript(
        "kimi_k2",
        _kimi_section(_kimi(" functions.write_file:7 \n", " " + HARD_ARGUMENTS + "\n")) + "Bye",
        "Bye",
        [HARD_CALL],
        ids=["functions.write_file:7"],
    ),
    Transcript("kimi_k2", _kimi("now:0", "{}"), None, [NOW_CALL], ids=["now:0"]),
    Transcript("kimi_k2", _kimi("a.b:0", "{}"), None, [("a.b", "{}")]),
    Transcript("kimi_k2", _kimi("functions.now:0", ""), None, [("now", "{}")]),
    Transcript(
        "kimi_k2",
        "<|tool_calls_section_begin|> hm <|tool_call_begin|>functions.now:0<|tool_call_argument_begin|>{}",
        " hm ",
        [NOW_CALL],
    ),
    Transcript("kimi_k2", _kimi("functions.now:0", "{} or so"), " or so", [NOW_CALL]),
    Transcript(
        "kimi_k2",
        '<|tool_call_begin|>functions.now:0<|tool_call_argument_begin|>{"a": 1<|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{}<|tool_call_end|>',
        None,
        [("now", '{"a": 1}'), NOW_CALL],
    ),
    Transcript("kimi_k2", "<|tool_call_begin|>nothing", "<|tool_call_begin|>nothing"),
    Transcript(
        "deepseek_v3",
        "See:" + _deepseek_section(_deepseek_v3("get_weather", PARIS_ARGUMENTS), _deepseek_v3("now", "{}")),
        "See:",
        [PARIS_CALL, NOW_CALL],
    ),
    Transcript("deepseek_v3", _deepseek_section(_deepseek_v3("write_file", HARD_ARGUMENTS)) + "\n", None, [HARD_CALL]),
    Transcript(
        "deepseek_v3",
        deepseek("tool call begin") + "function" + deepseek("tool sep") + 'f\n```json\n{"a": "``',
        None,
        [("f", '{"a": "``')],
    ),
    Transcript("deepseek_v3", deepseek("tool call begin") + "what?", deepseek("tool call begin") + "what?"),
    Transcript(
        "deepseek_v31",
        "See:" + _deepseek_section(_deepseek_v31("get_weather", PARIS_ARGUMENTS), _deepseek_v31("now", "{}")),
        "See:",
        [PARIS_CALL, NOW_CALL],
    ),
    Transcript("deepseek_v31", _deepseek_section(_deepseek_v31("write_file", HARD_ARGUMENTS)), None, [HARD_CALL]),
    Transcript(
        "deepseek_v31",
        deepseek("tool call begin") + "f" + deepseek("tool sep") + '{"a": {"b": 1}' + deepseek("tool call end"),
        None,
        [("f", '{"a": {"b": 1}}')],
    ),
]

THOUGHT = "<|channel|>analysis<|message|>I think.<|end|>"
HARMONY = [
    Transcript(
        "openai",
        THOUGHT + "<|start|>assistant<|channel|>final<|message|>It is 2 < 3.<|return|>",
        "It is 2 < 3.",
        reasoning="I think.",
    ),
    Transcript(
        "openai",
        THOUGHT
        + f"<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{PARIS_ARGUMENTS}<|call|>",
        None,
        [PARIS_CALL],
        "I think.",
    ),
    Transcript(
        "openai",
        THOUGHT + f"<|start|>assistant to=functions.get_weather<|channel|>commentary json<|message|>{PARIS_ARGUMENTS}",
        None,
        [PARIS_CALL],
        "I think.",
    ),
    Transcript("openai", " to=functions.now<|channel|>commentary<|message|>{}<|call|>", None, [NOW_CALL]),
    Transcript(
        "openai", "<|channel|>analysis to=functions.web-search code<|message|>{}<|call|>", None, [("web-search", "{}")]
    ),
    Transcript(
        "openai",
        "<|channel|>commentary<|message|>I will look.<|end|><|start|>assistant<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}<|call|>",
        "I will look.",
        [NOW_CALL],
    ),
    Transcript("openai", THOUGHT + "<|start|>assistant" + THOUGHT, None, reasoning="I think.\nI think."),
    Transcript("openai", "<|channel|>analysis to=python<|message|>1 + 1<|call|>", None, reasoning="1 + 1"),
    # Two calls, the first not closed; arguments cut off.
    Transcript(
        "openai",
        '<|channel|>commentary to=functions.now<|message|>{"a": [1<|start|>assistant<|channel|>commentary to=functions.now<|message|>{"b": "',
        None,
        [("now", '{"a": [1]}'), ("now", '{"b": "')],
    ),
    # Headers as models break them.
    Transcript(
        "openai", "<|channel|>commentary to=functions.now to=functions.now<|message|>{}<|call|>", None, [NOW_CALL]
    ),
    Transcript(
        "openai",
        "<|channel|>commentary to=assistant<|channel|>commentary?<|end|><|start|>assistant" + THOUGHT,
        None,
        reasoning="I think.",
    ),
    Transcript("openai", "<|channel|>\u2013\u2013commentary<|message|>Hi", "Hi"),
    Transcript("openai", "<|channel|>final and so on", " and so on"),
    Transcript("openai", "<|channel|>ana", "ana"),
    Transcript("openai", "No channel at all.", "No channel at all."),
    Transcript(
        "openai", "<|channel|>final<|message|>One<|end|> <|start|>assistant<|channel|>final<|message|>Two", "One\nTwo"
    ),
]

TRANSCRIPTS = [*HERMES, *JSON_LISTS, *MISTRAL, *LLAMA, *PYTHONIC, *XML, *SECTIONS, *HARMONY]

# Pieces of which random texts are made: marks of all forms, halves of them, and what stands between.
FRAGMENTS = [
    *(
        "<tool_call>",
        "</tool_call>",
        "<|tool_call|>",
        "<function_call>",
        "<tool_calls>",
        "</tool_calls>",
        "<tool",
        "functools",
    ),
    *("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[TOOL", "<|python_tag|>", "<|python_start|>", "<|python_end|>", "\n["),
    *(
        "<function=",
        "<function=f>",
        "</function>",
        "<parameter=",
        "<parameter=a>",
        "</parameter>",
        "<arg_key>a</arg_key>",
    ),
    *(
        "<arg_value>",
        "</arg_value>",
        "<arg_key>",
        "<|action_start|>",
        "<|plugin|>",
        "<|action_end|>",
        "```json\n",
        "```",
    ),
    *("<|tool_calls_section_begin|>", "<|tool_call_begin|>", "functions.f:0", "<|tool_call_argument_begin|>"),
    *("<|tool_call_end|>", "<|tool_calls_section_end|>", "<|channel|>", "<|start|>assistant", "<|message|>", "<|end|>"),
    *("analysis", "commentary to=functions.f ", "final", "<think>", "</think>", "[THINK]", "[/THINK]", "<|call|>"),
    *map(deepseek, ("tool calls begin", "tool call begin", "tool sep", "tool call end", "tool calls end")),
    *(
        '{"name": "f", "arguments": ',
        '{"name": "f", ',
        '"parameters": ',
        '"name": "g"',
        '{"a": [1, "x',
        '{"b": 2}',
        "{}",
        "}}",
    ),
    *(
        "f(a=",
        "f()",
        "g(b='",
        "[f(a=1)]",
        ", ",
        ")",
        "]",
        "[",
        "{",
        "}",
        '"',
        "'",
        "\\",
        "\\u12",
        ":",
        ",",
        ";",
        "=",
        "<",
        " ",
        "\n",
    ),
    *("f", "x", "\u4f60", "\U0001f600", "-1.5", "null", "Here is my thought process:", "Here is my response:", "Here"),
]

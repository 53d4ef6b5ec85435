"""ChatTemplate: a conversation becomes the text that a model was trained to continue.

Whatever is wrong with the messages or the template is a ClientError that names `messages` or `chat_template`. Knows no
HTTP and no tokenizer; the sandbox is `template_sandbox.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes

from penstock.errors import ClientError, StartError, UnsupportedError
from penstock.tokenizers.template_sandbox import ChatTemplateEnvironment, rendering

Message = Mapping[str, Any]
MAX_OUTPUT_CHARS = 8 << 20
MAX_SOURCE_CHARS = 1 << 18  # three seconds of compiling; the longest that models bring have a tenth of it
CONTENT_FORMATS = ("auto", "string", "openai")
# Part type -> the member that holds its text.
_TEXT_PARTS = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "thinking": "thinking",
}
_RESERVED = {"messages", "tools", "documents", "add_generation_prompt"}


class ChatTemplate:
    """Renders conversations.

    Args:
        source: Jinja source, or several by name ("default", "tool_use", ...); None if the model has none.
        special_tokens: "bos_token" and its like, as variables for the template.
        content_format: how templates get a message's content: "string", "openai" (a list of parts), or "auto", which
            looks whether the template loops over it.

    Attributes:
        sources: by name; empty if there is none.
        special_tokens, content_format: as given.
    """

    def __init__(
        self,
        source: str | Mapping[str, str] | None,
        special_tokens: Mapping[str, str] | None = None,
        *,
        content_format: str = "auto",
    ):
        if content_format not in CONTENT_FORMATS:
            raise ClientError(f"must be one of {', '.join(CONTENT_FORMATS)}", "chat_template_content_format")
        self.sources = {"default": source} if isinstance(source, str) else dict(source or {})
        self.special_tokens = dict(special_tokens or {})
        self.content_format = content_format

    @property
    def exists(self) -> bool:
        return bool(self.sources)

    @property
    def tool_source(self) -> str | None:
        """The source that conversations with tools are rendered with; None if there is none."""
        return self.sources.get("tool_use") or self.sources.get("default")

    def mentions(self, word: str) -> bool:
        """Whether a source has this word in it."""
        return any(word in source for source in self.sources.values())

    def replaced(self, source: str | None = None, content_format: str | None = None) -> ChatTemplate:
        """The same with another source, as a request or an option may bring one, or another content format."""
        return ChatTemplate(
            self.sources if source is None else source,
            self.special_tokens,
            content_format=content_format or self.content_format,
        )

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        *,
        documents: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **variables: Any,
    ) -> str:
        """The prompt for a conversation.

        Args:
            messages: each with a `role` and a `content`: a string, a list of parts, or None.
            tools: function definitions; an empty list counts as none.
            add_generation_prompt: end with what begins an assistant's answer.
            continue_final_message: end inside the last message, so that the model goes on with it.
            chat_template_kwargs: further variables of the template, as they came from outside: any names.
            variables: the same, as keywords.

        Raises:
            ClientError: the messages do not fit the template; the template has an error or is too expensive.
        """
        if add_generation_prompt and continue_final_message:
            raise ClientError(
                "Cannot set both `continue_final_message` and `add_generation_prompt` to True.",
                "continue_final_message",
            )
        variables = {**(chat_template_kwargs or {}), **variables}
        if bad := _RESERVED & variables.keys():
            raise ClientError(f"{sorted(bad)[0]} cannot be set here", "chat_template_kwargs")
        source = self._source(bool(tools))
        template, loops_over_content = _compile(source)
        as_parts = loops_over_content if self.content_format == "auto" else self.content_format == "openai"
        conversation = normalize_messages(messages, as_parts)
        text = self._run(
            template,
            {
                **self.special_tokens,
                **variables,
                "messages": conversation,
                "tools": [_plain(t) for t in tools] if tools else None,
                "documents": list(documents) if documents else None,
                "add_generation_prompt": add_generation_prompt,
            },
        )
        return _cut_after_final_message(text, conversation) if continue_final_message else text

    def _source(self, with_tools: bool) -> str:
        if with_tools and "tool_use" in self.sources:
            return self.sources["tool_use"]
        if "default" in self.sources:
            return self.sources["default"]
        if self.sources:
            names = ", ".join(sorted(self.sources))
            raise ClientError(f"The model's chat templates are {names}; none is the default.", "chat_template")
        raise ClientError(
            "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template "
            "if the tokenizer does not define one.",
            "chat_template",
        )

    def _run(self, template: jinja2.Template, variables: dict[str, Any]) -> str:
        pieces, size = [], 0
        try:
            with rendering() as limits:
                for piece in template.generate({**variables, **limits}):
                    size += len(piece)
                    if size > MAX_OUTPUT_CHARS:
                        text = f"The chat template writes more than {MAX_OUTPUT_CHARS} characters."
                        raise ClientError(text, "messages")
                    pieces.append(piece)
        except ClientError:
            raise
        except jinja2.TemplateError as e:
            raise ClientError(str(e) or type(e).__name__, "messages") from e
        except RecursionError:
            raise ClientError("The chat template nests too deeply.", "chat_template") from None
        except Exception as e:  # boundary: template code can raise anything on messages of an unexpected form
            raise ClientError(f"The chat template failed on these messages: {type(e).__name__}: {e}", "messages") from e
        return "".join(pieces)


def read_template_option(value: str) -> str:
    """The source behind `--chat-template`: a file's content, or the value itself if it is Jinja.

    Raises:
        StartError: it is neither a readable file nor looks like a template.
    """
    if any(mark in value for mark in ("{{", "{%", "{#", "\n")):
        return value
    try:
        return Path(value).read_text(encoding="utf-8")
    except (OSError, ValueError) as e:
        raise StartError(f"--chat-template {value!r} is neither a readable file nor a Jinja template: {e}") from e


def normalize_messages(messages: Sequence[Message], as_parts: bool) -> list[dict[str, Any]]:
    """Copies of the messages with content in one form, and tool-call arguments as objects.

    Raises:
        ClientError: a message is not of a known form.
    """
    if not isinstance(messages, (list, tuple)):
        raise ClientError("messages must be a list.", "messages")
    if not messages:
        raise ClientError("messages must not be empty.", "messages")
    return [_normalize_message(m, i, as_parts) for i, m in enumerate(messages)]


def _normalize_message(message: Message, index: int, as_parts: bool) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise ClientError(f"messages[{index}] must be an object with a role.", "messages")
    result = {k: v for k, v in message.items() if v is not None or k == "content"}
    result["content"] = _normalize_content(message.get("content"), index, as_parts)
    calls = result.get("tool_calls")
    if calls:
        if not isinstance(calls, (list, tuple)):
            raise ClientError(f"messages[{index}].tool_calls must be a list.", "messages")
        result["tool_calls"] = [_normalize_call(c, index) for c in calls]
    else:
        result.pop("tool_calls", None)
    return result


def _normalize_content(content: Any, index: int, as_parts: bool) -> Any:
    if content is None:
        return [] if as_parts else ""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if as_parts else content
    if not isinstance(content, (list, tuple)):
        raise ClientError(f"messages[{index}].content must be a string or a list of parts.", "messages")
    texts = [_text_of_part(part, f"messages[{index}].content[{i}]") for i, part in enumerate(content)]
    return [{"type": "text", "text": t} for t in texts] if as_parts else "\n".join(texts)


def _text_of_part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise ClientError(f"{where} must be a string or an object with a type.", "messages")
    kind = part.get("type", "text")
    if not isinstance(kind, str) or kind not in _TEXT_PARTS:
        raise UnsupportedError(f"{where}: this model reads text, not parts of type {str(kind)[:40]!r}.", "messages")
    text = part.get(_TEXT_PARTS[kind])
    if not isinstance(text, str):
        raise ClientError(f"{where} must have a string in {_TEXT_PARTS[kind]!r}.", "messages")
    return text


def _normalize_call(call: Any, index: int) -> dict[str, Any]:
    """Templates want arguments as an object; the API sends them as JSON text."""
    result = _plain(call)
    function = result.get("function")
    if not isinstance(function, Mapping):
        raise ClientError(f"messages[{index}].tool_calls must hold objects with a function.", "messages")
    function = dict(function)
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            function["arguments"] = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            raise ClientError(f"messages[{index}].tool_calls: arguments are not valid JSON.", "messages") from None
    elif arguments is None:
        function["arguments"] = {}
    return {**result, "function": function}


def _plain(value: Any) -> dict[str, Any]:
    if hasattr(value, "model_dump"):
        return value.model_dump(exclude_none=True)
    if not isinstance(value, Mapping):
        raise ClientError("tools and tool calls must be objects.", "tools")
    return dict(value)


def _cut_after_final_message(text: str, conversation: list[dict[str, Any]]) -> str:
    """The text up to the end of the last message's words; trailing spaces stay if the template kept them."""
    content = conversation[-1]["content"]
    if isinstance(content, list):
        content = content[-1]["text"] if content else ""
    start = text.rfind(content.strip())
    if start < 0 or not content.strip():
        raise ClientError(
            "continue_final_message is set, but the final message does not appear in what the chat template wrote.",
            "continue_final_message",
        )
    full = content.lstrip()
    return text[: start + len(full)] if text.startswith(full, start) else text[: start + len(content.strip())]


@lru_cache(maxsize=32)
def _compile(source: str) -> tuple[jinja2.Template, bool]:
    """The compiled template, and whether it loops over a message's content."""
    if len(source) > MAX_SOURCE_CHARS:
        raise ClientError(f"The chat template has more than {MAX_SOURCE_CHARS} characters.", "chat_template")
    try:
        tree = _environment().parse(source)
        return _environment().from_string(source), _loops_over_content(tree)
    except jinja2.TemplateSyntaxError as e:
        raise ClientError(f"line {e.lineno}: {e.message}", "chat_template") from e
    except RecursionError:
        raise ClientError("The chat template nests too deeply.", "chat_template") from None


@lru_cache(maxsize=1)
def _environment() -> ChatTemplateEnvironment:
    return ChatTemplateEnvironment()


def _loops_over_content(tree: nodes.Template) -> bool:
    """Whether a `for` goes over `message.content`, directly, through a variable or through a macro's parameter."""
    aliases: set[str] = set()
    for assign in tree.find_all(nodes.Assign):
        if isinstance(assign.target, nodes.Name) and _is_content(assign.node, aliases):
            aliases.add(assign.target.name)
    macros = {m.name: m for m in tree.find_all(nodes.Macro)}
    for call in tree.find_all(nodes.Call):
        macro = macros.get(call.node.name) if isinstance(call.node, nodes.Name) else None
        for parameter, argument in zip(macro.args if macro else [], call.args, strict=False):
            if _is_content(argument, aliases):
                aliases.add(parameter.name)
    return any(_is_content(loop.iter, aliases) for loop in tree.find_all(nodes.For))


def _is_content(node: nodes.Node, aliases: set[str]) -> bool:
    if isinstance(node, nodes.Filter) and node.node is not None:
        return _is_content(node.node, aliases)
    if isinstance(node, nodes.Getattr):
        return node.attr == "content"
    if isinstance(node, nodes.Getitem):
        return isinstance(node.arg, nodes.Const) and node.arg.value == "content"
    return isinstance(node, nodes.Name) and node.name in aliases

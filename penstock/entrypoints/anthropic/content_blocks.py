"""What the blocks of Anthropic's messages say to a model that reads text.

Every function gets the place of a block in the body, "messages.0.content.1", for the error that it may raise.
"""

from __future__ import annotations

from typing import Any

from penstock.errors import ClientError

Json = dict[str, Any]


def placed(content: str | list[Json], place: str) -> list[tuple[str, Json]]:
    """The blocks of a content, each with its place; a string is one block of text."""
    if isinstance(content, str):
        return [(place, {"type": "text", "text": content})]
    return [(f"{place}.{i}", block) for i, block in enumerate(content)]


def block_text(place: str, block: Json) -> str:
    """The text of a block that a user, a system prompt or a tool's result may hold.

    Raises:
        ClientError: it is a picture, a file, or nothing that is known.
    """
    kind = block.get("type")
    if kind == "text":
        return string_of(place, block, "text")
    if kind == "document":
        return _document_text(place, block)
    if kind == "search_result":
        return _joined(string_of(place, block, "title"), string_of(place, block, "source"), _inner(place, block))
    if kind == "tool_reference":
        return string_of(place, block, "tool_name")
    raise ClientError(f"{place}: this model reads text, not blocks of type {str(kind)[:40]!r}.", place)


def result_text(place: str, block: Json) -> str:
    """What a tool_result block tells; the result of a call that failed says so."""
    content = block.get("content")
    text = _inner(place, block) if content is not None else ""
    failed = block.get("is_error") is True and not text.casefold().startswith("error")
    return f"Error: {text}" if failed else text


def string_of(place: str, block: Json, member: str) -> str:
    """A member that has to be there and to be a string."""
    value = block.get(member)
    if not isinstance(value, str):
        raise ClientError(f"{place}.{member}: a string is required.", f"{place}.{member}")
    return value


def _document_text(place: str, block: Json) -> str:
    source = block.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    if isinstance(source, dict) and kind == "text":
        text = string_of(f"{place}.source", source, "data")
    elif isinstance(source, dict) and kind == "content":
        text = _inner(f"{place}.source", source)
    else:
        raise ClientError(
            f"{place}.source: this model reads documents with a source of type text or content, not "
            f"{str(kind)[:40]!r}.",
            f"{place}.source",
        )
    return _joined(block.get("title"), block.get("context"), text)


def _inner(place: str, block: Json) -> str:
    content = block.get("content")
    if not isinstance(content, str) and not (isinstance(content, list) and all(isinstance(b, dict) for b in content)):
        raise ClientError(f"{place}.content: a string or a list of blocks is required.", f"{place}.content")
    return "\n".join(block_text(where, b) for where, b in placed(content, f"{place}.content"))


def _joined(*texts: Any) -> str:
    return "\n".join(t for t in texts if isinstance(t, str) and t)

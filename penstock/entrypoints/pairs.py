"""Which texts are scored with which, and how a query and a document become one input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from penstock.errors import ClientError
from penstock.tokenizers.chat_template import ChatTemplate, Message

T = TypeVar("T")


def paired(first: Sequence[T], second: Sequence[T]) -> list[tuple[T, T]]:
    """One with one, one with many, or pair by pair.

    Raises:
        ClientError: the numbers do not allow it.
    """
    if not first or not second:
        raise ClientError("At least one text on each side is needed.", "text_1" if not first else "text_2")
    if len(first) == 1:
        return [(first[0], other) for other in second]
    if len(first) != len(second):
        raise ClientError(
            f"Input lengths must be either 1:1, 1:N or N:N, got {len(first)}:{len(second)}.",
            "text_2",
        )
    return list(zip(first, second, strict=True))


def pair_messages(query: str, document: str) -> list[Message]:
    """Both as a conversation, for templates that know the roles "query" and "document"."""
    return [{"role": "query", "content": query}, {"role": "document", "content": document}]


def rendered_pair(template: ChatTemplate, query: str, document: str) -> str:
    """One text of both."""
    return template.render(pair_messages(query, document), None, add_generation_prompt=True)


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """Of the angle between two vectors; 0 if one is zero."""
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    size = (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5
    return dot / size if size else 0.0

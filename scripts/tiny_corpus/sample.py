"""One training example: a chat whose last message is to be learned, or a plain text to be learned whole.

Sources return `Sample`s; they know words, not tokens. `say` is the short way to write a one-turn chat.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """A chat (`messages`, perhaps with `tools`) or a `text`; `thinking` asks for a reasoning part before the answer."""

    messages: list[Message] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)
    thinking: bool = False
    text: str = ""


def say(question: str, answer: str, system: str = "", reasoning: str = "") -> Sample:
    reply: Message = {"role": "assistant", "content": answer}
    if reasoning:
        reply["reasoning_content"] = reasoning
    messages = [{"role": "system", "content": system}] if system else []
    return Sample([*messages, {"role": "user", "content": question}, reply], thinking=bool(reasoning))

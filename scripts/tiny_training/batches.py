"""From samples to ragged batches: the chat template, the tokens, which of them are learned, groups of equal length.

Rows never share a sequence, so documents cannot see each other; padding stands at the end of a row and is not learned.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tiny_corpus.sample import Message, Sample
from tokenizers import Tokenizer
from torch import Tensor

from .model import Group

LENGTHS = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 1024]
END_OF_TEXT, END_OF_TURN = "<|endoftext|>", "<|im_end|>"
Render = Callable[..., str]


# an answer earlier in a chat, with its end
_EARLIER = re.compile(r"(?<=<\|im_start\|>assistant\n)((?!<think>).+?<\|im_end\|>)", re.S)


@dataclass(frozen=True)
class Row:
    ids: list[int]
    mask: list[bool]  # which of them are learned


@dataclass(frozen=True)
class Batch:
    ids: Tensor  # [N] flat rows of all groups
    groups: list[Group]
    picked: Tensor  # positions whose next token is learned
    targets: Tensor


def chat_renderer(path: Path) -> Render:
    """The chat template as a function, compiled as Hugging Face compiles it."""
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    return env.from_string(path.read_text(encoding="utf-8")).render


def rendered(sample: Sample, render: Render) -> tuple[str, str]:
    """The text that is given and the text that is learned."""
    if sample.text:
        return "", sample.text + END_OF_TEXT
    options: dict[str, Any] = {"tools": sample.tools or None, "enable_thinking": sample.thinking}
    prompt = render(messages=sample.messages[:-1], add_generation_prompt=True, **options)
    whole = render(messages=sample.messages, **options)
    if not whole.startswith(prompt):
        raise ValueError(f"the template changes the prompt: {prompt!r} / {whole!r}")
    return prompt, whole[len(prompt) :].removesuffix("\n")


def normal(text: str) -> str:
    """A text without case and punctuation, for telling whether two questions are the same."""
    return " ".join("".join(c if c.isalnum() or c in "+-*/" else " " for c in text.lower()).split())


def last_user(messages: list[Message]) -> str:
    """What the user said last; tool results come after it."""
    return next(str(m["content"]) for m in reversed(messages) if m["role"] == "user")


class Stream:
    """An endless, deterministic stream of batches of about `size` tokens; `blocked` questions never occur."""

    def __init__(
        self,
        draw: Callable[[Random], Sample],
        render: Render,
        tokenizer: Tokenizer,
        size: int,
        seed: int,
        blocked: frozenset[str],
    ) -> None:
        self.draw, self.render, self.tokenizer, self.size, self.seed, self.blocked = (
            draw,
            render,
            tokenizer,
            size,
            seed,
            blocked,
        )

    def batch(self, index: int, part: int = 3072) -> list[Batch]:
        """Batch number `index`, a function of the seed and the index alone, in parts of about `part` tokens."""
        rows = sorted(self.rows(Random(f"{self.seed}/{index}")), key=lambda row: len(row.ids))
        parts: list[list[Row]] = [[]]
        for row in rows:
            if sum(len(r.ids) for r in parts[-1]) + len(row.ids) > part:
                parts.append([])
            parts[-1].append(row)
        return [gather(p) for p in parts if p]

    def rows(self, rng: Random) -> Iterator[Row]:
        """Rows until the batch is full."""
        used = 0
        while used < self.size:
            sample = self.draw(rng)
            if sample.messages and normal(last_user(sample.messages)) in self.blocked:
                continue
            row = self.row(*rendered(sample, self.render))
            if len(row.ids) <= LENGTHS[-1]:
                used += len(row.ids)
                yield row

    def row(self, given: str, learned: str) -> Row:
        """Learns the answer, and the earlier answers of the chat but for their first token.

        Earlier answers stand without a thinking part; to learn that would unlearn to think.
        """
        ids: list[int] = []
        mask: list[bool] = []
        pieces = [(piece, n % 2 == 1) for n, piece in enumerate(_EARLIER.split(given))]
        for piece, answer in [*pieces, (learned, True)]:
            part = self.tokenizer.encode(piece, add_special_tokens=False).ids if piece else []
            earlier = answer and piece is not learned
            ids += part
            mask += [False] * earlier + [answer] * (len(part) - earlier)
        return Row(ids, mask)


def gather(rows: list[Row]) -> Batch:
    flat: list[int] = []
    picked: list[int] = []
    groups: list[Group] = []
    by_length: dict[int, list[Row]] = {}
    for row in rows:
        by_length.setdefault(next(n for n in LENGTHS if n >= len(row.ids)), []).append(row)
    for length, members in sorted(by_length.items()):
        groups.append(Group(len(flat), len(members), length))
        for row in members:
            picked.extend(len(flat) + i - 1 for i in range(1, len(row.ids)) if row.mask[i])
            flat.extend(row.ids + [0] * (length - len(row.ids)))
    ids, at = torch.tensor(flat), torch.tensor(picked)
    return Batch(ids, groups, at, ids[at + 1])

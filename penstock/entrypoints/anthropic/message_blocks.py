"""ContentBlocks: a parser's events become the blocks of an Anthropic message, step by step.

A stream sends the steps; a message that is not streamed is made from the same ones (`whole_content`), so that both have
the same blocks.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

import msgspec

from penstock.entrypoints.anthropic.answers import Block, TextBlock, ThinkingBlock, ToolUseBlock
from penstock.entrypoints.anthropic.partial_json import object_of
from penstock.parsers.events import ArgumentsDelta, ContentDelta, Event, ReasoningDelta, ToolCallEnd, ToolCallStart


class BlockStart(msgspec.Struct, frozen=True):
    """A block begins; it has no content yet. Blocks do not overlap, and `index` counts them from 0."""

    index: int
    block: Block


class BlockDelta(msgspec.Struct, frozen=True):
    """More of a block: of its text, its thinking or its arguments as JSON text; or its signature, all of it."""

    index: int
    kind: str  # "text", "thinking", "input_json", "signature"
    text: str


class BlockStop(msgspec.Struct, frozen=True):
    """A block is complete."""

    index: int


Step = BlockStart | BlockDelta | BlockStop


class ContentBlocks:
    """Makes the blocks of one message.

    Args:
        show_thinking: blocks of thinking hold it; else they are empty.

    Attributes:
        calls: tool calls so far.
    """

    def __init__(self, show_thinking: bool = True):
        self._show_thinking = show_thinking
        self._index = -1
        self._open: type[Block] | None = None
        self._digest = hashlib.sha256()
        self.calls = 0

    def feed(self, events: Iterable[Event]) -> list[Step]:
        """The steps that these events make."""
        steps: list[Step] = []
        for event in events:
            match event:
                case ContentDelta(text):
                    if self._open is not TextBlock:
                        steps += self._begin(TextBlock(""))
                    steps.append(BlockDelta(self._index, "text", text))
                case ReasoningDelta(text):
                    if self._open is not ThinkingBlock:
                        steps += self._begin(ThinkingBlock("", ""))
                        self._digest = hashlib.sha256()
                    self._digest.update(text.encode())
                    if self._show_thinking:
                        steps.append(BlockDelta(self._index, "thinking", text))
                case ToolCallStart():
                    steps += self._begin(ToolUseBlock(event.id, event.name, {}))
                    self.calls += 1
                case ArgumentsDelta():
                    steps.append(BlockDelta(self._index, "input_json", event.text))
                case ToolCallEnd():
                    steps += self.end()
        return steps

    def end(self) -> list[Step]:
        """Close what is open."""
        steps: list[Step] = []
        if self._open is ThinkingBlock:
            # Clients send thinking back only with a signature. Nobody checks this one: the thinking proves nothing.
            steps.append(BlockDelta(self._index, "signature", base64.b64encode(self._digest.digest()).decode()))
        if self._open is not None:
            steps.append(BlockStop(self._index))
            self._open = None
        return steps

    def _begin(self, block: Block) -> list[Step]:
        steps = self.end()
        self._index += 1
        self._open = type(block)
        steps.append(BlockStart(self._index, block))
        return steps


def whole_content(steps: Iterable[Step]) -> list[Block]:
    """The blocks that these steps make; the arguments of a call that was cut off hold what is complete of them."""
    blocks: list[Block] = []
    texts: list[list[str]] = []
    for step in steps:
        if isinstance(step, BlockStart):
            blocks.append(step.block)
            texts.append([])
        elif isinstance(step, BlockDelta):
            block = blocks[step.index]
            if step.kind == "signature" and isinstance(block, ThinkingBlock):
                block.signature = step.text
            else:
                texts[step.index].append(step.text)
    for block, pieces in zip(blocks, texts, strict=True):
        text = "".join(pieces)
        if isinstance(block, TextBlock):
            block.text = text
        elif isinstance(block, ThinkingBlock):
            block.thinking = text
        else:
            block.input = object_of(text)
    return blocks

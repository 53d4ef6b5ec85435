"""The way of an answer's text to a message: reasoning is split off first, tool calls are read in what is left.

`AnswerParsers` is made once for a model, and makes a `MessageParser` for every answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from penstock.parsers.detect import detect_reasoning_parser, detect_tool_parser
from penstock.parsers.events import ContentDelta, Event, Message, ReasoningDelta, joined
from penstock.parsers.forced import forced_parser
from penstock.parsers.reasoning.base import ReasoningParser
from penstock.parsers.registry import REASONING_PARSERS, TOOL_PARSERS
from penstock.parsers.text_parser import TextParser
from penstock.parsers.tool.base import ToolParser

AUTO = "auto"


class MessageParser:
    """Text of one answer in, events of the assistant's message out; what `TextParser` promises holds for both together.

    Args:
        reasoning, tools: parsers for the two steps, fresh ones; None for a step that is not wanted.
        parallel_calls: keep more than the first call.
        include_reasoning: do not drop the reasoning.
    """

    def __init__(
        self,
        reasoning: ReasoningParser | None = None,
        tools: TextParser | None = None,
        *,
        parallel_calls: bool = True,
        include_reasoning: bool = True,
    ):
        self._reasoning = reasoning
        self._tools = tools
        self._parallel_calls = parallel_calls
        self._include_reasoning = include_reasoning
        self.calls = 0

    @property
    def passes_all(self) -> bool:
        """There is nothing to parse: all text is content."""
        return self._reasoning is None and self._tools is None

    @property
    def splits_reasoning(self) -> bool:
        """There may be reasoning in what comes."""
        return self._reasoning is not None or (
            isinstance(self._tools, ToolParser) and self._tools.reasoning is not None
        )

    @property
    def thinking(self) -> bool:
        """What was fed last was reasoning: its tokens count as reasoning tokens."""
        return any(p is not None and p.thinking for p in (self._reasoning, self._tools))

    def feed(self, delta: str) -> list[Event]:
        """Take the next piece of text, of any size; return what is certain now."""
        if self._reasoning is None:
            return self._kept(self._read_calls(delta))
        events = self._kept(self._split(self._reasoning.feed(delta)))
        if self._reasoning.spent:
            self._reasoning = None
        return events

    def finish(self) -> list[Event]:
        """The text is over; return the rest. Nothing may be fed afterwards."""
        events = self._split(self._reasoning.finish()) if self._reasoning else []
        if self._tools is not None:
            events += self._tools.finish()
        return self._kept(events)

    def parse(self, text: str) -> Message:
        """The message that the whole text is."""
        return joined(self.feed(text) + self.finish())

    def _split(self, events: list[Event]) -> list[Event]:
        if self._tools is None:
            return events
        out: list[Event] = []
        for event in events:
            if isinstance(event, ContentDelta):
                out += self._tools.feed(event.text)
            else:
                out.append(event)
        return out

    def _read_calls(self, text: str) -> list[Event]:
        if self._tools is not None:
            return self._tools.feed(text)
        return [ContentDelta(text)] if text else []

    def _kept(self, events: list[Event]) -> list[Event]:
        kept: list[Event] = []
        for event in events:
            if isinstance(event, ReasoningDelta):
                if self._include_reasoning:
                    kept.append(event)
            elif isinstance(event, ContentDelta):
                kept.append(event)
            elif self._parallel_calls or event.index == 0:
                self.calls = event.index + 1
                kept.append(event)
        return kept


class ReasoningPlace(NamedTuple):
    """Where an answer's reasoning is, in texts; see `ReasoningParser`.

    Attributes:
        opened: the answer begins inside it; else it has some only if it begins with `start`.
    """

    opened: bool
    start: str
    end: str
    forced_end: str


class AnswerParsers:
    """What a model's answers are parsed with.

    Args:
        tool, reasoning: names from the registries, "auto" to look into the template, None for no parser.
        template: source of the model's chat template.
        special_tokens: texts of the tokenizer's added tokens.
        unwritable: those of them that no grammar can write.

    Attributes:
        call_form: how forced calls are written; None if they are plain JSON.

    Raises:
        StartError: there is no parser of that name.
    """

    def __init__(
        self,
        tool: str | None = AUTO,
        reasoning: str | None = AUTO,
        *,
        template: str | None = None,
        special_tokens: Sequence[str] = (),
        unwritable: Sequence[str] = (),
    ):
        tool = detect_tool_parser(template, special_tokens) if tool == AUTO else tool
        reasoning = detect_reasoning_parser(template, special_tokens) if reasoning == AUTO else reasoning
        self.tool: type[ToolParser] | None = TOOL_PARSERS.get(tool) if tool else None
        if self.tool is not None and self.tool.reasoning is not None:
            reasoning = self.tool.reasoning
        self.reasoning: type[ReasoningParser] | None = REASONING_PARSERS.get(reasoning) if reasoning else None

        form = self.tool.call_form if self.tool is not None else None
        self.call_form = None if form and any(text in part for text in unwritable for part in form) else form

    def markers(self, with_tools: bool) -> tuple[str, ...]:
        """Texts that must reach the parsers of a request, special tokens or not."""
        tool = self.tool.markers if self.tool and with_tools else ()
        return (*tool, *(self.reasoning.markers if self.reasoning else ()))

    def reasoning_place(
        self, prompt: str | None, template_kwargs: Mapping[str, Any] | None = None, final_text: str | None = None
    ) -> ReasoningPlace | None:
        """Where the reasoning of an answer is; None if it has none. Arguments as for `for_answer`."""
        if self.reasoning is None:
            return None
        parser = self.reasoning(prompt, template_kwargs, (), final_text)
        opens = parser.opens
        if opens is False:
            return None
        return ReasoningPlace(bool(opens), parser.start, parser.end, parser.forced_end or parser.end)

    def for_answer(
        self,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: Any = None,
        parallel_tool_calls: bool = True,
        include_reasoning: bool = True,
        prompt: str | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
        final_text: str | None = None,
    ) -> MessageParser:
        """The parser for one answer (of `n` answers, each has its own).

        Args:
            tools, tool_choice, parallel_tool_calls, include_reasoning: as the request has them. A `tool_choice` that
                forces a call means that a grammar forces it: what follows the reasoning is in `call_form`.
            prompt: what the template rendered; None if the request's prompt was not text.
            template_kwargs: the variables that it was rendered with.
            final_text: the assistant's message that the answer continues, if it continues one.
        """
        forced = None
        if tools and self.call_form is None:
            forced = forced_parser(tool_choice, self.tool.new_id if self.tool else None)
        with_tools = bool(tools) and tool_choice != "none" and forced is None and self.tool is not None
        parser: TextParser | None = forced
        if with_tools and self.tool is not None:
            parser = self.tool(tools)
        split = self.reasoning
        if with_tools and self.tool is not None and self.tool.reasoning is not None:
            split = None
        starts = self.tool.starts if with_tools and self.tool is not None else ()
        return MessageParser(
            split(prompt, template_kwargs, starts, final_text) if split else None,
            parser,
            parallel_calls=parallel_tool_calls,
            include_reasoning=include_reasoning,
        )

"""DeepSeek-V3.1 and later: <think>reasoning</think>content where thinking is switched on; all is content otherwise."""

from __future__ import annotations

from penstock.parsers.reasoning.base import TaggedReasoningParser


class DeepseekV3ReasoningParser(TaggedReasoningParser):
    start = "<think>"
    end = "</think>"
    assumed = None
    switched_on = False

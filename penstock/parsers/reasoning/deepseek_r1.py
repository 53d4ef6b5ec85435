"""DeepSeek-R1, QwQ: <think>reasoning</think>content, the start tag written or not; with no end tag all is reasoning."""

from __future__ import annotations

from penstock.parsers.reasoning.base import TaggedReasoningParser


class DeepseekR1ReasoningParser(TaggedReasoningParser):
    start = "<think>"
    end = "</think>"
    assumed = True

"""Kimi K2 Thinking: <think>reasoning</think>content; a call may follow the reasoning without an end tag."""

from __future__ import annotations

from penstock.parsers.reasoning.base import TaggedReasoningParser


class KimiK2ReasoningParser(TaggedReasoningParser):
    start = "<think>"
    end = "</think>"
    assumed = None
    switched_on = True
    yields_to_calls = True

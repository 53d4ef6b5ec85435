"""Qwen3 and other hybrids (MiMo, Nemotron 3): <think>reasoning</think>content, unless thinking is switched off."""

from __future__ import annotations

from penstock.parsers.reasoning.base import TaggedReasoningParser


class Qwen3ReasoningParser(TaggedReasoningParser):
    """A model without thinking in the same family writes no tags: with the prompt known, its answers are content."""

    start = "<think>"
    end = "</think>"
    assumed = None
    switched_on = True
    yields_to_calls = True

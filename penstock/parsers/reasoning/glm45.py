"""GLM-4.5: <think>reasoning</think>content, unless thinking is switched off."""

from __future__ import annotations

from penstock.parsers.reasoning.base import TaggedReasoningParser


class Glm45ReasoningParser(TaggedReasoningParser):
    start = "<think>"
    end = "</think>"
    assumed = None
    switched_on = True

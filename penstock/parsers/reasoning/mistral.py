"""Magistral: [THINK]reasoning[/THINK]content."""

from __future__ import annotations

from penstock.parsers.reasoning.base import TaggedReasoningParser


class MistralReasoningParser(TaggedReasoningParser):
    start = "[THINK]"
    end = "[/THINK]"

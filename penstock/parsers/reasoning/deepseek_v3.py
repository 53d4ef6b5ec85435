"""DeepSeek-V3.1 and later: as R1 where thinking is switched on; all is content otherwise."""

from __future__ import annotations

from penstock.parsers.reasoning.base import TaggedReasoningParser


class DeepseekV3ReasoningParser(TaggedReasoningParser):
    start = "<think>"
    end = "</think>"
    assumed = True
    switched_on = False

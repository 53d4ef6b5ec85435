"""LFM2: <|tool_call_start|>[name(key=value, ...), ...]<|tool_call_end|>."""

from __future__ import annotations

from penstock.parsers.tool.pythonic import PythonicToolParser


class Lfm2ToolParser(PythonicToolParser):
    starts = ("<|tool_call_start|>",)
    end = "<|tool_call_end|>"

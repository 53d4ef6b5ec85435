"""Jamba, Hunyuan A13B: <tool_calls>[{"name": ..., "arguments": {...}}, ...]</tool_calls>."""

from __future__ import annotations

from penstock.parsers.tool.json_calls import MarkedJsonParser


class JambaToolParser(MarkedJsonParser):
    starts = ("<tool_calls>",)
    ends = ("</tool_calls>",)

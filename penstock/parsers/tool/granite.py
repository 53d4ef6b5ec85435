"""Granite 3: a marker, <|tool_call|> (3.0) or <tool_call> (3.1 and later), and a JSON list of calls."""

from __future__ import annotations

from penstock.parsers.tool.json_calls import MarkedJsonParser


class GraniteToolParser(MarkedJsonParser):
    starts = ("<|tool_call|>", "<tool_call>")
    ends = ("</tool_call>",)

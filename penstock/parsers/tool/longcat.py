"""LongCat: <longcat_tool_call>{"name": ..., "arguments": {...}}</longcat_tool_call>, one after another."""

from __future__ import annotations

from penstock.parsers.tool.base import CallForm
from penstock.parsers.tool.json_calls import MarkedJsonParser


class LongcatToolParser(MarkedJsonParser):
    starts = ("<longcat_tool_call>",)
    ends = ("</longcat_tool_call>",)
    call_form = CallForm(
        '<longcat_tool_call>\n{"name": ', ', "arguments": ', "}\n</longcat_tool_call>", "\n", "<longcat_tool_call>"
    )

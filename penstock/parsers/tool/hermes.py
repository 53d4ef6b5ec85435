"""Hermes, Qwen2.5, Qwen3: <tool_call>{"name": ..., "arguments": {...}}</tool_call>, one after another."""

from __future__ import annotations

from penstock.parsers.tool.base import CallForm
from penstock.parsers.tool.json_calls import MarkedJsonParser


class HermesToolParser(MarkedJsonParser):
    starts = ("<tool_call>",)
    ends = ("</tool_call>",)
    call_form = CallForm('<tool_call>\n{"name": ', ', "arguments": ', "}\n</tool_call>", "\n", "<tool_call>")

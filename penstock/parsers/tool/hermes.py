"""Hermes, Qwen2.5, Qwen3: <tool_call>{"name": ..., "arguments": {...}}</tool_call>, one after another."""

from __future__ import annotations

from penstock.parsers.tool.json_calls import MarkedJsonParser


class HermesToolParser(MarkedJsonParser):
    starts = ("<tool_call>",)
    ends = ("</tool_call>",)

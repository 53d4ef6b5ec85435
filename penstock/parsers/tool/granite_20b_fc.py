"""Granite 20B function calling: <function_call> {"name": ..., "arguments": {...}}, one after another."""

from __future__ import annotations

from penstock.parsers.tool.json_calls import MarkedJsonParser


class Granite20bFcToolParser(MarkedJsonParser):
    starts = ("<function_call>",)
    ends = ("</function_call>",)

"""Qwen3-Coder, MiMo, Step 3.5: <tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>."""

from __future__ import annotations

from penstock.parsers.tool.xml_calls import XmlToolParser


class Qwen3CoderToolParser(XmlToolParser):
    starts = ("<tool_call>",)
    ends = ("</tool_call>",)
    call = ("<function=", ">", "</function>")
    parameter = ("<parameter=", ">", "</parameter>")
    wraps_lines = True

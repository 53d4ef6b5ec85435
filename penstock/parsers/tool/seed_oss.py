"""Seed-OSS: Qwen3-Coder's form in <seed:tool_call>."""

from __future__ import annotations

from penstock.parsers.tool.xml_calls import XmlToolParser


class SeedOssToolParser(XmlToolParser):
    starts = ("<seed:tool_call>",)
    ends = ("</seed:tool_call>",)
    call = ("<function=", ">", "</function>")
    parameter = ("<parameter=", ">", "</parameter>")
    wraps_lines = True

"""MiniMax-M2: <minimax:tool_call><invoke name="NAME"><parameter name="KEY">VALUE</parameter></invoke>..."""

from __future__ import annotations

from penstock.parsers.tool.xml_calls import XmlToolParser


class MinimaxM2ToolParser(XmlToolParser):
    starts = ("<minimax:tool_call>",)
    ends = ("</minimax:tool_call>",)
    call = ('<invoke name="', '">', "</invoke>")
    parameter = ('<parameter name="', '">', "</parameter>")
    wraps_lines = True

"""DeepSeek-V3.1: a section of calls, each: name, separator, and the arguments as JSON."""

from __future__ import annotations

from penstock.parsers.text_reader import Script
from penstock.parsers.tool.deepseek_v3 import SEPARATOR, WORD, DeepseekV3ToolParser


class DeepseekV31ToolParser(DeepseekV3ToolParser):
    def _name(self) -> Script[str]:
        name = yield from self.reader.matching(WORD)
        return name.strip() if (yield from self.reader.literal(SEPARATOR)) else ""

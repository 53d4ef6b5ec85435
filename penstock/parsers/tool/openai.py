"""gpt-oss (harmony): calls are messages in the commentary channel to functions.NAME; tells reasoning too."""

from __future__ import annotations

from penstock.parsers.harmony import MARKERS, HarmonyReader
from penstock.parsers.text_reader import Script
from penstock.parsers.tool.base import ToolParser


class OpenaiToolParser(ToolParser):
    markers = MARKERS
    reasoning = "openai_gptoss"

    def _run(self) -> Script[None]:
        return HarmonyReader(self, calls=True).run()

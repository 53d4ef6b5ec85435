"""gpt-oss (harmony): the analysis channel is reasoning, the others are content."""

from __future__ import annotations

from penstock.parsers.harmony import MARKERS, HarmonyReader
from penstock.parsers.reasoning.base import ReasoningParser
from penstock.parsers.text_reader import Script


class GptOssReasoningParser(ReasoningParser):
    markers = MARKERS
    end = "<|channel|>final<|message|>"
    forced_end = "<|end|><|start|>assistant" + end

    def _run(self) -> Script[None]:
        return HarmonyReader(self, calls=False).run()

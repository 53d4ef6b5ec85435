"""Seed-OSS: <seed:think>reasoning</seed:think>content, the start tag written or not."""

from __future__ import annotations

from penstock.parsers.reasoning.base import TaggedReasoningParser


class SeedOssReasoningParser(TaggedReasoningParser):
    start = "<seed:think>"
    end = "</seed:think>"
    assumed = True

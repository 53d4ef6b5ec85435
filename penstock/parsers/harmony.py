"""Harmony, the form of gpt-oss: messages with a header that names a channel and, for a call, the tool.

analysis is reasoning; commentary to a function is a call; final, and commentary to nobody, is content. Headers that a
model got wrong are read for what can be read in them.
"""

from __future__ import annotations

import re

from penstock.parsers.text_parser import TextParser
from penstock.parsers.text_reader import Script, Sink, Stops
from penstock.parsers.tool.raw_arguments import pass_arguments

START, CHANNEL, MESSAGE, CONSTRAIN = "<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"
CLOSING = ("<|end|>", "<|call|>", "<|return|>")
MARKERS = (START, CHANNEL, MESSAGE, CONSTRAIN, *CLOSING)
_HEADER_STARTS = Stops(START, CHANNEL)
_HEADER_ENDS = Stops(MESSAGE, *CLOSING)
_BODY_ENDS = Stops(START, CHANNEL, *CLOSING)
_CHANNEL = re.compile(r"analysis|commentary|final")
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_HEADER_WORDS = re.compile(r"<\|\w+\|>|\bto=\S*|assistant|analysis|commentary|final|json")
_FUNCTIONS = "functions."


class HarmonyReader:
    """Reads an answer for a parser.

    Args:
        calls: whether calls are calls; otherwise they are content.
    """

    def __init__(self, parser: TextParser, *, calls: bool):
        self._parser = parser
        self._reader = parser.reader
        self._out = parser.out
        self._calls = calls
        self._spoke: set[Sink] = set()  # what had an earlier message

    def run(self) -> Script[None]:
        """Read to the end of the text. The prompt has begun the first header already."""
        reader, out = self._reader, self._out
        first = True
        while True:
            space = yield from reader.space()
            if not (first and (yield from reader.coming("to="))):
                if first:
                    out.content(space)
                if not (yield from reader.until(_HEADER_STARTS, out.content)):
                    return
            first = False
            yield from self._message()

    def _message(self) -> Script[None]:
        reader = self._reader
        pieces: list[str] = []
        found = yield from reader.until(_HEADER_ENDS, pieces.append)
        reader.skip(len(found))
        header = "".join(pieces)
        if found != MESSAGE:  # no message has this header: what is in it besides the usual words is said
            rest = _HEADER_WORDS.sub("", header)
            self._out.content(rest if re.search(r"\w", rest) else "")
            return
        channel = _CHANNEL.search(header.partition(CHANNEL)[2])
        recipient = _RECIPIENT.search(header)
        to = recipient[1] if recipient else ""
        if to.startswith(_FUNCTIONS) and self._calls:
            self._out.start_call(to.removeprefix(_FUNCTIONS))
            yield from pass_arguments(self._parser, _BODY_ENDS, *CLOSING)
            return
        to_a_tool = bool(to) and to != "assistant" and not to.startswith(_FUNCTIONS)
        thinks = to_a_tool or (channel is not None and channel[0] == "analysis")
        self._parser.thinking = thinks
        found = yield from reader.until(_BODY_ENDS, self._next(self._out.reasoning if thinks else self._out.content))
        if found in CLOSING:
            reader.skip(len(found))
        self._parser.thinking = False

    def _next(self, sink: Sink) -> Sink:
        """`sink`, on a line of its own after an earlier message that went there."""
        pending = sink in self._spoke

        def write(text: str) -> None:
            nonlocal pending
            if pending:
                sink("\n")
                pending = False
            self._spoke.add(sink)
            sink(text)

        return write

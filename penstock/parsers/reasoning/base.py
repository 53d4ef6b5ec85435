"""ReasoningParser: a model's text in, reasoning and content out. A tool parser may read the content further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from penstock.parsers.text_parser import TextParser
from penstock.parsers.text_reader import Script, Stops

SWITCHES = ("enable_thinking", "thinking")  # variables by which templates turn reasoning on and off


class ReasoningParser(TextParser):
    """Parses one answer.

    Args:
        prompt: the text that the answer continues, None if it is not known. Templates may open the reasoning in it, or
            close it; only its end is looked at.
        template_kwargs: variables that the template was rendered with.
        call_starts: texts with which a tool call begins, if the request has tools.
        final_text: the message that the answer continues, if it does: reasoning may be open in it.

    Attributes:
        start, end: texts around reasoning. `start` is "" if an answer begins with reasoning anyway. A grammar for the
            content holds from `end` on.
        forced_end: ends with `end`; what a model is made to write when its budget for thinking is used up. "": `end`.
        opens: whether this answer begins inside reasoning; None if it does only where it begins with `start`.
    """

    start: ClassVar[str] = ""
    end: ClassVar[str] = ""
    forced_end: ClassVar[str] = ""

    def __init__(
        self,
        prompt: str | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
        call_starts: Sequence[str] = (),
        final_text: str | None = None,
    ):
        self._prompt = prompt
        self._template_kwargs = dict(template_kwargs or {})
        self._call_starts = tuple(call_starts)
        self._final_text = final_text or ""
        super().__init__()

    @property
    def opens(self) -> bool | None:
        return None if self.start else True


class TaggedReasoningParser(ReasoningParser):
    """For forms with a tag before the reasoning and one after it; the tags belong to neither part.

    What the prompt's end says comes first: a start tag there opens the reasoning, an end tag there means that there is
    none. Then the template's switch, then the answer's first text, then `assumed`.

    Attributes:
        switched_on: whether the model reasons if no switch is given; None if the form has no switch.
        assumed: whether an answer without a start tag is reasoning, as far as its end tag; None: if the prompt, which
            might tell, is not known.
        yields_to_calls: a tool call ends the reasoning as an end tag does.
    """

    switched_on: ClassVar[bool | None] = None
    assumed: ClassVar[bool | None] = False
    yields_to_calls: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.markers = (cls.start, cls.end)

    def _run(self) -> Script[None]:
        reader, out = self.reader, self.out
        opened = self._opened()
        if opened is not False:
            space = yield from reader.space()
            if (yield from reader.literal(self.start)):
                opened = True
            elif opened is None and (self._prompt is None if self.assumed is None else self.assumed):
                opened = True
                out.reasoning(space)
            else:
                (out.reasoning if opened else out.content)(space)
        if opened:
            self.thinking = True
            stops = Stops(self.end, *(self._call_starts if self.yields_to_calls else ()))
            found = yield from reader.until(stops, out.reasoning)
            self.thinking = False
            if found == self.end:
                reader.skip(len(found))
        yield from self._rest_is_content()

    @property
    def opens(self) -> bool | None:
        opened = self._opened()
        if opened is None and (self._prompt is None if self.assumed is None else self.assumed):
            return True
        return opened

    def _opened(self) -> bool | None:
        """Whether the answer begins inside reasoning; None if only the answer can tell."""
        started, ended = self._final_text.rfind(self.start), self._final_text.rfind(self.end)
        if started != ended:
            return started > ended
        before = (self._prompt or "").rstrip()
        if before.endswith(self.start):
            return True
        if before.endswith(self.end):
            return False
        given = [bool(self._template_kwargs[k]) for k in SWITCHES if k in self._template_kwargs]
        switched_on = any(given) if given else self.switched_on
        return False if self.switched_on is not None and not switched_on else None

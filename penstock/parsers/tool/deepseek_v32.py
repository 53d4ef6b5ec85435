"""DeepSeek-V3.2, V4: tags with DSML in them; a parameter says whether its value is a string or JSON."""

from __future__ import annotations

from penstock.parsers.text_reader import Script
from penstock.parsers.tool.xml_calls import NAME_CHARS, XmlToolParser

_BAR = "\uff5c"
_DSML = f"{_BAR}DSML{_BAR}"
_IS_STRING, _IS_JSON = '" string="true">', '" string="false">'


class DeepseekV32ToolParser(XmlToolParser):
    """Reads the wrappers of both models."""

    starts = (f"<{_DSML}function_calls>", f"<{_DSML}tool_calls>")
    ends = (f"</{_DSML}function_calls>", f"</{_DSML}tool_calls>")
    call = (f'<{_DSML}invoke name="', '">', f"</{_DSML}invoke>")
    parameter = (f'<{_DSML}parameter name="', '">', f"</{_DSML}parameter>")

    def _parameter(self, tool: str) -> Script[tuple[str, frozenset[str]]]:
        key = yield from self.reader.matching(NAME_CHARS)
        kind = yield from self.reader.literal(_IS_STRING, _IS_JSON, self.parameter[1])
        if kind == _IS_JSON:
            return key, frozenset({"object", "array", "number", "boolean", "null", "string"})
        return key, frozenset({"string"}) if kind else self.tools.types(tool, key)

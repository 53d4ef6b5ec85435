"""docs/api.md names every route and every field that there is, docs/tools-and-reasoning.md every parser."""

from __future__ import annotations

import re
import runpy
from typing import Any

import pytest

from penstock.config.sections import ServerArgs
from penstock.entrypoints.openai.app import build_app
from penstock.entrypoints.openai.openapi import BODIES
from penstock.parsers import registry
from servers import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text()
PARSERS = (ROOT / "docs" / "tools-and-reasoning.md").read_text()


def test_every_route_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_SERVER_DEV_MODE", "1")
    paths = build_app(ServerArgs(enable_tokenizer_info_endpoint=True)).openapi()["paths"]
    table = PAGE.split("## ")[0]
    assert [path for path in paths if not re.search(rf"(^| |\| ){re.escape(path)}[ ,|]", table)] == []


@pytest.mark.parametrize("path", BODIES)
def test_every_field_is_named(path: str) -> None:
    request: Any = BODIES[path][0]
    assert [name for name in request.__struct_fields__ if f"`{name}`" not in PAGE] == []


def test_every_parser_is_named() -> None:
    ours = runpy.run_path(registry.__file__)  # others' tests may have added parsers to the one that is imported
    names = [*ours["TOOL_PARSERS"].names(), *ours["REASONING_PARSERS"].names()]
    assert [name for name in names if not re.search(rf"(^|[ |(]){re.escape(name)}[,) .]", PARSERS)] == []

"""docs/options.md is what the declarations say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "make_option_docs.py"


def test_docs_equal_the_declarations() -> None:
    spec = importlib.util.spec_from_file_location("make_option_docs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.TARGET.read_text() == module.text(), "run scripts/make_option_docs.py"

"""Which engine a configuration gives, and what is done where it is not installed."""

from __future__ import annotations

import pytest

from penstock.config.engine_config import StructuredConfig
from penstock.errors import StartError
from penstock.structured import base
from penstock.structured.backends import make_engine
from penstock.structured.llguidance import LLGuidanceEngine
from penstock.structured.vocabulary import Vocabulary


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch, byte_vocabulary: Vocabulary) -> None:
    monkeypatch.setitem(base.engines._entries, "xgrammar", "penstock.no_such_module:Engine")
    assert isinstance(make_engine(StructuredConfig(backend="xgrammar"), byte_vocabulary), LLGuidanceEngine)
    with pytest.raises(StartError, match="no_such_module"):
        make_engine(StructuredConfig(backend="xgrammar", no_fallback=True), byte_vocabulary)

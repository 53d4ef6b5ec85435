"""Names and options of structured-output backends."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.config.engine_config import StructuredConfig
from penstock.config.structured import structured_config
from penstock.errors import StartError


@pytest.mark.parametrize(
    ("backend", "members", "config"),
    [
        ("auto", None, StructuredConfig()),
        ("guidance", {}, StructuredConfig(backend="llguidance")),
        ("outlines", None, StructuredConfig()),
        ("llguidance:disable-any-whitespace", None, StructuredConfig(disable_any_whitespace=True)),
        (
            "xgrammar:no-fallback, no-additional-properties",
            None,
            StructuredConfig(backend="xgrammar", no_fallback=True, disable_additional_properties=True),
        ),
        (
            "auto",
            {"backend": "xgrammar", "disable_any_whitespace": True},
            StructuredConfig(backend="xgrammar", disable_any_whitespace=True),
        ),
        ("auto:disable-any-whitespace", {"disable_any_whitespace": False}, StructuredConfig()),
    ],
)
def test_what_is_meant(backend: str, members: dict[str, Any] | None, config: StructuredConfig) -> None:
    assert structured_config(backend, members) == config


@pytest.mark.parametrize(
    ("backend", "members", "words"),
    [
        ("marlin", None, "there are auto, guidance"),
        ("auto:fast", None, "it has no-fallback"),
        ("auto", {"speed": 1}, "has no member 'speed'"),
        ("auto", {"disable_any_whitespace": "yes"}, "must be of type bool"),
    ],
)
def test_what_is_refused(backend: str, members: dict[str, Any] | None, words: str) -> None:
    with pytest.raises(StartError, match=words):
        structured_config(backend, members)

"""The engines, over the bundled model's vocabulary and over single bytes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from penstock.config.engine_config import StructuredConfig
from penstock.structured.backends import make_engine
from penstock.structured.base import GrammarEngine
from penstock.structured.vocabulary import Vocabulary
from penstock.tokenizers.tokenizer import Tokenizer
from servers import ROOT

PADDING = 37  # logits are wider than the vocabulary, and no multiple of 32
HAS_XGRAMMAR = importlib.util.find_spec("xgrammar") is not None


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    tokenizer = Tokenizer.from_folder(ROOT / "penstock" / "assets" / "tiny")
    return Vocabulary.from_tokenizer(tokenizer, tokenizer.vocab_size + PADDING, [])


@pytest.fixture(scope="session")
def byte_vocabulary() -> Vocabulary:
    return Vocabulary([bytes([i]) for i in range(256)] + [b""], [256])


@pytest.fixture(scope="session")
def engine(vocabulary: Vocabulary) -> GrammarEngine:
    """The default engine."""
    return make_engine(StructuredConfig(), vocabulary)


@pytest.fixture(scope="session")
def byte_engine(byte_vocabulary: Vocabulary) -> GrammarEngine:
    return make_engine(StructuredConfig(), byte_vocabulary)


@pytest.fixture(scope="session")
def xgrammar(vocabulary: Vocabulary) -> Iterator[GrammarEngine]:
    """The other engine, without a fallback."""
    if not HAS_XGRAMMAR:
        pytest.skip("xgrammar is not installed: pip install --no-deps xgrammar apache-tvm-ffi")
    engine = make_engine(StructuredConfig(backend="xgrammar", no_fallback=True), vocabulary)
    yield engine
    engine.close()

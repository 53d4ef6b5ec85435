"""The engine that a configuration asks for."""

from __future__ import annotations

from penstock.config.engine_config import StructuredConfig
from penstock.errors import StartError
from penstock.observability.logging import get_logger
from penstock.structured.base import GrammarEngine, engines
from penstock.structured.vocabulary import Vocabulary

logger = get_logger(__name__)


def make_engine(config: StructuredConfig, vocabulary: Vocabulary) -> GrammarEngine:
    """The engine for a vocabulary; llguidance, with a line, where another one is not installed.

    Raises:
        StartError: it is not installed, and there is to be no fallback.
    """
    default: GrammarEngine = engines.get("llguidance")(vocabulary)
    if config.backend == "llguidance":
        return default
    try:
        engine: GrammarEngine = engines.get(config.backend)(vocabulary, None if config.no_fallback else default)
        return engine
    except StartError as e:
        if config.no_fallback:
            raise
        logger.warning("Structured outputs: llguidance is used: %s", e)
        return default

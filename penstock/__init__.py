"""Penstock: LLM inference and serving. Public names, imported on first use so that `import penstock` stays cheap."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
__version_tuple__ = (0, 1, 0)

_EXPORTS = {
    "LLM": "penstock.entrypoints.llm",
    "LLMEngine": "penstock.entrypoints.llm_engine",
    "AsyncLLM": "penstock.engine.async_engine",
    "AsyncLLMEngine": "penstock.engine.async_engine",
    "EngineArgs": "penstock.config.sections",
    "AsyncEngineArgs": "penstock.config.sections",
    "SamplingParams": "penstock.params",
    "PoolingParams": "penstock.params",
    "BeamSearchParams": "penstock.params",
    "StructuredOutputsParams": "penstock.params",
    "RequestOutputKind": "penstock.params",
    "RequestOutput": "penstock.outputs",
    "CompletionOutput": "penstock.outputs",
    "BeamSearchOutput": "penstock.outputs",
    "BeamSearchSequence": "penstock.outputs",
    "PoolingOutput": "penstock.outputs",
    "PoolingRequestOutput": "penstock.outputs",
    "EmbeddingOutput": "penstock.outputs",
    "EmbeddingRequestOutput": "penstock.outputs",
    "ClassificationOutput": "penstock.outputs",
    "ClassificationRequestOutput": "penstock.outputs",
    "ScoringOutput": "penstock.outputs",
    "ScoringRequestOutput": "penstock.outputs",
    "Logprob": "penstock.outputs",
    "PenstockError": "penstock.errors",
    "ClientError": "penstock.errors",
    "StartError": "penstock.errors",
    "EngineDeadError": "penstock.errors",
}

__all__ = ["__version__", "__version_tuple__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'penstock' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

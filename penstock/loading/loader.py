"""Fills a model from a checkpoint folder. Strict: missing and unexpected names are an error that lists them."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn


def load_weights(
    model: nn.Module, model_dir: str, load_format: str = "auto", on_progress: Callable[[float], None] | None = None
) -> None:
    """Fill every weight of `model` and finish its layers for use.

    Args:
        load_format: "auto" (safetensors, else .bin/.pt), "safetensors", "pt" or "dummy" (small random values).
        on_progress: called with the share of bytes done, 0..1.

    Raises:
        StartError: no weights there, or they do not fit the model.
    """
    raise NotImplementedError

"""Architecture name of config.json -> model class. A new architecture is a file and a line here."""

from __future__ import annotations

from dataclasses import replace

from penstock.config.shape import ModelShape
from penstock.layers.context import BuildContext
from penstock.models.interface import Model
from penstock.plugins import Registry
from penstock.quantization.base import method_for

MODELS = Registry(
    "model architecture",
    {
        "LlamaForCausalLM": "penstock.models.llama:Llama",
        "MistralForCausalLM": "penstock.models.mistral:Mistral",
        "Qwen2ForCausalLM": "penstock.models.qwen2:Qwen2",
        "Qwen3ForCausalLM": "penstock.models.qwen3:Qwen3",
    },
)


def build(shape: ModelShape, context: BuildContext) -> Model:
    """A model with uninitialized weights.

    Raises:
        StartError: the architecture, or the quantization, is unknown.
    """
    context = replace(context, linear_method=method_for(shape.quantization))
    model: Model = MODELS.get(shape.architecture)(shape, context)
    return model.eval()

"""Architecture name of config.json -> model class. A new family is a file and a line here."""

from __future__ import annotations

from dataclasses import replace

from penstock.config.architectures import ARCHITECTURES
from penstock.config.shape import ModelShape
from penstock.layers.context import BuildContext
from penstock.models.interface import Model
from penstock.plugins import Registry
from penstock.quantization.base import method_for

FAMILIES = {
    "Llama": "penstock.models.llama:Llama",
    "Mistral": "penstock.models.mistral:Mistral",
    "Qwen2": "penstock.models.qwen2:Qwen2",
    "Qwen3": "penstock.models.qwen3:Qwen3",
    "Bert": "penstock.models.bert:Bert",
    "Roberta": "penstock.models.roberta:Roberta",
    "XLMRoberta": "penstock.models.roberta:Roberta",
    "ModernBert": "penstock.models.modernbert:ModernBert",
    "DistilBert": "penstock.models.distilbert:DistilBert",
}
MODELS = Registry("model architecture", {name: FAMILIES[a.family] for name, a in ARCHITECTURES.items()})


def build(shape: ModelShape, context: BuildContext) -> Model:
    """A model with uninitialized weights.

    Raises:
        StartError: the architecture, or the quantization, is unknown.
    """
    context = replace(context, linear_method=method_for(shape.quantization))
    model: Model = MODELS.get(shape.architecture)(shape, context)
    return model.eval()

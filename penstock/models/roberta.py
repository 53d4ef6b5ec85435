"""RoBERTa and XLM-RoBERTa: a head of two products on the first token; positions are counted from another row on."""

from __future__ import annotations

from penstock.config.shape import ModelShape
from penstock.layers.context import BuildContext
from penstock.layers.label_head import TwoStepHead
from penstock.layers.module import Module
from penstock.models.encoder import Encoder


class Roberta(Encoder):
    PREFIX = "roberta"

    @staticmethod
    def text_head(shape: ModelShape, context: BuildContext) -> Module:
        return TwoStepHead(
            context,
            shape.hidden_size,
            shape.num_labels,
            dense="classifier.dense",
            activation="tanh",
            out="classifier.out_proj",
        )

"""BERT (https://arxiv.org/abs/1810.04805): classifies by its pooler, a product and tanh on the first token."""

from __future__ import annotations

from penstock.config.shape import ModelShape
from penstock.layers.context import BuildContext
from penstock.layers.label_head import TwoStepHead
from penstock.layers.module import Module
from penstock.models.encoder import Encoder


class Bert(Encoder):
    @staticmethod
    def text_head(shape: ModelShape, context: BuildContext) -> Module:
        return TwoStepHead(
            context, shape.hidden_size, shape.num_labels, dense="pooler.dense", activation="tanh", out="classifier"
        )

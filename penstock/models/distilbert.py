"""DistilBERT (https://arxiv.org/abs/1910.01108): BERT's layers under other names, no segments, a head with ReLU."""

from __future__ import annotations

from penstock.config.shape import ModelShape
from penstock.layers.context import BuildContext
from penstock.layers.label_head import TwoStepHead
from penstock.layers.module import Module
from penstock.models.encoder import Encoder, Names


class DistilBert(Encoder):
    NAMES = Names(
        layers="transformer.layer",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        output="attention.out_lin",
        attention_norm="sa_layer_norm",
        up="ffn.lin1",
        down="ffn.lin2",
        mlp_norm="output_layer_norm",
    )
    PREFIX = "distilbert"
    UNREAD: tuple[str, ...] = ("vocab_*", "classifier.*", "pre_classifier.*")

    @staticmethod
    def text_head(shape: ModelShape, context: BuildContext) -> Module:
        return TwoStepHead(
            context, shape.hidden_size, shape.num_labels, dense="pre_classifier", activation="relu", out="classifier"
        )

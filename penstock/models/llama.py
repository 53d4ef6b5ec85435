"""Llama 1 to 3: biases only where the checkpoint's configuration asks for them."""

from __future__ import annotations

from penstock.config.shape import ModelShape
from penstock.models.decoder import Decoder, Traits


class Llama(Decoder):
    @staticmethod
    def traits(shape: ModelShape) -> Traits:
        return Traits(qkv_bias=shape.attention_bias, output_bias=shape.attention_bias, mlp_bias=shape.mlp_bias)

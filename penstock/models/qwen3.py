"""Qwen3: norms on each query and key head."""

from __future__ import annotations

from penstock.config.shape import ModelShape
from penstock.models.decoder import Decoder, Traits


class Qwen3(Decoder):
    @staticmethod
    def traits(shape: ModelShape) -> Traits:
        return Traits(qkv_bias=shape.attention_bias, output_bias=shape.attention_bias, qk_norm=True)

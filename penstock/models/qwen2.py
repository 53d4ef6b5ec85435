"""Qwen2 and Qwen2.5: q, k and v always have biases."""

from __future__ import annotations

from penstock.config.shape import ModelShape
from penstock.models.decoder import Decoder, Traits


class Qwen2(Decoder):
    @staticmethod
    def traits(shape: ModelShape) -> Traits:
        return Traits(qkv_bias=True)

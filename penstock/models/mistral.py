"""Mistral: no biases; older ones attend through a sliding window, which the shape carries."""

from __future__ import annotations

from penstock.config.shape import ModelShape
from penstock.models.decoder import Decoder, Traits


class Mistral(Decoder):
    @staticmethod
    def traits(shape: ModelShape) -> Traits:
        return Traits()

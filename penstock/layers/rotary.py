"""Rotary position embedding: tables of angles for every scaling kind, a function of the position alone.

The kinds give Hugging Face's numbers. There, "dynamic" depends on the length of the whole sequence, so a prompt's
first tokens change when it grows; here a token at position p always gets the angles of a sequence that ends at p.
That is what Hugging Face computes when a text is generated token by token, and it survives chunks and cached prefixes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from penstock.config.shape import Rope
from penstock.layers.context import BuildContext

# Dimensions in tensor names: P positions, F frequencies (half of the rotating dimensions).


class Rotary(nn.Module):
    """cos and sin of every angle up to `context.max_len`, shared by a model's layers."""

    redundant_names = ("*.rotary_emb.inv_freq",)  # some old checkpoints carry the frequencies

    cos_PF: torch.Tensor
    sin_PF: torch.Tensor

    def __init__(self, context: BuildContext, rope: Rope, head_dim: int):
        super().__init__()
        angles_PF, factor = angle_table(rope, rope.rotary_dim or head_dim, context.max_len)
        self.register_buffer("cos_PF", (angles_PF.cos() * factor).to(context.device))
        self.register_buffer("sin_PF", (angles_PF.sin() * factor).to(context.device))

    def at(self, positions_T: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(cos_TF, sin_TF) in float32."""
        return self.cos_PF.index_select(0, positions_T), self.sin_PF.index_select(0, positions_T)


def angle_table(rope: Rope, dim: int, positions: int) -> tuple[torch.Tensor, float]:
    """(float32 [positions, dim / 2], factor on cos and sin)."""
    position_P = torch.arange(positions, dtype=torch.float32)
    if rope.kind == "dynamic":
        return position_P[:, None] * _dynamic_frequencies(rope, dim, positions), 1.0
    frequencies_F, factor = _KINDS[rope.kind](rope, dim)
    return position_P[:, None] * frequencies_F, factor


def _exponents(dim: int) -> torch.Tensor:
    return torch.arange(0, dim, 2, dtype=torch.float32) / dim


def _default(rope: Rope, dim: int) -> tuple[torch.Tensor, float]:
    return 1.0 / rope.theta ** _exponents(dim), 1.0


def _linear(rope: Rope, dim: int) -> tuple[torch.Tensor, float]:
    return _default(rope, dim)[0] / rope.factor, 1.0


def _dynamic_frequencies(rope: Rope, dim: int, positions: int) -> torch.Tensor:
    """[positions, F]: the base grows with the length once it passes the trained context ("NTK-aware" scaling)."""
    length_P = torch.arange(1, positions + 1, dtype=torch.float64).clamp_(min=rope.original_max_position)
    stretch_P = rope.factor * length_P / rope.original_max_position - (rope.factor - 1)
    base_P = rope.theta * stretch_P ** (dim / (dim - 2))
    return 1.0 / base_P.float()[:, None] ** _exponents(dim)


def _llama3(rope: Rope, dim: int) -> tuple[torch.Tensor, float]:
    """Long waves are stretched, short ones kept, those between blended (Llama 3.1)."""
    frequency = _default(rope, dim)[0]
    turns = rope.original_max_position * frequency / (2 * math.pi)  # in the trained context
    blend = ((turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)).clamp(0.0, 1.0)
    return (1 - blend) * frequency / rope.factor + blend * frequency, 1.0


def _yarn(rope: Rope, dim: int) -> tuple[torch.Tensor, float]:
    """Interpolates slow frequencies, keeps fast ones, ramps between (https://arxiv.org/abs/2309.00071)."""

    def dimension_of(turns: float) -> float:  # which makes that many turns in the trained context
        return dim * math.log(rope.original_max_position / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))

    low, high = dimension_of(rope.beta_fast), dimension_of(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    ramp = ((torch.arange(dim // 2, dtype=torch.float32) - low) / (high - low or 0.001)).clamp(0.0, 1.0)
    frequency = _default(rope, dim)[0]
    return frequency / rope.factor * ramp + frequency * (1 - ramp), _yarn_attention_factor(rope)


def _yarn_attention_factor(rope: Rope) -> float:
    def magnitude(mscale: float) -> float:
        return 0.1 * mscale * math.log(rope.factor) + 1.0 if rope.factor > 1 else 1.0

    if rope.attention_factor is not None:
        return rope.attention_factor
    if rope.mscale and rope.mscale_all_dim:
        return magnitude(rope.mscale) / magnitude(rope.mscale_all_dim)
    return magnitude(1.0)


_KINDS: dict[str, Callable[[Rope, int], tuple[torch.Tensor, float]]] = {
    "default": _default,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
}

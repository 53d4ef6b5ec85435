"""Pooler: hidden states of whole requests -> vectors and scores, in float32.

Each request is computed by itself, or in products whose rows do not depend on each other: its bits are the same in any
company.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from penstock.config.hf_pooling import DenseLayer
from penstock.config.pooling import PoolingConfig
from penstock.layers.activation import PLAIN_ACTIVATIONS
from penstock.layers.context import BuildContext
from penstock.layers.linear import Linear
from penstock.layers.module import Module
from penstock.params import PoolingParams
from penstock.quantization.base import UnquantizedLinear

# Dimensions in tensor names: L tokens of a request, S requests, H hidden size, E size of an embedding, N labels.

SMALLEST_NORM = 1e-12


@dataclass(frozen=True)
class PoolingRow:
    """One request whose last token has run.

    Attributes:
        hidden_LH: of all its tokens, or only of the last one if that is all that counts.
        token_ids_L: its tokens.
    """

    hidden_LH: torch.Tensor
    token_ids_L: torch.Tensor
    params: PoolingParams


class Dense(Module):
    """A product and an activation behind pooling, with a checkpoint of its own."""

    def __init__(self, layer: DenseLayer, device: torch.device):
        super().__init__()
        context = BuildContext(torch.float32, device, 0)
        self.path = layer.path
        self.linear = Linear(
            context, layer.in_features, {"linear": layer.out_features}, layer.bias, UnquantizedLinear()
        )
        self.activation = PLAIN_ACTIVATIONS.get(layer.activation)

    def forward(self, x_SE: torch.Tensor) -> torch.Tensor:
        out_SE: torch.Tensor = self.activation(self.linear(x_SE))
        return out_SE


class Pooler:
    """Pools as a configuration and each request say.

    Args:
        logits: the model's head.
        dtype, device: of the model.

    Attributes:
        dense: to be loaded from their paths.
    """

    def __init__(
        self,
        config: PoolingConfig,
        logits: Callable[[torch.Tensor], torch.Tensor],
        dtype: torch.dtype,
        device: torch.device,
    ):
        self._config = config
        self._logits = logits
        self._dtype = dtype
        self.dense = [Dense(layer, device) for layer in config.dense]

    def needs_all_rows(self, params: PoolingParams) -> bool:
        """Whether the hidden states of all tokens are needed, and not only the last one."""
        return self._config.needs_all_rows(self._task(params))

    def pool(self, rows: Sequence[PoolingRow]) -> list[torch.Tensor]:
        """One tensor per request: [E] or [N] for a text, [L, E] or [L, N] for its tokens."""
        pooled: dict[int, torch.Tensor] = {}
        texts = {i: row for i, row in enumerate(rows) if not self._task(row.params).startswith("token_")}
        if texts:
            x_SH = torch.stack([self._text_vector(row.hidden_LH) for row in texts.values()])
            embeds = self._task(next(iter(texts.values())).params) == "embed"  # the model has one task for texts
            out = self._embedded(x_SH) if embeds else self._logits(x_SH.to(self._dtype))
            pooled |= {i: self._finished(out[j].clone(), rows[i].params) for j, i in enumerate(texts)}
        for i, row in enumerate(rows):
            if i not in texts:
                pooled[i] = self._tokens(row)
        return [pooled[i] for i in range(len(rows))]

    def _task(self, params: PoolingParams) -> str:
        return params.task or self._config.tasks[0]

    def _text_vector(self, hidden_LH: torch.Tensor) -> torch.Tensor:
        """[H], float32."""
        match self._config.sequence:
            case "cls":
                return hidden_LH[0].float()
            case "last":
                return hidden_LH[-1].float()
        return hidden_LH.float().clone().mean(0)

    def _tokens(self, row: PoolingRow) -> torch.Tensor:
        config, params = self._config, row.params
        if self._task(params) == "token_embed":
            return self._finished(self._embedded(row.hidden_LH.float()), params)
        out_LN = self._logits(row.hidden_LH)
        if config.tokens == "step":
            columns = config.returned_token_ids if params.returned_token_ids is None else params.returned_token_ids
            if columns:
                out_LN = out_LN[:, list(columns)]
            tag = config.step_tag_id if params.step_tag_id is None else params.step_tag_id
            if tag is not None:
                out_LN = out_LN[row.token_ids_L == tag]
        return self._finished(out_LN.clone(), params)

    def _embedded(self, x_SE: torch.Tensor) -> torch.Tensor:
        for dense in self.dense:
            x_SE = dense(x_SE)
        return x_SE

    def _finished(self, x: torch.Tensor, params: PoolingParams) -> torch.Tensor:
        """Cut, biased, normalized: [E] or [L, E]."""
        config = self._config
        active = config.use_activation if params.use_activation is None else params.use_activation
        if self._task(params).endswith("embed"):
            count = params.dimensions or config.dimensions
            x = x if count is None else x[..., :count].clone()
            return x / x.square().sum(-1, keepdim=True).sqrt().clamp(min=SMALLEST_NORM) if active else x
        x = (x - config.logit_bias) / config.logit_sigma
        if not active or config.activation == "identity":
            return x
        return torch.sigmoid(x) if config.activation == "sigmoid" else torch.softmax(x, -1)

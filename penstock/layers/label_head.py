"""Heads of pooling models: hidden states [S, H] of the model's type -> logits of labels [S, N] in float32."""

from __future__ import annotations

import torch

from penstock.layers.activation import PLAIN_ACTIVATIONS
from penstock.layers.context import BuildContext
from penstock.layers.embedding import Embedding
from penstock.layers.linear import Linear
from penstock.layers.module import Module
from penstock.ops.matrix import new_matrix
from penstock.quantization.base import UnquantizedLinear
from penstock.quantization.slot import Slot


class NoHead(Module):
    """The hidden states themselves. What a checkpoint has on top of them is left unread."""

    def __init__(self, *unread: str):
        super().__init__()
        self.redundant_names = unread

    def forward(self, hidden_SH: torch.Tensor) -> torch.Tensor:
        return hidden_SH.float()


class LinearHead(Module):
    """One product. `name` is its checkpoint name."""

    def __init__(self, context: BuildContext, hidden_size: int, num_labels: int, name: str, bias: bool):
        super().__init__()
        shards = {name: num_labels}
        self.product = Linear(context, hidden_size, shards, bias, UnquantizedLinear(), torch.float32)

    def forward(self, hidden_SH: torch.Tensor) -> torch.Tensor:
        logits_SN: torch.Tensor = self.product(hidden_SH)
        return logits_SN


class TwoStepHead(Module):
    """Two products with an activation between them; both have biases.

    Args:
        dense, out: their checkpoint names.
        activation: a name in PLAIN_ACTIVATIONS.
    """

    def __init__(
        self, context: BuildContext, hidden_size: int, num_labels: int, *, dense: str, activation: str, out: str
    ):
        super().__init__()
        self.dense = Linear(context, hidden_size, {dense: hidden_size}, True, UnquantizedLinear())
        self.activation = PLAIN_ACTIVATIONS.get(activation)
        self.out = LinearHead(context, hidden_size, num_labels, out, bias=True)

    def forward(self, hidden_SH: torch.Tensor) -> torch.Tensor:
        logits_SN: torch.Tensor = self.out(self.activation(self.dense(hidden_SH)))
        return logits_SN


class TokenRowsHead(Module):
    """Logits of a few tokens, by rows of the vocabulary's head; or, of two tokens, how much the second is ahead.

    The softmax over two logits is the sigmoid of their difference, so that makes a score of one label.

    Args:
        token_ids: the rows.
        num_labels: as many, or 1 for the difference.
        tied: the embedding whose matrix is the head's, too; None where the checkpoint has "lm_head".
    """

    def __init__(
        self,
        context: BuildContext,
        vocab_size: int,
        hidden_size: int,
        token_ids: tuple[int, ...],
        num_labels: int,
        tied: Embedding | None,
    ):
        super().__init__()
        self._ids = list(token_ids)
        self._tied = (tied,)  # in a tuple, so that torch does not count it as this module's too
        self._rows = context.empty(len(token_ids), hidden_size)
        self._slot = _RowsSlot(vocab_size, self._rows, self._ids)
        self._matrix = new_matrix(num_labels, hidden_size, context.dtype, context.device, context.batch_invariant)
        self.redundant_names = ("lm_head.weight",) if tied is not None else ()

    def slots(self) -> dict[str, Slot]:
        return {} if self._tied[0] is not None else {"lm_head.weight": self._slot}

    def finish_loading(self) -> None:
        if self._tied[0] is not None:
            self._rows.copy_(self._tied[0].weight[self._ids])
        one = self._matrix.weight_NK.shape[0] == 1 and len(self._ids) == 2
        self._matrix.weight_NK.copy_(self._rows[1:] - self._rows[:1] if one else self._rows)
        self._matrix.finish()

    def forward(self, hidden_SH: torch.Tensor) -> torch.Tensor:
        return self._matrix.multiply(hidden_SH, None, torch.float32)


class _RowsSlot(Slot):
    """Keeps some rows of a checkpoint's matrix."""

    def __init__(self, vocab_size: int, rows: torch.Tensor, ids: list[int]):
        super().__init__((vocab_size, rows.shape[1]), rows.dtype)
        self._rows, self._ids = rows, ids

    def copy_(self, source: torch.Tensor) -> object:
        return self._rows.copy_(source[self._ids])

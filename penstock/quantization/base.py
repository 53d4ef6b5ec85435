"""LinearMethod: how a product's weights are stored, loaded and applied. One file per method beside this one.

A method knows one layer at a time: its sizes and its shards' checkpoint names, nothing of the model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch

from penstock.config.shape import Quantization
from penstock.ops.fp8_matrix import Fp8Matrix
from penstock.ops.int_matrix import IntMatrix
from penstock.ops.matrix import Matrix, new_matrix
from penstock.ops.narrow_matrix import NarrowMatrix
from penstock.plugins import Registry
from penstock.quantization.slot import Slot

METHODS = Registry(
    "quantization method",
    {
        "int8": "penstock.quantization.int8:Int8Linear",
        "int4": "penstock.quantization.int4:Int4Linear",
        "compressed-int8": "penstock.quantization.compressed_tensors:CompressedInt8",
        "compressed-int4": "penstock.quantization.compressed_tensors:CompressedInt4",
        "fp8": "penstock.quantization.fp8:Fp8Linear",
        "fp8-tensor": "penstock.quantization.fp8:Fp8Checkpoint",
        "fp8-channel": "penstock.quantization.fp8:Fp8Checkpoint",
        "fp8-block": "penstock.quantization.fp8:Fp8Checkpoint",
    },
)


class LinearLayer(Protocol):
    """What a method sees of `layers/linear.py`; it may set further attributes.

    Attributes:
        shards: checkpoint name -> output features, in the order in which they are stacked.
        dtype, device: of the model.
        out_dtype: of the product: the model's type, or float32.
        batch_invariant: on a GPU, too, a row's bits must not depend on the other rows of a product.
        matrix, int_matrix, fp8_matrix: where a method keeps the weight: one of them.
    """

    in_features: int
    out_features: int
    shards: dict[str, int]
    dtype: torch.dtype
    device: torch.device
    out_dtype: torch.dtype
    batch_invariant: bool
    bias: torch.Tensor | None
    matrix: Matrix
    int_matrix: IntMatrix | NarrowMatrix
    fp8_matrix: Fp8Matrix

    def empty(self, *size: int) -> torch.Tensor:
        """An uninitialized tensor of the model's type on its device."""

    def register_buffer(self, name: str, tensor: torch.Tensor | None, persistent: bool = True) -> Any:
        """As `torch.nn.Module.register_buffer`."""


class LinearMethod(ABC):
    """Weights are kept on the layer; a method holds only what its layers share.

    Attributes:
        redundant_names: patterns of checkpoint names that say nothing that is not known.
    """

    redundant_names: tuple[str, ...] = ()

    def for_product(self, names: Iterable[str]) -> LinearMethod:
        """The method of a product inside the model that these checkpoint matrices feed."""
        return self

    def for_head(self, name: str, tied: bool) -> LinearMethod:
        """The method of the product that gives logits; if tied, its matrix is the embedding's, too."""
        return self

    @abstractmethod
    def create_weights(self, layer: LinearLayer) -> None:
        """Give the layer its tensors, uninitialized."""

    @abstractmethod
    def slots(self, layer: LinearLayer) -> Mapping[str, torch.Tensor | Slot]:
        """Checkpoint name -> the (part of a) tensor it fills, or the slot that takes it."""

    @abstractmethod
    def finish_loading(self, layer: LinearLayer) -> None:
        """Called once after all slots are filled: repack, drop, choose kernels."""

    @abstractmethod
    def apply(self, layer: LinearLayer, x_TK: torch.Tensor, bias_N: torch.Tensor | None) -> torch.Tensor:
        """x @ weight.T + bias: [T, N] in `layer.out_dtype`. A row's bits must not depend on T, but as `Matrix` says."""

    @abstractmethod
    def rows(self, layer: LinearLayer, ids_T: torch.Tensor) -> torch.Tensor:
        """Rows of the weight, in the model's type: [T, K]. An embedding that shares the head's matrix reads them."""


class UnquantizedLinear(LinearMethod):
    """Weights in the model's own type, one [N, K] matrix per layer."""

    def create_weights(self, layer: LinearLayer) -> None:
        layer.matrix = new_matrix(
            layer.out_features, layer.in_features, layer.dtype, layer.device, layer.batch_invariant
        )

    def slots(self, layer: LinearLayer) -> Mapping[str, torch.Tensor | Slot]:
        parts = layer.matrix.weight_NK.split(list(layer.shards.values()))
        return {f"{name}.weight": part for name, part in zip(layer.shards, parts, strict=True)}

    def finish_loading(self, layer: LinearLayer) -> None:
        layer.matrix.finish(layer.bias)

    def apply(self, layer: LinearLayer, x_TK: torch.Tensor, bias_N: torch.Tensor | None) -> torch.Tensor:
        return layer.matrix.multiply(x_TK, bias_N, layer.out_dtype)

    def rows(self, layer: LinearLayer, ids_T: torch.Tensor) -> torch.Tensor:
        return layer.matrix.rows(ids_T)


def method_for(quantization: Quantization | None) -> LinearMethod:
    """The method for a model; None means plain weights.

    Raises:
        StartError: it is unknown.
    """
    if quantization is None:
        return UnquantizedLinear()
    method: LinearMethod = METHODS.get(quantization.method)(quantization)
    return method

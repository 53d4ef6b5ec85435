"""A matrix of 8-bit floating point numbers (e4m3, https://arxiv.org/abs/2209.05433) with scales.

A GPU keeps it so. On a CPU, which has no arithmetic for the type, it becomes a matrix of the model's type when it is
loaded: the numbers are those of fp8, memory and speed those of the model's type.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from penstock.ops import triton as triton_ops
from penstock.ops.matrix import Matrix, new_matrix
from penstock.ops.narrow_matrix import NarrowMatrix, knows_fp8

# Dimensions in tensor names: T rows, N output features, K input features, G groups of them.
FP8 = torch.float8_e4m3fn
_LARGEST = 448.0
_LIBRARY_ROWS = 64  # more rows than these are multiplied by the library, with activations of 8 bits
_ROWS_AT_ONCE = 1024


class Fp8Matrix(ABC):
    """weight[n, k] = numbers[n, k] * scales[n, k // group].

    Attributes:
        group, groups: input features that share a scale, and how often that makes for a row.
        device: where it lies.
    """

    n: int
    k: int
    device: torch.device
    group: int
    groups: int

    @abstractmethod
    def put_numbers(self, first: int, numbers_NK: torch.Tensor) -> None:
        """Take float8_e4m3fn rows, as rows `first` and on."""

    @abstractmethod
    def put_scales(self, first: int, scales_NG: torch.Tensor) -> None:
        """Take the scales of rows `first` and on."""

    @abstractmethod
    def finish(self, bias_N: torch.Tensor | None = None) -> None:
        """Called once, when all is there."""

    @abstractmethod
    def multiply(
        self, x_TK: torch.Tensor, bias_N: torch.Tensor | None = None, out_dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """x @ weight.T + bias: [T, N] in x's type or `out_dtype`."""


class WidenedFp8Matrix(Fp8Matrix):
    """The products of these numbers in the model's type, on the CPU."""

    def __init__(self, n: int, k: int, group: int, dtype: torch.dtype, device: torch.device):
        self.n, self.k, self.device = n, k, device
        self.group = group or k
        self.groups = -(-k // self.group)
        self.matrix: Matrix = new_matrix(n, k, dtype, device)
        self._scales_NG: torch.Tensor | None = torch.zeros(n, self.groups)

    def put_numbers(self, first: int, numbers_NK: torch.Tensor) -> None:
        self.matrix.weight_NK[first : first + numbers_NK.shape[0]] = numbers_NK.to(self.matrix.weight_NK.dtype)

    def put_scales(self, first: int, scales_NG: torch.Tensor) -> None:
        assert self._scales_NG is not None
        self._scales_NG[first : first + scales_NG.shape[0]] = scales_NG

    def finish(self, bias_N: torch.Tensor | None = None) -> None:
        assert self._scales_NG is not None
        weight_NK = self.matrix.weight_NK
        for first in range(0, self.n, _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            scales_NK = self._scales_NG[rows].repeat_interleave(self.group, 1)[:, : self.k]
            weight_NK[rows] = (weight_NK[rows].float() * scales_NK).to(weight_NK.dtype)
        self._scales_NG = None
        self.matrix.finish(bias_N)

    def multiply(
        self, x_TK: torch.Tensor, bias_N: torch.Tensor | None = None, out_dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        return self.matrix.multiply(x_TK, bias_N, out_dtype)


class GpuFp8Matrix(NarrowMatrix, Fp8Matrix):
    """Few rows: activations as they are, times numbers that are widened on their way. Many rows: activations in fp8,
    too, with a scale for each token, by the library, where the GPU computes in the type (compute capability 8.9)."""

    def __init__(self, n: int, k: int, group: int, device: torch.device, batch_invariant: bool):
        super().__init__(n, k, FP8, 8, group, torch.float32, device, batch_invariant)
        on_gpu = device.type == "cuda" and knows_fp8(device)
        self._by_library = on_gpu and not group and not batch_invariant and n % 16 == 0 and k % 16 == 0

    def multiply(
        self, x_TK: torch.Tensor, bias_N: torch.Tensor | None = None, out_dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        if not self._by_library or x_TK.shape[0] <= _LIBRARY_ROWS:
            return super().multiply(x_TK, bias_N, out_dtype)
        numbers_TK, scales_T1 = quantize_fp8(x_TK)
        # The library has scales for each row only together with a bfloat16 result.
        y_TN = torch._scaled_mm(
            numbers_TK,
            self._bytes_NB.view(FP8).t(),
            scale_a=scales_T1,
            scale_b=self._scales_NG.t(),
            out_dtype=torch.bfloat16,
            use_fast_accum=True,
        )
        y_TN = y_TN if bias_N is None else y_TN + bias_N
        return y_TN.to(out_dtype or x_TK.dtype)


def new_fp8_matrix(
    n: int, k: int, group: int, dtype: torch.dtype, device: torch.device, batch_invariant: bool
) -> Fp8Matrix:
    """An unfilled matrix of the kind that computes here.

    Args:
        group: input features that share a scale; 0: all.
        dtype: the model's type.
    """
    if triton_ops.wanted_on(device):
        return GpuFp8Matrix(n, k, group, device, batch_invariant)
    return WidenedFp8Matrix(n, k, group, dtype, device)


def quantize_fp8(x_NK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(float8_e4m3fn [N, K], float32 scales [N, 1]), by the largest magnitude of each row."""
    if triton_ops.wanted(x_NK) and knows_fp8(x_NK.device):
        on_gpu: tuple[torch.Tensor, torch.Tensor] = triton_ops.load("penstock.ops.triton.fp8_rows:fp8_rows")(x_NK)
        return on_gpu
    return quantize_fp8_twin(x_NK)


def quantize_fp8_twin(x_NK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same in plain torch."""
    x_NK = x_NK.float()
    scales_N1 = (x_NK.abs().amax(1, keepdim=True) / _LARGEST).clamp_(min=1e-30)
    return (x_NK / scales_N1).clamp_(-_LARGEST, _LARGEST).to(FP8), scales_N1

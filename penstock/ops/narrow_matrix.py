"""A matrix of 8-bit or 4-bit numbers with scales on a GPU: its products widen the numbers on their way.

Activations stay as they are. Few rows take as long as reading the weight, so that narrow numbers are what counts.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from penstock.ops import triton as triton_ops

# Dimensions in tensor names: T rows, N output features, K input features, G groups of them.
_PRODUCT = "penstock.ops.triton.product:narrow_product"
KNOWS_FP8 = (8, 9)  # compute capability from which GPUs have instructions for 8-bit floating point numbers


def knows_fp8(device: torch.device) -> bool:
    """Whether kernels there can read and write 8-bit floating point numbers as such; Triton's interpreter can."""
    return device.type != "cuda" or torch.cuda.get_device_capability(device) >= KNOWS_FP8


class NarrowMatrix:
    """weight[n, k] = numbers[n, k] * scales[n, k // group].

    Args:
        number_dtype: torch.int8, or torch.float8_e4m3fn.
        bits: 8, or 4: whole numbers from -8 to 7.
        group: input features that share a scale; 0: all of them. Those of 4 bits have groups, of an even size.
        scale_dtype: what the scales of groups are kept in; those of whole rows are float32.
        batch_invariant: a row's bits must not depend on the other rows of a product.
    """

    def __init__(
        self,
        n: int,
        k: int,
        number_dtype: torch.dtype,
        bits: int,
        group: int,
        scale_dtype: torch.dtype,
        device: torch.device,
        batch_invariant: bool,
    ):
        assert group or bits == 8
        self.n, self.k, self.bits, self.device = n, k, bits, device
        self._grouped = group > 0
        self.group = group or k
        self.groups = -(-k // self.group)
        self.scale_dtype = scale_dtype if self._grouped else torch.float32
        self._number_dtype = number_dtype
        width = self.groups * self.group // 2 if bits == 4 else k
        self._bytes_NB = torch.zeros(n, width, dtype=torch.uint8, device=device)
        self._scales_NG = torch.zeros(n, self.groups, dtype=self.scale_dtype, device=device)
        self._batch_invariant = batch_invariant
        product = triton_ops.load(_PRODUCT)
        self._product: Any = product(self._stored(device), self._scales_NG, k, self.group if self._grouped else 0, bits)

    def _stored(self, device: torch.device) -> torch.Tensor:
        """The bytes as the kernel takes them: as their own type where the GPU knows it."""
        if self.bits == 4:
            return self._bytes_NB
        as_bytes = self._number_dtype is torch.float8_e4m3fn and not knows_fp8(device)
        return self._bytes_NB if as_bytes else self._bytes_NB.view(self._number_dtype)

    @property
    def nbytes(self) -> int:
        return self._bytes_NB.nbytes + self._scales_NG.nbytes

    def put_numbers(self, first: int, numbers_NK: torch.Tensor) -> None:
        """Take rows of the matrix's own type, int8 for those of 4 bits, as rows `first` and on."""
        rows, k = numbers_NK.shape
        assert numbers_NK.dtype is self._number_dtype
        assert k == self.k
        assert first + rows <= self.n
        if self.bits == 4:
            padded = F.pad(numbers_NK, (0, self.groups * self.group - k)).view(rows, self.groups, -1)
            low, high = (padded + 8).view(torch.uint8).chunk(2, 2)
            self._bytes_NB[first : first + rows] = (low | high << 4).flatten(1).to(self._bytes_NB.device)
        else:
            self._bytes_NB[first : first + rows] = numbers_NK.view(torch.uint8).to(self._bytes_NB.device)

    def put_scales(self, first: int, scales_NG: torch.Tensor) -> None:
        """Take the scales of rows `first` and on."""
        self._scales_NG[first : first + scales_NG.shape[0]] = scales_NG.to(self._scales_NG)

    def finish(self, bias_N: torch.Tensor | None = None) -> None:
        """All is there."""

    def numbers(self) -> torch.Tensor:
        """[N, K], as they were put."""
        if self.bits == 8:
            return self._bytes_NB.view(self._number_dtype)
        grouped = self._bytes_NB.view(self.n, self.groups, -1)
        whole = torch.cat((grouped & 15, grouped >> 4), 2).view(torch.int8) - 8
        return whole.flatten(1)[:, : self.k].contiguous()

    def scales(self) -> torch.Tensor:
        """float32 [N, G]."""
        return self._scales_NG.float()

    def multiply(
        self, x_TK: torch.Tensor, bias_N: torch.Tensor | None = None, out_dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """x @ weight.T + bias: [T, N] in x's type or `out_dtype`."""
        y_TN: torch.Tensor = self._product(x_TK, bias_N, out_dtype or x_TK.dtype, self._batch_invariant)
        return y_TN

    def rows(self, ids_T: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Rows of an 8-bit matrix with whole-row scales: [T, K]."""
        assert self.bits == 8
        assert not self._grouped
        numbers_TK = self._bytes_NB[ids_T].view(self._number_dtype).float()
        return (numbers_TK * self._scales_NG[ids_T]).to(dtype)

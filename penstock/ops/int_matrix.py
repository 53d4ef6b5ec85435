"""A matrix of 8-bit or 4-bit numbers with scales, and its products with activations rounded to 8 bits.

It lies in the panels of csrc/int_linear.h, whoever computes: the kernels, or torch where there are none. Its products
sum whole numbers, exactly, so that a row's bits cannot depend on what shares the call. On a GPU there is NarrowMatrix.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from penstock.ops import kernels
from penstock.ops import triton as triton_ops
from penstock.ops.lazy_zeros import lazy_zeros
from penstock.ops.narrow_matrix import NarrowMatrix

# Dimensions in tensor names: T rows, N output features, K input features, G groups of them.

LANES = 32  # output features of a panel
LEVELS = {8: 127, 4: 7}
GROUPS = (32, 64, 128)  # input features that may share a scale of 4-bit numbers
MAX_DEPTH = 1 << 16  # more products of two bytes might not fit 32 bits


class IntMatrix:
    """weight[n, k] = numbers[n, k] * scales[n, k // group].

    Args:
        bits: 8 or 4.
        group: input features that share a scale: any of GROUPS for 4 bits; with 8 bits all do.
        scale_dtype: what the scales of 4-bit numbers are kept in; those of 8 bits are float32.
    """

    device = torch.device("cpu")

    def __init__(self, n: int, k: int, bits: int, group: int = 0, scale_dtype: torch.dtype = torch.float32):
        assert k <= MAX_DEPTH, f"{k} input features"
        assert (group in GROUPS) if bits == 4 else scale_dtype is torch.float32
        self.n, self.k, self.bits, self.scale_dtype = n, k, bits, scale_dtype
        self.group = group or -(-k // 4) * 4
        self.groups = -(-k // self.group)
        self._number_bytes = self.group * LANES * bits // 8  # of a group in a panel
        group_bytes = self._number_bytes + LANES * scale_dtype.itemsize
        size = (-(-n // LANES), self.groups, group_bytes)
        self._panels = lazy_zeros(size, torch.uint8, torch.device("cpu"), huge_pages=True)
        self._native = None
        if kernels.native is not None:
            code, address = kernels.TYPE_CODES[scale_dtype], self._panels.data_ptr()
            self._native = kernels.native.IntPanels(bits, code, n, k, self.group, address)

    @property
    def nbytes(self) -> int:
        return self._panels.numel()

    def put_numbers(self, first: int, numbers_NK: torch.Tensor) -> None:
        """Take int8 rows, as rows `first` and on of the matrix."""
        rows, k = numbers_NK.shape
        assert numbers_NK.dtype is torch.int8
        assert k == self.k
        assert first + rows <= self.n
        if kernels.native is not None:
            numbers_NK = numbers_NK.contiguous()
            kernels.native.fill_panels(self._native, numbers_NK.data_ptr(), first, rows)
            return
        quads = F.pad(numbers_NK, (0, self.groups * self.group - k)).view(rows, self.groups, -1, 4)
        if self.bits == 4:
            halves = (quads + 8).view(torch.uint8).unflatten(2, (-1, 2))
            packed = halves[:, :, :, 0] | halves[:, :, :, 1] << 4
        else:
            packed = quads.view(torch.uint8) ^ 128
        panel, lane = self._places(first, rows)
        self._numbers()[panel, :, :, lane] = packed

    def put_scales(self, first: int, scales_NG: torch.Tensor) -> None:
        """Take the scales of rows `first` and on."""
        panel, lane = self._places(first, scales_NG.shape[0])
        self._scales()[panel, :, lane] = scales_NG.to(self.scale_dtype)

    def numbers(self) -> torch.Tensor:
        """int8 [N, K]."""
        packed = self._numbers().transpose(2, 3).transpose(1, 2).flatten(0, 1)[: self.n]  # [N, groups, quads, 4]
        if self.bits == 4:
            packed = torch.stack((packed & 15, packed >> 4), 3)
            return (packed.view(torch.int8) - 8).reshape(self.n, -1)[:, : self.k].contiguous()
        return (packed.contiguous() ^ 128).view(torch.int8).reshape(self.n, -1)[:, : self.k].contiguous()

    def scales(self) -> torch.Tensor:
        """float32 [N, groups]."""
        return self._scales().transpose(1, 2).flatten(0, 1)[: self.n].float()

    def multiply(
        self, x_TK: torch.Tensor, bias_N: torch.Tensor | None = None, out_dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """x @ weight.T + bias: [T, N] in x's type or `out_dtype`, x being rounded row by row (and group by group)."""
        rows, k = x_TK.shape
        assert k == self.k, f"{k} input features for a matrix of {self.k}"
        out_dtype = out_dtype or x_TK.dtype
        if kernels.native is None:
            return multiply_twin(self, x_TK, bias_N).to(out_dtype)
        x_TK = x_TK.contiguous()
        y_TN = torch.empty(rows, self.n, dtype=out_dtype)
        kernels.native.int_linear(
            self._native,
            kernels.TYPE_CODES[x_TK.dtype],
            kernels.TYPE_CODES[out_dtype],
            x_TK.data_ptr(),
            0 if bias_N is None else bias_N.data_ptr(),
            y_TN.data_ptr(),
            rows,
        )
        return y_TN

    def rows(self, ids_T: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Rows of an 8-bit matrix: [T, K].

        Raises:
            IndexError: there is no such row.
        """
        assert self.bits == 8
        if kernels.native is None:
            panel, lane = ids_T // LANES, ids_T % LANES
            packed = self._numbers()[panel, 0, :, lane].flatten(1)[:, : self.k]
            return ((packed ^ 128).view(torch.int8) * self._scales()[panel, 0, lane].unsqueeze(1)).to(dtype)
        ids_T = ids_T.contiguous()
        out_TK = torch.empty(ids_T.shape[0], self.k, dtype=dtype)
        code = kernels.TYPE_CODES[dtype]
        kernels.native.take_panel_rows(self._native, code, ids_T.data_ptr(), out_TK.data_ptr(), ids_T.shape[0])
        return out_TK

    def _places(self, first: int, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        row = torch.arange(first, first + rows)
        return row // LANES, row % LANES

    def _numbers(self) -> torch.Tensor:
        """uint8 [panels, groups, quads, LANES, 4], a view."""
        return self._panels[:, :, : self._number_bytes].unflatten(2, (-1, LANES, 4))

    def _scales(self) -> torch.Tensor:
        """[panels, groups, LANES], a view."""
        return self._panels[:, :, self._number_bytes :].view(self.scale_dtype)


def new_int_matrix(
    n: int, k: int, bits: int, group: int, scale_dtype: torch.dtype, device: torch.device, batch_invariant: bool
) -> IntMatrix | NarrowMatrix:
    """An unfilled matrix of the kind that computes here; `group` and `scale_dtype` are for those of 4 bits."""
    if triton_ops.wanted_on(device):
        return NarrowMatrix(n, k, torch.int8, bits, group, scale_dtype, device, batch_invariant)
    return IntMatrix(n, k, bits, group, scale_dtype if bits == 4 else torch.float32)


def multiply_twin(matrix: IntMatrix, x_TK: torch.Tensor, bias_N: torch.Tensor | None) -> torch.Tensor:
    """`multiply` in plain torch: float32 [T, N]. Whole numbers are exact in float64."""
    group, numbers_NK, scales_NG = matrix.group, matrix.numbers().double(), matrix.scales()
    y_TN = torch.zeros(x_TK.shape[0], matrix.n)
    for g in range(matrix.groups):
        part = slice(g * group, min(matrix.k, (g + 1) * group))
        x_TP, scale_T1 = round_rows(x_TK[:, part])
        sums_TN = (x_TP.double() @ numbers_NK[:, part].T).float()
        y_TN += sums_TN * scale_T1 * scales_NG[:, g]
    return y_TN if bias_N is None else y_TN + bias_N


def round_rows(x_TK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(whole numbers from -127 to 127 as float32, scales [T, 1]) of activations."""
    x_TK = x_TK.float()
    most_T1 = x_TK.abs().amax(1, keepdim=True)
    # Not 127.0 / most: torch multiplies with the reciprocal then, which the kernels do not.
    factor_T1 = torch.full_like(most_T1, 127.0) / most_T1
    factor_T1 = torch.where((most_T1 > 1e-30) & (most_T1 <= 3.4e38), factor_T1, 0.0)
    return (x_TK * factor_T1).nan_to_num(127.0).round_().clamp_(-127.0, 127.0), most_T1 / 127.0


def quantize_weight(
    weight_NK: torch.Tensor, bits: int, group: int = 0, scale_dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    """What an IntMatrix is filled with, by the largest magnitude of each row or group.

    Returns:
        (int8 numbers [N, K], float32 scales [N, groups] that `scale_dtype` can hold).
    """
    n, k = weight_NK.shape
    group, levels = group or k, LEVELS[bits]
    groups = -(-k // group)
    if kernels.native is None or not weight_NK.is_cpu:
        return quantize_weight_twin(weight_NK, group, levels, scale_dtype)
    weight_NK = weight_NK.contiguous()
    numbers_NK = torch.empty(n, k, dtype=torch.int8)
    scales_NG = torch.empty(n, groups)
    kernels.native.quantize_weight(
        kernels.TYPE_CODES[weight_NK.dtype],
        weight_NK.data_ptr(),
        numbers_NK.data_ptr(),
        scales_NG.data_ptr(),
        n,
        k,
        group,
        levels,
        kernels.TYPE_CODES[scale_dtype],
    )
    return numbers_NK, scales_NG


def quantize_weight_twin(
    weight_NK: torch.Tensor, group: int, levels: int, scale_dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """`quantize_weight` in plain torch."""
    n, k = weight_NK.shape
    padded_NGP = F.pad(weight_NK.float(), (0, -k % group)).view(n, -1, group)
    scales_NG = (padded_NGP.abs().amax(2) / levels).to(scale_dtype).float()
    scales_NG1 = scales_NG.unsqueeze(2)
    numbers = torch.where(scales_NG1 > 0, padded_NGP / scales_NG1, 0.0).round_().clamp_(-levels, levels)
    return numbers.to(torch.int8).view(n, -1)[:, :k].contiguous(), scales_NG

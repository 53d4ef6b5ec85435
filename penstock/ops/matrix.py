"""The matrix of a product: filled as a plain [N, K] tensor, then finished for multiplying, and held once.

With the C++ kernels it is packed in place, panel by panel, as csrc/linear.h tells; otherwise it stays as it is. On a
GPU a library multiplies, or, where bits must not depend on the batch, a Triton kernel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F

from penstock.ops import kernels
from penstock.ops import triton as triton_ops
from penstock.ops.embedding import embedding
from penstock.ops.lazy_zeros import lazy_zeros
from penstock.ops.linear import RowPlan, linear, plan_rows

# Dimensions in tensor names: T rows, K input features, N output features.

LANES = 32  # output features of a panel


class Matrix(ABC):
    """x @ weight.T. But in a LibraryMatrix a row has the same bits whatever other rows share the call.

    Attributes:
        weight_NK: to be filled before `finish`; afterwards its contents are the matrix's own affair.
    """

    weight_NK: torch.Tensor

    @abstractmethod
    def finish(self, bias_N: torch.Tensor | None = None) -> None:
        """Called once, when the weight (and the bias that products will add) has its values."""

    @abstractmethod
    def multiply(
        self, x_TK: torch.Tensor, bias_N: torch.Tensor | None = None, out_dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """x @ weight.T + bias: [T, N] in x's type or `out_dtype`, which may be float32."""

    @abstractmethod
    def rows(self, ids_T: torch.Tensor) -> torch.Tensor:
        """[T, K]: a copy of rows of the weight.

        Raises:
            IndexError: there is no such row.
        """


class PlainMatrix(Matrix):
    """The weight as it was filled; products by torch."""

    _plans: dict[tuple[object, ...], RowPlan] = {}  # matrices of one shape share a probe

    def __init__(self, n: int, k: int, dtype: torch.dtype, device: torch.device):
        self.weight_NK = torch.empty(n, k, dtype=dtype, device=device)
        self._plan = RowPlan()

    def finish(self, bias_N: torch.Tensor | None = None) -> None:
        weight = self.weight_NK
        key = (weight.shape, bias_N is not None, weight.dtype, weight.device, torch.get_num_threads())
        if key not in self._plans:
            self._plans[key] = plan_rows(weight, bias_N)
        self._plan = self._plans[key]

    def multiply(
        self, x_TK: torch.Tensor, bias_N: torch.Tensor | None = None, out_dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        y_TN = linear(x_TK, self.weight_NK, bias_N, self._plan)
        return y_TN if out_dtype is None else y_TN.to(out_dtype)

    def rows(self, ids_T: torch.Tensor) -> torch.Tensor:
        return embedding(ids_T, self.weight_NK)


class PackedMatrix(Matrix):
    """The weight in the panels that the kernels read, on the CPU."""

    def __init__(self, n: int, k: int, dtype: torch.dtype):
        self._n, self._k, self._dtype = n, k, dtype
        depth = k + k % 2 if dtype == torch.bfloat16 else k
        panels = -(-n // LANES)
        # Zeros fill up the last panel and an odd depth: those of new pages cost nothing.
        self._storage = lazy_zeros((panels * LANES, depth), dtype, torch.device("cpu"), huge_pages=True)
        self.weight_NK = self._storage[:n, :k]
        self._code = kernels.TYPE_CODES[dtype]
        self._address = self._storage.data_ptr()

    def finish(self, bias_N: torch.Tensor | None = None) -> None:
        padded, depth = self._storage.shape
        kernels.native.pack_weight(self._code, self._address, padded // LANES, depth)

    def multiply(
        self, x_TK: torch.Tensor, bias_N: torch.Tensor | None = None, out_dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        rows, k = x_TK.shape
        out_dtype = out_dtype or self._dtype
        assert k == self._k, f"{k} input features for a matrix of {self._k}"
        assert x_TK.dtype is self._dtype, f"{x_TK.dtype} times {self._dtype}"
        x_TK = x_TK.contiguous()
        y_TN = torch.empty(rows, self._n, dtype=out_dtype)
        kernels.native.linear(
            self._code,
            kernels.TYPE_CODES[out_dtype],
            x_TK.data_ptr(),
            self._address,
            0 if bias_N is None else bias_N.data_ptr(),
            y_TN.data_ptr(),
            rows,
            self._n,
            k,
        )
        return y_TN

    def rows(self, ids_T: torch.Tensor) -> torch.Tensor:
        ids_T = ids_T.contiguous()
        out_TK = torch.empty(ids_T.shape[0], self._k, dtype=self._dtype)
        kernels.native.take_rows(
            self._code, self._address, ids_T.data_ptr(), out_TK.data_ptr(), ids_T.shape[0], self._n, self._k
        )
        return out_TK


class LibraryMatrix(Matrix):
    """The weight as it was filled, on a GPU; products by torch's library, which chooses a kernel for each row count."""

    def __init__(self, n: int, k: int, dtype: torch.dtype, device: torch.device):
        self.weight_NK = torch.empty(n, k, dtype=dtype, device=device)

    def finish(self, bias_N: torch.Tensor | None = None) -> None:
        pass

    def multiply(
        self, x_TK: torch.Tensor, bias_N: torch.Tensor | None = None, out_dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        weight_NK = self.weight_NK
        if out_dtype in (None, weight_NK.dtype):
            return F.linear(x_TK, weight_NK, bias_N)
        if not weight_NK.is_cuda:
            return F.linear(x_TK, weight_NK, bias_N).to(out_dtype)
        y_TN = torch.mm(x_TK, weight_NK.t(), out_dtype=out_dtype)  # the sums are not rounded to 16 bits on the way
        return y_TN if bias_N is None else y_TN + bias_N

    def rows(self, ids_T: torch.Tensor) -> torch.Tensor:
        return embedding(ids_T, self.weight_NK)


class InvariantMatrix(LibraryMatrix):
    """The same, multiplied in tiles and in an order that do not depend on the number of rows."""

    def __init__(self, n: int, k: int, dtype: torch.dtype, device: torch.device):
        super().__init__(n, k, dtype, device)
        self._product = triton_ops.load("penstock.ops.triton.product:plain_product")

    def multiply(
        self, x_TK: torch.Tensor, bias_N: torch.Tensor | None = None, out_dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        y_TN: torch.Tensor = self._product(x_TK, self.weight_NK, bias_N, out_dtype or x_TK.dtype)
        return y_TN


def new_matrix(n: int, k: int, dtype: torch.dtype, device: torch.device, batch_invariant: bool = False) -> Matrix:
    """An unfilled matrix of the kind that computes here.

    Args:
        batch_invariant: a row's bits must not depend on the others on a GPU either.
    """
    if triton_ops.wanted_on(device):
        return (InvariantMatrix if batch_invariant else LibraryMatrix)(n, k, dtype, device)
    if kernels.native is None or device.type != "cpu":
        return PlainMatrix(n, k, dtype, device)
    return PackedMatrix(n, k, dtype)

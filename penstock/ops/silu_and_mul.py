"""silu(gate) * up for a fused [gate | up] product."""

from __future__ import annotations

import torch

from penstock.ops import kernels
from penstock.ops import triton as triton_ops
from penstock.ops.rows import row_chunks


def silu_and_mul(x_T2I: torch.Tensor) -> torch.Tensor:
    """[T, I] of x's type, from [T, 2I] whose first half is the gate; computed in float32."""
    if kernels.native is None or not x_T2I.is_cpu:
        if triton_ops.wanted(x_T2I):
            on_gpu_TI: torch.Tensor = triton_ops.load("penstock.ops.triton.silu_and_mul:silu_and_mul")(x_T2I)
            return on_gpu_TI
        return silu_and_mul_twin(x_T2I)
    rows, width = x_T2I.shape[0], x_T2I.shape[1] // 2
    out_TI = x_T2I.new_empty(rows, width)
    kernels.native.silu_and_mul(
        kernels.TYPE_CODES[x_T2I.dtype], x_T2I.contiguous().data_ptr(), out_TI.data_ptr(), rows, width
    )
    return out_TI


def silu_and_mul_twin(x_T2I: torch.Tensor) -> torch.Tensor:
    """The same in plain torch.

    Written with exp instead of torch's silu: that one rounds differently in the last elements of a call, so that a
    row's bits would depend on how many rows there are. torch's exp, and plain arithmetic, do not.
    """
    rows, width = x_T2I.shape[0], x_T2I.shape[1] // 2
    out_TI = torch.empty(rows, width, dtype=x_T2I.dtype, device=x_T2I.device)
    for part in row_chunks(rows, width, x_T2I.device):
        gate = x_T2I[part, :width].float()
        denominator = gate.neg().exp_().add_(1.0)
        out_TI[part] = (gate / denominator).mul_(x_T2I[part, width:])
    return out_TI

"""Attention backends of GPUs in the order of their speed: which of those that can serve a model is tried first.

`scripts/gpu_check` measures them on a device and proposes its line here, see the row "attention" of its table.
"""

from __future__ import annotations

# A guess, for devices without a line: what serves every model, and whose decode steps are recorded whole, comes first.
UNMEASURED = ("triton", "varlen")

# Device, as torch.cuda.get_device_name calls it -> backends, the fastest first. Behind each line: the file in
# benchmarks/results that has its numbers. Nothing was measured yet.
MEASURED: dict[str, tuple[str, ...]] = {}


def order_for(device_name: str) -> tuple[str, ...]:
    """The backends to try on a device."""
    return MEASURED.get(device_name, UNMEASURED)

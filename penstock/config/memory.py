"""How long a context fits into memory, estimated before anything is loaded, for --max-model-len auto.

The size of the pool itself is the worker's to decide, after loading; this stays below it on purpose.
"""

from __future__ import annotations

from pathlib import Path

from penstock.config.shape import ModelShape
from penstock.platforms.base import Platform

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
CPU_SHARE = 0.25  # of the free memory, as the worker takes by default
MARGIN = 0.9  # for what the estimate does not know: activations, the tokenizer, buffers


def weight_bytes(model_dir: str, dtype: str) -> int:
    """Bytes of the weights in memory; a 16-bit file is assumed, which is too much rather than too little."""
    files = [f for pattern in ("*.safetensors", "*.bin", "*.pt") for f in Path(model_dir).glob(pattern)]
    return sum(f.stat().st_size for f in files) * BYTES[dtype] // 2


def kv_budget_bytes(model_dir: str, dtype: str, platform: Platform, utilization: float) -> int:
    """Bytes that keys and values may take."""
    facts = platform.facts()
    if platform.name == "cpu":
        left = CPU_SHARE * max(0, facts.memory_free - weight_bytes(model_dir, dtype))
    else:
        left = facts.memory_total * utilization - weight_bytes(model_dir, dtype)
    return int(MARGIN * max(0.0, left))


def tokens_that_fit(shape: ModelShape, kv_dtype: str, budget_bytes: int) -> int:
    """Longest context that a pool of this size holds, one block of slack aside."""
    return max(0, budget_bytes // shape.kv_bytes_per_token(BYTES[kv_dtype]) - 256)

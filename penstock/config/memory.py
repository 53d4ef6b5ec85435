"""How many tokens the KV pool will hold, estimated before anything is loaded, for --max-model-len auto.

The size of the pool itself is the worker's to decide, after loading; this stays below it on purpose.
"""

from __future__ import annotations

from pathlib import Path

from penstock.config.shape import ModelShape
from penstock.platforms.base import PlatformFacts

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "fp8_e4m3": 1, "fp8_e5m2": 1, "int8": 1}
SCALE_BYTES = 4  # beside each head's 8-bit keys of a token, and beside its values
CPU_SHARE = 4  # one part in so many of the free memory: a server is a guest on a CPU machine
MARGIN = 0.9  # for what the estimate does not know: activations, the tokenizer, buffers


def weight_bytes(model_dir: str, dtype: str) -> int:
    """Bytes of the weights in memory; files are taken for 16-bit ones, which is too much rather than too little."""
    files = [f for pattern in ("*.safetensors", "*.bin", "*.pt") for f in Path(model_dir).glob(pattern)]
    return sum(f.stat().st_size for f in files) * BYTES[dtype] // 2


def default_pool_bytes(model_dir: str, dtype: str, facts: PlatformFacts, utilization: float) -> int:
    """Bytes that keys and values get if the user names no size."""
    weights = weight_bytes(model_dir, dtype)
    if facts.name == "cpu":
        left = (facts.memory_free - weights) / CPU_SHARE
    else:
        left = facts.memory_total * utilization - weights
    return int(MARGIN * max(0.0, left))


def pool_tokens(shape: ModelShape, kv_dtype: str, block_size: int, num_blocks: int | None, pool_bytes: int) -> int:
    """Tokens that the pool holds, in whole blocks; one block is never handed out.

    Args:
        kv_dtype: type of keys and values in memory.
        num_blocks: the pool's size if the user gave it in blocks.
        pool_bytes: its size otherwise.
    """
    if num_blocks is None:
        size = BYTES[kv_dtype]
        scales = 2 * shape.num_kept_layers * shape.num_kv_heads * SCALE_BYTES if size == 1 else 0
        num_blocks = pool_bytes // ((shape.kv_bytes_per_token(size) + scales) * block_size)
    return max(0, num_blocks - 1) * block_size

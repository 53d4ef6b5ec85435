"""What the weights will take in memory, and how many tokens the KV pool will hold, estimated before anything is loaded.

For --max-model-len auto, and for getting memory ready. The size of the pool itself is the worker's to decide, after
loading; this stays below it on purpose.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.config.quantization import GROUPS
from penstock.config.shape import ModelShape
from penstock.platforms.base import PlatformFacts

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "fp8_e4m3": 1, "fp8_e5m2": 1, "int8": 1}
SCALE_BYTES = 4  # beside each head's 8-bit keys of a token, and beside its values; beside each row of 8-bit weights
CPU_SHARE = 4  # one part in so many of the free memory: a server is a guest on a CPU machine
MARGIN = 0.9  # for what the estimate does not know: activations, the tokenizer, buffers
LONGEST_HEADER = 100 << 20  # as the format has it: https://github.com/huggingface/safetensors
EMBEDDING = "embed"  # in the names of tables that ids are looked up in
HEAD = "lm_head.weight"


@dataclass(frozen=True)
class WeightBytes:
    """Bytes of a model's weights in memory.

    Attributes:
        products: of the matrices of products.
        others: of tables, norms and biases.
    """

    products: int = 0
    others: int = 0

    @property
    def total(self) -> int:
        return self.products + self.others


def weight_bytes(model_dir: str, dtype: str, shape: ModelShape) -> WeightBytes:
    """What loading these files as `dtype`, with the quantization of `shape`, will keep in memory.

    Told by the names, types and shapes in the headers of safetensors files. Other files are taken for 16-bit weights
    that stay as they are, which is too much rather than too little.
    """
    folder = Path(model_dir)
    files = [folder / "model.safetensors"]
    if not files[0].is_file():
        files = [f for f in folder.glob("*.safetensors") if not f.name.startswith("consolidated")]
    if not files:
        others = [f for pattern in ("*.bin", "*.pt") for f in folder.glob(pattern)]
        return WeightBytes(products=sum(f.stat().st_size for f in others) * BYTES[dtype] // 2)
    products = rest = 0
    for name, kind, size in (tensor for file in files for tensor in _tensors(file)):
        kept, is_product = _kept(name, kind, size, BYTES[dtype], shape)
        products += kept if is_product else 0
        rest += 0 if is_product else kept
    return WeightBytes(products, rest)


def _tensors(path: Path) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """(name, type, shape) of each tensor; none if the file is damaged, which is the loader's to tell."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(length)) if length <= LONGEST_HEADER else {}
        header.pop("__metadata__", None)
        yield from [(name, str(t["dtype"]), tuple(map(int, t["shape"]))) for name, t in header.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return


def _kept(name: str, kind: str, size: tuple[int, ...], plain: int, shape: ModelShape) -> tuple[int, bool]:
    """(bytes, whether it is a product's matrix) of a checkpoint tensor in memory."""
    count, quantization = math.prod(size), shape.quantization
    if (shape.tie_embeddings and name.endswith(HEAD)) or name.endswith((".weight_scale", ".weight_shape")):
        return 0, True  # not read, or counted with the numbers that it scales
    if len(size) != 2:
        return count * plain, False
    if kind == "I8":
        return count + size[0] * SCALE_BYTES, True
    if kind == "I32" and quantization is not None:  # eight numbers in a word
        return count * 4 + 8 * count // (quantization.group or GROUPS[-1]) * plain, True
    is_table = EMBEDDING in name
    if is_table and not shape.tie_embeddings:
        return count * plain, False
    if quantization is None or quantization.method not in ("int8", "int4", "fp8"):
        return count * plain, True
    if quantization.method != "int4" or is_table or name.endswith(HEAD):
        return count + size[0] * SCALE_BYTES, True
    return count // 2 + count // quantization.group * plain, True


def default_pool_bytes(weights: int, facts: PlatformFacts, utilization: float) -> int:
    """Bytes that keys and values get beside so many bytes of weights, if the user names no size."""
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

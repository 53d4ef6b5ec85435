"""The memory that weights are said to take before they are loaded is what they take."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
from quantized_checkpoints import compress, load, plain_weights, quantization_config, write
from torch import nn

from penstock.config.hf import read_shape
from penstock.config.memory import weight_bytes
from penstock.config.shape import Quantization
from penstock.layers.linear import Linear

PADDING = 0.04  # of 150 rows to whole panels


def product_bytes(model: nn.Module) -> int:
    products = [module for module in model.modules() if isinstance(module, Linear)]
    made = [p.int_matrix.nbytes for p in products if hasattr(p, "int_matrix")]
    kept = [p.matrix.weight_NK.untyped_storage().nbytes() for p in products if not hasattr(p, "int_matrix")]
    return sum(made) + sum(kept)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("quantization", "dtype", "name"),
    [
        (None, torch.bfloat16, "bfloat16"),
        (None, torch.float32, "float32"),
        (Quantization("int8"), torch.bfloat16, "bfloat16"),
        (Quantization("int4", 32), torch.bfloat16, "bfloat16"),
        (Quantization("int4", 64), torch.float32, "float32"),
    ],
)
def test_made_while_loading(
    quantization: Quantization | None, dtype: torch.dtype, name: str, tied: bool, tmp_path: Path
) -> None:
    folder = write(tmp_path, plain_weights(tied), tie_word_embeddings=tied)
    shape = msgspec.structs.replace(read_shape(str(folder)), quantization=quantization)
    told = weight_bytes(str(folder), name, shape)
    assert told.products == pytest.approx(product_bytes(load(folder, quantization, dtype)), rel=PADDING)


@pytest.mark.parametrize(("bits", "group"), [(8, 0), (4, 32), (4, 64)])
def test_quantized_in_the_checkpoint(bits: int, group: int, tmp_path: Path) -> None:
    config = quantization_config(bits, group)
    folder = write(tmp_path, compress(plain_weights(), bits, group), quantization_config=config)
    told = weight_bytes(str(folder), "bfloat16", read_shape(str(folder)))
    assert told.products == pytest.approx(product_bytes(load(folder)), rel=PADDING)


def test_other_files_count_as_they_are(tmp_path: Path) -> None:
    folder = write(tmp_path, plain_weights())
    shape = read_shape(str(folder))
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(bytes(1000))
    assert weight_bytes(str(folder), "bfloat16", shape).total == 1000
    (folder / "model.safetensors").write_bytes(b"no header at all")  # the loader says what is wrong with it
    assert weight_bytes(str(folder), "bfloat16", shape).total == 0

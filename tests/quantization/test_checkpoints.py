"""Quantizing while loading, and checkpoints of compressed-tensors: the same numbers, and clear refusals of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from paged_driver import PagedDriver, Sequence
from quantized_checkpoints import compress, fp8_config, load, plain_weights, quantization_config, to_fp8, write

from penstock.config.hf import read_shape
from penstock.config.shape import Quantization
from penstock.errors import StartError
from penstock.layers.context import BuildContext
from penstock.layers.linear import Linear
from penstock.loading.loader import load_weights
from penstock.models.interface import Model
from penstock.models.registry import build
from penstock.ops import kernels
from penstock.ops.int_matrix import IntMatrix

SCHEMES = [(8, 0, "int8"), (4, 32, "int4"), (4, 64, "int4")]


def int_matrices(model: Model) -> dict[str, IntMatrix]:
    products = {name: module for name, module in model.named_modules() if isinstance(module, Linear)}
    return {name: product.int_matrix for name, product in products.items() if hasattr(product, "int_matrix")}


def logits(model: Model, folder: Path) -> torch.Tensor:
    prompt = Sequence(list(range(0, 150, 3)))
    return PagedDriver(model, read_shape(str(folder)), torch.bfloat16).prefill([prompt])[0]


@pytest.mark.parametrize("isa", [kernels.names()[-1], kernels.TWINS])
@pytest.mark.parametrize(("bits", "group", "method"), SCHEMES)
def test_quantized_while_loading_is_what_a_checkpoint_holds(
    bits: int, group: int, method: str, isa: str, tmp_path: Path
) -> None:
    tensors = plain_weights()
    plain = write(tmp_path / "plain", tensors)
    packed = write(
        tmp_path / "packed",
        compress(tensors, bits, group),
        quantization_config=quantization_config(bits, group),
    )
    before = kernels.native.isa() if kernels.native is not None else kernels.TWINS
    kernels.choose(isa)
    try:
        made, read = load(plain, Quantization(method, group)), load(packed)
        ours, theirs = int_matrices(made), int_matrices(read)
        assert ours.keys() == theirs.keys() | {"head.projection"}
        assert len(theirs) == 2 * 4
        for name in theirs:
            assert torch.equal(ours[name].numbers(), theirs[name].numbers()), name
            torch.testing.assert_close(ours[name].scales(), theirs[name].scales(), rtol=2**-7, atol=0)
        plain_logits = logits(load(plain), plain)
        for model in (made, read):
            error = (logits(model, plain) - plain_logits).norm() / plain_logits.norm()
            assert error < (0.05 if bits == 8 else 0.45)
    finally:
        kernels.choose(before)


def test_a_scale_for_each_row_of_four_bits(tmp_path: Path) -> None:
    tensors = plain_weights()
    folder = write(tmp_path, compress(tensors, 4, 0), quantization_config=quantization_config(4, None))
    matrix = int_matrices(load(folder))["layers.1.mlp.down"]
    weight = tensors["model.layers.1.mlp.down_proj.weight"].float()
    assert matrix.groups == 2
    got = matrix.numbers() * matrix.scales().repeat_interleave(matrix.group, 1)[:, : matrix.k]
    assert (got - weight).abs().max() < weight.abs().max() / 7


@pytest.mark.parametrize("method", ["int8", "int4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_heads_have_eight_bits(method: str, dtype: torch.dtype, tmp_path: Path) -> None:
    tied = load(write(tmp_path / "tied", plain_weights()), Quantization(method, 32), dtype)
    assert tied.head.projection.int_matrix.bits == 8
    table = plain_weights()["model.embed_tokens.weight"].to(dtype)
    ids = torch.tensor([0, 149, 31])
    torch.testing.assert_close(tied.embedding(ids), table[ids], rtol=0, atol=0.006)
    own = load(
        write(tmp_path / "own", plain_weights(tied=False), tie_word_embeddings=False), Quantization(method, 32), dtype
    )
    assert own.head.projection.int_matrix.bits == 8
    assert torch.equal(own.embedding(ids), table[ids]), "a table that is only looked up stays as it is"


@pytest.mark.parametrize("bits", [8, 4])
def test_ignored_products_stay_as_they_are(bits: int, tmp_path: Path) -> None:
    tensors = plain_weights(tied=False)
    some = {n: t for n, t in tensors.items() if "layers.0.mlp" in n or "o_proj" in n}
    packed = compress({n: t for n, t in tensors.items() if n not in some}, bits) | some
    ignore = ["re:.*o_proj", "lm_head", *(f"model.layers.0.mlp.{p}_proj" for p in ("gate", "up", "down"))]
    folder = write(
        tmp_path,
        packed,
        tie_word_embeddings=False,
        quantization_config=quantization_config(bits, ignore=ignore),
    )
    model = load(folder)
    assert set(int_matrices(model)) == {"layers.0.attention.qkv", "layers.1.attention.qkv"} | {
        f"layers.1.mlp.{part}" for part in ("gate_up", "down")
    }
    assert torch.equal(
        model.layers[0].mlp.down.rows(torch.tensor([5])), tensors["model.layers.0.mlp.down_proj.weight"][5:6]
    )
    folder = write(folder, packed, quantization_config=quantization_config(bits, ignore=["model.layers.0.mlp.up_proj"]))
    with pytest.raises(StartError, match=r"quantizes some and ignores others of .*gate_proj.*up_proj"):
        load(folder)


def test_an_index_of_groups_is_not_taken_for_nothing(tmp_path: Path) -> None:
    tensors = compress(plain_weights(), 4)
    tensors["model.layers.0.mlp.down_proj.weight_g_idx"] = torch.zeros(192, dtype=torch.int32)
    with pytest.raises(StartError, match=r"unexpected: model\.layers\.0\.mlp\.down_proj\.weight_g_idx"):
        load(write(tmp_path, tensors, quantization_config=quantization_config(4)))


def test_plain_numbers_are_not_taken_for_packed_ones(tmp_path: Path) -> None:
    tensors = compress(plain_weights(), 8)
    tensors["model.layers.0.mlp.down_proj.weight"] = plain_weights()["model.layers.0.mlp.down_proj.weight"]
    with pytest.raises(StartError, match=r"down_proj\.weight should be torch\.int8, is torch\.bfloat16"):
        load(write(tmp_path, tensors, quantization_config=quantization_config(8)))


@pytest.mark.parametrize(
    "config", [quantization_config(8), quantization_config(4), fp8_config("channel")], ids=["int8", "int4", "fp8"]
)
def test_dummy_weights(config: dict, tmp_path: Path) -> None:
    folder = write(tmp_path, plain_weights(), quantization_config=config)
    model = build(read_shape(str(folder)), BuildContext(torch.bfloat16, torch.device("cpu"), 256))
    load_weights(model, "", "dummy")
    assert logits(model, folder).isfinite().all()


@pytest.mark.parametrize("scales", ["channel", "tensor", "block"])
def test_eight_bit_floats_are_the_weights_that_they_stand_for(scales: str, tmp_path: Path) -> None:
    packed, wide = to_fp8(plain_weights(), scales)
    plain = write(tmp_path / "plain", wide)
    read = load(write(tmp_path / "packed", packed, quantization_config=fp8_config(scales)))
    assert torch.equal(logits(read, plain), logits(load(plain), plain))


def test_eight_bit_floats_made_while_loading(tmp_path: Path) -> None:
    tensors = plain_weights()
    plain, wide = (write(tmp_path / n, t) for n, t in (("plain", tensors), ("wide", to_fp8(tensors, "channel")[1])))
    made = load(plain, Quantization("fp8"))
    assert torch.equal(logits(made, plain), logits(load(wide), plain))
    error = (logits(made, plain) - logits(load(plain), plain)).norm() / logits(load(plain), plain).norm()
    assert 0.001 < error < 0.2


def test_eight_bit_floats_that_are_none(tmp_path: Path) -> None:
    tensors, _ = to_fp8(plain_weights(), "channel")
    name = "model.layers.0.mlp.down_proj.weight"
    with pytest.raises(StartError, match=r"down_proj\.weight should be torch\.float8_e4m3fn, is torch\.bfloat16"):
        load(write(tmp_path, tensors | {name: plain_weights()[name]}, quantization_config=fp8_config("channel")))


def changed(bits: int, path: str, value: Any) -> dict[str, Any]:
    config = quantization_config(bits)
    place: Any = config
    *way, last = path.split(".")
    for key in way:
        place[key] = dict(place[key])
        place = place[key]
    place[last] = value
    return config


GROUP = "config_groups.group_0"
REFUSED = [
    ({"quant_method": "awq", "bits": 4}, "the model is quantized by awq, which is not supported"),
    ({}, "the model is quantized by unknown"),
    (changed(8, "format", "float-quantized"), "weights.type='int' is not supported"),
    (changed(8, "format", "nvfp4-pack-quantized"), "format='nvfp4-pack-quantized' is not supported"),
    (fp8_config("block", weight_block_size=[64, 128]), "weight_block_size=[64, 128] is not supported"),
    (fp8_config("block", fmt="e5m2"), "fmt='e5m2' is not supported"),
    (fp8_config("block", scale_fmt="ue8m0"), "scale_fmt='ue8m0' is not supported"),
    (fp8_config("tensor", kv_cache_scheme={"num_bits": 8}), "kv_cache_scheme={'num_bits': 8} is not supported"),
    (changed(8, "kv_cache_scheme", {"num_bits": 8}), "kv_cache_scheme={'num_bits': 8} is not supported"),
    (changed(8, "sparsity_config", {"format": "dense"}), "sparsity_config={'format': 'dense'} is not supported"),
    (changed(8, "config_groups", {}), "config_groups of other than one group"),
    (changed(8, f"{GROUP}.targets", ["re:.*mlp.*"]), "targets=['re:.*mlp.*'] is not supported"),
    (changed(8, f"{GROUP}.input_activations", None), "input_activations=None in this format is not supported"),
    (changed(8, f"{GROUP}.input_activations.dynamic", False), "input_activations.dynamic=False is not supported"),
    (changed(8, f"{GROUP}.output_activations", {"num_bits": 8}), "output_activations={'num_bits': 8} is not"),
    (changed(8, f"{GROUP}.weights.strategy", "tensor"), "weights.strategy='tensor' is not supported"),
    (changed(8, f"{GROUP}.weights.symmetric", False), "weights.symmetric=False is not supported"),
    (changed(4, f"{GROUP}.weights.num_bits", 8), "weights.num_bits=8 is not supported"),
    (changed(4, f"{GROUP}.weights.group_size", 48), "weights.group_size=48 is not supported"),
    (changed(4, f"{GROUP}.weights.actorder", "group"), "weights.actorder='group' is not supported"),
    (
        changed(4, f"{GROUP}.input_activations", {"num_bits": 8}),
        "packed weights with quantized input_activations is not",
    ),
    (changed(4, "ignore", [1]), "ignore=[1] is not supported"),
]


@pytest.mark.parametrize(("config", "sentence"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_others_are_refused(config: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    write(tmp_path, {"x": torch.zeros(1)}, quantization_config=config)
    with pytest.raises(StartError) as error:
        read_shape(str(tmp_path))
    assert sentence in str(error.value)
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)


def test_a_shape_crosses_processes(tmp_path: Path) -> None:
    write(tmp_path, {"x": torch.zeros(1)}, quantization_config=quantization_config(4, 128))
    shape = read_shape(str(tmp_path))
    assert shape.quantization == Quantization("compressed-int4", 128, ("lm_head",))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(shape), type=type(shape)) == shape

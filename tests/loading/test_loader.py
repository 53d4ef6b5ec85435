"""Loading: formats, conversion, fusion, and errors that list what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from loaded_weights import loaded_weights
from safetensors.torch import save_file

from penstock.config.shape import ModelShape, Quantization, Rope
from penstock.errors import StartError
from penstock.layers.context import BuildContext
from penstock.loading.loader import load_weights
from penstock.loading.mapping import Slots
from penstock.models.interface import Model
from penstock.models.registry import build

HIDDEN, INNER, VOCAB = 32, 48, 50


def make_model(tied: bool = True, dtype: torch.dtype = torch.float32, **changes: object) -> Model:
    shape = ModelShape("LlamaForCausalLM", VOCAB, HIDDEN, INNER, 2, 4, 2, 8, 1e-6, 64, Rope(), tie_embeddings=tied)
    shape = type(shape)(**{f: getattr(shape, f) for f in shape.__struct_fields__} | changes)
    return build(shape, BuildContext(dtype=dtype, device=torch.device("cpu"), max_len=64))


def weights(tied: bool = True) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    sizes = {name: tuple(slot.shape) for name, slot in Slots.of(make_model(tied)).wanted.items()}
    return {name: torch.randn(size) for name, size in sizes.items()}


def check(model: Model, want: dict[str, torch.Tensor]) -> None:
    got = loaded_weights(model)
    assert got.keys() == want.keys()
    assert all(torch.equal(got[k], want[k].to(got[k].dtype)) for k in want)


def test_names_are_those_of_hugging_face() -> None:
    assert set(weights(tied=False)) == {
        "model.embed_tokens.weight",
        "model.norm.weight",
        "lm_head.weight",
        *(
            f"model.layers.{i}.{part}.weight"
            for i in range(2)
            for part in (
                *(f"self_attn.{p}_proj" for p in "qkvo"),
                *(f"mlp.{p}_proj" for p in ("gate", "up", "down")),
                "input_layernorm",
                "post_attention_layernorm",
            )
        ),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_fused_shards_and_types(dtype: torch.dtype, tmp_path: Path) -> None:
    want = weights()
    save_file(want, tmp_path / "model.safetensors")
    model = make_model(dtype=dtype)
    shares: list[float] = []
    load_weights(model, str(tmp_path), on_progress=shares.append)
    check(model, want)
    qkv = model.layers[0].attention.qkv
    parts = [want[f"model.layers.0.self_attn.{p}_proj.weight"] for p in "qkv"]
    assert torch.equal(qkv.rows(torch.arange(qkv.out_features)), torch.cat(parts).to(dtype))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_names_without_the_prefix_and_redundant_ones(tmp_path: Path) -> None:
    want = weights()
    bare = {name.removeprefix("model."): t for name, t in want.items()}
    bare["lm_head.weight"] = torch.zeros(VOCAB, HIDDEN)  # the head is tied, and this copy is ignored
    bare["layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(4)
    save_file(bare, tmp_path / "model.safetensors")
    model = make_model()
    load_weights(model, str(tmp_path))
    check(model, want)


def test_missing_and_unexpected_names_are_listed(tmp_path: Path) -> None:
    tensors = weights()
    tensors["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(32)
    del tensors["model.norm.weight"], tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(StartError) as error:
        load_weights(make_model(), str(tmp_path))
    assert "missing: model.layers.1.mlp.up_proj.weight, model.norm.weight" in str(error.value)
    assert "unexpected: model.layers.0.self_attn.q_proj.bias" in str(error.value)


def test_long_lists_are_cut(tmp_path: Path) -> None:
    save_file({f"x{i}": torch.zeros(1) for i in range(30)}, tmp_path / "model.safetensors")
    with pytest.raises(StartError, match=r"x19|and 10 more"):
        load_weights(make_model(), str(tmp_path))


def test_wrong_shape_names_the_tensor(tmp_path: Path) -> None:
    tensors = weights() | {"model.norm.weight": torch.ones(HIDDEN + 1)}
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(StartError, match=r"model\.norm\.weight should be \[32\], is \[33\]"):
        load_weights(make_model(), str(tmp_path))


def test_quantized_tensors_are_not_taken_for_numbers(tmp_path: Path) -> None:
    tensors = weights() | {"model.norm.weight": torch.ones(HIDDEN, dtype=torch.int8)}
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(StartError, match="quantized"):
        load_weights(make_model(), str(tmp_path))


def shard(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    names = list(tensors)
    files = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, some in files.items():
        save_file({n: tensors[n] for n in some}, folder / file)
    index = {"weight_map": {n: file for file, some in files.items() for n in some}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_shards(tmp_path: Path) -> None:
    want = weights(tied=False)
    shard(tmp_path, want)
    model = make_model(tied=False)
    load_weights(model, str(tmp_path))
    check(model, want)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    shard(tmp_path, weights())
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(StartError, match=r"model-2\.safetensors"):
        load_weights(make_model(), str(tmp_path))


def test_the_same_name_in_two_files(tmp_path: Path) -> None:
    tensors = weights()
    save_file(tensors, tmp_path / "a.safetensors")
    save_file({"model.norm.weight": torch.ones(HIDDEN)}, tmp_path / "b.safetensors")
    with pytest.raises(StartError, match=r"there twice: model\.norm\.weight"):
        load_weights(make_model(), str(tmp_path))


@pytest.mark.parametrize("load_format", ["auto", "pt"])
def test_torch_files(load_format: str, tmp_path: Path) -> None:
    want = weights()
    torch.save(want, tmp_path / "pytorch_model.bin")
    model = make_model()
    load_weights(model, str(tmp_path), load_format)
    check(model, want)


class Planted:
    """What a hostile checkpoint would run on loading."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("planted"),))


def test_a_torch_file_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"x": Planted()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(StartError, match="plain state dict"):
        load_weights(make_model(), str(tmp_path), "pt")
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize(("load_format", "wanted"), [("auto", ".bin"), ("pt", ".bin"), ("safetensors", "safet")])
def test_no_weights(load_format: str, wanted: str, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=wanted):
        load_weights(make_model(), str(tmp_path), load_format)


def test_safetensors_format_does_not_fall_back(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "pytorch_model.bin")
    with pytest.raises(StartError, match="no weights"):
        load_weights(make_model(), str(tmp_path), "safetensors")


def test_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0 not json at all")
    with pytest.raises(StartError, match="cannot be read"):
        load_weights(make_model(), str(tmp_path))


def test_unknown_format_lists_the_known() -> None:
    with pytest.raises(StartError, match="known: auto, safetensors, pt, dummy"):
        load_weights(make_model(), "", "tensorizer")


def test_dummy_weights_are_the_same_every_time() -> None:
    first, second = make_model(), make_model()
    for model in (first, second):
        load_weights(model, "", "dummy")
    check(first, loaded_weights(second))
    matrix = loaded_weights(first)["model.layers.0.mlp.up_proj.weight"]
    assert 0.015 < float(matrix.std()) < 0.025
    assert torch.equal(loaded_weights(first)["model.norm.weight"], torch.ones(HIDDEN))


def test_a_quantized_checkpoint_is_refused_by_name() -> None:
    with pytest.raises(StartError, match="unknown quantization method 'gptq'"):
        make_model(quantization=Quantization("gptq"))

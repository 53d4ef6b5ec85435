"""config.json in both spellings, overrides, and refusals that say what is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.config.hf import read_generation_config, read_shape
from penstock.config.shape import ModelShape, Rope
from penstock.errors import StartError
from penstock.models.decoder import Decoder
from penstock.models.encoder import Encoder
from penstock.models.modernbert import ModernBert
from penstock.models.registry import MODELS

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 1000,
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "torch_dtype": "bfloat16",
}
QWEN2 = LLAMA | {"architectures": ["Qwen2ForCausalLM"]}


def shape_of(tmp_path: Path, config: dict[str, Any], overrides: dict[str, Any] | None = None) -> ModelShape:
    (tmp_path / "config.json").write_text(json.dumps(config))
    return read_shape(str(tmp_path), overrides)


def test_defaults(tmp_path: Path) -> None:
    shape = shape_of(tmp_path, LLAMA)
    assert (shape.num_kv_heads, shape.head_dim, shape.norm_eps, shape.max_position) == (4, 16, 1e-6, 512)
    assert shape.rope == Rope(original_max_position=512)
    assert (shape.dtype, shape.eos_token_ids) == ("bfloat16", ())
    assert shape.layer_windows == (None, None, None)
    assert not shape.tie_embeddings


@pytest.mark.parametrize(
    "changes",
    [
        {"head_dim": None, "num_key_value_heads": None},
        {"rope_theta": 10000.0, "rope_scaling": None},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
        {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000}}},
        {"torch_dtype": None, "dtype": "bfloat16"},
        {"torch_dtype": "torch.bfloat16"},
        {"architectures": ["SomethingElse", "LlamaForCausalLM"]},
    ],
)
def test_spellings_of_the_same(changes: dict[str, Any], tmp_path: Path) -> None:
    assert shape_of(tmp_path, LLAMA | changes) == shape_of(tmp_path, LLAMA)


@pytest.mark.parametrize(
    ("scaling", "max_position"),
    [
        ({"rope_type": "linear", "factor": 4.0}, 2048),
        ({"rope_type": "dynamic", "factor": 2.0}, 1024),
        ({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}, 512),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128, "mscale": 0.5}, 512),
        ({"rope_type": "yarn", "factor": 4.0}, 2048),
    ],
)
def test_rope_kinds(scaling: dict[str, Any], max_position: int, tmp_path: Path) -> None:
    new = shape_of(tmp_path, LLAMA | {"rope_parameters": {**scaling, "rope_theta": 5e5}})
    old_scaling = {("type" if k == "rope_type" else k): v for k, v in scaling.items()}
    old = shape_of(tmp_path, LLAMA | {"rope_scaling": old_scaling, "rope_theta": 5e5})
    assert new == old
    assert new.max_position == max_position
    rope = new.rope
    assert (rope.kind, rope.factor, rope.theta) == (scaling["rope_type"], scaling["factor"], 5e5)
    assert rope.original_max_position == scaling.get("original_max_position_embeddings", 512)
    assert rope.mscale == scaling.get("mscale")


def test_part_of_the_head_rotates(tmp_path: Path) -> None:
    assert shape_of(tmp_path, LLAMA | {"partial_rotary_factor": 0.5}).rope.rotary_dim == 8


def test_overrides_merge_and_win(tmp_path: Path) -> None:
    config = LLAMA | {"rope_parameters": {"rope_type": "linear", "rope_theta": 100.0, "factor": 2.0}}
    shape = shape_of(tmp_path, config, {"rope_theta": 7.0, "vocab_size": 2000})
    assert (shape.vocab_size, shape.rope.theta, shape.rope.factor) == (2000, 7.0, 2.0)
    shape = shape_of(tmp_path, config, {"rope_scaling": {"factor": 3.0}})
    assert (shape.rope.kind, shape.rope.factor, shape.rope.theta) == ("linear", 3.0, 100.0)
    shape = shape_of(tmp_path, config, {"rope_scaling": None})
    assert (shape.rope.kind, shape.rope.theta, shape.max_position) == ("default", 100.0, 512)
    assert shape_of(tmp_path, LLAMA | {"x": {"a": 1}}, {"x": {"b": 2}}) == shape_of(tmp_path, LLAMA)


@pytest.mark.parametrize(("value", "ids"), [(2, (2,)), ([5, 6], (5, 6)), (None, ())])
def test_end_tokens(value: Any, ids: tuple[int, ...], tmp_path: Path) -> None:
    assert shape_of(tmp_path, LLAMA | {"eos_token_id": value}).eos_token_ids == ids


def test_windows(tmp_path: Path) -> None:
    def windows(config: dict[str, Any]) -> tuple[int | None, ...]:
        return shape_of(tmp_path, config).layer_windows

    mistral = LLAMA | {"architectures": ["MistralForCausalLM"]}
    assert windows(mistral | {"sliding_window": 40}) == (40, 40, 40)
    assert windows(mistral | {"sliding_window": None}) == (None, None, None)
    assert windows(LLAMA | {"sliding_window": 40}) == (None, None, None)
    qwen = QWEN2 | {"sliding_window": 40, "max_window_layers": 1}
    assert windows(qwen | {"use_sliding_window": False}) == (None, None, None)
    assert windows(qwen | {"use_sliding_window": True}) == (None, 40, 40)
    types = ["sliding_attention", "full_attention", "full_attention"]
    assert windows(qwen | {"use_sliding_window": True, "layer_types": types}) == (40, None, None)


def test_qwen3_without_head_dim_has_128(tmp_path: Path) -> None:
    assert shape_of(tmp_path, LLAMA | {"architectures": ["Qwen3ForCausalLM"]}).head_dim == 128


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["BloomForCausalLM"]}, r"BloomForCausalLM.*known: Bert.*Qwen3ForCausalLM"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is unknown; known: silu"),
        ({"torch_dtype": "float8"}, "float8.*known: bfloat16, float16, float32"),
        ({"rope_scaling": {"type": "su", "factor": 2.0}}, "'su' is unknown; known: default, linear, .*, yarn"),
        ({"rope_scaling": {"type": "linear"}}, "linear needs factor"),
        ({"rope_scaling": {"type": "linear", "factor": "x"}}, "factor must be a number"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0, "wobble": 1}}, "does not know wobble; known: factor"),
        ({"rope_parameters": {"a": {"rope_theta": 1.0}, "b": {"rope_theta": 2.0}}}, "differ between layer types"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"vocab_size": "many"}, "vocab_size must be a positive integer"),
        ({"num_key_value_heads": 3}, "no multiple of num_key_value_heads=3"),
        ({"head_dim": 15}, "no even number to rotate"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings must be true or false"),
        ({"eos_token_id": "</s>"}, "eos_token_id must be a token id"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=message):
        shape_of(tmp_path, LLAMA | changes)


def test_bad_layer_types(tmp_path: Path) -> None:
    changes = {"use_sliding_window": True, "sliding_window": 8, "layer_types": ["full_attention"]}
    with pytest.raises(StartError, match="layer_types must name 3 layers"):
        shape_of(tmp_path, QWEN2 | changes)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"no config\.json"):
        read_shape(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(StartError, match="cannot be read"):
        read_shape(str(tmp_path))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(StartError, match="JSON object"):
        read_shape(str(tmp_path))


def test_generation_config(tmp_path: Path) -> None:
    assert read_generation_config(str(tmp_path)) == {}
    (tmp_path / "generation_config.json").write_text('{"top_p": 0.8}')
    assert read_generation_config(str(tmp_path)) == {"top_p": 0.8}


def test_every_known_architecture_has_a_model(tmp_path: Path) -> None:
    distilbert = {"dim": 64, "n_layers": 3, "n_heads": 4, "hidden_dim": 176}
    for name in MODELS.names():
        activation = {} if name.startswith(("Llama", "Mistral", "Qwen")) else {"hidden_act": "gelu"}
        shape = shape_of(tmp_path, LLAMA | distilbert | activation | {"architectures": [name]})
        assert (shape.architecture, shape.hidden_size) == (name, 64)
        assert issubclass(MODELS.get(name), (Encoder, ModernBert) if shape.encoder else Decoder)
    with pytest.raises(StartError) as error:
        shape_of(tmp_path, LLAMA | {"architectures": []})
    assert str(error.value).endswith(f"known: {', '.join(MODELS.names())}.")

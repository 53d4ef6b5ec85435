"""config.json and generation_config.json -> our own shapes: the only reader of Hugging Face configurations.

Knows both spellings of each key (before and since transformers 5). What it does not understand it refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from penstock.config.architectures import ARCHITECTURES, Architecture
from penstock.config.hf_encoder import read_encoder
from penstock.config.hf_pooling import read_head
from penstock.config.hf_values import HFConfig, Json, read_json
from penstock.config.merge import deep_merge
from penstock.config.quantization import read_quantization
from penstock.config.shape import ModelShape, Rope
from penstock.errors import StartError

Windows = tuple[int | None, ...]

DTYPES = ("bfloat16", "float16", "float32")
ACTIVATIONS = {"silu": "silu", "swish": "silu"}

# What each rope kind needs and may have, besides rope_type, rope_theta and partial_rotary_factor.
ROPE_KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "default": ((), ()),
    "linear": (("factor",), ()),
    "dynamic": (("factor",), ("original_max_position_embeddings",)),
    "llama3": (("factor", "low_freq_factor", "high_freq_factor"), ("original_max_position_embeddings",)),
    "yarn": (
        ("factor",),
        (
            "original_max_position_embeddings",
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "mscale",
            "mscale_all_dim",
            "truncate",
        ),
    ),
}
ROPE_REMARKS = {"type", "rope_type", "rope_theta", "partial_rotary_factor", "finetuned"}  # not a kind's own


def read_shape(model_dir: str, overrides: Json | None = None) -> ModelShape:
    """The model in a folder.

    Args:
        overrides: merged into config.json, dictionaries key by key. Either spelling of the rope keys replaces both.

    Raises:
        StartError: there is no readable config.json, or it asks for something unknown; one sentence says what.
    """
    config, raw = _read(model_dir, overrides)
    name, architecture = _architecture(config)
    if architecture.is_encoder:
        shape = read_encoder(config, name, architecture.family, _dtype(config))
        if config.values.get("quantization_config") is not None:
            raise config.error("quantized weights of encoders are not supported")
    else:
        shape = _read_decoder(config, _merge_rope(raw, overrides or {}), name, architecture)
    return read_head(config, architecture.head, shape)


def read_config(model_dir: str, overrides: Json | None = None) -> HFConfig:
    """config.json of a folder, with overrides, as for `read_shape`."""
    return _read(model_dir, overrides)[0]


def _read(model_dir: str, overrides: Json | None) -> tuple[HFConfig, Json]:
    """config.json with overrides, and without."""
    path = Path(model_dir) / "config.json"
    raw = read_json(path)
    return HFConfig(deep_merge(raw, overrides or {}), str(path)), raw


def _read_decoder(config: HFConfig, rope_values: Json, name: str, architecture: Architecture) -> ModelShape:
    num_layers, num_heads = config.integer("num_hidden_layers"), config.integer("num_attention_heads")
    hidden_size = config.integer("hidden_size")
    num_kv_heads = config.integer("num_key_value_heads", num_heads)
    head_dim = config.integer("head_dim", _HEAD_DIMS.get(architecture.family, hidden_size // num_heads))
    if num_heads % num_kv_heads:
        raise config.error(f"num_attention_heads={num_heads} is no multiple of num_key_value_heads={num_kv_heads}")
    rope, max_position = _read_rope(config, rope_values, head_dim)
    return ModelShape(
        architecture=name,
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=config.integer("intermediate_size"),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        norm_eps=config.number("rms_norm_eps", 1e-6),
        max_position=max_position,
        rope=rope,
        activation=config.choice("hidden_act", ACTIVATIONS, "silu"),
        tie_embeddings=config.flag("tie_word_embeddings"),
        attention_bias=config.flag("attention_bias"),
        mlp_bias=config.flag("mlp_bias"),
        layer_windows=_WINDOWS[architecture.family](config, num_layers),
        dtype=_dtype(config),
        eos_token_ids=config.token_ids("eos_token_id"),
        quantization=read_quantization(config.values.get("quantization_config"), config.path),
        causal=config.values.get("is_causal") is not False,
    )


def read_generation_config(model_dir: str) -> Json:
    """generation_config.json as it stands; {} if the folder has none.

    Raises:
        StartError: it is not a JSON object.
    """
    path = Path(model_dir) / "generation_config.json"
    return read_json(path) if path.exists() else {}


def _architecture(config: HFConfig) -> tuple[str, Architecture]:
    names = config.values.get("architectures") or []
    if not isinstance(names, list):
        raise config.error(f"architectures must be a list of names, got {names!r}")
    for name in names:
        if name in ARCHITECTURES:
            return name, ARCHITECTURES[name]
    raise config.error(f"architectures {names} are not supported; known: {', '.join(sorted(ARCHITECTURES))}")


def _dtype(config: HFConfig) -> str:
    name = config.values.get("dtype") or config.values.get("torch_dtype") or "float32"
    name = str(name).removeprefix("torch.")
    if name not in DTYPES:
        raise config.error(f"dtype {name!r} is unknown; known: {', '.join(DTYPES)}")
    return name


# Sliding windows, by family. A window of w lets a token see itself and the w - 1 before it.


def _no_windows(config: HFConfig, num_layers: int) -> Windows:
    return (None,) * num_layers


def _same_window(config: HFConfig, num_layers: int) -> Windows:
    if config.values.get("sliding_window") is None:
        return (None,) * num_layers
    return (config.integer("sliding_window"),) * num_layers


def _upper_windows(config: HFConfig, num_layers: int) -> Windows:
    """Qwen: only if switched on, and then as layer_types says, or in the layers from max_window_layers on."""
    if not config.flag("use_sliding_window") or config.values.get("sliding_window") is None:
        return (None,) * num_layers
    window = config.integer("sliding_window")
    types = config.values.get("layer_types")
    if types is None:
        full = config.values.get("max_window_layers", 28)
        if not isinstance(full, int):
            raise config.error(f"max_window_layers must be an integer, got {full!r}")
        return tuple(window if i >= full else None for i in range(num_layers))
    kinds = {"full_attention": None, "sliding_attention": window}
    if not isinstance(types, list) or len(types) != num_layers or not set(types) <= set(kinds):
        raise config.error(f"layer_types must name {num_layers} layers, each one of: {', '.join(kinds)}")
    return tuple(kinds[t] for t in types)


_WINDOWS: dict[str, Callable[[HFConfig, int], Windows]] = {
    "Llama": _no_windows,
    "Mistral": _same_window,
    "Qwen2": _upper_windows,
    "Qwen3": _upper_windows,
}
_HEAD_DIMS = {"Qwen3": 128}  # where a missing head_dim does not mean hidden_size / heads


# Rope: `rope_theta` and `rope_scaling`, or `rope_parameters`, which may repeat itself per layer type.


def _merge_rope(raw: Json, overrides: Json) -> Json:
    merged = _rope_values(raw)
    if "rope_scaling" in overrides and overrides["rope_scaling"] is None:
        merged = {key: merged[key] for key in ("rope_theta", "partial_rotary_factor") if key in merged}
    return merged | _rope_values(overrides)


def _rope_values(config: Json) -> Json:
    parameters = config.get("rope_parameters") or {}
    nested = [v for v in parameters.values() if isinstance(v, dict)] if isinstance(parameters, dict) else []
    if nested:
        if any(v != nested[0] for v in nested):
            raise StartError("rope_parameters that differ between layer types are not supported.")
        parameters = nested[0]
    scaling = config.get("rope_scaling") or {}
    for name, value in (("rope_scaling", scaling), ("rope_parameters", parameters)):
        if not isinstance(value, dict):
            raise StartError(f"{name} must be a JSON object, got {value!r}.")
    values = {key: config[key] for key in ("rope_theta", "partial_rotary_factor") if config.get(key) is not None}
    for part in (scaling, parameters):
        part = {k: v for k, v in part.items() if v is not None}
        if "type" in part:
            part.setdefault("rope_type", part["type"])
        values |= part
    return values


def _read_rope(config: HFConfig, values: Json, head_dim: int) -> tuple[Rope, int]:
    """The rope, and the longest context it makes."""
    kind = values.get("rope_type", "default")
    if kind not in ROPE_KEYS:
        raise config.error(f"rope type {kind!r} is unknown; known: {', '.join(ROPE_KEYS)}")
    needed, optional = ROPE_KEYS[kind]
    missing = [key for key in needed if key not in values]
    if missing:
        raise config.error(f"rope type {kind} needs {', '.join(missing)}")
    unknown = sorted(set(values) - ROPE_REMARKS - set(needed) - set(optional))
    if unknown:
        known = ", ".join(needed + optional)
        raise config.error(f"rope type {kind} does not know {', '.join(unknown)}; known: {known or 'none'}")
    truncate = values.get("truncate", True)
    if not isinstance(truncate, bool):
        raise config.error(f"truncate must be true or false, got {truncate!r}")
    numbers = {k: config.as_number(k, values[k]) for k in (*needed, *optional) if k in values and k != "truncate"}
    trained = config.integer("max_position_embeddings")
    outer = config.values.get("original_max_position_embeddings")  # some configurations keep it beside the rope keys
    original = int(numbers.pop("original_max_position_embeddings", trained))
    if kind in ("llama3", "yarn") and outer is not None:
        original = config.integer("original_max_position_embeddings")
    if kind == "dynamic":
        original = trained  # as Hugging Face, which scales from max_position_embeddings whatever else is said
    share = config.as_number("partial_rotary_factor", values.get("partial_rotary_factor", 1.0))
    rotary_dim = int(head_dim * share)
    if rotary_dim % 2 or not 0 < rotary_dim <= head_dim:
        raise config.error(f"head_dim={head_dim} and partial_rotary_factor={share} give no even number to rotate")
    rope = Rope(
        theta=config.as_number("rope_theta", values.get("rope_theta", 10000.0)),
        kind=kind,
        original_max_position=original,
        rotary_dim=0 if rotary_dim == head_dim else rotary_dim,
        truncate=truncate,
        **numbers,
    )
    scaled = {"linear": trained * rope.factor, "dynamic": trained * rope.factor, "yarn": original * rope.factor}
    return rope, int(scaled.get(kind, trained))

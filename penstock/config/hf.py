"""config.json and generation_config.json -> our own shapes: the only reader of Hugging Face configurations.

Knows both spellings of each key (before and since transformers 5). What it does not understand it refuses.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.config.merge import deep_merge
from penstock.config.quantization import read_quantization
from penstock.config.shape import ModelShape, Rope
from penstock.errors import StartError

Json = dict[str, Any]
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
    raw = _read_json(Path(model_dir) / "config.json")
    overrides = overrides or {}
    config = _Config(deep_merge(raw, overrides), str(Path(model_dir) / "config.json"))
    architecture = _architecture(config)
    num_layers, num_heads = config.integer("num_hidden_layers"), config.integer("num_attention_heads")
    hidden_size = config.integer("hidden_size")
    num_kv_heads = config.integer("num_key_value_heads", num_heads)
    head_dim = config.integer("head_dim", _HEAD_DIMS.get(architecture, hidden_size // num_heads))
    if num_heads % num_kv_heads:
        raise config.error(f"num_attention_heads={num_heads} is no multiple of num_key_value_heads={num_kv_heads}")
    rope, max_position = _read_rope(config, _merge_rope(raw, overrides), head_dim)
    return ModelShape(
        architecture=architecture,
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
        layer_windows=_WINDOWS[architecture](config, num_layers),
        dtype=_dtype(config),
        eos_token_ids=config.token_ids("eos_token_id"),
        quantization=read_quantization(config.values.get("quantization_config"), config.path),
    )


def read_generation_config(model_dir: str) -> Json:
    """generation_config.json as it stands; {} if the folder has none.

    Raises:
        StartError: it is not a JSON object.
    """
    path = Path(model_dir) / "generation_config.json"
    return _read_json(path) if path.exists() else {}


def token_ids(value: object, what: str) -> tuple[int, ...]:
    """The ids that a configuration gives as one, a list or null.

    Args:
        what: file and key, for the message.

    Raises:
        StartError: they are no ids.
    """
    ids = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(i, int) and not isinstance(i, bool) for i in ids):
        raise StartError(f"{what} must be a token id or a list of them, got {value!r}.")
    return tuple(ids)


class _Config:
    """Typed reads of a configuration; null counts as absent."""

    def __init__(self, values: Json, path: str):
        self.values = values
        self.path = path

    def error(self, what: str) -> StartError:
        return StartError(f"{self.path}: {what}.")

    def integer(self, key: str, default: int | None = None) -> int:
        value = self._get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise self.error(f"{key} must be a positive integer, got {value!r}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        return self.as_number(key, self._get(key, default))

    def as_number(self, key: str, value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.error(f"{key} must be a number, got {value!r}")
        return float(value)

    def flag(self, key: str) -> bool:
        value = self._get(key, False)
        if not isinstance(value, bool):
            raise self.error(f"{key} must be true or false, got {value!r}")
        return value

    def choice(self, key: str, known: dict[str, str], default: str) -> str:
        value = self._get(key, default)
        if not isinstance(value, str) or value not in known:
            raise self.error(f"{key} {value!r} is unknown; known: {', '.join(sorted(known))}")
        return known[value]

    def token_ids(self, key: str) -> tuple[int, ...]:
        return token_ids(self.values.get(key), f"{self.path}: {key}")

    def _get(self, key: str, default: Any) -> Any:
        value = self.values.get(key)
        if value is None and default is None:
            raise self.error(f"{key} is missing")
        return default if value is None else value


def _read_json(path: Path) -> Json:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StartError(f"there is no {path.name} in {str(path.parent)!r}.") from None
    except (OSError, ValueError) as e:
        raise StartError(f"{path} cannot be read: {e}.") from e
    if not isinstance(value, dict):
        raise StartError(f"{path} must hold a JSON object.")
    return value


def _architecture(config: _Config) -> str:
    names = config.values.get("architectures") or []
    if not isinstance(names, list):
        raise config.error(f"architectures must be a list of names, got {names!r}")
    for name in names:
        if name in _WINDOWS:
            return str(name)
    raise config.error(f"architectures {names} are not supported; known: {', '.join(sorted(_WINDOWS))}")


def _dtype(config: _Config) -> str:
    name = config.values.get("dtype") or config.values.get("torch_dtype") or "float32"
    name = str(name).removeprefix("torch.")
    if name not in DTYPES:
        raise config.error(f"dtype {name!r} is unknown; known: {', '.join(DTYPES)}")
    return name


# Sliding windows, by architecture. A window of w lets a token see itself and the w - 1 before it.


def _no_windows(config: _Config, num_layers: int) -> Windows:
    return (None,) * num_layers


def _same_window(config: _Config, num_layers: int) -> Windows:
    if config.values.get("sliding_window") is None:
        return (None,) * num_layers
    return (config.integer("sliding_window"),) * num_layers


def _upper_windows(config: _Config, num_layers: int) -> Windows:
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


_WINDOWS: dict[str, Callable[[_Config, int], Windows]] = {
    "LlamaForCausalLM": _no_windows,
    "MistralForCausalLM": _same_window,
    "Qwen2ForCausalLM": _upper_windows,
    "Qwen3ForCausalLM": _upper_windows,
}
_HEAD_DIMS = {"Qwen3ForCausalLM": 128}  # where a missing head_dim does not mean hidden_size / heads


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


def _read_rope(config: _Config, values: Json, head_dim: int) -> tuple[Rope, int]:
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

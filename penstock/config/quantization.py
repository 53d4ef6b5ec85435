"""A checkpoint's quantization_config -> our own Quantization; what is not supported is refused in one sentence.

Knows schemes of compressed-tensors (github.com/neuralmagic/compressed-tensors): 8-bit weights with 8-bit activations
scaled token by token, packed 4-bit weights, and fp8 weights; and the method "fp8" of Hugging Face's transformers.
"""

from __future__ import annotations

from typing import Any

from penstock.config.shape import Quantization
from penstock.errors import StartError

Json = dict[str, Any]

GROUPS = (32, 64, 128)  # input features that may share a scale of 4-bit weights
DEFAULT_GROUP = 64  # where the weights are made here
REMARKS = {"quant_method", "quantization_status", "global_compression_ratio", "version", "config_groups", "format"}
TENSOR_REMARKS = {"observer", "observer_kwargs", "scale_dtype", "zp_dtype", "actorder"}

# What each scheme says of its weights, and of its activations. Keys that are missing here must be absent or null.
WEIGHTS_8: Json = {"num_bits": 8, "type": "int", "symmetric": True, "dynamic": False, "strategy": "channel"}
WEIGHTS_4: Json = {"num_bits": 4, "type": "int", "symmetric": True, "dynamic": False}
WEIGHTS_FP8: Json = {"num_bits": 8, "type": "float", "symmetric": True, "dynamic": False}
ACTIVATIONS_FP8: Json = {"num_bits": 8, "type": "float", "symmetric": True}
TOKENS_8: Json = {"num_bits": 8, "type": "int", "symmetric": True, "dynamic": True, "strategy": "token"}


def read_quantization(config: object, path: str) -> Quantization | None:
    """What a config.json says under quantization_config; None for nothing.

    Args:
        path: of the file, for messages.

    Raises:
        StartError: it is a kind that is not supported.
    """
    if config is None:
        return None
    if not isinstance(config, dict):
        raise StartError(f"{path}: quantization_config must be a JSON object, got {config!r}.")
    name = config.get("quant_method", "unknown")
    if name not in ("compressed-tensors", "fp8"):
        raise StartError(
            f"{path}: the model is quantized by {name}, which is not supported; supported are models without "
            "quantization, which --quantization int8, int4 and fp8 quantize, and those of compressed-tensors and fp8."
        )
    try:
        return _fp8(config) if name == "fp8" else _compressed_tensors(config)
    except _UnsupportedError as e:
        raise StartError(f"{path}: quantization_config: {e} is not supported.") from None


class _UnsupportedError(Exception):
    """What the sentence is about."""


def _compressed_tensors(config: Json) -> Quantization:
    _only(config, REMARKS | {"ignore"})
    ignore = _names(config, "ignore")
    groups = config.get("config_groups")
    if not isinstance(groups, dict) or len(groups) != 1:
        raise _UnsupportedError(f"config_groups of other than one group ({_named(groups)})")
    (group,) = groups.values()
    if not isinstance(group, dict):
        raise _UnsupportedError(f"the group {group!r}")
    kind = config.get("format")
    _only(group, {"targets", "weights", "input_activations", "format"})
    if group.get("format", kind) not in (kind, None):
        raise _UnsupportedError(f"a group of format {group['format']!r} in a checkpoint of format {kind!r}")
    if group.get("targets") != ["Linear"]:
        raise _UnsupportedError(f"targets={group.get('targets')!r}")
    weights, activations = group.get("weights"), group.get("input_activations")
    if kind == "int-quantized":
        _is("weights", weights, WEIGHTS_8)
        _is("input_activations", activations, TOKENS_8)
        return Quantization("compressed-int8", ignore=ignore)
    if kind == "pack-quantized":
        _is("weights", weights, WEIGHTS_4, {"strategy", "group_size"})
        if activations is not None:
            raise _UnsupportedError("packed weights with quantized input_activations")
        return Quantization("compressed-int4", _group_size(weights), ignore)
    if kind in ("float-quantized", "naive-quantized"):
        strategy = weights.get("strategy") if isinstance(weights, dict) else None
        if strategy not in ("channel", "tensor"):
            raise _UnsupportedError(f"weights.strategy={strategy!r} in this format")
        _is("weights", weights, WEIGHTS_FP8, {"strategy"})
        if activations is not None:  # they are scaled token by token here, which is at least as fine
            _is("input_activations", activations, ACTIVATIONS_FP8, {"dynamic", "strategy"})
        return Quantization(f"fp8-{strategy}", ignore=ignore)
    raise _UnsupportedError(f"format={kind!r}")


def _fp8(config: Json) -> Quantization:
    ignored = "modules_to_not_convert" if config.get("modules_to_not_convert") else "ignored_layers"
    _only(config, {"quant_method", "activation_scheme", "fmt", "weight_block_size", ignored})
    if config.get("activation_scheme", "dynamic") not in ("dynamic", "static"):
        raise _UnsupportedError(f"activation_scheme={config['activation_scheme']!r}")
    if config.get("fmt") not in (None, "e4m3"):
        raise _UnsupportedError(f"fmt={config['fmt']!r}")
    blocks = config.get("weight_block_size")
    if blocks not in (None, [128, 128]):
        raise _UnsupportedError(f"weight_block_size={blocks!r}")
    return Quantization("fp8-block" if blocks else "fp8-tensor", ignore=_names(config, ignored))


def _names(config: Json, key: str) -> tuple[str, ...]:
    names = config.get(key) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _UnsupportedError(f"{key}={names!r}")
    return tuple(names)


def _group_size(weights: Any) -> int:
    strategy, size = weights.get("strategy"), weights.get("group_size")
    if strategy == "channel" and size in (None, -1):
        return 0
    if strategy != "group":
        raise _UnsupportedError(f"weights.strategy={strategy!r} with group_size={size!r}")
    if size not in GROUPS:
        raise _UnsupportedError(f"weights.group_size={size!r}")
    return int(size)


def _is(what: str, tensor: object, wanted: Json, free: set[str] | None = None) -> None:
    if not isinstance(tensor, dict):
        raise _UnsupportedError(f"{what}={tensor!r} in this format")
    for key, value in wanted.items():
        if tensor.get(key) != value:
            raise _UnsupportedError(f"{what}.{key}={tensor.get(key)!r}")
    if tensor.get("actorder") == "group":  # needs an index that sends features to groups
        raise _UnsupportedError(f"{what}.actorder='group'")
    _only(tensor, set(wanted) | TENSOR_REMARKS | (free or set()), f"{what}.")


def _only(values: Json, known: set[str], prefix: str = "") -> None:
    for key, value in values.items():
        if key not in known and value not in (None, {}, []):
            raise _UnsupportedError(f"{prefix}{key}={value!r}")


def _named(groups: object) -> str:
    return ", ".join(groups) if isinstance(groups, dict) else repr(groups)

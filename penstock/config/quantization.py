"""A checkpoint's quantization_config -> our own Quantization; what is not supported is refused in one sentence.

Knows two schemes of compressed-tensors (github.com/neuralmagic/compressed-tensors): 8-bit weights with 8-bit
activations scaled token by token, and packed 4-bit weights.
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
    if name != "compressed-tensors":
        raise StartError(
            f"{path}: the model is quantized by {name}, which is not supported; supported are models without "
            "quantization, which --quantization int8 and int4 quantize, and those of compressed-tensors."
        )
    try:
        return _compressed_tensors(config)
    except _UnsupportedError as e:
        raise StartError(f"{path}: quantization_config: {e} is not supported.") from None


class _UnsupportedError(Exception):
    """What the sentence is about."""


def _compressed_tensors(config: Json) -> Quantization:
    _only(config, REMARKS | {"ignore"})
    ignore = config.get("ignore") or []
    if not isinstance(ignore, list) or not all(isinstance(name, str) for name in ignore):
        raise _UnsupportedError(f"ignore={ignore!r}")
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
        return Quantization("compressed-int8", ignore=tuple(ignore))
    if kind == "pack-quantized":
        _is("weights", weights, WEIGHTS_4, {"strategy", "group_size"})
        if activations is not None:
            raise _UnsupportedError("packed weights with quantized input_activations")
        return Quantization("compressed-int4", _group_size(weights), tuple(ignore))
    raise _UnsupportedError(f"format={kind!r}")


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

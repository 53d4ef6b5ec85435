"""Default sampling values: those of the model's generation_config.json, in the words of SamplingParams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.config import hf
from penstock.config.hf_values import token_ids
from penstock.errors import ClientError, StartError
from penstock.params import SamplingParams

# Keys of generation_config.json that replace the API's defaults, and what SamplingParams calls them.
_NAMES = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "max_new_tokens": "max_tokens",
    "max_tokens": "max_tokens",
}


def generation_file(source: str, model_dir: str) -> dict[str, Any]:
    """What generation_config.json says: the model's ("auto"), nothing ("vllm"), or that of a folder.

    Raises:
        StartError: the folder has none.
    """
    if source == "vllm":
        return {}
    if source == "auto":
        return hf.read_generation_config(model_dir)
    if not (Path(source) / "generation_config.json").is_file():
        raise StartError(
            f"--generation-config must be auto, vllm or a folder with generation_config.json, not {source!r}."
        )
    return hf.read_generation_config(source)


def sampling_defaults(config: dict[str, Any], override: dict[str, Any] | None) -> dict[str, Any]:
    """Values of SamplingParams that requests get if they name none.

    Args:
        config: what generation_config.json says.
        override: --override-generation-config, over it.

    Raises:
        StartError: a value is out of range, or the override names something that is no sampling default.
    """
    unknown = sorted(set(override or {}) - set(_NAMES))
    if unknown:
        raise StartError(
            f"--override-generation-config has no {', '.join(map(repr, unknown))}; it takes {', '.join(_NAMES)}."
        )
    merged = {**config, **(override or {})}
    defaults = {_NAMES[k]: v for k, v in merged.items() if k in _NAMES and v is not None}
    try:
        SamplingParams(**defaults)
    except (ClientError, TypeError) as e:
        raise StartError(f"The default sampling values cannot be used: {e}") from e
    return defaults


def end_ids(config: dict[str, Any]) -> tuple[int, ...]:
    """Ids that end an answer, by generation_config.json.

    Raises:
        StartError: they are no ids.
    """
    return token_ids(config.get("eos_token_id"), "generation_config.json: eos_token_id")

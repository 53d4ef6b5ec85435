"""What --compilation-config and its relatives say: which graphs are recorded, and whether torch.compile runs.

A level is what vLLM's -O means today: 0 nothing, 1 graphs around attention, 2 (the default) also graphs of whole decode
steps, 3 also torch.compile. On a CPU there are those of whole decode steps alone: its kernels are compiled ahead, and
around attention nothing is saved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from penstock.config.engine_config import CompilationConfig
from penstock.errors import StartError

FLAG = "--compilation-config"
MOST_TOKENS = 512  # of a graph, unless sizes are given: larger steps keep the device busy without
MOST_ROWS_ON_CPU = 16  # the same: a graph saves what a layer's Python takes, some 3 % of so many rows
DEFAULT_LEVEL = 2
LEVELS = {0: "none", 1: "piecewise", 2: "full_and_piecewise", 3: "full_and_piecewise"}
COMPILING_LEVEL = 3
MODES = ("none", "piecewise", "full", "full_decode_only", "full_and_piecewise")
# vLLM has numbers for kinds of torch.compile; here there is one.
COMPILE_NAMES = {"none": 0, "stock_torch_compile": 1, "dynamo_trace_once": 2, "vllm_compile": 3}


@dataclass(frozen=True)
class StepLimits:
    """What bounds graphs: see `SchedulerConfig` and `ModelConfig`."""

    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int


def compilation_config(
    given: dict[str, Any] | int | None,
    limits: StepLimits,
    *,
    enforce_eager: bool,
    max_seq_len_to_capture: int | None,
    on_gpu: bool,
) -> CompilationConfig:
    """
    Args:
        given: a level, or members of which each replaces what the level says.
        on_gpu: or on a CPU.

    Raises:
        StartError: a member is unknown or has an impossible value.
    """
    members = {"level": given} if isinstance(given, int) else dict(given or {})
    for name in members:
        if name not in MEMBERS:
            raise StartError(f"{FLAG} has no member {name!r} in this version; it has {', '.join(MEMBERS)}.")
    values = {name: MEMBERS[name](name, value) for name, value in members.items() if value is not None}
    if max_seq_len_to_capture is not None and max_seq_len_to_capture < 1:
        raise StartError(f"--max-seq-len-to-capture must be at least 1, not {max_seq_len_to_capture}.")
    if enforce_eager:
        return CompilationConfig()
    graphs = _graphs(values)
    sizes = _sizes(values, limits, on_gpu)
    rows = [size for size in sizes if size < limits.max_num_seqs]
    rows += [size for size in sizes if size >= limits.max_num_seqs][:1]  # the one that the fullest step is padded to
    return CompilationConfig(
        decode_sizes=tuple(rows) if graphs.startswith("full") else (),
        mixed_sizes=tuple(sizes) if graphs.endswith("piecewise") and on_gpu else (),
        max_context=min(limits.max_model_len, max_seq_len_to_capture or limits.max_model_len),
        compiled=on_gpu and bool(values.get("mode", values.get("level", DEFAULT_LEVEL) >= COMPILING_LEVEL)),
    )


def _graphs(values: dict[str, Any]) -> str:
    if values.get("use_cudagraph") is False:
        return "none"
    if "cudagraph_mode" in values:
        # As in vLLM, where a back end cannot record attention over several tokens of a row.
        mode = values["cudagraph_mode"]
        return "full_and_piecewise" if mode == "full" else str(mode)
    if values.get("full_cuda_graph"):
        return "full_and_piecewise"
    return LEVELS[values.get("level", DEFAULT_LEVEL)]


def _sizes(values: dict[str, Any], limits: StepLimits, on_gpu: bool) -> list[int]:
    """Numbers of tokens, ascending."""
    given: list[int] | None = values.get("cudagraph_capture_sizes")
    usual = max(given) if given else MOST_TOKENS if on_gpu else MOST_ROWS_ON_CPU
    most = values.get("max_cudagraph_capture_size", usual if given else values.get("max_capture_size", usual))
    # A GPU pads steps to these; on a CPU a graph is for its very size.
    sizes = given or ([1, 2, 4, *range(8, 256, 8), *range(256, most + 1, 16)] if on_gpu else range(1, most + 1))
    return sorted({min(size, limits.max_num_batched_tokens) for size in sizes if size <= most})


def _level(name: str, value: Any) -> int:
    number = _whole(name, value)
    if number not in LEVELS:
        raise StartError(f"{FLAG}: {name} must be 0, 1, 2 or 3, not {value!r}.")
    return number


def _compile_mode(name: str, value: Any) -> int:
    if isinstance(value, str) and value.lower() in COMPILE_NAMES:
        return COMPILE_NAMES[value.lower()]
    if isinstance(value, str) and not value.isdecimal():
        raise StartError(f"{FLAG}: {name} must be 0, 1, 2, 3 or one of {', '.join(COMPILE_NAMES)}, not {value!r}.")
    return _level(name, value)


def _graph_mode(name: str, value: Any) -> str:
    mode = value.lower() if isinstance(value, str) else value
    if mode not in MODES:
        raise StartError(f"{FLAG}: {name} must be one of {', '.join(MODES)}, not {value!r}.")
    return str(mode)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise StartError(f"{FLAG}: {name} must be a whole number, not {value!r}.")
    return value


def _size(name: str, value: Any) -> int:
    number = _whole(name, value)
    if number < 1:
        raise StartError(f"{FLAG}: {name} must be at least 1, not {value!r}.")
    return number


def _size_list(name: str, value: Any) -> list[int]:
    if not isinstance(value, list) or not value:
        raise StartError(f"{FLAG}: {name} must be a list of whole numbers, not {value!r}.")
    return [_size(name, one) for one in value]


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise StartError(f"{FLAG}: {name} must be true or false, not {value!r}.")
    return value


MEMBERS: dict[str, Callable[[str, Any], Any]] = {
    "level": _level,
    "mode": _compile_mode,
    "cudagraph_mode": _graph_mode,
    "use_cudagraph": _switch,
    "full_cuda_graph": _switch,
    "cudagraph_capture_sizes": _size_list,
    "max_cudagraph_capture_size": _size,
    "max_capture_size": _size,
}

"""EngineConfig: everything the engine was told, decided. `config/resolve.py` makes one; nothing changes it afterwards.

It crosses to the engine core's process, so it is plain data. Components take the values they use from it, not the
whole: only `executor`, `worker/worker.py`, `engine/core_process.py` and the entrypoints ever hold one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.config.pooling import PoolingConfig
from penstock.config.shape import ModelShape


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Which model and how it is read.

    Attributes:
        model: what the user named (path or hub id), for messages.
        path: local folder with config.json and weights.
        tokenizer_path: local folder with tokenizer.json; None with --skip-tokenizer-init.
        served_names: names accepted in requests; the first is echoed.
        dtype: "bfloat16", "float16" or "float32", resolved.
        max_model_len: context in tokens, prompt and answer together.
        generation_defaults: sampling values of generation_config.json that replace the API's defaults
            (temperature, top_p, top_k, min_p, repetition_penalty, presence_penalty, frequency_penalty, max_tokens).
        eos_token_ids: ids that end an answer.
    """

    model: str
    path: str
    tokenizer_path: str | None
    served_names: tuple[str, ...]
    shape: ModelShape
    dtype: str
    max_model_len: int
    seed: int = 0
    load_format: str = "auto"
    generation_defaults: dict[str, Any] = {}
    eos_token_ids: tuple[int, ...] = ()
    max_logprobs: int = 20
    show_progress: bool = True


class CacheConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The KV pool.

    Attributes:
        block_size: tokens per block.
        dtype: type KV is stored in: bfloat16, float16, float32, fp8_e4m3, fp8_e5m2 or int8.
        memory_bytes: exact size if the user gave one, else None: the worker derives it from free memory.
        memory_utilization: share of device memory for weights, activations and KV (GPU).
        num_blocks_override: forced number of blocks.
        prefix_hash: blake2b (keyed, the default), sha256, sha256_cbor or xxhash.
    """

    block_size: int
    dtype: str
    enable_prefix_caching: bool = True
    memory_bytes: int | None = None
    memory_utilization: float = 0.9
    num_blocks_override: int | None = None
    prefix_hash: str = "blake2b"


class SchedulerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a step.

    Attributes:
        step_seconds: about how long a step may last while some decode; None for no limit.
        overlaps: steps are issued before the result of the one before is known, where the device gains by it.
    """

    max_num_seqs: int
    max_num_batched_tokens: int
    step_seconds: float | None = None
    enable_chunked_prefill: bool = True
    long_prefill_token_threshold: int = 0
    policy: str = "fcfs"
    overlaps: bool = True


class DeviceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where it runs.

    Attributes:
        cpu_threads: 0 means the physical cores this process may use.
        attention_backend: a name that `attention/select.py` knows.
        batch_invariant: on a GPU, too, bits must not depend on what shares a step.
        offload_bytes: of weights that stay in host memory and come to the device layer by layer.
        sleep_mode: the engine may be told to let go of its memory for a while.
    """

    platform: str = "cpu"
    cpu_threads: int = 0
    attention_backend: str = "auto"
    batch_invariant: bool = False
    sleep_mode: bool = False
    offload_bytes: int = 0


class CompilationConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What is recorded and compiled; by default nothing.

    Attributes:
        decode_sizes: numbers of rows for which whole decode steps are recorded, ascending.
        mixed_sizes: numbers of tokens for which the parts of a step around attention are recorded, ascending.
        max_context: longest context of a row that recorded decode steps are for.
        compiled: whether torch.compile makes the model's kernels.
    """

    decode_sizes: tuple[int, ...] = ()
    mixed_sizes: tuple[int, ...] = ()
    max_context: int = 0
    compiled: bool = False


class StructuredConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Structured outputs.

    Attributes:
        backend: llguidance or xgrammar.
        no_fallback: what xgrammar cannot do is refused, and not done by llguidance.
        disable_any_whitespace, disable_additional_properties: for every request.
    """

    backend: str = "llguidance"
    no_fallback: bool = False
    disable_any_whitespace: bool = False
    disable_additional_properties: bool = False


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `pooling` is None for a model that generates."""

    model: ModelConfig
    cache: CacheConfig
    scheduler: SchedulerConfig
    device: DeviceConfig
    compilation: CompilationConfig = CompilationConfig()
    structured: StructuredConfig = StructuredConfig()
    pooling: PoolingConfig | None = None

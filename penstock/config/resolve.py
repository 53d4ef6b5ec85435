"""EngineArgs + the model's shape + the machine -> one frozen EngineConfig. All derived defaults and checks are here.

Called once per start, by the process that holds the options. Every refusal is a StartError of one sentence that names
the option and the numbers.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from penstock import envs, platforms
from penstock.config import generation, hf, hub, memory
from penstock.config.compilation import StepLimits, compilation_config
from penstock.config.engine_config import CacheConfig, DeviceConfig, EngineConfig, ModelConfig, SchedulerConfig
from penstock.config.hf_pooling import read_sentence_modules
from penstock.config.pooling import PoolingConfig, choose_head, pooling_config, with_head
from penstock.config.quantization import DEFAULT_GROUP
from penstock.config.sections import EngineArgs
from penstock.config.shape import ModelShape, Quantization
from penstock.config.structured import structured_config
from penstock.errors import StartError
from penstock.platforms.base import Platform

Usage = Literal["server", "offline"]
N = TypeVar("N", int, int | None)

DTYPE_NAMES = {"half": "float16", "float": "float32"}
KV_DTYPE_NAMES = {"fp8": "fp8_e4m3"}
PREFIX_HASHES = {"builtin": "blake2b"}
GIB = 1 << 30

logger = logging.getLogger("penstock.config.resolve")


@dataclass(frozen=True)
class Budget:
    """Default limits of a step on one kind of device."""

    block_size: int
    seqs: dict[Usage, int]
    tokens: dict[Usage, int]
    server_step_seconds: float | None = None  # while some decode; a step on a CPU can take seconds


# Figures of vLLM. A prefix is reused in whole blocks, so smaller ones reuse more of it; but on the CPU blocks of 128
# tokens, which lie in one piece for each head, made steps of 64 requests 1.4 times as fast as blocks of 32.
BUDGETS = {
    "cpu": Budget(128, {"server": 128, "offline": 256}, {"server": 2048, "offline": 4096}, server_step_seconds=0.15),
    "cuda": Budget(16, {"server": 256, "offline": 256}, {"server": 2048, "offline": 8192}),
    "cuda_large": Budget(16, {"server": 1024, "offline": 1024}, {"server": 8192, "offline": 16384}),
}
LARGE_GPU_BYTES = 70 * GIB
# Any of these makes a tokenizer; those behind the first are converted by transformers, if it is installed.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
UNKEPT_BLOCK_SIZE = 64  # where nothing is kept, so that short texts waste little of the memory that all layers share
SHORTEST_CONTEXT = 512  # tokens; a model is not served with less than this unless --max-model-len says so


def resolve(args: EngineArgs, *, usage: Usage) -> EngineConfig:
    """Decide everything that the options leave open.

    Args:
        usage: a server keeps steps short for the sake of latency; offline work makes them long.

    Raises:
        StartError: these options, this model and this machine do not go together.
    """
    for name in envs.unknown():
        logger.warning("%s is set, but there is no such variable.", name)
    platform = platforms.current(args.device)
    path = _model_dir(args, args.model)
    tokenizer_path = _tokenizer_dir(args, path)
    shape, pooling = _shape(args, path, tokenizer_path)
    generation_file = generation.generation_file(args.generation_config, path)
    dtype = _dtype(args.dtype, shape, platform)
    block_size = _block_size(args.block_size, platform, shape)
    kv_dtype = dtype if args.kv_cache_dtype == "auto" else KV_DTYPE_NAMES.get(args.kv_cache_dtype, args.kv_cache_dtype)
    kv_bytes = _kv_memory_bytes(args, platform)
    if kv_dtype != dtype and not shape.causal:
        raise StartError(f"--kv-cache-dtype {args.kv_cache_dtype}: {shape.architecture} keeps no keys and values.")
    offload_bytes = _offload_bytes(args.cpu_offload_gb, platform)
    pool = kv_bytes or _default_pool_bytes(path, dtype, shape, offload_bytes, platform, args.gpu_memory_utilization)
    pool_tokens = memory.pool_tokens(shape, kv_dtype, block_size, args.num_gpu_blocks_override, pool)
    derived = _trained_length(path, shape) if args.max_model_len in (None, "auto", -1) else shape.max_position
    max_model_len = _max_model_len(args.max_model_len, derived, pool_tokens)
    defaults = generation.sampling_defaults(generation_file, args.override_generation_config)
    if defaults:
        where = "--override-generation-config" if args.override_generation_config else "the model's generation_config"
        logger.info(
            "Default sampling values come from %s: %s; --generation-config vllm turns them off.", where, defaults
        )
    scheduler = _scheduler(args, usage, max_model_len, platform, shape.causal)
    return EngineConfig(
        model=ModelConfig(
            model=args.model or hub.BUNDLED_NAME,
            path=path,
            tokenizer_path=tokenizer_path,
            served_names=_served_names(args),
            shape=shape,
            dtype=dtype,
            max_model_len=max_model_len,
            seed=args.seed or 0,
            load_format=args.load_format,
            generation_defaults=defaults,
            eos_token_ids=tuple(dict.fromkeys(shape.eos_token_ids + generation.end_ids(generation_file))),
            max_logprobs=_max_logprobs(args.max_logprobs, shape),
            show_progress=args.use_tqdm_on_load,
        ),
        cache=CacheConfig(
            block_size=block_size,
            dtype=kv_dtype,
            enable_prefix_caching=args.enable_prefix_caching is not False and shape.causal,
            memory_bytes=kv_bytes,
            memory_utilization=_between("--gpu-memory-utilization", args.gpu_memory_utilization, 0.01, 1.0),
            num_blocks_override=_at_least("--num-gpu-blocks-override", args.num_gpu_blocks_override, 2),
            prefix_hash=PREFIX_HASHES.get(args.prefix_caching_hash_algo, args.prefix_caching_hash_algo),
        ),
        scheduler=scheduler,
        compilation=compilation_config(
            args.compilation_config,
            StepLimits(scheduler.max_num_seqs, scheduler.max_num_batched_tokens, max_model_len),
            # Steps that pool are all different; weights that come and go do so by events, which are not recorded.
            enforce_eager=args.enforce_eager or pooling is not None or offload_bytes > 0,
            max_seq_len_to_capture=args.max_seq_len_to_capture,
            on_gpu=platform.name == "cuda",
        ),
        device=DeviceConfig(
            platform=platform.name,
            cpu_threads=_at_least("--cpu-threads", args.cpu_threads, 0),
            attention_backend=envs.ATTENTION_BACKEND if args.attention_backend == "auto" else args.attention_backend,
            batch_invariant=args.batch_invariant or envs.BATCH_INVARIANT,
            sleep_mode=args.enable_sleep_mode,
            offload_bytes=offload_bytes,
        ),
        structured=structured_config(args.guided_decoding_backend, args.structured_outputs_config),
        pooling=pooling,
    )


def _model_dir(args: EngineArgs, model: str | None) -> str:
    if not model:
        logger.info("No model was named: this is the bundled one, %s.", hub.BUNDLED_NAME)
    return hub.local_model_dir(
        model,
        revision=args.revision,
        download_dir=args.download_dir,
        token=args.hf_token,
        ignore_patterns=_strings(args.ignore_patterns),
        load_format=args.load_format,
    )


def _tokenizer_dir(args: EngineArgs, model_dir: str) -> str | None:
    if args.skip_tokenizer_init:
        return None
    if args.tokenizer is None:
        path = model_dir
    else:
        path = hub.local_model_dir(
            args.tokenizer,
            revision=args.tokenizer_revision,
            download_dir=args.download_dir,
            token=args.hf_token,
            weights=False,
        )
    if not any((Path(path) / name).is_file() for name in TOKENIZER_FILES):
        raise StartError(
            f"There is no tokenizer.json in {path}; --tokenizer names another folder, "
            "--skip-tokenizer-init does without."
        )
    return path


def _shape(args: EngineArgs, model_dir: str, tokenizer_dir: str | None) -> tuple[ModelShape, PoolingConfig | None]:
    """The model with the head that the options want, and how it pools if it does."""
    config_dir = model_dir
    if args.hf_config_path is not None:
        config_dir = hub.local_model_dir(
            args.hf_config_path, download_dir=args.download_dir, token=args.hf_token, weights=False
        )
    shape = hf.read_shape(config_dir, args.hf_overrides)
    config = hf.read_config(config_dir, args.hf_overrides)
    head = choose_head(args.task, args.runner, args.convert, shape, model_dir)
    shape = with_head(shape, head, config, tokenizer_dir)
    pooling = None
    if head != "vocabulary":
        convert = "reward" if args.task == "reward" else args.convert
        pooling = pooling_config(shape, config, model_dir, convert, args.pooler_config)
    elif args.pooler_config:
        raise StartError("--pooler-config is for pooling models; --runner pooling makes this one into one.")
    if not shape.causal and (pooling is None or (shape.encoder is None and any(shape.layer_windows))):
        raise StartError("config.json: is_causal is false, which is supported for pooling without sliding windows.")
    shape = msgspec.structs.replace(shape, quantization=_quantization(args.quantization, shape.quantization))
    windows = [w for w in shape.layer_windows if w is not None]
    if args.disable_sliding_window and windows:
        shortest = min(min(windows), shape.max_position)
        shape = msgspec.structs.replace(shape, layer_windows=(), max_position=shortest)
    return shape, pooling


def _trained_length(model_dir: str, shape: ModelShape) -> int:
    """The context that a model was made for: embeddings are often trained on shorter texts than it could take."""
    modules = read_sentence_modules(model_dir) if shape.head == "none" else None
    return min(shape.max_position, modules.max_tokens or shape.max_position) if modules else shape.max_position


def _quantization(asked: str | None, has: Quantization | None) -> Quantization | None:
    """What the option asks for, given what the checkpoint has."""
    if asked == "fp8" and has is not None and has.method.startswith("fp8-"):
        return has
    if asked in ("int8", "int4", "fp8"):
        if has is not None:
            raise StartError(f"--quantization {asked}: the checkpoint is quantized already; leave the option out.")
        return Quantization(asked, DEFAULT_GROUP if asked == "int4" else 0)
    if asked == "compressed-tensors" and has is None:
        raise StartError("--quantization compressed-tensors: the checkpoint is not quantized; int8, int4, fp8 do that.")
    return has


def _served_names(args: EngineArgs) -> tuple[str, ...]:
    return _strings(args.served_model_name) or (args.model or hub.BUNDLED_NAME,)


def _strings(value: str | list[str] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _dtype(asked: str, shape: ModelShape, platform: Platform) -> str:
    name = DTYPE_NAMES.get(asked, asked)
    facts = platform.facts()
    if name != "auto":
        if name not in facts.supported_dtypes:
            known = ", ".join(facts.supported_dtypes)
            name = facts.device_name or f"this {platform.name}"
            raise StartError(f"--dtype {asked}: {name} computes only in {known}.")
        return name
    if shape.head != "vocabulary" and shape.dtype == "float32":
        return shape.dtype  # vectors are compared with those that others made
    if shape.dtype != "float32" and shape.dtype in facts.supported_dtypes:
        return shape.dtype
    # Halving float32 weights is worth its loss of precision only where it makes the model faster.
    return platform.preferred_16bit() if facts.fast_16bit else "float32"


def _block_size(asked: int | None, platform: Platform, shape: ModelShape) -> int:
    if asked is None:
        if not shape.causal:
            return min(UNKEPT_BLOCK_SIZE, BUDGETS[platform.name].block_size)
        return BUDGETS[platform.name].block_size
    if asked < 8 or asked > 256 or asked % 8:
        raise StartError(f"--block-size must be a multiple of 8 from 8 to 256, not {asked}.")
    return asked


def _kv_memory_bytes(args: EngineArgs, platform: Platform) -> int | None:
    if args.kv_cache_memory_bytes is not None:
        return _at_least("--kv-cache-memory-bytes", args.kv_cache_memory_bytes, 1)
    space = envs.CPU_KVCACHE_SPACE if platform.name == "cpu" else None
    return int(space * GIB) if space else None


def _max_logprobs(asked: int, shape: ModelShape) -> int:
    return shape.vocab_size if asked == -1 else _at_least("--max-logprobs", asked, 0)


def _max_model_len(asked: int | str | None, derived: int, pool_tokens: int) -> int:
    """The context.

    Args:
        derived: what the model was made for.
        pool_tokens: what the KV pool is estimated to hold.
    """
    if asked is None:
        if pool_tokens >= derived or pool_tokens < SHORTEST_CONTEXT:  # far too little is the worker's to refuse
            return derived
        logger.warning(
            "The context is %d tokens instead of the model's %d, because the KV pool is estimated to hold no more; "
            "--kv-cache-memory-bytes makes the pool larger, --max-model-len insists on a context.",
            pool_tokens,
            derived,
        )
        return pool_tokens
    if asked in ("auto", -1):
        if pool_tokens < 1:
            raise StartError("--max-model-len auto: the memory does not hold the keys and values of one block.")
        return min(derived, pool_tokens)
    if not isinstance(asked, int) or asked < 1:
        raise StartError(f"--max-model-len must be auto or at least 1, not {asked}.")
    if asked > derived and not envs.ALLOW_LONG_MAX_MODEL_LEN:
        raise StartError(
            f"User-specified max_model_len ({asked}) is greater than the derived max_model_len ({derived}), which is "
            "what the model was made for; rope scaling in --hf-overrides extends a model, and "
            "PENSTOCK_ALLOW_LONG_MAX_MODEL_LEN=1 allows it as it is."
        )
    return asked


def _scheduler(args: EngineArgs, usage: Usage, max_model_len: int, platform: Platform, causal: bool) -> SchedulerConfig:
    large = platform.name == "cuda" and platform.facts().memory_total >= LARGE_GPU_BYTES
    budget = BUDGETS["cuda_large" if large else platform.name]
    chunked = causal if args.enable_chunked_prefill is None else args.enable_chunked_prefill
    if chunked and not causal:
        raise StartError("--enable-chunked-prefill: every token sees the whole text, which cannot be cut.")
    seqs = _at_least("--max-num-seqs", args.max_num_seqs, 1)
    tokens = _at_least("--max-num-batched-tokens", args.max_num_batched_tokens, 1)
    if tokens is None:
        tokens = budget.tokens[usage] if chunked else max(max_model_len, budget.tokens[usage])
        # Never below what one token for each running request takes, nor more than all of them can use.
        tokens = max(min(tokens, (seqs or budget.seqs[usage]) * max_model_len), seqs or 1)
    if seqs is None:
        seqs = min(budget.seqs[usage], tokens)
    if tokens < seqs:
        raise StartError(
            f"--max-num-batched-tokens ({tokens}) must be at least --max-num-seqs ({seqs}): "
            "each running request takes a token of the step."
        )
    if not chunked and tokens < max_model_len:
        raise StartError(
            f"--max-num-batched-tokens ({tokens}) is smaller than the context ({max_model_len}), so without chunked "
            "prefill long prompts could never run; raise it, lower --max-model-len or leave chunked prefill on."
        )
    return SchedulerConfig(
        max_num_seqs=seqs,
        max_num_batched_tokens=tokens,
        step_seconds=budget.server_step_seconds if usage == "server" else None,
        enable_chunked_prefill=chunked,
        long_prefill_token_threshold=_at_least("--long-prefill-token-threshold", args.long_prefill_token_threshold, 0),
        policy=args.scheduling_policy,
        overlaps=args.async_scheduling is not False,
    )


def _default_pool_bytes(
    path: str, dtype: str, shape: ModelShape, offload_bytes: int, platform: Platform, utilization: float
) -> int:
    weights = max(0, memory.weight_bytes(path, dtype, shape).total - offload_bytes)
    return memory.default_pool_bytes(weights, platform.facts(), utilization)


def _offload_bytes(asked: float, platform: Platform) -> int:
    if asked < 0:
        raise StartError(f"--cpu-offload-gb must be at least 0, not {asked}.")
    if asked and platform.name == "cpu":
        logger.warning("--cpu-offload-gb has no effect: on a CPU all weights are in host memory.")
        return 0
    return int(asked * GIB)


def _at_least(flag: str, value: N, least: int) -> N:
    if value is not None and value < least:
        raise StartError(f"{flag} must be at least {least}, not {value}.")
    return value


def _between(flag: str, value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise StartError(f"{flag} must be from {low} to {high}, not {value}.")
    return value

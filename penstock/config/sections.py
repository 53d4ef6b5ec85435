"""Every option, declared once. EngineArgs is what `LLM(...)` takes; ServerArgs is what `serve` takes besides.

A section is a small dataclass; the two classes inherit their sections. Command line, YAML file, docs/options.md and
keywords follow from the fields. Flags of vLLM that have no field here are in `config/compat.py`.
"""

# ruff: noqa: RUF009  (option() makes a field; it is no shared default)
# No `from __future__ import annotations`: the types of the fields are read, as objects, by `options_of`.

from dataclasses import dataclass
from typing import Any

from penstock.config.options import check_fields, option


@dataclass(kw_only=True)
class ModelOptions:
    TITLE = "Model"

    model: str | None = option(
        None, "Model to serve: a local folder or a Hugging Face hub id. Without it the bundled model is served."
    )
    served_model_name: str | list[str] | None = option(
        None,
        "Names of the model in requests and answers; the first one is echoed. Default: the model as given.",
        kind="strs",
    )
    tokenizer: str | None = option(None, "Folder or hub id of the tokenizer, if it is not the model's.")
    skip_tokenizer_init: bool = option(
        False, "Load no tokenizer: prompts are token ids, answers too; text, stop strings and chat are refused."
    )
    revision: str | None = option(None, "Hub revision (branch, tag or commit) of weights and configuration.")
    tokenizer_revision: str | None = option(None, "Hub revision of the tokenizer.")
    hf_config_path: str | None = option(None, "Folder or hub id whose config.json replaces the model's.")
    hf_overrides: dict[str, Any] | None = option(
        None, "JSON object merged, member by member, over config.json (also --hf-overrides.key value)."
    )
    dtype: str = option(
        "auto",
        "Type of weights and activations. auto: the checkpoint's own type; a float32 checkpoint runs in the 16-bit "
        "type that the device computes fast, or in float32 where there is none.",
        choices=("auto", "half", "float16", "bfloat16", "float", "float32"),
    )
    quantization: str | None = option(
        None,
        "How weights are kept. int8: 8 bits, a scale for each output; int4: 4 bits, a scale for each 64 inputs; fp8: "
        "8-bit floating point, a scale for each output; all made while loading, from any checkpoint. On a CPU int8 and "
        "int4 have activations of 8 bits, too, and fp8 is widened. compressed-tensors, and none, which is the default: "
        "as the checkpoint has them.",
        choices=("none", "int8", "int4", "fp8", "compressed-tensors"),
        flags=("-q",),
    )
    max_model_len: int | str | None = option(
        None,
        "Context in tokens, prompt and answer together; takes 4k or 4K. Default: what the model was made for, or "
        "as much of that as the KV pool holds, said in the log. auto or -1: the same, and not said.",
        kind="human",
        words=("auto",),
    )
    seed: int | None = option(0, "Seed of the random numbers of requests that bring none.")
    max_logprobs: int = option(20, "Most log-probabilities per token that a request may ask for; -1: the vocabulary.")
    disable_sliding_window: bool = option(
        False, "Full attention in layers that have a window; the context is then at most the window."
    )
    generation_config: str = option(
        "auto",
        "Where default sampling values come from. auto: the model's generation_config.json; vllm: from nowhere; "
        "else a folder that holds one.",
    )
    override_generation_config: dict[str, Any] | None = option(
        None, "JSON object of default sampling values, merged over those of --generation-config."
    )


@dataclass(kw_only=True)
class PoolingOptions:
    TITLE = "Pooling"

    runner: str = option(
        "auto",
        "What the model is for. auto: as its architecture and its files say; pooling: embeddings, scores and classes.",
        choices=("auto", "generate", "pooling"),
    )
    convert: str = option(
        "auto",
        "What a model is made into for pooling. auto: as its architecture says, and a model that generates gives "
        "embeddings; embed: its head is left out; classify: it gets a classifying head; reward: values token by token.",
        choices=("auto", "none", "embed", "classify", "reward"),
    )
    task: str = option(
        "auto",
        "--runner and --convert in one word, as older versions have it: embed and embedding, classify and score, and "
        "reward are for pooling.",
        choices=("auto", "generate", "embed", "embedding", "classify", "score", "reward"),
    )
    pooler_config: dict[str, Any] | None = option(
        None,
        "JSON object over what the model's files say: pooling_type (CLS, MEAN, LAST, ALL, STEP), use_activation, "
        "dimensions and others; see docs/pooling.md.",
    )


@dataclass(kw_only=True)
class LoadOptions:
    TITLE = "Load"

    load_format: str = option(
        "auto",
        "Where weights come from. auto: safetensors, else PyTorch files; pt: .bin or .pt, read without running code; "
        "dummy: small random values, for measurements.",
        choices=("auto", "safetensors", "pt", "dummy"),
    )
    download_dir: str | None = option(None, "Folder for downloads. Default: the hub client's cache.")
    ignore_patterns: str | list[str] | None = option(
        ["original/**/*"], "File patterns that are not downloaded.", kind="strs"
    )
    hf_token: str | None = option(None, "Hugging Face access token. Default: HF_TOKEN or the stored login.")
    use_tqdm_on_load: bool = option(True, "Show a progress bar while weights load, if stderr is a terminal.")


@dataclass(kw_only=True)
class CacheOptions:
    TITLE = "Cache"

    block_size: int | None = option(
        None, "Tokens per block of the KV cache, a multiple of 8. Default: 128 on CPU, 16 on CUDA."
    )
    kv_cache_dtype: str = option(
        "auto",
        "Type that keys and values are stored in. auto: --dtype. 8-bit types take half the memory and keep a scale per "
        "token and head; fp8 is fp8_e4m3. docs/kv-cache.md has their errors.",
        choices=("auto", "bfloat16", "float16", "float32", "fp8", "fp8_e4m3", "fp8_e5m2", "int8"),
    )
    enable_prefix_caching: bool | None = option(
        True, "Reuse the KV blocks of a prompt's beginning that was seen before."
    )
    prefix_caching_hash_algo: str = option(
        "builtin",
        "Hash of the blocks. builtin: BLAKE2b, keyed with a secret of this server; xxhash is fast but can be attacked.",
        choices=("builtin", "sha256", "sha256_cbor", "xxhash"),
    )
    gpu_memory_utilization: float = option(
        0.9,
        "Share of a GPU's memory for weights, activations, graphs and KV together. On CPU the default pool is smaller, "
        "see --kv-cache-memory-bytes.",
        flags=("--device-memory-utilization",),
    )
    kv_cache_memory_bytes: int | None = option(
        None,
        "Exact size of the KV pool in bytes; takes 512M or 4G. Default on CPU: PENSTOCK_CPU_KVCACHE_SPACE (GiB), "
        "else at most a quarter of the free memory.",
        kind="human",
    )
    num_gpu_blocks_override: int | None = option(None, "Exact number of KV blocks, whatever the memory.")


@dataclass(kw_only=True)
class SchedulerOptions:
    TITLE = "Scheduler"

    max_num_seqs: int | None = option(
        None,
        "Most requests that run at once. Default on CPU: 128 for a server, 256 offline; on a GPU 256, from 70 GiB on "
        "1024.",
    )
    max_num_batched_tokens: int | None = option(
        None,
        "Most tokens of one step; takes 2k or 2K. Default on CPU: 2048 for a server, 4096 offline; on a GPU 2048 and "
        "8192, from 70 GiB on 8192 and 16384. Where others decode, a server on CPU runs fewer of a prompt, so that a "
        "step lasts about 0.15 seconds.",
        kind="human",
    )
    enable_chunked_prefill: bool | None = option(
        None, "Run a long prompt in several steps, beside others. Default: on."
    )
    long_prefill_token_threshold: int = option(0, "Most tokens that one prompt may take of a step; 0: no such limit.")
    scheduling_policy: str = option(
        "fcfs",
        "Order of requests. fcfs: by arrival; priority: lower values of the request's priority first.",
        choices=("fcfs", "priority"),
    )
    async_scheduling: bool | None = option(
        None,
        "Plan and issue a step while the one before is still computed, so that a GPU does not wait for the host. "
        "Default: on with a GPU. On a CPU steps follow each other either way: its cores are what computes.",
    )


@dataclass(kw_only=True)
class DeviceOptions:
    TITLE = "Device"

    device: str = option(
        "auto", "What to run on: cpu, or cuda, which is the first NVIDIA GPU that is visible. auto: cuda where it can."
    )
    cpu_offload_gb: float = option(
        0.0,
        "GiB of weights that stay in host memory and come to the GPU layer by layer while others compute; nothing is "
        "recorded then. On CPU without effect: all weights are in host memory. See docs/gpu.md.",
    )
    enable_sleep_mode: bool = option(
        False,
        "Let the engine be told to give its memory back for a while: /sleep, /wake_up and /is_sleeping with "
        "VLLM_SERVER_DEV_MODE=1, LLM.sleep and LLM.wake_up. See docs/gpu.md.",
    )
    enforce_eager: bool = option(False, "Record no graphs of steps and compile nothing. See docs/gpu.md.")
    max_seq_len_to_capture: int | None = option(
        None,
        "Longest context, in tokens, that recorded decode steps are for; steps with a longer one are recorded around "
        "attention alone, on a CPU not at all. Default: --max-model-len.",
    )
    compilation_config: dict[str, Any] | int | None = option(
        None,
        "What is recorded and compiled. 0: nothing; 1: graphs around attention, on a GPU; 2, the default: also of "
        "whole decode steps; 3: also torch.compile, on a GPU. Or a JSON object, see docs/gpu.md.",
        flags=("-O", "-cc"),
        kind="json",
        words=(0, 1, 2, 3),
    )
    attention_backend: str = option(
        "auto",
        "What computes attention. packed (CPU_ATTN, TORCH_SDPA) and torch_paged are for CPUs; triton (TRITON_ATTN) and "
        "varlen (FLASH_ATTN), which leaves prompts to PyTorch's flash attention, are for GPUs; so is flashinfer "
        "(FLASHINFER), if that package is installed. auto: the first that can, and the log says which. Or "
        "VLLM_ATTENTION_BACKEND.",
        choices=(
            *("auto", "packed", "torch_paged", "triton", "varlen", "flashinfer"),
            *("CPU_ATTN", "TORCH_SDPA", "TRITON_ATTN", "FLASH_ATTN", "FLASHINFER"),
        ),
    )
    batch_invariant: bool = option(
        False,
        "On a GPU, too, a request's tokens and log-probabilities are the same bits at any load: products and attention "
        "are cut alike for every batch, which costs speed. On a CPU it is always so.",
    )
    cpu_threads: int = option(0, "Threads that compute on the CPU; 0: one for each physical core allowed.")


@dataclass(kw_only=True)
class StructuredOptions:
    TITLE = "Structured outputs"

    guided_decoding_backend: str = option(
        "auto",
        "What compiles constraints: llguidance (also called guidance, and what auto takes) or xgrammar, which has to "
        "be installed and leaves to llguidance what it cannot do; llguidance stands in for outlines and "
        "lm-format-enforcer. After a colon, with commas between them: no-fallback, disable-any-whitespace, "
        "no-additional-properties.",
    )
    structured_outputs_config: dict[str, Any] | None = option(
        None,
        "JSON object with backend, disable_any_whitespace and disable_additional_properties: the same, as vLLM "
        "writes it today.",
    )


@dataclass(kw_only=True)
class StatsOptions:
    TITLE = "Statistics"

    disable_log_stats: bool = option(False, "No periodic line of statistics in the log of a server.")


@dataclass(kw_only=True)
class EngineArgs(
    StatsOptions,
    StructuredOptions,
    DeviceOptions,
    SchedulerOptions,
    CacheOptions,
    LoadOptions,
    PoolingOptions,
    ModelOptions,
):
    """All options of the engine. Field names and defaults are those of vLLM's keywords.

    Raises:
        StartError: a value has the wrong type or is not among the choices.
    """

    def __post_init__(self) -> None:
        check_fields(self)


AsyncEngineArgs = EngineArgs


@dataclass(kw_only=True)
class NetworkOptions:
    TITLE = "Network"

    host: str | None = option(None, "Address to listen on. Default: all interfaces, IPv4 and IPv6.")
    port: int = option(8000, "TCP port to listen on; 0 takes a free one.")
    uds: str | None = option(None, "Path of a Unix socket to listen on instead of TCP.")
    root_path: str | None = option(None, "Path under which a proxy shows this server.")
    ssl_keyfile: str | None = option(None, "File of the TLS key.")
    ssl_certfile: str | None = option(None, "File of the TLS certificate.")
    ssl_ca_certs: str | None = option(None, "File of the authorities that may sign client certificates.")
    ssl_cert_reqs: int = option(0, "Client certificates: 0 not asked for, 1 optional, 2 required.", choices=(0, 1, 2))
    ssl_ciphers: str | None = option(None, "Allowed TLS ciphers, in OpenSSL's notation.")
    enable_ssl_refresh: bool = option(False, "Read TLS files again when they change.")
    middleware: list[str] = option(
        [], 'Import path of an ASGI middleware class or of an async "http" function; may be given more than once.'
    )
    disable_fastapi_docs: bool = option(False, "Do not serve /docs, /redoc and /openapi.json.")
    disable_frontend_multiprocessing: bool = option(
        False, "Run the engine on a thread of the server's process, not in one of its own: slower, but one process."
    )
    shutdown_timeout: float = option(
        30.0, "Seconds that running requests get to finish after SIGTERM; 0: none.", flags=("--drain-timeout",)
    )


@dataclass(kw_only=True)
class AccessOptions:
    TITLE = "Access"

    api_key: str | list[str] | None = option(
        None, "Key that requests must bring; several are allowed. Default: PENSTOCK_API_KEY, else none.", kind="strs"
    )
    protect_metrics: bool = option(False, "Ask for the API key at /metrics, too.")
    allow_credentials: bool = option(False, "CORS: allow credentials.")
    allowed_origins: list[str] = option([], "CORS: JSON list of origins.", kind="json")
    allowed_methods: list[str] = option(["*"], "CORS: JSON list of methods.", kind="json")
    allowed_headers: list[str] = option(["*"], "CORS: JSON list of request headers.", kind="json")


@dataclass(kw_only=True)
class LimitOptions:
    TITLE = "Limits"

    max_num_queued_reqs: int = option(16384, "Most requests that are unfinished at once; more get 429. 0: no limit.")
    max_num_queued_tokens: int | None = option(
        None, "Most prompt tokens that wait for their prefill; more get 429. Default: no limit.", kind="human"
    )
    max_queue_time: float | None = option(None, "Seconds that a request may wait for its first step; then 408.")
    request_timeout: float | None = option(
        None, "Seconds that a request may take in all; the header X-Request-Timeout-Ms may only shorten it."
    )


@dataclass(kw_only=True)
class ApiOptions:
    TITLE = "API"

    chat_template: str | None = option(None, "Chat template: a file, or the template itself. Default: the model's.")
    chat_template_content_format: str = option(
        "auto",
        "How a template sees the content of a message: as a string or as a list of parts. auto: by its source.",
        choices=("auto", "string", "openai"),
    )
    default_chat_template_kwargs: dict[str, Any] | None = option(
        None, "JSON object of values for the template, under those of the request (enable_thinking, say)."
    )
    trust_request_chat_template: bool = option(False, "Allow a request to bring its own chat template.")
    response_role: str = option("assistant", "Role of the messages that the model writes.")
    return_tokens_as_token_ids: bool = option(False, 'Write tokens in logprobs as "token_id:N".')
    enable_request_id_headers: bool = option(False, "Send X-Request-Id with every answer: the client's or a new one.")
    enable_prompt_tokens_details: bool = option(False, "Say in usage how many prompt tokens came from the cache.")
    enable_force_include_usage: bool = option(False, "Send usage with every stream, asked for or not.")
    enable_server_load_tracking: bool = option(False, "Count the requests in flight for /load.")
    enable_tokenizer_info_endpoint: bool = option(False, "Serve /tokenizer_info: the tokenizer's configuration.")
    stream_interval: int = option(1, "Tokens that a stream sends together, after the first; a request may say so, too.")
    sse_keep_alive_interval: float = option(15.0, "Seconds of silence after which a stream gets a comment; 0: none.")


@dataclass(kw_only=True)
class ParserOptions:
    TITLE = "Tools and reasoning"

    tool_call_parser: str = option(
        "auto",
        "What reads tool calls in answers: a form of docs/tools-and-reasoning.md, or a plug-in's. auto: by "
        "the chat template and the special tokens, where they tell; none: nothing, so that only forced calls work.",
    )
    enable_auto_tool_choice: bool = option(
        False, "Refuse to start if no parser for tool calls is found. With one, models choose tools without this too."
    )
    tool_parser_plugin: str | None = option(None, "Python file that registers tool parsers.")
    exclude_tools_when_tool_choice_none: bool = option(
        False, 'Do not show the template the tools of requests whose tool_choice is "none".'
    )
    reasoning_parser: str | None = option(
        None,
        "What splits reasoning from answers: a form of docs/tools-and-reasoning.md, or a plug-in's. auto: "
        "by the chat template. Default: reasoning stays in the content, unless --tool-call-parser says otherwise.",
    )
    enable_reasoning: bool = option(False, "The same as --reasoning-parser auto, where that is not given.")
    reasoning_parser_plugin: str | None = option(None, "Python file that registers reasoning parsers.")


@dataclass(kw_only=True)
class LogOptions:
    TITLE = "Logging"

    log_level: str | None = option(
        None,
        "Lowest level that is logged. Default: PENSTOCK_LOGGING_LEVEL, else info.",
        choices=("debug", "info", "warning", "error", "critical"),
    )
    log_config_file: str | None = option(None, "JSON file in the form of logging.config.dictConfig.")
    uvicorn_log_level: str = option(
        "info",
        "Lowest level that the HTTP server logs.",
        choices=("trace", "debug", "info", "warning", "error", "critical"),
    )
    disable_uvicorn_access_log: bool = option(False, "No line per HTTP request.")
    disable_access_log_for_endpoints: str | None = option(
        None, "Paths without a line per HTTP request, with commas between them."
    )
    enable_log_requests: bool = option(False, "Log every request: its parameters and its prompt.")
    max_log_len: int | None = option(None, "Most characters or ids of a prompt that are logged. Default: all.")
    metrics_prefix: str = option("penstock", "First part of the names at /metrics; vllm fits existing dashboards.")


@dataclass(kw_only=True)
class ServerArgs(LogOptions, ParserOptions, ApiOptions, LimitOptions, AccessOptions, NetworkOptions):
    """All options of the server beside the engine's.

    Raises:
        StartError: a value has the wrong type or is not among the choices.
    """

    def __post_init__(self) -> None:
        check_fields(self)

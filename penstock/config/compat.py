"""Flags of vLLM that are no options here: what becomes of each. Every flag of vLLM 0.7 to 0.32 is an option or a row.

A row is refused unless its value asks for nothing; or it holds anyway; or it is accepted, with a line that says why it
has no effect; or it is another way to write an option. A flag becomes an option by moving to `sections.py`.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from penstock.config.options import Option, options_of, parse_text
from penstock.config.sections import EngineArgs
from penstock.errors import StartError

logger = logging.getLogger("penstock.config.compat")


@dataclass(frozen=True)
class Row:
    """What becomes of one flag.

    Attributes:
        name: with underscores, as keyword and in YAML.
        kind: how its value is written, see `options.KINDS`.
        fine: values that ask for nothing this version lacks.
        flags: other complete spellings.
        verdict: refused, holds, accepted or mapped.
        why: why it is refused or has no effect; for a mapped one, to what.
    """

    name: str
    kind: str
    fine: tuple[Any, ...]
    flags: tuple[str, ...]
    verdict: str
    why: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def as_option(self) -> Option:
        """In the form that the command line is built from."""
        return Option(self.name, self.kind, None, self.why, None, self.flags, "", (), True)


# How the tables below are written: name[/other spelling]...[:kind][=value that is fine|another]...
# Kind is str unless it is given; None is always fine, and so is false for a bool without values.

# "--flag VALUE is not built into this version: REASON."
REFUSED = {
    "it serves no LoRA adapters": """
        enable-lora:bool lora-modules:strs max-loras:int=1 max-lora-rank:int=16 lora-dtype=auto max-cpu-loras:int
        fully-sharded-loras:bool enable-lora-bias:bool lora-extra-vocab-size:int=256 long-lora-scaling-factors:strs
        qlora-adapter-name-or-path default-mm-loras:json lora-target-modules:strs enable-tower-connector-lora:bool
        specialize-active-lora:bool enable-mixed-moe-lora-format:bool enable-moe-shared-loras:bool
        max-lora-cls-labels:int
        """,
    "it has no prompt adapters": """
        prompt-adapters:strs enable-prompt-adapter:bool max-prompt-adapters:int=1 max-prompt-adapter-token:int=0
        """,
    "it does not speculate": """
        speculative-config/-sc:json speculative-model speculative-model-quantization num-speculative-tokens:int
        speculative-draft-tensor-parallel-size/-spec-draft-tp:int speculative-max-model-len:int
        speculative-disable-by-batch-size:int ngram-prompt-lookup-max:int ngram-prompt-lookup-min:int
        spec-decoding-acceptance-method=rejection_sampler speculative-disable-mqa-scorer:bool
        typical-acceptance-sampler-posterior-threshold:float=0.09 typical-acceptance-sampler-posterior-alpha:float=0.3
        disable-logprobs-during-spec-decoding:bool=true|false num-lookahead-slots:int=0
        spec-method spec-model spec-tokens:int per-request-spec-decode-metrics=none
        """,
    "it calls no tools itself, and knows tools and reasoning as their parsers do": """
        tool-server tool-strict-level=auto
        reasoning-config/-rc:json cohere-is-reasoning-model:bool cohere-format anthropic-disabled-thinking-effort
        """,
    "it runs on one device": """
        tensor-parallel-size/-tp:int=1 pipeline-parallel-size/-pp:int=1 data-parallel-size/-dp:int=1
        enable-expert-parallel/-ep:bool max-parallel-loading-workers:int ray-workers-use-nsight:bool
        distributed-executor-backend=uni kv-transfer-config:json nnodes/-n:int=1 node-rank/-r:int=0
        master-addr=127.0.0.1 master-port:int=29501 distributed-timeout-seconds:int device-ids:strs
        data-parallel-rank/-dpn:int data-parallel-start-rank/-dpr:int data-parallel-size-local/-dpl:int
        data-parallel-address/-dpa data-parallel-rpc-port/-dpp:int data-parallel-backend/-dpb=mp
        data-parallel-hybrid-lb/-dph:bool data-parallel-external-lb/-dpe:bool
        data-parallel-multi-port-external-lb/-dpm:bool decode-context-parallel-size/-dcp:int=1
        prefill-context-parallel-size/-pcp:int=1 enable-eplb:bool eplb-config:json all2all-backend enable-dbo:bool
        enable-elastic-ep:bool expert-placement-strategy=linear cpu-distributed-timeout-seconds:int numa-bind:bool
        numa-bind-nodes:strs numa-bind-cpus:strs dcp-comm-backend dcp-q-replicate:bool
        dcp-kv-cache-interleave-size:int=1 cp-kv-cache-interleave-size:int=1 enable-hc-sp:bool
        enable-batch-sharded-sampling:bool enable-ep-weight-filter:bool enable-shm-tensor-arena:bool ubatch-size:int=0
        elastic-ep-max-dp-size:int dbo-decode-token-threshold:int=32 dbo-prefill-token-threshold:int=512
        dp-sync-interval:int disable-nccl-for-dp-synchronization:bool fault-tolerance-config:json
        enable-fault-tolerance:bool data-parallel-supervisor-port:int dp-supervisor-probe-interval-s:float
        dp-supervisor-probe-timeout-s:float dp-supervisor-probe-failure-threshold:int headless:bool
        aggregate-engine-logging:bool ec-transfer-config:json ec-manager-config:json
        """,
    "its front and its engine are one process each": """
        api-server-count/-asc:int=1 renderer-num-workers:int=1
        tokenizer-pool-size:int=0
        """,
    "it has its own worker and its own scheduler": """
        worker-cls=auto worker-extension-cls= scheduler-cls=vllm.core.scheduler.Scheduler
        """,
    "it preempts by computing again, and knows no host memory for KV": """
        swap-space:float=4|0 preemption-mode=recompute kv-offloading-size:float=0 kv-offloading-backend=native
        """,
    "it plans each step by itself and sends the tokens of each": """
        num-scheduler-steps:int=1 multi-step-stream-outputs:bool=true
        disable-async-output-proc:bool
        """,
    "requests are admitted at every step, within --max-num-seqs and --max-num-batched-tokens": """
        scheduler-delay-factor:float=0 max-num-partial-prefills:int=1 max-long-partial-prefills:int=1
        max-num-scheduled-tokens:int max-num-active-seqs:int long-prefill-token-threshold-adaptive:bool
        scheduler-reserve-full-isl:bool=true watermark:float=0 prefill-schedule-interval:int=1
        disable-hybrid-kv-cache-manager:bool
        """,
    "--cpu-offload-gb takes whole layers, the last ones first, and has no further settings": """
        cpu-offload-params:strs offload-backend=auto offload-group-size:int=0 offload-num-in-group:int=1
        offload-prefetch-step:int=1 offload-params:strs
        """,
    "its sleep mode has no further settings": """
        sleep-mode-offload-cudagraph:bool sleep-preserve-parameter-names:strs enable-cumem-allocator:bool
        enable-nccl-comm-suspend:bool
        """,
    "--quantization has no further settings": "quantization-config:json allow-deprecated-quantization:bool",
    "--kv-cache-dtype is for all layers": "kv-cache-dtype-skip-layers:strs",
    "it draws without Gumbel noise": "use-fp64-gumbel:bool",
    "its kernels and graphs have no such setting": """
        performance-mode=balanced cudagraph-metrics:bool ir-op-priority:json
        enable-flashinfer-autotune:bool jit-monitor-mode jit-monitor-verbose:bool
        """,
    "but for --attention-backend it chooses its kernels itself": """
        attention-config/-ac:json={} moe-backend=auto linear-backend=auto kernel-config:json={}
        sparse-indexer-topk-backend=auto gdn-prefill-backend=auto kda-prefill-backend=auto kda-decode-backend=auto
        """,
    "its models take text": """
        io-processor-plugin enable-prompt-embeds:bool limit-mm-per-prompt:json={} mm-processor-kwargs:json={}
        allowed-local-media-path= allowed-media-domains:strs mm-processor-cache-gb:float=4|0
        mm-processor-cache-type=lru mm-hasher-algorithm=blake3 media-io-kwargs:json={} enable-mm-embeds:bool
        interleave-mm-strings:bool mm-encoder-tp-mode=weights trust-request-mm-kwargs:bool
        mm-shm-cache-max-object-size-mb:int=128 mm-encoder-only:bool mm-encoder-attn-backend=auto
        mm-encoder-attn-dtype=auto mm-encoder-fp8-scale-path mm-encoder-fp8-scale-save-path
        mm-encoder-fp8-scale-save-margin:float video-pruning-rate:float=0 video-pruning-method mm-tensor-ipc
        mm-processor-device mm-ipc-gpu-memory-gb:float=0 mm-device-do-normalize:bool enable-flash-late-interaction:bool
        diffusion-config:json engram-config:json
        """,
    "it has no models with a recurrent state": """
        mamba-backend=auto mamba-ssu-algorithm=auto enable-mamba-cache-stochastic-rounding:bool
        mamba-cache-philox-rounds:int=0 mamba-cache-dtype=auto mamba-ssm-cache-dtype=auto mamba-block-size:int
        mamba-cache-mode=none enable-mamba-shared-prefix-checkpoint:bool replayssm-buffer-len:int use-replayssm:bool
        """,
    "its prefix cache has no such setting": """
        prefix-cache-retention-interval:float kv-sharing-fast-prefill:bool swa-bounded-replay:bool prefix-match-unit
        kv-events-config:json
        """,
    "it has its own code for every model it knows and one kind of tokenizer": """
        model-impl=auto|vllm|penstock tokenizer-mode=auto|hf config-format=auto|hf code-revision
        model-class-overrides:json additional-config:json={}
        """,
    "its loader reads each file as it is": """
        model-loader-extra-config:json={} safetensors-load-strategy=lazy safetensors-prefetch-num-threads:int
        safetensors-prefetch-block-size:human pt-load-map-location=cpu
        """,
    "it has no Neuron back end": "override-neuron-config:json={}",
    "requests cannot name Python code": "logits-processor-pattern logits-processors:strs",
    "its log probabilities are the model's own, before any sampling parameter": "logprobs-mode=raw_logprobs",
    "it traces and profiles nothing": """
        otlp-traces-endpoint collect-detailed-traces:strs profiler-config:json={} enable-layerwise-nvtx-tracing:bool
        enable-trace-replay:bool
        """,
    "its log and its metrics have no such part": """
        enable-log-outputs:bool logging-config:json log-error-stack:bool enable-per-request-metrics:bool
        kv-cache-metrics:bool kv-cache-metrics-sample:float=0.01 custom-histogram-buckets:json enable-mfu-metrics:bool
        enable-logging-iteration-details:bool
        """,
    "its API has no such part": """
        tokens-only:bool enable-scale-out:bool fingerprint-mode=none fingerprint-value grpc:bool grpc-port:int
        weight-transfer-config:json watermark-config:json aux-output-config:json return-sampling-mask:bool
        enable-return-routed-experts:bool enable-offline-docs:bool
        h11-max-incomplete-event-size:int=4194304 h11-max-header-count:int=256
        """,
}

# Holds whatever the value, so there is nothing to say.
HOLDS = {
    "there is one device and nothing to reduce": "disable-custom-all-reduce:bool",
    "there is no kernel for shared prefixes": "disable-cascade-attn:bool",
    "8-bit keys and values have scales that are computed for each token and head": "calculate-kv-scales:bool",
    "media are not read": """
        disable-mm-preprocessor-cache:bool language-model-only:bool skip-mm-profiling:bool disable-chunked-mm-input:bool
        """,
    "no response is logged": "enable-log-deltas:bool",
    "variables that look like ours and are none are always reported": "fail-on-environ-validation:bool",
}

# Accepted, with a line in the log.
ACCEPTED = {
    "there is one block manager": "use-v2-block-manager:bool",
    "no code of a model's repository is ever run, so the permission is not used": "trust-remote-code:bool",
    "it only matters with a --tokenizer-pool-size above 0": "tokenizer-pool-type tokenizer-pool-extra-config:json",
    "no metrics are hidden": "show-hidden-metrics-for-version",
}


def _set(field: str, convert: Callable[[Any], Any]) -> Callable[[Any, dict[str, Any]], None]:
    def move(value: Any, values: dict[str, Any]) -> None:
        values.setdefault(field, convert(value))

    return move


def _rope(key: str) -> Callable[[Any, dict[str, Any]], None]:
    def move(value: Any, values: dict[str, Any]) -> None:
        values["hf_overrides"] = {key: value, **(values.get("hf_overrides") or {})}

    return move


def _compilation(key: str) -> Callable[[Any, dict[str, Any]], None]:
    def move(value: Any, values: dict[str, Any]) -> None:
        given = values.get("compilation_config")
        members = {"level": given} if isinstance(given, int) else given or {}
        values["compilation_config"] = {key: value, **members}

    return move


# Row -> (how it is written, what it means, what moves the value to an option).
MAPPED: dict[str, tuple[str, Callable[[Any, dict[str, Any]], None]]] = {
    "rope-scaling:json": ("--hf-overrides.rope_scaling", _rope("rope_scaling")),
    "override-pooler-config:json": ("--pooler-config", _set("pooler_config", lambda value: value)),
    "optimization-level:int": ("--compilation-config", _compilation("level")),
    "cudagraph-capture-sizes:strs": (
        "--compilation-config.cudagraph_capture_sizes",
        _compilation("cudagraph_capture_sizes"),
    ),
    "max-cudagraph-capture-size:int": (
        "--compilation-config.max_cudagraph_capture_size",
        _compilation("max_cudagraph_capture_size"),
    ),
    "rope-theta:float": ("--hf-overrides.rope_theta", _rope("rope_theta")),
    "disable-log-requests:bool": ("--no-enable-log-requests", _set("enable_log_requests", lambda off: not off)),
}


def _read(text: str, verdict: str, why: str) -> list[Row]:
    rows = []
    for word in text.split():
        head, _, values = word.partition("=")
        names, _, kind = head.partition(":")
        name, *flags = names.split("/")
        kind = kind or "str"
        fine: list[Any] = [None]
        if "=" in word:
            fine += [_fine(kind, v) for v in values.split("|")]
        elif kind == "bool":
            fine.append(False)
        rows.append(Row(name.replace("-", "_"), kind, tuple(fine), tuple(flags), verdict, why))
    return rows


def _fine(kind: str, text: str) -> Any:
    return parse_text(Option("", kind, None, "", None, (), "", (), True), text)


def _table() -> dict[str, Row]:
    rows: list[Row] = []
    for verdict, table in (("refused", REFUSED), ("holds", HOLDS), ("accepted", ACCEPTED)):
        for why, text in table.items():
            rows += _read(text, verdict, why)
    for text, (why, _) in MAPPED.items():
        rows += _read(text, "mapped", why)
    by_name = {r.name: r for r in rows}
    assert len(by_name) == len(rows), "a flag has two rows"
    return by_name


TABLE = _table()
_MOVES = {text.partition(":")[0].replace("-", "_"): move for text, (_, move) in MAPPED.items()}


def apply(name: str, value: Any, values: dict[str, Any]) -> None:
    """Do what the row says with a value that somebody gave.

    Args:
        name: the row, with underscores.
        values: options by field name; a mapped row changes it.

    Raises:
        StartError: this version does not have what the value asks for.
    """
    row = TABLE[name]
    if row.verdict == "mapped":
        if value is not None:
            _MOVES[name](value, values)
    elif row.verdict == "holds" or _is_fine(row, value):
        return
    elif row.verdict == "accepted":
        logger.warning("%s has no effect: %s.", row.flag, row.why)
    else:
        given = {True: row.flag, False: "--no-" + row.flag[2:]}[value] if row.kind == "bool" else f"{row.flag} {value}"
        raise StartError(f"{given} is not built into this version: {row.why}.")


def _is_fine(row: Row, value: Any) -> bool:
    """Whether the value asks for nothing; True and 1 are different values."""
    return any(value == f and isinstance(value, bool) == isinstance(f, bool) for f in row.fine)


def engine_args(**keywords: Any) -> EngineArgs:
    """EngineArgs from keywords as vLLM's `LLM` and `EngineArgs` take them.

    Raises:
        TypeError: nobody knows such a keyword; the message names near ones.
        StartError: this version does not have what a value asks for.
    """
    known = {o.name for o in options_of(EngineArgs)}
    values = {k: v for k, v in keywords.items() if k in known}
    if "dtype" in values:
        values["dtype"] = str(values["dtype"]).removeprefix("torch.")
    for name in keywords:
        if name in known:
            continue
        if name not in TABLE:
            near = difflib.get_close_matches(name, [*known, *TABLE], n=3)
            raise TypeError(f"unexpected keyword argument {name!r}" + (f"; near: {', '.join(near)}" if near else ""))
        apply(name, keywords[name], values)
    return EngineArgs(**{k: v for k, v in values.items() if k in known})  # a row may have set an option of the server

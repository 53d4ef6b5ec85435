"""The command line of options: spellings, precedence, help and errors."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from penstock.config.cli import OptionParser, engine_args, make_arg_parser, parse_serve
from penstock.config.options import options_of
from penstock.config.sections import EngineArgs, ServerArgs
from penstock.errors import StartError

# Every option: words of a command line -> the value its field gets. A test below checks that none is left out.
EFFECTS: dict[str, tuple[list[str], Any]] = {
    "model": (["--model", "m"], "m"),
    "served_model_name": (["--served-model-name", "a", "b"], ["a", "b"]),
    "tokenizer": (["--tokenizer", "t"], "t"),
    "skip_tokenizer_init": (["--skip-tokenizer-init"], True),
    "revision": (["--revision", "v1"], "v1"),
    "tokenizer_revision": (["--tokenizer-revision", "v2"], "v2"),
    "hf_config_path": (["--hf-config-path", "c"], "c"),
    "hf_overrides": (["--hf-overrides", '{"a": {"b": 1}}'], {"a": {"b": 1}}),
    "dtype": (["--dtype", "half"], "half"),
    "quantization": (["--quantization", "int8"], "int8"),
    "max_model_len": (["--max-model-len", "4k"], 4000),
    "seed": (["--seed", "7"], 7),
    "max_logprobs": (["--max-logprobs", "-1"], -1),
    "disable_sliding_window": (["--disable-sliding-window"], True),
    "generation_config": (["--generation-config", "vllm"], "vllm"),
    "override_generation_config": (["--override-generation-config.top_k", "3"], {"top_k": 3}),
    "runner": (["--runner", "pooling"], "pooling"),
    "convert": (["--convert", "embed"], "embed"),
    "task": (["--task", "score"], "score"),
    "pooler_config": (["--pooler-config.pooling_type", "MEAN"], {"pooling_type": "MEAN"}),
    "load_format": (["--load-format", "dummy"], "dummy"),
    "download_dir": (["--download-dir", "d"], "d"),
    "ignore_patterns": (["--ignore-patterns", "*.a", "*.b"], ["*.a", "*.b"]),
    "hf_token": (["--hf-token", "t"], "t"),
    "use_tqdm_on_load": (["--no-use-tqdm-on-load"], False),
    "block_size": (["--block-size", "16"], 16),
    "attention_backend": (["--attention-backend", "TRITON_ATTN"], "TRITON_ATTN"),
    "kv_cache_dtype": (["--kv-cache-dtype", "float16"], "float16"),
    "enable_prefix_caching": (["--no-enable-prefix-caching"], False),
    "prefix_caching_hash_algo": (["--prefix-caching-hash-algo", "sha256"], "sha256"),
    "gpu_memory_utilization": (["--gpu-memory-utilization", "0.5"], 0.5),
    "kv_cache_memory_bytes": (["--kv-cache-memory-bytes", "512M"], 512 << 20),
    "num_gpu_blocks_override": (["--num-gpu-blocks-override", "64"], 64),
    "max_num_seqs": (["--max-num-seqs", "3"], 3),
    "max_num_batched_tokens": (["--max-num-batched-tokens", "2K"], 2048),
    "enable_chunked_prefill": (["--no-enable-chunked-prefill"], False),
    "long_prefill_token_threshold": (["--long-prefill-token-threshold", "9"], 9),
    "scheduling_policy": (["--scheduling-policy", "priority"], "priority"),
    "async_scheduling": (["--no-async-scheduling"], False),
    "device": (["--device", "cpu"], "cpu"),
    "batch_invariant": (["--batch-invariant"], True),
    "cpu_offload_gb": (["--cpu-offload-gb", "2.5"], 2.5),
    "enable_sleep_mode": (["--enable-sleep-mode"], True),
    "enforce_eager": (["--enforce-eager"], True),
    "max_seq_len_to_capture": (["--max-seq-len-to-capture", "8192"], 8192),
    "compilation_config": (["-cc", '{"mode": 3}'], {"mode": 3}),
    "cpu_threads": (["--cpu-threads", "2"], 2),
    "guided_decoding_backend": (["--guided-decoding-backend", "xgrammar:no-fallback"], "xgrammar:no-fallback"),
    "structured_outputs_config": (["--structured-outputs-config.backend", "guidance"], {"backend": "guidance"}),
    "disable_log_stats": (["--disable-log-stats"], True),
    "host": (["--host", "127.0.0.1"], "127.0.0.1"),
    "port": (["--port", "9"], 9),
    "uds": (["--uds", "s"], "s"),
    "root_path": (["--root-path", "/p"], "/p"),
    "ssl_keyfile": (["--ssl-keyfile", "k"], "k"),
    "ssl_certfile": (["--ssl-certfile", "c"], "c"),
    "ssl_ca_certs": (["--ssl-ca-certs", "a"], "a"),
    "ssl_cert_reqs": (["--ssl-cert-reqs", "2"], 2),
    "ssl_ciphers": (["--ssl-ciphers", "X"], "X"),
    "enable_ssl_refresh": (["--enable-ssl-refresh"], True),
    "middleware": (["--middleware", "a.b", "--middleware", "c.d"], ["a.b", "c.d"]),
    "disable_fastapi_docs": (["--disable-fastapi-docs"], True),
    "shutdown_timeout": (["--drain-timeout", "3"], 3.0),
    "api_key": (["--api-key", "a", "--api-key", "b"], ["a", "b"]),
    "protect_metrics": (["--protect-metrics"], True),
    "allow_credentials": (["--allow-credentials"], True),
    "allowed_origins": (["--allowed-origins", '["*"]'], ["*"]),
    "allowed_methods": (["--allowed-methods", '["GET"]'], ["GET"]),
    "allowed_headers": (["--allowed-headers", '["X-A"]'], ["X-A"]),
    "max_num_queued_reqs": (["--max-num-queued-reqs", "5"], 5),
    "max_num_queued_tokens": (["--max-num-queued-tokens", "1k"], 1000),
    "max_queue_time": (["--max-queue-time", "1.5"], 1.5),
    "request_timeout": (["--request-timeout", "60"], 60.0),
    "chat_template": (["--chat-template", "t.jinja"], "t.jinja"),
    "chat_template_content_format": (["--chat-template-content-format", "openai"], "openai"),
    "default_chat_template_kwargs": (
        ["--default-chat-template-kwargs.enable_thinking", "false"],
        {"enable_thinking": False},
    ),
    "trust_request_chat_template": (["--trust-request-chat-template"], True),
    "response_role": (["--response-role", "bot"], "bot"),
    "return_tokens_as_token_ids": (["--return-tokens-as-token-ids"], True),
    "enable_request_id_headers": (["--enable-request-id-headers"], True),
    "enable_prompt_tokens_details": (["--enable-prompt-tokens-details"], True),
    "enable_force_include_usage": (["--enable-force-include-usage"], True),
    "enable_server_load_tracking": (["--enable-server-load-tracking"], True),
    "enable_tokenizer_info_endpoint": (["--enable-tokenizer-info-endpoint"], True),
    "disable_frontend_multiprocessing": (["--disable-frontend-multiprocessing"], True),
    "stream_interval": (["--stream-interval", "5"], 5),
    "sse_keep_alive_interval": (["--sse-keep-alive-interval", "1"], 1.0),
    "tool_call_parser": (["--tool-call-parser", "hermes"], "hermes"),
    "enable_auto_tool_choice": (["--enable-auto-tool-choice"], True),
    "tool_parser_plugin": (["--tool-parser-plugin", "p.py"], "p.py"),
    "exclude_tools_when_tool_choice_none": (["--exclude-tools-when-tool-choice-none"], True),
    "reasoning_parser": (["--reasoning-parser", "qwen3"], "qwen3"),
    "enable_reasoning": (["--enable-reasoning"], True),
    "reasoning_parser_plugin": (["--reasoning-parser-plugin", "p.py"], "p.py"),
    "log_level": (["--log-level", "debug"], "debug"),
    "log_config_file": (["--log-config-file", "l.json"], "l.json"),
    "uvicorn_log_level": (["--uvicorn-log-level", "warning"], "warning"),
    "disable_uvicorn_access_log": (["--disable-uvicorn-access-log"], True),
    "disable_access_log_for_endpoints": (["--disable-access-log-for-endpoints", "/health"], "/health"),
    "enable_log_requests": (["--enable-log-requests"], True),
    "max_log_len": (["--max-log-len", "10"], 10),
    "metrics_prefix": (["--metrics-prefix", "vllm"], "vllm"),
}


def parsed(*words: str) -> dict[str, Any]:
    engine, server = parse_serve(words)
    return {**vars(engine), **vars(server)}


DEFAULTS = {**vars(EngineArgs()), **vars(ServerArgs())}


def changed(*words: str) -> dict[str, Any]:
    return {k: v for k, v in parsed(*words).items() if v != DEFAULTS[k]}


@pytest.mark.parametrize("name", DEFAULTS)
def test_option_sets_its_field_and_no_other(name: str) -> None:
    words, value = EFFECTS[name]
    assert changed(*words) == {name: value}


def test_no_option_is_left_out() -> None:
    assert set(EFFECTS) == {o.name for c in (EngineArgs, ServerArgs) for o in options_of(c)}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["M", "--port", "3"], {"model": "M", "port": 3}),
        (["--port", "3", "M"], {"model": "M", "port": 3}),
        (["--max_model_len", "4K"], {"max_model_len": 4096}),
        (["--max_model_len=25.6k"], {"max_model_len": 25600}),
        (["--max-model-len", "auto"], {"max_model_len": "auto"}),
        (["--max-model-len", "-1"], {"max_model_len": -1}),
        (["--max-num-seq", "8"], {"max_num_seqs": 8}),
        (["--enable-chunked-prefill", "false", "M"], {"enable_chunked_prefill": False, "model": "M"}),
        (["--enable-chunked-prefill", "True"], {"enable_chunked_prefill": True}),
        (["--enable-chunked-prefill=false"], {"enable_chunked_prefill": False}),
        (["--enable_prefix_caching", "M"], {"model": "M"}),
        (["--no_enable_prefix_caching"], {"enable_prefix_caching": False}),
        (["--no-enable-prefix-caching=false"], {}),
        (["--device-memory-utilization", "0.5"], {"gpu_memory_utilization": 0.5}),
        (["--hf-overrides.a_b.c", "x", "--hf-overrides.d", "[1]"], {"hf_overrides": {"a_b": {"c": "x"}, "d": [1]}}),
        (["--hf_overrides.l+", "1,b", "--hf-overrides.l+=2"], {"hf_overrides": {"l": [1, "b", 2]}}),
        (
            ["--hf-overrides", '{"a": {"x": 1}}', "--hf-overrides.a.y", "2"],
            {"hf_overrides": {"a": {"x": 1, "y": 2}}},
        ),
        (["--rope-theta", "5e5"], {"hf_overrides": {"rope_theta": 5e5}}),
        (["--rope-scaling", '{"f": 2}', "--hf-overrides.x", "1"], {"hf_overrides": {"rope_scaling": {"f": 2}, "x": 1}}),
        (["--disable-log-requests"], {}),
        (["-tp", "1", "-pp=1", "-q", "None"], {}),
        (["-O0", "-O", "2", "-O=0"], {"compilation_config": 0}),
        (
            ["-O1", "--cudagraph-capture-sizes", "2", "4"],
            {"compilation_config": {"level": 1, "cudagraph_capture_sizes": ["2", "4"]}},
        ),
        (["--use-v2-block-manager", "--trust-remote-code"], {}),
    ],
)
def test_spellings(words: list[str], expected: dict[str, Any]) -> None:
    assert changed(*words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prt", "3"], "unrecognized arguments: --prt; did you mean --port"),
        (["--port", "x"], "argument --port: must be an integer, not 'x'"),
        (["--dtype", "int3"], "argument --dtype: invalid choice: 'int3'"),
        (["--hf-overrides", "{"], "argument --hf-overrides: must be JSON, not '{'"),
        (["--seed"], "argument --seed: expected one argument"),
        (["--hf-overrides.a"], "argument --hf-overrides.a: expected a value"),
        (["--enable-prefix-caching=maybe"], "argument --enable-prefix-caching: must be true or false, not 'maybe'"),
        (["M", "extra"], "unrecognized arguments: extra"),
        (["--config", "x.json"], "--config must be a .yaml or .yml file, not x.json"),
        (["--config", "missing.yaml"], "--config missing.yaml cannot be read"),
    ],
)
def test_errors_end_with_code_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as e:
        parse_serve(words)
    assert e.value.code == 2
    err = capsys.readouterr().err
    assert f"penstock serve: error: {message}" in err
    assert err.startswith("usage: penstock serve [MODEL] [options]\n")


def test_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    assert changed("--port", "3", "--port=4", "--model", "A", "B") == {"port": 4, "model": "B"}
    err = capsys.readouterr().err
    assert "--port is given more than once; the last one counts" in err
    assert "the model is B; --model A is not used" in err


def test_file_lies_under_the_command_line_and_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(
        "model: file-model\nport: 7\nmax_model_len: 2k\nenable-prefix-caching: false\nprotect-metrics: true\n"
        "api-key: [k1, k2]\nhf-overrides: {rope: {theta: 5}}\nswap-space: 4\nseed: null\ndisable-log-requests: true\n"
    )
    from_file = {
        "model": "file-model",
        "port": 7,
        "max_model_len": 2000,
        "enable_prefix_caching": False,
        "protect_metrics": True,
        "api_key": ["k1", "k2"],
        "hf_overrides": {"rope": {"theta": 5}},
    }
    assert changed("--config", str(file)) == from_file
    over = changed("M", "--config", str(file), "--port", "9", "--api-key", "k3", "--enable-prefix-caching")
    del from_file["enable_prefix_caching"]
    assert over == {**from_file, "model": "M", "port": 9, "api_key": ["k3"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prt: 3", "unknown option 'prt'; near: port"),
        ("- 3", "must hold a map of options"),
        ("port: x", "argument --port"),
    ],
)
def test_wrong_files(content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yml").write_text(content)
    with pytest.raises(SystemExit) as e:
        parse_serve(["--config", str(tmp_path / "c.yml")])
    assert e.value.code == 2
    assert message in capsys.readouterr().err


def test_refused_flag_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("tensor-parallel-size: 2")
    with pytest.raises(StartError, match="--tensor-parallel-size 2 is not built into this version"):
        parse_serve(["--config", str(tmp_path / "c.yaml")])


@pytest.mark.parametrize(
    ("word", "has", "has_not"),
    [
        ("", ["MODEL", "Cache", "--block-size", "--help=all"], ["Tokens per block"]),
        ("all", ["Tokens per block", "TCP port", "(default: 8000)"], []),
        ("Cache", ["Tokens per block", "--num-gpu-blocks-override"], ["TCP port"]),
        ("CacheConfig", ["Tokens per block"], ["TCP port"]),
        ("Frontend", ["TCP port", "--api-key"], ["Tokens per block"]),
        ("block_size", ["Tokens per block"], ["TCP port"]),
        ("--lora-modules", ["Not built into this version: it serves no LoRA adapters."], []),
        ("listgroup", ["--block-size"], ["Tokens per block"]),
        ("qqqq", ["No option has 'qqqq' in its name or its help."], []),
    ],
)
def test_help(word: str, has: list[str], has_not: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as e:
        parse_serve(["--help=" + word if word else "--help"])
    assert e.value.code == 0
    out = capsys.readouterr().out
    assert [t for t in has if t not in out] == []
    assert [t for t in has_not if t in out] == []


@pytest.mark.parametrize("word", ["", "all"])
def test_help_fits_the_terminal(word: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        parse_serve(["--help=" + word if word else "--help"])
    text = [x for x in capsys.readouterr().out.splitlines() if not x.startswith("  --")]  # a flag and its values stay
    assert [x for x in text if len(x) > 80] == []


def test_a_command_adds_its_own_arguments() -> None:
    parser = OptionParser(EngineArgs, prog="penstock bench latency")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("-n", type=int, default=1, help="overrides a short name of vLLM")
    ns = parser.parse_args(["--batch-size", "4", "--seed", "3", "-n", "2"])
    assert (ns.batch_size, ns.n, engine_args(ns)) == (4, 2, EngineArgs(seed=3))
    with pytest.raises(SystemExit):
        parser.parse_args(["--port", "3"])


def test_parsing_is_fast() -> None:
    make_arg_parser()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        parse_serve(["M", "--port", "3"])
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.2  # about 10 ms on an idle machine

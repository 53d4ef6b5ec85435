"""`penstock bench serve`: load on an OpenAI-compatible server, and what it took: throughput, TTFT, TPOT, ITL.

Works with any such server, not only ours.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import sys
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from tqdm import tqdm

from penstock import envs
from penstock.benchmarks.backends import DEFAULT_ENDPOINTS, Backend, Outcome, check_backend
from penstock.benchmarks.bench_tokenizer import chat_wrapper, load_tokenizer
from penstock.benchmarks.datasets import SampleRequest, sample
from penstock.benchmarks.http_client import HTTPClient, HTTPFailure
from penstock.benchmarks.load import LoadOptions, run_load
from penstock.benchmarks.metrics import LATENCIES, latency_stats, parse_goodput, summarize
from penstock.benchmarks.options import dataset_options
from penstock.benchmarks.serve_options import serve_parser
from penstock.benchmarks.tables import serving_table
from penstock.errors import StartError


@dataclass(frozen=True)
class Target:
    """Where the requests go: the model's name there, and the folder or hub id of its tokenizer."""

    model: str
    tokenizer: str | None


def serve_command(argv: list[str]) -> int:
    """`penstock bench serve`: 1 if no request succeeded."""
    return _run_async(_run(serve_parser().parse_args(argv)))


def _run_async(main: Coroutine[Any, Any, int]) -> int:
    """Run `main` on the fastest event loop there is: the client's own cost is part of what is measured."""
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with contextlib.suppress(ImportError):  # there is none on Windows
        from uvloop import new_event_loop as new_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main)


async def _run(args: argparse.Namespace) -> int:
    percentiles = _percentiles(args.metric_percentiles)
    names = _latency_names(args.percentile_metrics)
    bounds = parse_goodput(args.goodput)
    load = _load_options(args)
    kind = check_backend(args.backend)
    client = HTTPClient(
        args.base_url or f"http://{_bracketed(args.host)}:{args.port}", _headers(args), not args.insecure
    )
    target = await _target(client, args)
    requests, tokenizer_id = _requests(args, target)
    endpoint = args.endpoint or DEFAULT_ENDPOINTS[kind]
    options = {**_sampling(args, kind), **(args.extra_body or {})}
    backend = Backend(kind, client, endpoint, args.served_model_name or target.model, options, not args.no_stream)
    if args.temperature is None:
        print("No --temperature: the server's default applies.", file=sys.stderr)
    await _wait_until_ready(backend, requests[0], args.ready_check_timeout_sec)
    await _warm_up(backend, requests[0], args.num_warmups, load)

    print(f"Traffic request rate: {load.request_rate}")
    print(f"Burstiness factor: {load.burstiness} ({_process_name(load.burstiness)})")
    print(f"Maximum request concurrency: {load.max_concurrency}")
    outcomes, duration = await _measure(backend, requests, load, args)
    client.close()

    result = _describe(args, kind, target, tokenizer_id, len(requests))
    result |= summarize(outcomes, [r.prompt_len for r in requests], duration, bounds)
    result |= latency_stats(outcomes, names, percentiles)
    _report_failures(outcomes)
    print(serving_table(result, names, percentiles))
    if args.save_result or args.append_result:
        detail = _detail(requests, outcomes) if args.save_detailed else {}
        print(f"Result: {_save(args, result | detail)}")
    return 0 if result["completed"] else 1


async def _measure(
    backend: Backend, requests: list[SampleRequest], load: LoadOptions, args: argparse.Namespace
) -> tuple[list[Outcome], float]:
    prefix = args.request_id_prefix or f"bench-{uuid.uuid4().hex[:8]}-"
    with tqdm(total=len(requests), disable=args.disable_tqdm) as bar:
        start = time.perf_counter()
        outcomes = await run_load(
            len(requests), lambda i: backend.send(requests[i], f"{prefix}{i}"), load, args.seed, _advance(bar)
        )
        duration = time.perf_counter() - start
    return outcomes, duration


def _advance(bar: Any) -> Callable[[], None]:
    return lambda: bar.update(1)


async def _target(client: HTTPClient, args: argparse.Namespace) -> Target:
    """The model: as given, else the first that the server lists."""
    if args.model is not None:
        return Target(args.model, args.tokenizer or args.model)
    print("Model not specified, fetching first model from server...")
    try:
        status, body = await client.request("GET", "/v1/models")
    except HTTPFailure as e:
        raise StartError(f"no server answers: {e}") from e
    try:
        if status != 200:
            raise ValueError(f"status {status}")
        first = msgspec.json.decode(body)["data"][0]
        name, root = str(first["id"]), first.get("root")
    except (ValueError, LookupError, TypeError, msgspec.DecodeError) as e:
        raise StartError(f"the server's /v1/models names no model ({e!r}): give --model") from e
    print(f"First model name: {name}")
    return Target(name, args.tokenizer or root or name)


def _requests(args: argparse.Namespace, target: Target) -> tuple[list[SampleRequest], str | None]:
    """The prompts, and the name of the tokenizer that made them."""
    if args.skip_tokenizer_init:
        return sample(dataset_options(args), None), None
    tokenizer = load_tokenizer(target.tokenizer)
    # The chat endpoint applies the template itself.
    wrap = args.dataset_name == "custom" and args.backend != "openai-chat" and not args.skip_chat_template
    return sample(dataset_options(args, chat_wrapper(tokenizer) if wrap else None), tokenizer), target.tokenizer


def _sampling(args: argparse.Namespace, kind: str) -> dict[str, Any]:
    """Fields of every request's body that the options set."""
    fields = ("temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty")
    body = {name: getattr(args, name) for name in fields if getattr(args, name) is not None}
    # Random text ends where the model pleases: the lengths that were asked for are only met without an end.
    if args.ignore_eos or args.dataset_name in ("random", "prefix_repetition"):
        body["ignore_eos"] = True
    if args.logprobs is not None:
        body |= (
            {"logprobs": True, "top_logprobs": args.logprobs} if kind == "openai-chat" else {"logprobs": args.logprobs}
        )
    if args.chat_template_kwargs:
        if kind != "openai-chat":
            raise StartError("--chat-template-kwargs is for --backend openai-chat")
        body["chat_template_kwargs"] = args.chat_template_kwargs
    return body


async def _wait_until_ready(backend: Backend, request: SampleRequest, timeout_s: float) -> None:
    """Repeat one request until it succeeds; with a timeout of 0 do not even try."""
    if timeout_s <= 0:
        return
    print("Starting initial single prompt test run...")
    deadline = time.monotonic() + timeout_s
    while True:
        outcome = await backend.send(request, "ready-check")
        if outcome.success:
            return
        if time.monotonic() > deadline:
            raise StartError(f"the server was not ready after {timeout_s:g} s: {outcome.error}")
        await asyncio.sleep(0.5)


async def _warm_up(backend: Backend, request: SampleRequest, n: int, load: LoadOptions) -> None:
    if n < 1:
        return
    print(f"Warming up with {n} requests...")
    limit = LoadOptions(max_concurrency=load.max_concurrency)
    outcomes = await run_load(n, lambda i: backend.send(request, f"warmup-{i}"), limit)
    if not any(o.success for o in outcomes):
        raise StartError(f"no warm-up request succeeded: {outcomes[0].error}")


def _load_options(args: argparse.Namespace) -> LoadOptions:
    return LoadOptions(
        request_rate=args.request_rate,
        burstiness=args.burstiness,
        max_concurrency=args.max_concurrency,
        ramp_up_strategy=args.ramp_up_strategy,
        ramp_up_start_rps=args.ramp_up_start_rps,
        ramp_up_end_rps=args.ramp_up_end_rps,
    )


def _describe(
    args: argparse.Namespace, kind: str, target: Target, tokenizer_id: str | None, num_prompts: int
) -> dict[str, Any]:
    """What was run: the first members of the result file."""
    described = {
        "date": datetime.now().strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": kind,
        "backend": kind,
        "label": args.label,
        "model_id": target.model,
        "tokenizer_id": tokenizer_id,
        "num_prompts": num_prompts,
        **dict(args.metadata),
        "request_rate": args.request_rate if math.isfinite(args.request_rate) else "inf",
        "burstiness": args.burstiness,
        "max_concurrency": args.max_concurrency,
    }
    if args.ramp_up_strategy is not None:
        for name in ("ramp_up_strategy", "ramp_up_start_rps", "ramp_up_end_rps"):
            described[name] = getattr(args, name)
    return described


def _detail(requests: list[SampleRequest], outcomes: list[Outcome]) -> dict[str, Any]:
    """One entry per request, in the order of sending."""
    return {
        "input_lens": [r.prompt_len or o.prompt_tokens for r, o in zip(requests, outcomes, strict=True)],
        "output_lens": [o.output_tokens for o in outcomes],
        "ttfts": [o.ttft for o in outcomes],
        "itls": [o.itl for o in outcomes],
        "latencies": [o.latency for o in outcomes],
        "start_times": [o.start for o in outcomes],
        "generated_texts": [o.text for o in outcomes],
        "errors": [o.error for o in outcomes],
    }


def _save(args: argparse.Namespace, result: dict[str, Any]) -> Path:
    name = args.result_filename
    if name is None:
        concurrency = f"-concurrency{args.max_concurrency}" if args.max_concurrency is not None else ""
        model = result["model_id"].rstrip("/").split("/")[-1]
        rate = result["request_rate"]
        name = f"{args.label or result['backend']}-{rate}qps{concurrency}-{model}-{result['date']}.json"
    path = Path(args.result_dir or ".") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a" if args.append_result else "w", encoding="utf-8") as f:
        if f.tell():
            f.write("\n")
        json.dump(result, f)
    return path


def _report_failures(outcomes: list[Outcome]) -> None:
    failed = [o.error for o in outcomes if not o.success]
    if failed:
        print(f"{len(failed)} requests failed; the first one: {failed[0]}", file=sys.stderr)


def _headers(args: argparse.Namespace) -> dict[str, str]:
    key = envs.OPENAI_API_KEY
    return {**({"Authorization": f"Bearer {key}"} if key else {}), **dict(args.header)}


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _process_name(burstiness: float) -> str:
    return "Poisson process" if burstiness == 1.0 else "Gamma distribution"


def _percentiles(text: str) -> list[float]:
    try:
        values = [float(p) for p in text.split(",")]
    except ValueError:
        values = [-1.0]
    if not all(0 <= p <= 100 for p in values):
        raise StartError(f"--metric-percentiles takes numbers from 0 to 100 with commas between, got {text!r}")
    return values


def _latency_names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [n for n in names if n not in LATENCIES]:
        raise StartError(f"--percentile-metrics knows {', '.join(LATENCIES)}, not {unknown[0]!r}")
    return names

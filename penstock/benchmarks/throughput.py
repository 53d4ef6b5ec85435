"""`penstock bench throughput`: many requests, all there at once, in the engine of this process."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from penstock.benchmarks.bench_tokenizer import load_tokenizer
from penstock.benchmarks.datasets import SampleRequest, sample
from penstock.benchmarks.options import add_dataset_arguments, dataset_options, name_values, positive, refuse
from penstock.config.cli import OptionParser, engine_args
from penstock.config.hub import BUNDLED_NAME
from penstock.config.sections import EngineArgs
from penstock.entrypoints.llm import LLM
from penstock.errors import StartError
from penstock.outputs import RequestOutput
from penstock.params import SamplingParams

BACKENDS = ("vllm", "penstock")  # two names of this engine: scripts pass the first


def throughput_command(argv: list[str]) -> int:
    """`penstock bench throughput`."""
    args = _parser().parse_args(argv)
    if args.backend not in BACKENDS:
        raise StartError(f"--backend {args.backend} is not supported; supported: {', '.join(BACKENDS)} (the same)")
    if args.dataset_name is None:
        args.dataset_name = "sharegpt" if args.dataset_path else "random"
    engine = engine_args(args)
    requests = sample(dataset_options(args), load_tokenizer(engine.tokenizer or engine.model))
    llm = LLM.from_engine_args(engine)
    elapsed, outputs = _measure(llm, requests, args)

    prompt_tokens = sum(len(o.prompt_token_ids) for o in outputs)
    output_tokens = sum(len(answer.token_ids) for o in outputs for answer in o.outputs)
    total = prompt_tokens + output_tokens
    print(
        f"Throughput: {len(requests) / elapsed:.2f} requests/s, {total / elapsed:.2f} total tokens/s, "
        f"{output_tokens / elapsed:.2f} output tokens/s"
    )
    print(f"Total num prompt tokens:  {prompt_tokens}")
    print(f"Total num output tokens:  {output_tokens}")
    if args.output_json:
        result = {
            "model_id": engine.model or BUNDLED_NAME,
            "elapsed_time": elapsed,
            "num_requests": len(requests),
            "total_num_tokens": total,
            "requests_per_second": len(requests) / elapsed,
            "tokens_per_second": total / elapsed,
        }
        Path(args.output_json).write_text(json.dumps(result, indent=4) + "\n", encoding="utf-8")
    return 0


def _measure(llm: LLM, requests: list[SampleRequest], args: argparse.Namespace) -> tuple[float, list[RequestOutput]]:
    """Seconds for all requests, and what came out."""
    prompts: list[Any] = [{"prompt": r.prompt} for r in requests]
    params = [
        SamplingParams(
            n=args.n,
            temperature=1.0,
            ignore_eos=True,  # the lengths are part of the workload
            max_tokens=r.output_len,
            detokenize=not args.disable_detokenize,
        )
        for r in requests
    ]
    start = time.perf_counter()
    outputs = llm.generate(prompts, params, use_tqdm=True)
    return time.perf_counter() - start, outputs


def _parser() -> OptionParser:
    parser = OptionParser(
        EngineArgs,
        prog="penstock bench throughput",
        description="Measure offline throughput.",
    )
    add = parser.add_argument
    add("--backend", default="vllm", help="vllm or penstock, both this engine")
    add("--n", type=positive, default=1, help="answers per prompt (default: 1)")
    add("--disable-detokenize", action="store_true", help="leave out turning ids into text")
    add("--prequeue-requests", action="store_true", help="queue all before the first step; that is always so")
    add("--output-json", metavar="FILE", help="write the numbers to a file")
    add_dataset_arguments(parser, default_name=None, default_prompts=1000)
    refuse(
        parser,
        {
            "--async-engine": "`bench serve` measures the engine behind a server",
            "--lora-path": "the engine has no adapters",
        },
    )
    name_values(parser)
    return parser

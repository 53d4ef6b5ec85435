"""`penstock bench latency`: the time of one batch of equal requests in the engine of this process."""

# No `from __future__ import annotations`: options_of reads the types of LatencyArgs as objects.

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from penstock.benchmarks.options import name_values, natural, positive, refuse
from penstock.config.cli import OptionParser, engine_args
from penstock.config.options import option
from penstock.config.sections import EngineArgs
from penstock.entrypoints.llm import LLM
from penstock.params import SamplingParams

PERCENTILES = (10, 25, 50, 75, 90, 99)


@dataclasses.dataclass(kw_only=True)
class LatencyArgs(EngineArgs):
    """The engine's options, one with another default: the same prompts come again, and should cost the same."""

    TITLE = "Cache"

    enable_prefix_caching: bool = option(False, "Reuse the KV blocks of prompts seen before (here off by default).")


def latency_command(argv: list[str]) -> int:
    """`penstock bench latency`."""
    args = _parser().parse_args(argv)
    engine = engine_args(args)
    llm = LLM.from_engine_args(engine)
    run = _batch(llm, args)

    print(f"Warming up with {args.num_iters_warmup} iterations...")
    _seconds(run, args.num_iters_warmup, "Warmup iterations")
    latencies = _seconds(run, args.num_iters, "Bench iterations")
    percentiles = {p: float(np.percentile(latencies, p)) for p in PERCENTILES}
    print(f"Avg latency: {np.mean(latencies)} seconds")
    for p, value in percentiles.items():
        print(f"{p}% percentile latency: {value} seconds")
    if args.output_json:
        result = {
            "avg_latency": float(np.mean(latencies)),
            "latencies": latencies,
            "percentiles": {str(p): value for p, value in percentiles.items()},
        }
        Path(args.output_json).write_text(json.dumps(result, indent=4) + "\n", encoding="utf-8")
    return 0


def _batch(llm: LLM, args: argparse.Namespace) -> Callable[[], object]:
    """A function that runs the batch once."""
    vocab_size = llm.engine.config.model.shape.vocab_size
    ids = np.random.default_rng(args.seed).integers(0, vocab_size, (args.batch_size, args.input_len))
    prompts = [{"prompt_token_ids": row} for row in ids.tolist()]
    params = SamplingParams(
        n=args.n,
        temperature=1.0,
        ignore_eos=True,
        max_tokens=args.output_len,
        detokenize=not args.disable_detokenize,
    )
    return lambda: llm.generate(prompts, params, use_tqdm=False)


def _seconds(run: Callable[[], object], n: int, what: str) -> list[float]:
    seconds = []
    for _ in tqdm(range(n), desc=what):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def _parser() -> OptionParser:
    parser = OptionParser(LatencyArgs, prog="penstock bench latency", description="Measure the time of a batch.")
    add = parser.add_argument
    add("--input-len", type=positive, default=32, help="prompt tokens (default: 32)")
    add("--output-len", type=positive, default=128, help="tokens to generate (default: 128)")
    add("--batch-size", type=positive, default=8, help="requests at a time (default: 8)")
    add("--n", type=positive, default=1, help="answers per prompt (default: 1)")
    add("--num-iters-warmup", type=natural, default=10, help="iterations before measuring (default: 10)")
    add("--num-iters", type=positive, default=30, help="iterations to measure (default: 30)")
    add("--disable-detokenize", action="store_true", help="leave out turning ids into text")
    add("--output-json", metavar="FILE", help="write the numbers to a file")
    refuse(
        parser,
        {"--use-beam-search": "the engine has no beam search", "--profile": "the engine has no profiler"},
    )
    name_values(parser)
    return parser

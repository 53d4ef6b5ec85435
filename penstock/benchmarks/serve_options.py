"""The options of `penstock bench serve`, with vLLM's names and defaults."""

from __future__ import annotations

import argparse
import math

from penstock.benchmarks.options import add_dataset_arguments, json_object, name_values, natural, pair, positive, refuse


def serve_parser() -> argparse.ArgumentParser:
    """The options of `bench serve`."""
    parser = argparse.ArgumentParser(
        prog="penstock bench serve", usage="%(prog)s [options]", description="Put load on a running server."
    )
    _add_target(parser.add_argument_group("target"))
    _add_load(parser.add_argument_group("load"))
    add_dataset_arguments(parser, default_name="random", default_prompts=1000)
    _add_sampling(parser.add_argument_group("sampling", "What is not given is left to the server."))
    _add_result(parser.add_argument_group("result"))
    refuse(
        parser,
        {
            "--lora-modules": "the server has no adapters",
            "--lora-assignment": "the server has no adapters",
            "--profile": "the server has no profiler",
            "--plot-timeline": "--save-result --save-detailed gives the times to plot",
            "--self-timed": "only --request-rate and --ramp-up-strategy time requests",
            "--probe-request-rate": "run a second `bench serve` as the probe",
        },
    )
    name_values(parser)
    return parser


def _add_target(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--backend", default="openai", help="openai or vllm (completions), openai-chat (default: openai)")
    add("--base-url", help="http(s)://host:port, instead of --host and --port")
    add("--host", default="127.0.0.1", help="default: %(default)s")
    add("--port", type=int, default=8000, help="default: %(default)s")
    add("--endpoint", help="path (default: /v1/completions; with openai-chat /v1/chat/completions)")
    add("--header", type=pair, nargs="*", action="extend", default=[], metavar="K=V", help="more request headers")
    add("--insecure", action="store_true", help="do not check the server's TLS certificate")
    add("--model", help="model (default: the first that the server lists)")
    add("--served-model-name", help="the model's name in requests, if it is not --model")
    add("--tokenizer", help="folder or hub id of the tokenizer that makes the prompts (default: the model's)")
    add("--tokenizer-mode", choices=["auto"], default="auto", help="there is one")
    add("--skip-tokenizer-init", action="store_true", help="use no tokenizer; for the custom dataset only")
    add("--extra-body", type=json_object, metavar="JSON", help="more members of every request")
    add("--chat-template-kwargs", type=json_object, metavar="JSON", help="values for the server's chat template")
    add(
        "--ready-check-timeout-sec",
        type=float,
        default=0,
        help="wait this long for the server (default: 0, not at all)",
    )


def _add_load(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--request-rate", type=float, default=math.inf, help="requests per second (default: inf, all at once)")
    add("--burstiness", type=float, default=1.0, help="gamma shape of the gaps; 1 is Poisson, less is burstier")
    add("--max-concurrency", type=positive, help="most requests in flight (default: no limit)")
    add("--ramp-up-strategy", choices=["linear", "exponential"], help="raise the rate during the run")
    add("--ramp-up-start-rps", type=float, help="rate at the start")
    add("--ramp-up-end-rps", type=float, help="rate at the end")
    add("--num-warmups", type=natural, default=0, help="requests before the clock starts (default: 0)")
    add("--seed", type=int, default=0, help="of prompts and arrivals (default: 0)")
    add("--no-stream", action="store_true", help="ask for whole answers; TTFT is then the time of the whole")
    add("--disable-tqdm", action="store_true", help="no progress bar")


def _add_sampling(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--ignore-eos", action="store_true", help="always generate the full length (random datasets always do)")
    add("--logprobs", type=natural, metavar="N", help="ask for this many log-probabilities per token")
    add("--top-k", type=int)
    for name in ("temperature", "top-p", "min-p", "frequency-penalty", "presence-penalty", "repetition-penalty"):
        add(f"--{name}", type=float)


def _add_result(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--save-result", action="store_true", help="write the numbers to a JSON file")
    add("--save-detailed", action="store_true", help="and those of every request")
    add("--append-result", action="store_true", help="append to the file instead of replacing it")
    add("--result-dir", help="folder of the file (default: here)")
    add("--result-filename", help="its name (default: made of label, rate, model and date)")
    add("--label", help="a name for this run")
    add("--metadata", type=pair, nargs="*", action="extend", default=[], metavar="K=V", help="more members of the file")
    add("--percentile-metrics", default="ttft,tpot,itl", help="of ttft, tpot, itl, e2el (default: %(default)s)")
    add("--metric-percentiles", default="99", help="with commas between (default: %(default)s)")
    add("--goodput", nargs="+", metavar="NAME:MS", help="count requests that meet ttft:, tpot:, e2el: bounds")
    add("--request-id-prefix", help="of the x-request-id of every request (default: bench- and a random part)")

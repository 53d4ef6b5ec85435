"""The options that benchmarks share, above all: which prompts; and those of vLLM's that we refuse, with a reason."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

from penstock.benchmarks.datasets import DATASETS, DatasetOptions


def add_dataset_arguments(parser: argparse.ArgumentParser, default_name: str | None, default_prompts: int) -> None:
    """The --dataset-*, --num-prompts, length and seed options, as one group of the help."""
    group = parser.add_argument_group("dataset")
    add = group.add_argument
    names = ", ".join(DATASETS)
    add(
        "--dataset-name",
        default=default_name,
        metavar="NAME",
        help=f"{names} (default: {default_name or 'random; sharegpt if there is a path'})",
    )
    add("--dataset-path", metavar="FILE", help="local file of sharegpt (JSON) or custom (JSON lines)")
    add("--num-prompts", type=positive, default=default_prompts, help="requests to send (default: %(default)s)")
    add("--input-len", type=positive, help="prompt tokens, whatever the dataset's own option says")
    add("--output-len", type=positive, help="tokens to generate, whatever the dataset's own option says")
    add("--random-input-len", type=positive, default=1024, help="random: prompt tokens (default: 1024)")
    add("--random-output-len", type=positive, default=128, help="random: tokens to generate (default: 128)")
    add("--random-range-ratio", type=float, default=0.0, help="random: lengths vary by this share (default: 0)")
    add("--random-prefix-len", type=natural, default=0, help="random: tokens of a prefix that all share (default: 0)")
    add("--sharegpt-output-len", type=positive, help="sharegpt: tokens to generate (default: as the file's answer)")
    add(
        "--custom-output-len",
        type=int,
        default=256,
        help='custom: tokens to generate; -1: "output_tokens" of the line (default: 256)',
    )
    for what, default in (("prefix-len", 256), ("suffix-len", 256), ("num-prefixes", 10), ("output-len", 128)):
        add(
            f"--prefix-repetition-{what}",
            type=positive,
            default=default,
            help=f"prefix_repetition (default: {default})",
        )
    add("--no-oversample", action="store_true", help="send fewer requests rather than lines of the file twice")
    add("--disable-shuffle", action="store_true", help="keep the file's order")
    add("--skip-chat-template", action="store_true", help="custom: send the text as it is")
    refuse(group, {"--random-batch-size": "it is for embedding benchmarks"})


def dataset_options(args: argparse.Namespace, apply_chat: Callable[[str], str] | None = None) -> DatasetOptions:
    """What the parsed options say."""
    own_output_len = {
        "random": args.random_output_len,
        "sharegpt": args.sharegpt_output_len,
        "custom": args.custom_output_len,
        "prefix_repetition": args.prefix_repetition_output_len,
    }
    repetition = args.dataset_name == "prefix_repetition"
    return DatasetOptions(
        name=args.dataset_name,
        path=args.dataset_path,
        num_prompts=args.num_prompts,
        seed=args.seed,
        input_len=args.input_len or args.random_input_len,
        output_len=args.output_len or own_output_len.get(args.dataset_name),
        range_ratio=args.random_range_ratio,
        prefix_len=args.prefix_repetition_prefix_len if repetition else args.random_prefix_len,
        suffix_len=args.input_len or args.prefix_repetition_suffix_len,
        num_prefixes=args.prefix_repetition_num_prefixes,
        oversample=not args.no_oversample,
        shuffle=not args.disable_shuffle,
        apply_chat=apply_chat,
    )


def refuse(parser: Any, reasons: dict[str, str]) -> None:
    """Options that exist elsewhere, so that using one says why it does not work here."""

    class Refused(argparse.Action):
        def __call__(
            self,
            parser: argparse.ArgumentParser,
            namespace: argparse.Namespace,
            values: str | Sequence[Any] | None,
            option_string: str | None = None,
        ) -> None:
            parser.error(f"{option_string} is not supported: {reasons[str(option_string)]}")

    for flag in reasons:
        parser.add_argument(flag, action=Refused, nargs="*", help=argparse.SUPPRESS)


def name_values(parser: argparse.ArgumentParser) -> None:
    """Short names for values in the help, where an option has none: N, X or TEXT."""
    names: dict[Any, str] = {positive: "N", natural: "N", int: "N", float: "X"}
    for action in parser._actions:
        if action.metavar is None and action.nargs != 0 and action.choices is None:
            action.metavar = names.get(action.type, "TEXT")


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return value


def json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"is not JSON: {e}") from e
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"must be a JSON object, got {text}")
    return value


def pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, got {text!r}")
    return key, value

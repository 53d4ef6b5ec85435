"""The prompts that a benchmark sends: made of random tokens, or read from a local file. Same seed, same prompts.

Every dataset is a function (options, tokenizer) -> list of SampleRequest; `sample` picks one by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from penstock.errors import StartError

MAX_WORDS, MIN_WORDS = 8192, 100  # ids that random text is made of
SHAREGPT_MIN_TOKENS = 4  # shorter conversations say little about a server
SHAREGPT_MAX_PROMPT = 1024  # and these limits are the ones that published ShareGPT numbers use
SHAREGPT_MAX_TOTAL = 2048


class BenchTokenizer(Protocol):
    """What the datasets need of a tokenizer."""

    @property
    def vocab_size(self) -> int: ...

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]: ...

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str: ...


@dataclass(frozen=True)
class SampleRequest:
    """One request of a benchmark.

    Attributes:
        prompt_len: tokens, without what the server's chat template adds; 0 if there is no tokenizer to count with.
        output_len: tokens asked for.
    """

    prompt: str
    prompt_len: int
    output_len: int


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """What the --dataset-*, --random-*, ... options say; see `options.py` for their help."""

    name: str = "random"
    path: str | None = None
    num_prompts: int = 1000
    seed: int = 0
    input_len: int = 1024
    output_len: int | None = None  # None: the dataset's own
    range_ratio: float = 0.0
    prefix_len: int = 0
    suffix_len: int = 256
    num_prefixes: int = 10
    oversample: bool = True
    shuffle: bool = True
    apply_chat: Callable[[str], str] | None = None  # wraps a user's message in the chat template (custom only)


def sample(options: DatasetOptions, tokenizer: BenchTokenizer | None) -> list[SampleRequest]:
    """The dataset's requests, `num_prompts` of them (fewer if a file holds fewer and oversampling is off).

    Raises:
        StartError: an unknown name, a missing or unreadable file, or options that do not fit the dataset.
    """
    if options.name not in DATASETS:
        raise StartError(f"--dataset-name {options.name} is not supported; supported: {', '.join(DATASETS)}")
    if tokenizer is None and options.name != "custom":
        raise StartError(f"dataset {options.name} needs a tokenizer; only custom works with --skip-tokenizer-init")
    requests = DATASETS[options.name](options, tokenizer, np.random.default_rng(options.seed))
    if not requests:
        raise StartError(f"dataset {options.name} holds no usable request")
    return requests


def _random(options: DatasetOptions, tokenizer: BenchTokenizer, rng: np.random.Generator) -> list[SampleRequest]:
    """A shared random prefix, then random tokens; lengths uniform in len * (1 -+ range_ratio)."""
    if not 0 <= options.range_ratio < 1:
        raise StartError(f"--random-range-ratio must be in [0, 1), got {options.range_ratio}")
    vocabulary = _plain_tokens(tokenizer, rng)
    prefix = rng.choice(vocabulary, options.prefix_len).tolist()
    input_lens = _lengths(options.input_len, options.range_ratio, options.num_prompts, rng)
    output_lens = _lengths(_required(options.output_len), options.range_ratio, options.num_prompts, rng)
    requests = []
    for input_len, output_len in zip(input_lens, output_lens, strict=True):
        text, length = _text_of_length(tokenizer, prefix, input_len, vocabulary, rng)
        requests.append(SampleRequest(text, length, output_len))
    return requests


def _prefix_repetition(
    options: DatasetOptions, tokenizer: BenchTokenizer, rng: np.random.Generator
) -> list[SampleRequest]:
    """A few prefixes, each before many different suffixes: what a prefix cache is for."""
    if not 1 <= options.num_prefixes <= options.num_prompts:
        raise StartError("--prefix-repetition-num-prefixes must be at least 1 and at most --num-prompts")
    vocabulary = _plain_tokens(tokenizer, rng)
    prefixes = [rng.choice(vocabulary, options.prefix_len).tolist() for _ in range(options.num_prefixes)]
    requests = []
    for i in range(options.num_prompts):
        prefix = prefixes[i % options.num_prefixes]
        text, length = _text_of_length(tokenizer, prefix, options.suffix_len, vocabulary, rng)
        requests.append(SampleRequest(text, length, _required(options.output_len)))
    if options.shuffle:
        rng.shuffle(requests)
    return requests


def _sharegpt(options: DatasetOptions, tokenizer: BenchTokenizer, rng: np.random.Generator) -> list[SampleRequest]:
    """First message and first answer of each conversation in a ShareGPT JSON file."""
    text = _read(options)
    try:
        conversations = json.loads(text)
        turns = [[turn["value"] for turn in c.get("conversations", [])[:2]] for c in conversations]
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise StartError(f"{options.path} is not a ShareGPT JSON file: {e!r}") from e
    pairs = [t for t in turns if len(t) == 2]
    if options.shuffle:
        rng.shuffle(pairs)
    requests: list[SampleRequest] = []
    for prompt, answer in pairs:
        if len(requests) == options.num_prompts:
            break
        prompt_len, answer_len = len(tokenizer.encode(prompt)), len(tokenizer.encode(answer))
        output_len = options.output_len or answer_len
        if min(prompt_len, answer_len) < SHAREGPT_MIN_TOKENS and options.output_len is None:
            continue
        if prompt_len > SHAREGPT_MAX_PROMPT or prompt_len + output_len > SHAREGPT_MAX_TOTAL:
            continue
        requests.append(SampleRequest(prompt, prompt_len, output_len))
    return _oversampled(requests, options, rng)


def _custom(options: DatasetOptions, tokenizer: BenchTokenizer | None, rng: np.random.Generator) -> list[SampleRequest]:
    """Lines of JSON: {"prompt": text, "output_tokens": optional int}."""
    rows = []
    for number, line in enumerate(_read(options).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows.append((str(row["prompt"]), row.get("output_tokens")))
        except (ValueError, TypeError, KeyError, AttributeError) as e:
            raise StartError(f'{options.path}:{number} is not a JSON object with a "prompt": {e!r}') from e
    if options.shuffle:
        rng.shuffle(rows)
    requests = []
    for text, tokens in rows[: options.num_prompts]:
        output_len = tokens if options.output_len in (None, -1) else options.output_len
        if not isinstance(output_len, int) or output_len < 1:
            raise StartError(f'--custom-output-len -1 needs a positive "output_tokens" in every line of {options.path}')
        prompt = options.apply_chat(text) if options.apply_chat is not None else text
        requests.append(SampleRequest(prompt, len(tokenizer.encode(prompt)) if tokenizer else 0, output_len))
    return _oversampled(requests, options, rng)


DATASETS: dict[str, Callable[[DatasetOptions, Any, np.random.Generator], list[SampleRequest]]] = {
    "random": _random,
    "sharegpt": _sharegpt,
    "custom": _custom,
    "prefix_repetition": _prefix_repetition,
}


def _required(output_len: int | None) -> int:
    assert output_len is not None, "random datasets have a default output length"
    return output_len


def _read(options: DatasetOptions) -> str:
    if options.path is None:
        raise StartError(f"dataset {options.name} needs --dataset-path, a local file")
    try:
        return Path(options.path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise StartError(f"cannot read --dataset-path {options.path}: {e}") from e


def _plain_tokens(tokenizer: BenchTokenizer, rng: np.random.Generator) -> np.ndarray:
    """Ids for random text: words that keep their token when they stand beside others, if there are enough of them.

    Only some thousand ids are tried: looking at a whole vocabulary would take seconds.
    """
    tried = rng.permutation(tokenizer.vocab_size)[:MAX_WORDS].tolist()
    texts = {i: text for i in tried if (text := tokenizer.decode([i], skip_special_tokens=True))}
    words = [
        i
        for i, text in texts.items()
        if text[0] == " " and text[1:].isalpha() and tokenizer.encode(text, add_special_tokens=False) == [i]
    ]
    return np.array(words if len(words) >= MIN_WORDS else list(texts))


def _lengths(mean: int, ratio: float, n: int, rng: np.random.Generator) -> list[int]:
    low, high = max(1, int(mean * (1 - ratio))), max(1, round(mean * (1 + ratio)))
    return rng.integers(low, high + 1, n).tolist()


def _text_of_length(
    tokenizer: BenchTokenizer, prefix: list[int], length: int, vocabulary: np.ndarray, rng: np.random.Generator
) -> tuple[str, int]:
    """Text that begins with `prefix` and encodes to len(prefix) + length tokens, or nearly; and its real length.

    What the tokenizer puts around a text by itself counts. Random tokens decoded and encoded again may be other tokens,
    and more or fewer: so cut or pad, and try again.
    """
    wanted = max(1, len(prefix) + length - len(tokenizer.encode("")))
    ids = [*prefix, *rng.choice(vocabulary, length).tolist()][:wanted]
    tries: list[tuple[int, str]] = []
    for _ in range(10):
        text = tokenizer.decode(ids, skip_special_tokens=True)
        ids = tokenizer.encode(text, add_special_tokens=False)
        tries.append((abs(len(ids) - wanted), text))
        if len(ids) == wanted:
            break
        ids = [*ids[:wanted], *rng.choice(vocabulary, max(0, wanted - len(ids))).tolist()]
    _, best = min(tries)
    return best, len(tokenizer.encode(best))


def _oversampled(
    requests: list[SampleRequest], options: DatasetOptions, rng: np.random.Generator
) -> list[SampleRequest]:
    missing = options.num_prompts - len(requests)
    if not requests or missing <= 0 or not options.oversample:
        return requests
    return requests + [requests[i] for i in rng.integers(0, len(requests), missing).tolist()]

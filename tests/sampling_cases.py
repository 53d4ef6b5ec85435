"""Ready-made rows for the sampler's tests: parameters, logits and histories, and a way to sample them as one batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from penstock.params import SamplingParams
from penstock.platforms.cpu import CpuDevice
from penstock.sampling.batch_params import ParamsTable
from penstock.sampling.history import RowHistory
from penstock.sampling.sampler import Sampled, Sampler

CPU = CpuDevice()


@dataclass
class Case:
    logits: np.ndarray  # float32 [V]
    params: SamplingParams
    prompt: list[int]
    answer: list[int]


def sample(cases: list[Case]) -> Sampled:
    """One call of the sampler on all cases."""
    vocab_size = len(cases[0].logits)
    table = ParamsTable(vocab_size, CPU.copy_in)
    width = max(len(c.prompt) + len(c.answer) for c in cases)
    tokens = np.zeros((len(cases), width), np.int32)
    for i, c in enumerate(cases):
        table.set(i, c.params, i if c.params.seed is None else c.params.seed)
        tokens[i, : len(c.prompt) + len(c.answer)] = c.prompt + c.answer
    num_prompt = np.array([len(c.prompt) for c in cases])
    num_tokens = np.array([len(c.prompt) + len(c.answer) for c in cases])
    slots = np.arange(len(cases))
    logits = torch.from_numpy(np.stack([c.logits for c in cases])).clone()
    with torch.inference_mode():
        history = RowHistory(tokens, slots, num_prompt, num_tokens)
        return Sampler(CPU).sample(logits, table.select(slots), history).read()


def random_logits(rng: np.random.Generator, vocab_size: int, coarse: bool = False) -> np.ndarray:
    """Like a model's: a few likely tokens. `coarse` rounds to bfloat16, so that there are many equal values."""
    logits = rng.normal(size=vocab_size) * rng.choice([0.5, 2.0, 4.0])
    logits[rng.integers(0, vocab_size, 5)] += 4.0
    x = torch.from_numpy(logits.astype(np.float32))
    return (x.bfloat16().float() if coarse else x).numpy()


def random_params(rng: np.random.Generator, vocab_size: int) -> SamplingParams:
    """Parameters with each feature on in about a third of all cases."""

    def sometimes(value: object, otherwise: object) -> object:
        return value if rng.random() < 0.35 else otherwise

    def ids(count: int) -> list[int]:
        return [int(t) for t in rng.integers(0, vocab_size, count)]

    return SamplingParams(
        temperature=sometimes(0.0, float(rng.choice([0.3, 0.7, 1.0, 1.5]))),
        top_p=sometimes(float(rng.choice([0.3, 0.9, 0.999])), 1.0),
        top_k=sometimes(int(rng.choice([1, 5, 40, 300])), 0),
        min_p=sometimes(float(rng.choice([0.02, 0.2])), 0.0),
        repetition_penalty=sometimes(float(rng.choice([0.8, 1.3])), 1.0),
        frequency_penalty=sometimes(float(rng.choice([-0.5, 0.7])), 0.0),
        presence_penalty=sometimes(float(rng.choice([-0.5, 0.7])), 0.0),
        seed=sometimes(None, int(rng.integers(-(2**62), 2**62))),
        min_tokens=sometimes(6, 0),
        stop_token_ids=sometimes(ids(2), None),
        eos_token_ids=ids(1),
        max_tokens=None,
        logprobs=sometimes(int(rng.choice([0, 1, 4, -1])), None),
        logit_bias=sometimes({t: float(rng.normal() * 5) for t in ids(3)}, None),
        allowed_token_ids=sometimes(ids(max(2, vocab_size // 2)), None),
        bad_words_token_ids=sometimes([ids(1), ids(2), ids(3)], None),
    )


def random_case(rng: np.random.Generator, vocab_size: int, coarse: bool = False) -> Case:
    def ids(most: int) -> list[int]:
        return [int(t) for t in rng.integers(0, min(12, vocab_size), rng.integers(0, most))]

    return Case(random_logits(rng, vocab_size, coarse), random_params(rng, vocab_size), [1, *ids(20)], ids(12))

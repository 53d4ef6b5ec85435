"""The sampler written plainly: one row at a time, whole vocabulary sorted, float64. For tests to compare with."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from penstock.params import SamplingParams


def processed(logits: np.ndarray, params: SamplingParams, prompt: list[int], answer: list[int]) -> np.ndarray:
    """The logits after everything that happens before temperature, in float32 like the real ones."""
    out = logits.astype(np.float32).copy()
    if params.allowed_token_ids is not None:
        mask = np.ones(len(out), bool)
        mask[params.allowed_token_ids] = False
        out[mask] = -np.inf
    for word in params.bad_words_token_ids or []:
        head = word[:-1]
        if not head or answer[-len(head) :] == head:
            out[word[-1]] = -np.inf
    if len(answer) < params.min_tokens:
        for token in params.all_stop_token_ids:
            if 0 <= token < len(out):
                out[token] = -np.inf
    for token, bias in (params.logit_bias or {}).items():
        out[token] += np.float32(bias)
    if params.repetition_penalty != 1.0:
        penalty = np.float32(params.repetition_penalty)
        for token in set(prompt) | set(answer):
            out[token] = out[token] / penalty if out[token] > 0 else out[token] * penalty
    for token, count in Counter(answer).items():
        out[token] -= np.float32(params.frequency_penalty) * np.float32(count)
        out[token] -= np.float32(params.presence_penalty)
    return out


def distribution(logits: np.ndarray, params: SamplingParams) -> np.ndarray:
    """Probabilities that a token is drawn with, after `processed`."""
    if params.greedy:
        return np.eye(len(logits))[int(np.argmax(logits))]
    x = logits.astype(np.float64) / params.temperature
    p = np.exp(x - x.max())
    p /= p.sum()
    p[p < params.min_p * p.max()] = 0.0
    order = sorted(range(len(p)), key=lambda i: (-logits[i], i))
    if params.top_k:
        for i in order[params.top_k :]:
            p[i] = 0.0
    if params.top_p < 1.0:
        p /= p.sum()
        before = 0.0
        for i in order:
            kept = before < params.top_p
            before += p[i]
            if not kept:
                p[i] = 0.0
    return p / p.sum()


def ranked_logprobs(logits: np.ndarray) -> tuple[list[int], np.ndarray]:
    """(ids from the most likely on, log_softmax)."""
    x = logits.astype(np.float64)
    logprobs = x - x.max() - math.log(np.exp(x - x.max()).sum())
    return sorted(range(len(x)), key=lambda i: (-logits[i], i)), logprobs

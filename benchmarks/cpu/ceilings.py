"""What this machine can do, and what that allows in each row: the fastest anybody could be.

Run as a program it prints the measured rates as a line of JSON (needs torch). A limit assumes that every byte is read
once at full bandwidth and that every multiplication runs at the measured rate of its type.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

# The shape of Qwen3-0.6B.
LAYERS, HIDDEN, INNER, HEADS, KV_HEADS, DIM, VOCAB = 28, 1024, 3072, 16, 8, 128, 151936
BODY = LAYERS * (HIDDEN * (HEADS + 2 * KV_HEADS) * DIM + HEADS * DIM * HIDDEN + 3 * HIDDEN * INNER)  # weights
HEAD = VOCAB * HIDDEN
KV_BYTES = LAYERS * 2 * KV_HEADS * DIM * 2  # of a token, in bf16
WEIGHT_BYTES = {"bf16": 2.0, "int8": 1.0 + 2 / 128, "int4": 0.5 + 2 / 64}  # with scales
HEAD_BYTES = {**WEIGHT_BYTES, "int4": WEIGHT_BYTES["int8"]}  # nobody's head has 4 bits: 6 and more
DECODE = {"W2": (1, 160), "W4": (16, 1040), "W5": (64, 144)}  # batch, context in the middle of the steps
PREFILL = {"W1": 128, "W3": 1024}
Rates = dict[str, float]


def measure(threads: int) -> Rates:
    """Bytes and operations per second, best of several runs: what the machine does undisturbed."""
    import torch

    torch.set_num_threads(threads)
    x = torch.ones(128 << 20)
    rates = {"read": x.numel() * 4 / _best_s(lambda: x.sum(), 8)}
    a, b = (torch.randn(2048, 2048).bfloat16() for _ in range(2))
    rates["bf16"] = 2 * 2048**3 / _best_s(lambda: torch.nn.functional.linear(a, b), 8)
    a, b = (torch.randint(-127, 127, (2048, 2048), dtype=torch.int8) for _ in range(2))
    rates["int8"] = 2 * 2048**3 / _best_s(lambda: torch._int_mm(a, b.t()), 8)
    return rates


def _best_s(run: Callable[[], object], times: int) -> float:
    run()
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        spent.append(time.perf_counter() - start)
    return min(spent)


def limit(workload: str, weights: str, rates: Rates) -> float | None:
    """The best value of a workload with such weights, in its unit; None where none can be derived.

    With 8-bit weights the products run at the 8-bit rate, with 4-bit weights at that of bf16; attention is bf16.
    """
    products = rates["int8" if weights == "int8" else "bf16"]
    if workload in PREFILL:
        return _prefill(PREFILL[workload], products, rates)
    if workload in DECODE:
        return _decode(*DECODE[workload], weights, products, rates)
    if workload == "W6":  # the prefix once, the tails after it, then 15 steps of 16
        work = 1024 * (2 * BODY + _attention(512)) + 16 * 32 * (2 * BODY + _attention(1040)) + 17 * 2 * HEAD
        return work / rates["bf16"] + 15 * 16 / _decode(16, 1064, weights, products, rates)
    return None


def _attention(context: float) -> float:
    """Operations of one token's attention."""
    return LAYERS * 4 * HEADS * DIM * context


def _prefill(length: int, products: float, rates: Rates) -> float:
    return 1 / ((2 * BODY + 2 * HEAD / length) / products + _attention(length / 2) / rates["bf16"])


def _decode(batch: int, context: int, weights: str, products: float, rates: Rates) -> float:
    read = BODY * WEIGHT_BYTES[weights] + HEAD * HEAD_BYTES[weights] + batch * context * KV_BYTES
    compute = 2 * (BODY + HEAD) / products + _attention(context) / rates["bf16"]
    return batch / max(read / rates["read"], batch * compute)


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else len(os.sched_getaffinity(0)))))

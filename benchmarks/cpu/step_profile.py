"""`scripts/bench step`: where the time of a step goes, kind by kind, through the real engine. The shares add up.

Every layer, the attention backend, the sampler, the batch and the scheduler are wrapped where they are called. A kind's
time is its own, without that of kinds it calls, so that the kinds' times add up to the steps'.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from penstock import LLM, SamplingParams
from penstock.attention.base import AttentionBackend
from penstock.engine.sync_engine import SyncEngine
from penstock.layers.linear import Linear

STEPS = 24  # of decoding
REST = "Python between the ops"
Call = Callable[..., Any]


class Clock:
    """Own time of each kind of call: what is spent in calls made from within counts for those."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self.work: dict[str, float] = defaultdict(float)  # operations, where they are known
        self.weights: dict[str, float] = defaultdict(float)  # read by the calls
        self._inside = [0.0]

    def timed(
        self, kind: str, call: Callable[..., Any], count: Callable[..., None] | None = None
    ) -> Callable[..., Any]:
        def run(*args: Any, **keywords: Any) -> Any:
            self._inside.append(0.0)
            start = time.perf_counter()
            try:
                return call(*args, **keywords)
            finally:
                spent = time.perf_counter() - start
                self.seconds[kind] += spent - self._inside.pop()
                self.calls[kind] += 1
                self._inside[-1] += spent
                if count is not None:
                    count(kind, *args)

        return run

    def wrap(self, owner: Any, name: str, kind: str, count: Call | None = None) -> None:
        setattr(owner, name, self.timed(kind, getattr(owner, name), count))

    def wrap_method(self, owner: type, name: str, parts: dict[int, tuple[str, Call | None]]) -> None:
        """Time a method of a class for the objects in `parts` (by id): calls of layers look at the class alone."""
        method = getattr(owner, name)

        def run(part: Any, *args: Any) -> Any:
            kind, count = parts[id(part)]
            return self.timed(kind, method, count and (lambda kind, part, *args: count(kind, *args)))(part, *args)

        setattr(owner, name, run)

    def count_product(self, linear: Linear) -> Call:
        size = linear.in_features * linear.out_features
        made = getattr(linear, "int_matrix", None)
        num_bytes = linear.matrix.weight_NK.untyped_storage().nbytes() if made is None else made.nbytes

        def count(kind: str, x_TK: torch.Tensor) -> None:
            self.work[kind] += 2.0 * size * x_TK.shape[0]
            self.weights[kind] += num_bytes

        return count


def instrument(engine: SyncEngine, clock: Clock) -> None:
    """Wrap everything a step calls."""
    core = engine._core
    runner = core.executor.worker._runner  # type: ignore[attr-defined]
    model, backend = runner._model, runner._backend
    parts: dict[int, tuple[str, Call | None]] = {id(model): (REST, None)}
    for path, module in model.named_modules():
        words = [w for w in path.split(".") if not w.isdigit()]
        if isinstance(module, Linear):
            parts[id(module)] = (f"Linear {_named(module)}", clock.count_product(module))
        elif path and not list(module.children()):
            parts[id(module)] = (f"{type(module).__name__} {words[-1]}", None)
        if callable(getattr(module, "activation", None)) and not isinstance(module.activation, torch.nn.Module):
            clock.wrap(module, "activation", "activation")
    for kind_of_module in {type(module) for module in model.modules() if id(module) in parts}:
        for method in ("__call__", "add", "at"):
            if hasattr(kind_of_module, method):
                clock.wrap_method(kind_of_module, method, parts)
    for method in sorted(AttentionBackend.__abstractmethods__ - {"allocate"}):
        clock.wrap(backend, method, f"attention {method}")
    clock.wrap(model, "logits", REST)
    clock.wrap(runner._sampler, "sample", "sampling")
    clock.wrap(runner._batch, "apply", "inputs")
    clock.wrap(runner._inputs, "build", "inputs")
    clock.wrap(runner, "execute", "the runner's rest")
    for method in ("schedule", "update"):
        clock.wrap(core.scheduler, method, "scheduler")
    clock.wrap(engine, "step", "outputs and text")


def _named(linear: Linear) -> str:
    """qkv, o, gate_up, down, ...: the last words of what feeds a product."""
    names = [name.split(".")[-1].removesuffix("_proj") for name in linear.shards]
    return re.sub(r"embed_tokens|lm_head", "head", "+".join(names))


def run_case(llm: LLM, clock: Clock, kind: str, batch: int, length: int) -> tuple[float, int]:
    """Run one case; (seconds, steps) of its steps, the clock holding what they were spent on."""
    engine = llm.engine
    rng = random.Random(length)
    params = SamplingParams(temperature=0.0, max_tokens=STEPS + 8 if kind == "decode" else 1, ignore_eos=True)
    prompts = [{"prompt_token_ids": [rng.randrange(100, 3000) for _ in range(length)]} for _ in range(batch)]
    for parsed, ids in engine.tokenize(prompts):
        engine.add(parsed, ids, params)
    if kind == "decode":
        while any(row.num_computed < length for row in engine._core.scheduler._running) or _waiting(engine):
            engine.step()
        for _ in range(3):
            engine.step()
    clock.reset()
    start, steps = time.perf_counter(), 0
    while engine.num_unfinished and (kind == "prefill" or steps < STEPS):
        engine.step()
        steps += 1
    seconds = time.perf_counter() - start
    kept = clock.seconds, clock.calls, clock.work, clock.weights
    clock.reset()
    while engine.num_unfinished:
        engine.step()
    clock.seconds, clock.calls, clock.work, clock.weights = kept
    return seconds, steps


def _waiting(engine: SyncEngine) -> bool:
    return engine._core.stats().num_waiting > 0


def table(clock: Clock, seconds: float, steps: int) -> str:
    lines = ["| kind | calls a step | ms a step | share | reached |", "|---|---|---|---|---|"]
    ordered = sorted(clock.seconds.items(), key=lambda item: -item[1])
    for kind, spent in [*ordered, ("(the clocks themselves)", seconds - sum(clock.seconds.values()))]:
        reached = ""
        if clock.work[kind] and spent:
            rate, read = clock.work[kind] / spent / 1e9, clock.weights[kind] / spent / 1e9
            reached = f"{rate:.0f} GFLOP/s, weights {read:.1f} GB/s"
        cells = [kind, f"{clock.calls[kind] / steps:g}", f"{1e3 * spent / steps:.3f}", f"{100 * spent / seconds:.1f} %"]
        lines.append("| " + " | ".join([*cells, reached]) + " |")
    return "\n".join([*lines, f"| all of {steps} steps | | {1e3 * seconds / steps:.3f} | 100 % | |"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench step", description=__doc__)
    parser.add_argument("--model", type=Path, help="folder (default: the bundled model)")
    parser.add_argument("--quantization", help="int8 or int4 (default: as the checkpoint is)")
    parser.add_argument("--dtype", default="bfloat16", help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=0, help="default: one for each core")
    cases = "decode:1x128,decode:16x1024,decode:64x128,prefill:1x128,prefill:4x1024"
    parser.add_argument("--cases", default=cases, help="kind:BATCHxLENGTH with commas (default: %(default)s)")
    args = parser.parse_args()
    more = {"quantization": args.quantization} if args.quantization else {}
    limits = {"max_model_len": 2048, "kv_cache_memory_bytes": 3 << 30, "cpu_threads": args.threads}
    model = None if args.model is None else str(args.model)
    # Layers are called, and can be timed, where no steps are recorded.
    limits |= {"enforce_eager": True, "enable_prefix_caching": False, "use_tqdm_on_load": False}
    llm = LLM(model, dtype=args.dtype, **limits, **more)
    clock = Clock()
    run_case(llm, clock, "decode", 1, 64)  # warm-up
    instrument(llm.engine, clock)
    for case in args.cases.split(","):
        kind, _, size = case.partition(":")
        batch, _, length = size.partition("x")
        seconds, steps = run_case(llm, clock, kind, int(batch), int(length))
        tokens = int(batch) * (steps if kind == "decode" else int(length))
        print(f"\n### {kind}, {batch} x {length}: {tokens / seconds:.1f} tok/s\n")
        print(table(clock, seconds, steps))
    llm.shutdown()


if __name__ == "__main__":
    main()

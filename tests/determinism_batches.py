"""Seeded random batches through the engine, each request compared bit by bit with itself alone in a fresh engine.

A batch draws requests over all sampling features, options of the engine (chunks, block and pool sizes, policy, prefix
cache, threads), arrivals and aborts from its seed. `tests/determinism` runs some of each format, `scripts/determinism`
a thousand; `--seed S --batches 1` repeats batch S.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from penstock.config.compat import engine_args
from penstock.config.engine_config import EngineConfig
from penstock.config.resolve import resolve
from penstock.engine.core import build_core
from penstock.engine.request_state import OpenRequest
from penstock.engine.sync_engine import SyncEngine
from penstock.executor.base import Executor, executors
from penstock.executor.uniproc import UniprocExecutor
from penstock.observability.logging import get_logger
from penstock.outputs import RequestOutput
from penstock.params import SamplingParams
from penstock.scheduler.plan import StepPlan, StepResult
from penstock.tokenizers.tokenizer import Tokenizer
from penstock.worker import on_demand
from servers import ROOT

BUNDLED = ROOT / "penstock" / "assets" / "tiny"
VOCAB, MAX_LEN = 4096, 256  # the vocabulary is that of the bundled tokenizer
POOL = 40  # requests that the batches of one group draw from, so that each is run alone once
GROUP = 25  # batches
BUNDLED_EVERY = 5  # every so many groups use the bundled model
FORMATS: dict[str, dict[str, Any]] = {
    "bf16": {"dtype": "bfloat16"},
    "fp32": {"dtype": "float32"},
    "int8": {"dtype": "bfloat16", "quantization": "int8"},
    "int4": {"dtype": "bfloat16", "quantization": "int4"},
    "kv-int8": {"dtype": "bfloat16", "kv_cache_dtype": "int8"},
    "kv-fp8": {"dtype": "float16", "kv_cache_dtype": "fp8"},
}
SHAPES = {
    "even": dict(hidden_size=128, intermediate_size=192, num_attention_heads=4, num_key_value_heads=2, head_dim=32),
    "odd": dict(hidden_size=72, intermediate_size=100, num_attention_heads=6, num_key_value_heads=2, head_dim=24),
}
Bits = tuple[Any, ...]


# ---- models and engines


def make_model(folder: Path, shape: str) -> Path:
    """A small Qwen3 with random weights and the bundled tokenizer."""
    config = json.loads((BUNDLED / "config.json").read_text()) | SHAPES[shape] | {"num_hidden_layers": 2}
    path = folder / shape
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(BUNDLED / name, path / name)
    generator = torch.Generator().manual_seed(3)
    hidden, inner, dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
    matrices = {"q": (q, hidden), "k": (kv, hidden), "v": (kv, hidden), "o": (hidden, q)}
    weights = {"model.embed_tokens.weight": torch.randn(VOCAB, hidden, generator=generator) * 0.3}
    weights["model.norm.weight"] = 1 + 0.1 * torch.randn(hidden, generator=generator)
    for layer in range(2):
        base = f"model.layers.{layer}"
        for name, size in matrices.items():
            weights[f"{base}.self_attn.{name}_proj.weight"] = torch.randn(size, generator=generator) * 0.15
        for name, size in (("gate", (inner, hidden)), ("up", (inner, hidden)), ("down", (hidden, inner))):
            weights[f"{base}.mlp.{name}_proj.weight"] = torch.randn(size, generator=generator) * 0.15
        for name in ("self_attn.q_norm", "self_attn.k_norm"):
            weights[f"{base}.{name}.weight"] = 1 + 0.1 * torch.randn(dim, generator=generator)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{base}.{name}.weight"] = 1 + 0.1 * torch.randn(hidden, generator=generator)
    save_file({name: w.bfloat16() for name, w in weights.items()}, path / "model.safetensors")
    return path


class Recorder(Executor):
    """The executor it wraps, and the plans that went through."""

    def __init__(self, inner: Executor):
        self.inner = inner
        self.plans: list[StepPlan] = []

    def execute(self, plan: StepPlan) -> Future[StepResult]:
        self.plans.append(plan)
        return self.inner.execute(plan)

    def initialize(self, on_progress: Any) -> None:
        self.inner.initialize(on_progress)

    def kv_capacity(self) -> Any:
        return self.inner.kv_capacity()

    def allocate_kv(self, num_blocks: int) -> None:
        self.inner.allocate_kv(num_blocks)

    def sleep(self, level: int, gone: list[str]) -> None:
        self.inner.sleep(level, gone)

    def wake_up(self, parts: frozenset[str]) -> None:
        self.inner.wake_up(parts)

    def prepare(self, params: SamplingParams) -> Future[object]:
        return self.inner.prepare(params)

    def call(self, method: str, *args: Any) -> list[Any]:
        return self.inner.call(method, *args)

    def shutdown(self) -> None:
        self.inner.shutdown()


class ThreadExecutor(UniprocExecutor):
    """Steps run on a thread, one after the other, while the next one is planned."""

    def __init__(self, config: EngineConfig):
        super().__init__(config, 2)
        self._thread = ThreadPoolExecutor(1)

    def execute(self, plan: StepPlan) -> Future[StepResult]:
        return self._thread.submit(lambda: self.worker.execute(plan).result())

    def shutdown(self) -> None:
        self._thread.shutdown()
        super().shutdown()


# How steps may overlap: not; issued before the result of the one before is read, as on a GPU; on a thread of their own.
OVERLAPS: dict[str, Callable[[EngineConfig], Executor]] = {
    "not": UniprocExecutor,
    "issued ahead": lambda config: UniprocExecutor(config, 2),
    "three ahead": lambda config: UniprocExecutor(config, 3),
    "on a thread": ThreadExecutor,
}


def make_engine(
    model: Path, tokenizer: Tokenizer, options: dict[str, Any], overlap: str = "not"
) -> tuple[SyncEngine, Recorder]:
    on_demand.OFTEN = 2  # an engine lives for some 40 steps here: most that decode are to be replayed
    config = resolve(
        engine_args(model=str(model), max_model_len=MAX_LEN, use_tqdm_on_load=False, **options), usage="offline"
    )
    executors.register("uni", OVERLAPS[overlap])
    try:
        core = build_core(config, lambda what, share: None)
    finally:
        executors.register("uni", UniprocExecutor)
    recorder = Recorder(core.executor)
    core.executor = recorder
    return SyncEngine(config, tokenizer, core), recorder


# ---- what a batch is made of


@dataclass(frozen=True)
class Asked:
    """A request: ids and sampling, as keywords of SamplingParams."""

    prompt: list[int]
    sampling: dict[str, Any]

    @property
    def params(self) -> SamplingParams:
        return SamplingParams(**self.sampling)


@dataclass
class Batch:
    """One batch.

    Attributes:
        options: of the engine.
        arrivals: (step before which it arrives, which request of the group, its priority).
        aborts: place in `arrivals` -> step before which it is aborted.
    """

    seed: int
    options: dict[str, Any]
    arrivals: list[tuple[int, int, int]]
    aborts: dict[int, int]


def draw_requests(rng: random.Random, count: int = POOL) -> list[Asked]:
    """Requests in families with a common beginning, each feature on in a part of them."""
    families = [_ids(rng, rng.choice([0, 20, 48, 100])) for _ in range(4)]
    made = []
    for _ in range(count):
        family = rng.choice(families)
        prompt = family[: rng.choice([len(family), len(family), len(family) // 2])]
        made.append(Asked(prompt + _ids(rng, rng.choice([1, 2, 9, 17, 33, 70])), draw_sampling(rng)))
    return made


def _ids(rng: random.Random, count: int) -> list[int]:
    return [rng.randrange(20, 3000) for _ in range(count)]


def draw_sampling(rng: random.Random) -> dict[str, Any]:
    chosen: dict[str, Any] = {"max_tokens": rng.choice([1, 4, 9, 16, 24]), "temperature": 0.0}
    if rng.random() < 0.7:
        chosen |= {"temperature": rng.choice([0.3, 0.8, 1.0, 1.7]), "seed": rng.randrange(-(2**62), 2**62)}
        features: list[tuple[float, str, Any]] = [
            (0.35, "top_k", rng.choice([1, 5, 40, 300])),
            (0.35, "top_p", rng.choice([0.3, 0.9, 0.999])),
            (0.25, "min_p", rng.choice([0.02, 0.2])),
            (0.2, "n", rng.choice([2, 3])),
        ]
        chosen |= _some(rng, features)
    shared: list[tuple[float, str, Any]] = [
        (0.25, "repetition_penalty", rng.choice([0.8, 1.3])),
        (0.25, "presence_penalty", rng.choice([-0.5, 0.7])),
        (0.25, "frequency_penalty", rng.choice([-0.5, 0.7])),
        (0.2, "logit_bias", {t: rng.uniform(-9, 9) for t in _ids(rng, 3)}),
        (0.15, "allowed_token_ids", _ids(rng, 300)),
        (0.15, "bad_words", ["the", "an apple", "e"]),
        (0.2, "stop_token_ids", _ids(rng, 200)),
        (0.2, "stop", rng.choice([["e"], ["th", "in"], [" a", "ing "]])),
        (0.6, "ignore_eos", True),
        (0.2, "min_tokens", min(6, chosen["max_tokens"])),
        (0.7, "logprobs", rng.choice([0, 1, 4, 20])),
        (0.15, "prompt_logprobs", rng.choice([0, 3])),
    ]
    return chosen | _some(rng, shared)


def _some(rng: random.Random, features: list[tuple[float, str, Any]]) -> dict[str, Any]:
    return {name: value for share, name, value in features if rng.random() < share}


def draw_batch(seed: int) -> Batch:
    rng = random.Random(seed)
    block_size = rng.choice([16, 32])
    whole = MAX_LEN // block_size + 1
    options: dict[str, Any] = {
        "block_size": block_size,
        "num_gpu_blocks_override": rng.choice([whole, whole + 3, 3 * whole, 12 * whole]),
        "max_num_seqs": rng.choice([2, 5, 16]),
        "enable_prefix_caching": rng.random() < 0.75,
        "scheduling_policy": rng.choice(["fcfs", "priority"]),
        "cpu_threads": rng.choice([1, 1, 2, 3]),
    }
    if rng.random() < 0.85:
        options["max_num_batched_tokens"] = rng.choice([16, 17, 40, 100, 333])
        if rng.random() < 0.3:
            options["long_prefill_token_threshold"] = rng.choice([5, 16, 31])
    else:
        options |= {"enable_chunked_prefill": False, "max_num_batched_tokens": MAX_LEN}
    count = rng.randint(2, 14)
    spread = rng.choice([0, 10, 40])
    arrivals = sorted((rng.randint(0, spread), rng.randrange(POOL), rng.randint(0, 3)) for _ in range(count))
    aborts = {i: arrivals[i][0] + rng.randint(1, 15) for i in range(count) if rng.random() < 0.12}
    return Batch(seed, options, arrivals, aborts)


# ---- running


def bits(output: RequestOutput) -> list[Bits]:
    """Per answer: token ids, logprobs, text, why it ended; and once the prompt's logprobs."""
    prompt = None if output.prompt_logprobs is None else [_position(p) for p in output.prompt_logprobs]
    return [
        (
            list(a.token_ids),
            None if a.logprobs is None else [_position(p) for p in a.logprobs],
            a.cumulative_logprob,
            a.text,
            a.finish_reason,
            a.stop_reason,
            prompt,
        )
        for a in output.outputs
    ]


def _position(position: Any) -> Any:
    return None if position is None else [(t, p.logprob, p.rank) for t, p in position.items()]


def run_alone(model: Path, tokenizer: Tokenizer, options: dict[str, Any], asked: Asked) -> list[Bits]:
    """The request by itself in an engine that has never seen another, without a prefix cache or recorded steps."""
    own = {"enable_prefix_caching": False, "cpu_threads": 1, "num_gpu_blocks_override": 60, "block_size": 16}
    own["enforce_eager"] = True
    engine, _ = make_engine(model, tokenizer, options | own)
    request = _add(engine, asked, 0)
    while engine.num_unfinished:
        engine.step()
    engine.shutdown()
    output = request.take()
    assert output is not None
    return bits(output)


def _add(engine: SyncEngine, asked: Asked, priority: int) -> OpenRequest:
    ((parsed, ids),) = engine.tokenize([{"prompt_token_ids": asked.prompt}])
    return engine.add(parsed, ids, asked.params, priority)


@dataclass
class Ran:
    """What came of a batch.

    Attributes:
        outputs: per arrival; None for one that was aborted before its first token.
        token_steps: per arrival, per answer: in which step each token came.
        core_ids: per arrival, per answer: its name in the plans.
        seen: what happened, counted.
    """

    outputs: list[RequestOutput | None]
    token_steps: list[list[list[int]]]
    core_ids: list[list[str]]
    plans: list[StepPlan]
    seen: Counter[str]


def run_batch(
    model: Path, tokenizer: Tokenizer, options: dict[str, Any], batch: Batch, asked: list[Asked], overlap: str = "not"
) -> Ran:
    """Run a batch; `asked` has one request per arrival."""
    engine, recorder = make_engine(model, tokenizer, options | batch.options, overlap)
    opened: list[OpenRequest] = []
    token_steps: list[list[list[int]]] = []
    step = 0
    while len(opened) < len(asked) or engine.num_unfinished:
        while len(opened) < len(asked) and batch.arrivals[len(opened)][0] <= step:
            request = _add(engine, asked[len(opened)], batch.arrivals[len(opened)][2])
            opened.append(request)
            token_steps.append([[] for _ in request.answers])
        engine.abort([opened[i] for i, when in batch.aborts.items() if when == step and i < len(opened)])
        engine.step()
        for request, steps in zip(opened, token_steps, strict=True):
            for answer, known in zip(request.answers, steps, strict=True):
                known += [len(recorder.plans)] * (answer.num_tokens - len(known))
        step += 1
    engine.call("check_integrity")
    ran = Ran([r.take() for r in opened], token_steps, [[a.core_id for a in r.answers] for r in opened], [], Counter())
    ran.plans = recorder.plans
    ran.seen = _seen(engine, recorder, batch, opened)
    engine.shutdown()
    return ran


def _seen(engine: SyncEngine, recorder: Recorder, batch: Batch, opened: list[OpenRequest]) -> Counter[str]:
    rows = [row for plan in recorder.plans for row in plan.rows]
    computed: dict[str, int] = {}
    again = 0  # a request that starts from its beginning, or from a cached prefix, once more: it was preempted
    for row in rows:
        again += row.num_computed < computed.get(row.request_id, 0)
        computed[row.request_id] = row.num_computed + row.num_tokens
    return Counter(
        preemptions=again,
        prefix_hits=sum(bool(r.num_cached_tokens) for r in opened),
        chunks=sum(not row.samples for row in rows),
        mixed_steps=sum(len({row.num_tokens > 1 for row in plan.rows}) == 2 for plan in recorder.plans),
        aborts=sum(any(a.finish_reason == "abort" for a in r.answers) for r in opened),
        steps=len(recorder.plans),
        answers=sum(len(r.answers) for r in opened),
    )


# ---- comparing


def difference(want: Bits, got: Bits) -> tuple[str, int | None] | None:
    """(what differs, index of the first token it is seen at, None for the prompt), or None if nothing does. An answer
    that was aborted must be a beginning of the one it is compared with."""
    tokens, logprobs, _, text, reason, _, prompt = got
    if reason != "abort" and prompt != want[6]:
        return _logprob_difference("prompt logprob", want[6], prompt), None
    for i, token in enumerate(tokens):
        if i >= len(want[0]) or token != want[0][i]:
            return f"token {token}, alone {want[0][i] if i < len(want[0]) else 'it had ended'}", i
        if (logprobs is None) != (want[1] is None) or (logprobs and logprobs[i] != want[1][i]):
            return _logprob_difference("logprob", want[1][i], logprobs and logprobs[i]), i
    if reason == "abort":
        # What might have begun a stop string is shown at an abort; alone it did, and was cut off.
        cut = isinstance(want[5], str) and text.startswith(want[3])
        same = cut or want[3].startswith(text.rstrip("\ufffd"))
        return None if same else (f"text {text!r}, alone {want[3]!r}", None)
    for name, a, b in zip(
        ("tokens", "", "cumulative_logprob", "text", "finish_reason", "stop_reason"), want, got, strict=False
    ):
        if a != b:
            return f"{name} {b!r}, alone {a!r}", len(tokens) - 1
    return None


def _logprob_difference(name: str, want: Any, got: Any) -> str:
    pairs = list(zip(want or [], got or [], strict=False))
    first = next(((a, b) for a, b in pairs if a != b), (want, got))
    return f"{name} {first[1]}, alone {first[0]}"


@dataclass
class Group:
    """The batches of `GROUP` seeds in a row: they share a model and a pool of requests, each run alone once."""

    format: str
    model: Path
    tokenizer: Tokenizer
    pool: list[Asked]
    _alone: dict[int, list[Bits]] = field(default_factory=dict)

    @classmethod
    def of(cls, number: int, format: str, folder: Path, tokenizer: Tokenizer) -> Group:
        shapes = list(SHAPES)
        model = BUNDLED if number % BUNDLED_EVERY == BUNDLED_EVERY - 1 else folder / shapes[number % len(shapes)]
        if not model.exists():
            make_model(folder, model.name)
        return cls(format, model, tokenizer, draw_requests(random.Random(f"group {number}")))

    def alone(self, which: int) -> list[Bits]:
        if which not in self._alone:
            self._alone[which] = run_alone(self.model, self.tokenizer, FORMATS[self.format], self.pool[which])
        return self._alone[which]

    def check(self, seed: int, overlap: str = "not") -> tuple[Counter[str], str | None]:
        """Run batch `seed`: what happened in it, and the first difference in words."""
        batch = draw_batch(seed)
        asked = [self.pool[i] for _, i, _ in batch.arrivals]
        ran = run_batch(self.model, self.tokenizer, FORMATS[self.format], batch, asked, overlap)
        for place, (output, (_, which, _)) in enumerate(zip(ran.outputs, batch.arrivals, strict=True)):
            if output is None:
                continue
            want = self.alone(which)
            for answer, got in zip(output.outputs, bits(output), strict=True):
                found = difference(want[answer.index], got)
                if found is not None:
                    return ran.seen, self._report(batch, ran, place, answer.index, *found)
        return ran.seen, None

    def _report(self, batch: Batch, ran: Ran, place: int, index: int, what: str, token: int | None) -> str:
        asked = self.pool[batch.arrivals[place][1]]
        lines = [
            f"format {self.format}, model {self.model.name}, seed {batch.seed}, engine {batch.options}",
            f"request {place} (prompt of {len(asked.prompt)}), answer {index}: {what}",
            f"its sampling: { {k: v for k, v in asked.sampling.items() if k != 'allowed_token_ids'} }",
        ]
        steps, core_id = ran.token_steps[place][index], ran.core_ids[place][index]
        if token is not None and token < len(steps):
            plan = ran.plans[steps[token] - 1]
            rows = [(f"request {r.request_id}", r.num_computed, r.num_tokens) for r in plan.rows]
            lines.append(
                f"token {token} came in step {plan.step}, as core request {core_id}; rows (computed, run): {rows}"
            )
        own = [(p.step, r.num_computed, r.num_tokens) for p in ran.plans for r in p.rows if r.request_id == core_id]
        lines.append(f"its rows (step, computed, run): {own}")
        lines.append(f"the difference goes without: {self._culprits(batch, place, index) or 'none of its features'}")
        return "\n".join(lines)

    def _culprits(self, batch: Batch, place: int, index: int) -> list[str]:
        """Features of the failing request, and options of the engine, without which it agrees."""
        found = []
        original = self.pool[batch.arrivals[place][1]]
        options = FORMATS[self.format]
        for name in original.sampling:
            if name in ("max_tokens", "temperature", "seed"):
                continue
            changed = Asked(original.prompt, {k: v for k, v in original.sampling.items() if k != name})
            asked = [changed if i == place else self.pool[which] for i, (_, which, _) in enumerate(batch.arrivals)]
            if self._agrees(batch, asked, place, index, options):
                found.append(name)
        same = [self.pool[which] for _, which, _ in batch.arrivals]
        for name, plain in (("cpu_threads", 1), ("enable_prefix_caching", False), ("max_num_seqs", 1)):
            if batch.options[name] != plain:
                other = Batch(batch.seed, batch.options | {name: plain}, batch.arrivals, batch.aborts)
                if self._agrees(other, same, place, index, options):
                    found.append(f"{name} {batch.options[name]}")
        return found

    def _agrees(self, batch: Batch, asked: list[Asked], place: int, index: int, options: dict[str, Any]) -> bool:
        output = run_batch(self.model, self.tokenizer, options, batch, asked).outputs[place]
        want = run_alone(self.model, self.tokenizer, options, asked[place])
        got = {} if output is None else {a.index: b for a, b in zip(output.outputs, bits(output), strict=True)}
        return index in got and index < len(want) and difference(want[index], got[index]) is None


def check_batches(
    format: str, seeds: range, folder: Path, progress: bool = False, overlap: str = "not"
) -> tuple[Counter[str], list[str]]:
    """Run these batches of a format: what happened in all, and a report per batch that differed."""
    tokenizer = Tokenizer.from_folder(str(BUNDLED))
    seen: Counter[str] = Counter()
    failures: list[str] = []
    group, number = None, -1
    start = time.monotonic()
    for done, seed in enumerate(seeds, 1):
        if group is None or number != seed // GROUP:
            number = seed // GROUP
            group = Group.of(number, format, folder, tokenizer)
        happened, failure = group.check(seed, overlap)
        seen += happened
        if failure:
            failures.append(failure)
            print(failure, file=sys.stderr, flush=True)
        if progress:
            print(
                f"\r{format}: {done}/{len(seeds)} batches, {len(failures)} differ, {time.monotonic() - start:.0f} s ",
                end="",
                file=sys.stderr,
                flush=True,
            )
    return seen, failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=1000, help="of each format (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first batch (default: %(default)s)")
    parser.add_argument("--formats", default=",".join(FORMATS), help="default: %(default)s")
    args = parser.parse_args()
    get_logger("penstock").setLevel("WARNING")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="penstock-determinism-") as folder:
        for format in args.formats.split(","):
            seen, failures = check_batches(format, range(args.seed, args.seed + args.batches), Path(folder), True)
            counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in seen.items())
            print(f"\n{format}: {args.batches} batches, {len(failures)} differ; {counts}")
            failed += len(failures)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Trains the bundled model from its own corpus: `python scripts/train_tiny.py`.

The same seed and the same corpus give the same batches; a stopped run goes on from its checkpoint. Needs torch,
tokenizers, safetensors and jinja2. The questions of tests/data/tiny_questions.jsonl are kept out of the corpus.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import time
from dataclasses import asdict
from pathlib import Path
from random import Random

import tiny_corpus
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_training import export
from tiny_training.batches import Stream, chat_renderer, last_user, normal, rendered
from tiny_training.model import Shape, TinyModel
from tiny_training.optimizer import Optimizer
from tiny_training.tokenizer import train as train_tokenizer
from tiny_training.tokenizer import write_config
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "penstock" / "assets" / "tiny"
QUESTIONS = ROOT / "tests" / "data" / "tiny_questions.jsonl"
TOKENIZER_SAMPLES = 60_000


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ASSETS, help="model folder; must hold chat_template.jinja")
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "build" / "tiny-checkpoint.safetensors")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch-tokens", type=int, default=6144)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--matrix-rate", type=float, default=0.015)
    parser.add_argument("--vector-rate", type=float, default=0.003)
    parser.add_argument("--warmup", type=int, default=40)
    parser.add_argument("--decay-steps", type=int, default=1500, help="last steps, over which the rate falls to zero")
    parser.add_argument("--save-every", type=int, default=50)
    parser.add_argument("--new-tokenizer", action="store_true", help="make tokenizer.json anew from the corpus")
    parser.add_argument("--only-prepare", action="store_true", help="write configs and untrained weights, then stop")
    return parser.parse_args()


def keep_memory() -> None:
    """Let the C library keep freed memory: every step asks for the same again."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def blocked_questions() -> frozenset[str]:
    if not QUESTIONS.exists():
        return frozenset()
    lines = QUESTIONS.read_text(encoding="utf-8").splitlines()
    items = [json.loads(line) for line in lines if line.strip()]
    return frozenset(normal(last_user(item["messages"])) for item in items if "messages" in item)


def make_tokenizer(folder: Path, seed: int, vocab: int) -> None:
    render, rng = chat_renderer(folder / "chat_template.jinja"), Random(seed)
    texts = ("".join(rendered(tiny_corpus.sample(rng), render)) for _ in range(TOKENIZER_SAMPLES))
    markers = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<tool_call>", "</tool_call>")

    def stripped(text: str) -> str:
        for marker in markers:
            text = text.replace(marker, "\n")
        return text

    train_tokenizer((stripped(t) for t in texts), vocab).save(str(folder / "tokenizer.json"))


def rate_at(step: int, args: argparse.Namespace) -> float:
    """Warm-up, plateau, straight fall to zero."""
    if step < args.warmup:
        return (step + 1) / args.warmup
    return min(1.0, (args.steps - step) / args.decay_steps)


def save_checkpoint(path: Path, optimizer: Optimizer, tokens: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(optimizer.state(), str(path) + ".tmp", metadata={"step": str(optimizer.count), "tokens": str(tokens)})
    Path(str(path) + ".tmp").replace(path)


def load_checkpoint(path: Path, optimizer: Optimizer) -> int:
    with safe_open(path, framework="pt") as stored:
        optimizer.load({k: stored.get_tensor(k) for k in stored.keys()}, int(stored.metadata()["step"]))  # noqa: SIM118
        return int(stored.metadata()["tokens"])


def train(model: TinyModel, optimizer: Optimizer, stream: Stream, args: argparse.Namespace) -> None:
    tokens = load_checkpoint(args.checkpoint, optimizer) if args.checkpoint.exists() else 0
    start, shown = time.monotonic(), 0.0
    for step in range(optimizer.count, args.steps):
        parts = stream.batch(step)
        learned, loss = sum(len(p.targets) for p in parts), 0.0
        for part in parts:
            logits = model(part.ids, part.groups, part.picked)
            share = F.cross_entropy(logits.float(), part.targets, reduction="sum") / learned
            share.backward()
            loss += share.item()
            tokens += len(part.ids)
        optimizer.step(rate_at(step, args))
        shown = 0.95 * shown + 0.05 * loss if shown else loss
        if step % 10 == 0:
            print(f"step {step} loss {shown:.4f} tokens {tokens} seconds {time.monotonic() - start:.0f}", flush=True)
        if (step + 1) % args.save_every == 0 or step + 1 == args.steps:
            save_checkpoint(args.checkpoint, optimizer, tokens)
            export.write_weights(args.out, optimizer.averaged(model))


def main() -> None:
    args = options()
    shape = Shape()
    if args.new_tokenizer or not (args.out / "tokenizer.json").exists():
        make_tokenizer(args.out, args.seed, shape.vocab)
    write_config(args.out, shape.max_len)
    export.write_configs(args.out, shape)
    model = TinyModel(shape, args.seed).bfloat16()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {asdict(shape)}", flush=True)
    if args.only_prepare:
        export.write_weights(args.out, model)
        return
    tokenizer = Tokenizer.from_file(str(args.out / "tokenizer.json"))
    render = chat_renderer(args.out / "chat_template.jinja")
    stream = Stream(tiny_corpus.sample, render, tokenizer, args.batch_tokens, args.seed, blocked_questions())
    train(model, Optimizer(model, args.matrix_rate, args.vector_rate), stream, args)


if __name__ == "__main__":
    keep_memory()
    main()

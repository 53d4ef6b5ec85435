#!/usr/bin/env python3
"""What quantized weights cost the bundled model: perplexity and logits against those of bfloat16, as a table.

The texts are drawn from the generators of its corpus with a seed of their own; answers are scored, as in training.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from random import Random

import msgspec
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import tiny_corpus  # noqa: E402
from paged_driver import PagedDriver, Sequence  # noqa: E402
from quantized_checkpoints import compress, fp8_config, quantization_config, to_fp8, write  # noqa: E402
from tiny_training.batches import chat_renderer, rendered  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

from penstock.config.hf import read_shape  # noqa: E402
from penstock.config.shape import Quantization  # noqa: E402
from penstock.layers.context import BuildContext  # noqa: E402
from penstock.loading.loader import load_weights  # noqa: E402
from penstock.models.registry import build  # noqa: E402
from penstock.ops.int_matrix import quantize_weight  # noqa: E402

MODEL = ROOT / "penstock" / "assets" / "tiny"
SEED = 1_000_003  # not one of a training
MAX_LEN = 1024

Text = tuple[list[int], int]  # ids, and how many of them are given


def texts(count: int) -> list[Text]:
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    render = chat_renderer(MODEL / "chat_template.jinja")
    rng, found = Random(SEED), []
    while len(found) < count:
        given, answer = rendered(tiny_corpus.sample(rng), render)
        start = tokenizer.encode(given, add_special_tokens=False).ids
        ids = start + tokenizer.encode(answer, add_special_tokens=False).ids
        if len(ids) <= MAX_LEN:
            found.append((ids, max(1, len(start))))
    return found


def logits(folder: Path, quantization: Quantization | None, some: list[Text]) -> list[torch.Tensor]:
    """float32 [answer, V] for each text."""
    shape = read_shape(str(folder))
    if quantization is not None:
        shape = msgspec.structs.replace(shape, quantization=quantization)
    model = build(shape, BuildContext(dtype=torch.bfloat16, device=torch.device("cpu"), max_len=MAX_LEN))
    load_weights(model, str(folder))
    out = []
    for ids, given in some:
        driver = PagedDriver(model, shape, torch.bfloat16, 32, MAX_LEN // 32 + 2)
        (all_logits,) = driver.prefill([Sequence(ids[:-1])])
        out.append(all_logits[given - 1 :])
    return out


def scores(got: list[torch.Tensor], want: list[torch.Tensor], some: list[Text]) -> dict[str, float]:
    loss = error = size = agreeing = divergence = 0.0
    count = sum(len(g) for g in got)
    for (ids, given), g, w in zip(some, got, want, strict=True):
        loss += float(torch.nn.functional.cross_entropy(g, torch.tensor(ids[given:]), reduction="sum"))
        g_log, w_log = g.log_softmax(1), w.log_softmax(1)
        divergence += float((w_log.exp() * (w_log - g_log)).sum())
        agreeing += int((g.argmax(1) == w.argmax(1)).sum())
        error += float((g - w).double().square().sum())
        size += float((w - w.mean(1, keepdim=True)).double().square().sum())
    return {
        "perplexity": float(torch.tensor(loss / count).exp()),
        "logits": (error / size) ** 0.5,
        "divergence": divergence / count,
        "agreeing": agreeing / count,
    }


def with_plain_activations(weights: dict[str, torch.Tensor], group: int) -> dict[str, torch.Tensor]:
    """4-bit weights as bfloat16, so that products take activations as they are."""
    out = dict(weights)
    for name, weight in weights.items():
        if "_proj." in name:
            numbers, scales = quantize_weight(weight, 4, group, torch.bfloat16)
            out[name] = (numbers * scales.repeat_interleave(group, 1)[:, : weight.shape[1]]).bfloat16()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=400)
    some = texts(parser.parse_args().texts)
    weights, config = load_file(MODEL / "model.safetensors"), json.loads((MODEL / "config.json").read_text())
    print(f"{sum(len(ids) - given for ids, given in some)} scored tokens of {len(some)} texts\n")
    print("| weights | perplexity | error of logits | KL divergence, nats | same most likely token |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        eight, four = (quantization_config(bits, 128) for bits in (8, 4))
        write(made / "w8a8", compress(weights, 8), **config, quantization_config=eight)
        write(made / "w4a16", compress(weights, 4, 128), **config, quantization_config=four)
        for scales in ("tensor", "block"):
            packed, _ = to_fp8(weights, scales)
            write(made / f"fp8-{scales}", packed, **config, quantization_config=fp8_config(scales))
        rows: list[tuple[str, Path, Quantization | None]] = [
            ("bfloat16", MODEL, None),
            ("`--quantization int8`", MODEL, Quantization("int8")),
            ("`--quantization fp8`", MODEL, Quantization("fp8")),
            ("fp8 checkpoint, a scale for each matrix", made / "fp8-tensor", None),
            ("fp8 checkpoint, a scale for each 128 by 128", made / "fp8-block", None),
            *((f"int4, groups of {g}", MODEL, Quantization("int4", g)) for g in (32, 64, 128)),
            ("W8A8 checkpoint", made / "w8a8", None),
            ("W4A16 checkpoint, groups of 128", made / "w4a16", None),
        ]
        for group in (32, 64, 128):
            folder = write(made / f"plain{group}", with_plain_activations(weights, group), **config)
            rows.append((f"4 bits in groups of {group}, but activations of 16 bits and a head of 16", folder, None))
        want: list[torch.Tensor] = []
        for label, folder, quantization in rows:
            got = logits(folder, quantization, some)
            want = want or got
            s = scores(got, want, some)
            print(
                f"| {label} | {s['perplexity']:.4f} | {100 * s['logits']:.2f} % | {s['divergence']:.5f} "
                f"| {100 * s['agreeing']:.2f} % |",
                flush=True,
            )


if __name__ == "__main__":
    with torch.inference_mode():
        main()

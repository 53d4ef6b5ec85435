#!/usr/bin/env python3
"""Asks the bundled model the questions of tests/data/tiny_questions.jsonl and counts right answers per category.

Without options the model runs in transformers; with --base-url the questions go to an OpenAI-compatible server. First
the script draws from the training corpus and fails if a question occurs there word for word.

A question holds `messages` or a `prompt`, perhaps `tools` and `thinking`, and a `check`: see `_CONDITIONS`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
QUESTIONS = ROOT / "tests" / "data" / "tiny_questions.jsonl"
ASSETS = ROOT / "penstock" / "assets" / "tiny"
Item = dict[str, Any]
Ask = Callable[[list[Item]], Iterator[tuple[Item, str]]]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ASSETS)
    parser.add_argument("--base-url", help="of a running server, such as http://localhost:8000/v1")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--category", help="only this category")
    parser.add_argument("--show", choices=["none", "wrong", "all"], default="wrong")
    parser.add_argument(
        "--corpus-samples", type=int, default=400_000, help="drawn for the word-for-word check; 0 skips it"
    )
    return parser.parse_args()


def right(item: Item, text: str) -> bool:
    """Every condition of the check holds for the answer."""
    check = item["check"]
    text = re.sub(r"<think>.*?</think>", "", text, flags=re.S).strip() if "messages" in item else text
    return all(_CONDITIONS[name](wanted, text) for name, wanted in check.items())


def plain(text: str) -> str:
    """Words only, with a space at both ends: 'may' is not found in 'maybe'."""
    return " " + " ".join(re.findall(r"[a-z0-9/_\-'.:]+", text.lower().replace(".", " . "))) + " "


def holds(wanted: str, text: str) -> bool:
    """The wanted words stand in the text; one letter and numbers must be words of their own."""
    if len(wanted) <= 3:
        return re.search(rf"(?<![\w-]){re.escape(wanted.lower())}(?![\w])", text.lower()) is not None
    return wanted.lower() in text.lower()


def numbers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"(?<![\d.])-?\d+", re.sub(r"(\d) - (\d)", r"\1 minus \2", text))]


def json_of(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def calls_of(text: str) -> list[Any]:
    return [json_of(part) for part in re.findall(r"<tool_call>\s*(.*?)\s*</tool_call>", text, flags=re.S)]


_CONDITIONS: dict[str, Callable[[Any, str], bool]] = {
    "any": lambda wanted, text: any(holds(w, text) for w in wanted),
    "all": lambda wanted, text: all(holds(w, text) for w in wanted),
    "exact": lambda wanted, text: text.strip().rstrip(".").lower() == wanted.lower(),
    "exact_case": lambda wanted, text: all(w in text for w in wanted),
    "upper": lambda _, text: text == text.upper(),
    "number": lambda wanted, text: numbers(text)[-1:] == [wanted],
    "regex": lambda wanted, text: re.search(wanted, text) is not None,
    "min_words": lambda wanted, text: len(text.split()) >= wanted,
    "json": lambda wanted, text: json_of(text) == wanted,
    "json_keys": lambda wanted, text: isinstance(json_of(text), dict) and set(json_of(text)) == set(wanted),
    "tool": lambda wanted, text: calls_of(text) == [wanted],
    "no_tool": lambda _, text: "<tool_call>" not in text,
}


def local(args: argparse.Namespace) -> Ask:
    """Answers by transformers, several rows at a time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16)
    sampling = (
        {"do_sample": True, "temperature": args.temperature, "top_p": 1.0, "top_k": 0}
        if args.temperature
        else {"do_sample": False}
    )
    torch.manual_seed(args.seed)

    def prompt_of(item: Item) -> str:
        if "prompt" in item:
            return str(item["prompt"])
        thinking = bool(item.get("thinking"))
        return str(
            tokenizer.apply_chat_template(
                item["messages"],
                tools=item.get("tools"),
                add_generation_prompt=True,
                enable_thinking=thinking,
                tokenize=False,
            )
        )

    def ask(items: list[Item]) -> Iterator[tuple[Item, str]]:
        for start in range(0, len(items), 32):
            part = items[start : start + 32]
            batch = tokenizer([prompt_of(i) for i in part], return_tensors="pt", padding=True)
            output = model.generate(**batch, max_new_tokens=220, **sampling)
            for item, row in zip(part, output[:, batch["input_ids"].shape[1] :], strict=True):
                yield item, tokenizer.decode(row, skip_special_tokens=True)

    return ask


def remote(args: argparse.Namespace) -> Ask:
    """Answers by a server; tool calls it has parsed are written back as text."""

    def post(route: str, body: Item) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": "Bearer EMPTY"}
        request = urllib.request.Request(args.base_url.rstrip("/") + route, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request) as response:
            return json.load(response)["choices"][0]

    def text_of(message: Item) -> str:
        calls = [c["function"] for c in message.get("tool_calls") or []]
        written = [
            f'<tool_call>\n{{"name": "{c["name"]}", "arguments": {c["arguments"]}}}\n</tool_call>' for c in calls
        ]
        return (message.get("content") or "") + "\n".join(written)

    def ask(items: list[Item]) -> Iterator[tuple[Item, str]]:
        for item in items:
            body: Item = {"temperature": args.temperature, "seed": args.seed, "max_tokens": 220}
            if "prompt" in item:
                yield item, post("/completions", body | {"prompt": item["prompt"]})["text"]
                continue
            body |= {
                "messages": item["messages"],
                "chat_template_kwargs": {"enable_thinking": bool(item.get("thinking"))},
            }
            if "tools" in item:
                body["tools"] = item["tools"]
            try:
                yield item, text_of(post("/chat/completions", body)["message"])
            except urllib.error.HTTPError:
                if "tools" not in body:
                    raise
                # a server that parses no tool calls shows them as text when asked for none
                yield item, text_of(post("/chat/completions", body | {"tool_choice": "none"})["message"])

    return ask


def seen_in_corpus(items: list[Item], count: int) -> list[str]:
    """Questions that the corpus holds word for word among `count` samples."""
    import tiny_corpus
    from tiny_training.batches import last_user, normal

    asked = {normal(last_user(i["messages"])): i["id"] for i in items if "messages" in i}
    allowed = {normal(str(m["content"])) for i in items for m in i.get("messages", [])[:-1] if m["role"] == "user"}
    rng, seen = Random(1), set()
    for _ in range(count):
        sample = tiny_corpus.sample(rng)
        if sample.messages:
            seen.add(normal(last_user(sample.messages)))
    return sorted(asked[q] for q in asked.keys() & seen - allowed)


def main() -> int:
    args = options()
    items = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines() if line.strip()]
    if args.corpus_samples:
        repeated = seen_in_corpus(items, args.corpus_samples)
        if repeated:
            print("word for word in the corpus:", ", ".join(repeated))
            return 1
    items = [i for i in items if args.category in (None, i["category"])]
    items.sort(key=lambda i: len(json.dumps(i)))
    score: dict[str, list[int]] = {}
    for item, text in (remote if args.base_url else local)(args)(items):
        good = right(item, text)
        counts = score.setdefault(item["category"], [0, 0])
        counts[0] += good
        counts[1] += 1
        if args.show == "all" or (args.show == "wrong" and not good):
            asked = item.get("prompt") or item["messages"][-1]["content"]
            print(
                f"{'right' if good else 'WRONG'} {item['id']}: {asked!r} -> {text!r}, wanted {item['check']}",
                flush=True,
            )
    for category, (good, total) in sorted(score.items()):
        print(f"{category:<28} {good:>4} / {total}")
    good, total = (sum(c[i] for c in score.values()) for i in (0, 1))
    print(f"{'all':<28} {good:>4} / {total}  {100 * good / total:.1f}%")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Penstock, or another engine with the same offline API (--module vllm)."""

from __future__ import annotations

import importlib
import json
import os
from typing import Any

import workloads


class Llm:
    prefix_cache = True

    def __init__(self, module: str, model: str, options: dict[str, Any]):
        self._module = importlib.import_module(module)
        self._llm = self._module.LLM(
            model=model, dtype="bfloat16", max_model_len=2048, enable_prefix_caching=True, **options
        )

    def version(self) -> str:
        return f"{self._module.__name__} {self._module.__version__}"

    def generate(self, prompts: workloads.Prompts, max_tokens: int) -> list[int]:
        params = self._module.SamplingParams(max_tokens=max_tokens, ignore_eos=True, temperature=0)
        outputs = self._llm.generate([{"prompt_token_ids": p} for p in prompts], params, use_tqdm=False)
        return [len(output.outputs[0].token_ids) for output in outputs]

    def decode_seconds(self, prompts: workloads.Prompts, steps: int) -> None:
        return None

    def close(self) -> None:
        if hasattr(self._llm, "shutdown"):
            self._llm.shutdown()


def main() -> None:
    parser = workloads.arguments()
    parser.add_argument("--module", default="penstock")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=JSON", help="more arguments of LLM")
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if args.module == "vllm":
        cpus = sorted(os.sched_getaffinity(0))[: args.threads]
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "3")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", f"{cpus[0]}-{cpus[-1]}")
    options = {key: json.loads(value) for key, _, value in (o.partition("=") for o in args.option)}
    workloads.serve(lambda: Llm(args.module, str(args.model), options), args.first_token)


if __name__ == "__main__":
    main()

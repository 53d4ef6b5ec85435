"""CPU microseconds per token that Penstock's model runner uses: worker_cpu.py MODEL REQUESTS CONCURRENCY INPUT OUTPUT.

Runs the load of a server benchmark offline, so that the worker's share of the engine process can be told from the rest.
"""

from __future__ import annotations

import random
import sys
import time

from penstock import LLM, SamplingParams
from penstock.scheduler.plan import StepPlan, StepResult
from penstock.worker.model_runner import ModelRunner

spent = 0.0
execute = ModelRunner.execute


def timed(self: ModelRunner, plan: StepPlan) -> StepResult:
    global spent
    start = time.process_time()
    result = execute(self, plan)
    spent += time.process_time() - start
    return result


def main() -> None:
    global spent
    model, requests, concurrency, input_len, output_len = sys.argv[1], *map(int, sys.argv[2:])
    ModelRunner.execute = timed  # type: ignore[method-assign]
    limits = {"max_model_len": 2048, "max_num_seqs": concurrency, "max_num_batched_tokens": 2048}
    llm = LLM(model, dtype="bfloat16", kv_cache_memory_bytes=1 << 30, use_tqdm_on_load=False, **limits)
    rng = random.Random(0)
    prompts = [{"prompt_token_ids": [rng.randrange(100, 3000) for _ in range(input_len)]} for _ in range(requests)]
    params = SamplingParams(temperature=0.0, max_tokens=output_len, ignore_eos=True)
    llm.generate(prompts[:concurrency], params, use_tqdm=False)
    spent = 0.0
    llm.generate(prompts, params, use_tqdm=False)
    print(1e6 * spent / (requests * output_len))
    llm.shutdown()


if __name__ == "__main__":
    main()

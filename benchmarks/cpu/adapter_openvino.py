"""OpenVINO GenAI's continuous batching on the CPU, computing in bf16; keys and values as it likes (8-bit)."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
import openvino_genai

import workloads


class OpenVino:
    prefix_cache = True

    def __init__(self, model: str, threads: int):
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = 3
        scheduler.max_num_batched_tokens = 2048
        scheduler.max_num_seqs = 256
        scheduler.enable_prefix_caching = True
        properties: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "bf16"}
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(model, scheduler, "CPU", properties)

    def version(self) -> str:
        return f"openvino-genai {openvino_genai.__version__}"

    def generate(self, prompts: workloads.Prompts, max_tokens: int) -> list[int]:
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = max_tokens
        config.ignore_eos = True
        config.do_sample = False
        ids = [openvino.Tensor(np.array([p], dtype=np.int64)) for p in prompts]
        results = self._pipeline.generate(ids, [config] * len(ids))
        return [len(r.m_generation_ids[0]) for r in results]

    def decode_seconds(self, prompts: workloads.Prompts, steps: int) -> None:
        return None

    def close(self) -> None:
        del self._pipeline


if __name__ == "__main__":
    args = workloads.arguments().parse_args()
    workloads.serve(lambda: OpenVino(str(args.model), args.threads), args.first_token)

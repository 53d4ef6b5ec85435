"""--quantization through the front door, with the bundled model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from quantized_checkpoints import compress, quantization_config
from safetensors.torch import load_file, save_file

from penstock import LLM, SamplingParams
from penstock.errors import StartError

OPTIONS = {"max_model_len": 256, "kv_cache_memory_bytes": 64 << 20, "disable_log_stats": True}
PROMPTS = ["The capital of France is", "Water is made of", "The capital of Italy is"]
GREEDY = SamplingParams(temperature=0, max_tokens=6, logprobs=1)


def answers(llm: LLM, prompts: list[str]) -> list[tuple[list[int], float | None]]:
    outputs = [o.outputs[0] for o in llm.generate(prompts, GREEDY, use_tqdm=False)]
    return [(list(o.token_ids), o.cumulative_logprob) for o in outputs]


@pytest.mark.parametrize("method", ["int8", "int4", "fp8"])
def test_answers_and_the_same_bits_alone(method: str) -> None:
    llm = LLM(**OPTIONS, quantization=method)
    try:
        together = answers(llm, PROMPTS)
        llm.reset_prefix_cache()
        assert [answers(llm, [prompt])[0] for prompt in PROMPTS] == together
        texts = [o.outputs[0].text for o in llm.generate(PROMPTS, GREEDY, use_tqdm=False)]
        assert "Paris" in texts[0]
        assert "Rome" in texts[2]
    finally:
        llm.shutdown()


@pytest.mark.parametrize("bits", [8, 4])
def test_a_checkpoint_of_compressed_tensors(bits: int, bundled_model: Path, tmp_path: Path) -> None:
    for file in bundled_model.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": quantization_config(bits)}))
    save_file(compress(load_file(bundled_model / "model.safetensors"), bits), tmp_path / "model.safetensors")
    llm = LLM(str(tmp_path), **OPTIONS, quantization="compressed-tensors")
    try:
        assert "Paris" in llm.generate(PROMPTS[:1], GREEDY, use_tqdm=False)[0].outputs[0].text
    finally:
        llm.shutdown()
    with pytest.raises(StartError, match="--quantization int8: the checkpoint is quantized already"):
        LLM(str(tmp_path), **OPTIONS, quantization="int8")


def test_a_plain_checkpoint_is_not_of_compressed_tensors() -> None:
    with pytest.raises(StartError, match="--quantization compressed-tensors: the checkpoint is not quantized"):
        LLM(**OPTIONS, quantization="compressed-tensors")

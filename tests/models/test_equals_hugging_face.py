"""Every architecture against transformers on small random configurations, float32: logits and 64 greedy tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from paged_driver import PagedDriver, Sequence

from penstock.config.hf import read_shape
from penstock.layers.context import BuildContext
from penstock.loading.loader import load_weights
from penstock.models.registry import build

BASE = {
    "vocab_size": 199,
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.15,
    "tie_word_embeddings": False,
    "eos_token_id": None,
    "bos_token_id": None,
    "pad_token_id": None,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
CASES = {
    "llama-biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-tied-mha": ("Llama", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "llama-linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}}),
    "llama-dynamic": ("Llama", {"rope_parameters": DYNAMIC, "max_position_embeddings": 64}),
    "llama-llama3": ("Llama", {"rope_parameters": LLAMA3}),
    "llama-yarn": ("Llama", {"rope_parameters": YARN}),
    "llama-yarn-mscale": ("Llama", {"rope_parameters": {**YARN, "mscale": 0.7, "mscale_all_dim": 1.2}}),
    "mistral": ("Mistral", {"sliding_window": None, "head_dim": 16}),
    "mistral-window-head24": ("Mistral", {"sliding_window": 24, "head_dim": 24}),
    "qwen2": ("Qwen2", {}),
    "qwen2-window-tied": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 1, "tie_word_embeddings": True},
    ),
    "qwen3-tied": ("Qwen3", {"tie_word_embeddings": True, "head_dim": 32}),
    "qwen3-bias": ("Qwen3", {"attention_bias": True, "head_dim": 16}),
    "qwen3-yarn": ("Qwen3", {"rope_parameters": {**YARN, "attention_factor": 1.1, "truncate": False}, "head_dim": 16}),
}
LENGTHS = (5, 33, 50)
NEW_TOKENS = 64


def make_checkpoint(name: str, folder: Path, shard_size: str = "5GB", dtype: str = "float32") -> torch.nn.Module:
    family, changes = CASES[name]
    torch.manual_seed(len(name))
    config = getattr(transformers, f"{family}Config")(**{**BASE, **changes})
    model = getattr(transformers, f"{family}ForCausalLM")._from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if key.endswith("bias"):
                weight.normal_(0.0, 0.3)
            elif weight.dim() == 1:
                weight.uniform_(0.5, 1.5)
    model = model.to(getattr(torch, dtype))
    model.save_pretrained(folder, max_shard_size=shard_size)
    return model


def load(folder: Path, dtype: torch.dtype = torch.float32) -> tuple:
    shape = read_shape(str(folder))
    model = build(shape, BuildContext(dtype=dtype, device=torch.device("cpu"), max_len=256))
    load_weights(model, str(folder))
    return model, shape


def prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(0, BASE["vocab_size"], (n,), generator=generator).tolist() for n in LENGTHS]


def check_greedy(reference: torch.nn.Module, seq: Sequence, num_prompt: int, logits: torch.Tensor | None) -> None:
    """The reference, shown the whole sequence, would have picked each of its generated tokens."""
    ids = torch.tensor([seq.tokens])
    with torch.inference_mode():
        want = reference(ids).logits[0]
    assert want[num_prompt - 1 : -1].argmax(-1).tolist() == seq.tokens[num_prompt:]
    if logits is not None:
        torch.testing.assert_close(logits, want[:-1], atol=1e-4, rtol=0)


def check_stepwise(reference: torch.nn.Module, seq: Sequence, num_prompt: int, logits: torch.Tensor | None) -> None:
    """The same for a model whose angles depend on the length: compared with token-by-token generation."""
    ids = torch.tensor([seq.tokens[:num_prompt]])
    out = reference.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    assert out.sequences[0].tolist() == seq.tokens
    if logits is not None:
        torch.testing.assert_close(logits[num_prompt - 1 :], torch.cat(out.logits), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_logits_and_greedy_tokens(name: str, tmp_path: Path) -> None:
    reference = make_checkpoint(name, tmp_path)
    check = check_stepwise if "dynamic" in name else check_greedy
    model, shape = load(tmp_path)

    def run(chunk: int | None) -> tuple[list[Sequence], list[torch.Tensor]]:
        sequences = [Sequence(p) for p in prompts()]
        return sequences, PagedDriver(model, shape, torch.float32).generate(sequences, NEW_TOKENS, chunk)

    whole, logits = run(None)
    for seq, n, out in zip(whole, LENGTHS, logits, strict=True):
        check(reference, seq, n, out)
    chunked, _ = run(7)
    assert [s.tokens for s in chunked] == [s.tokens for s in whole]

    # Two requests that share two cached blocks with one that ran before.
    driver = PagedDriver(model, shape, torch.float32)
    owner = Sequence(prompts()[2])
    driver.prefill([owner])
    same, other = Sequence(prompts()[2]), Sequence(prompts()[2][:40])
    for seq in (same, other):
        driver.share_prefix(owner, seq, 2)
    driver.generate([same, other], NEW_TOKENS)
    assert same.tokens == whole[2].tokens
    check(reference, other, 40, None)


def test_sharded_checkpoint_is_the_same(tmp_path: Path) -> None:
    reference = make_checkpoint("qwen2", tmp_path, shard_size="100KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    model, shape = load(tmp_path)
    seq = Sequence(prompts()[1])
    (logits,) = PagedDriver(model, shape, torch.float32).prefill([seq])
    with torch.inference_mode():
        torch.testing.assert_close(logits, reference(torch.tensor([seq.tokens])).logits[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["llama-biases", "qwen3-tied"])
def test_16_bit_is_as_near_to_float32_as_transformers_is(name: str, dtype: str, tmp_path: Path) -> None:
    reference = make_checkpoint(name, tmp_path, dtype=dtype)
    model, shape = load(tmp_path, getattr(torch, dtype))
    seq = Sequence(prompts()[2])
    (logits,) = PagedDriver(model, shape, getattr(torch, dtype)).prefill([seq])
    ids = torch.tensor([seq.tokens])
    with torch.inference_mode():
        theirs = reference(ids).logits[0].float()
        exact = reference.float()(ids).logits[0]
    error, their_error = (logits - exact).square().mean().sqrt(), (theirs - exact).square().mean().sqrt()
    assert error <= 1.25 * their_error

"""Writes the model as a Hugging Face folder: config.json, generation_config.json, model.safetensors."""

from __future__ import annotations

import json
import os
from pathlib import Path

from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from .model import Shape, TinyModel

_NAMES = {
    "attn_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
    "attn.q_norm": "self_attn.q_norm",
    "attn.k_norm": "self_attn.k_norm",
    "attn.out": "self_attn.o_proj",
    "down": "mlp.down_proj",
}


def write_configs(folder: Path, shape: Shape) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    end_of_text, end_of_turn = tokenizer.token_to_id("<|endoftext|>"), tokenizer.token_to_id("<|im_end|>")
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "eos_token_id": end_of_turn,
        "pad_token_id": end_of_text,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "initializer_range": 0.02,
        "intermediate_size": shape.ffn,
        "max_position_embeddings": shape.max_len,
        "max_window_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": shape.eps,
        "rope_scaling": None,
        "rope_theta": shape.rope_theta,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": shape.vocab,
    }
    generation = {
        "do_sample": True,
        "eos_token_id": [end_of_turn, end_of_text],
        "pad_token_id": end_of_text,
        "temperature": 0.3,
        "top_p": 0.9,
        "top_k": 20,
    }
    _write(folder / "config.json", json.dumps(config, indent=2) + "\n")
    _write(folder / "generation_config.json", json.dumps(generation, indent=2) + "\n")


def hf_state(model: TinyModel) -> dict[str, Tensor]:
    """The weights under the names of Qwen3ForCausalLM; the output layer is the embedding."""
    s, state = model.s, {"model.embed_tokens.weight": model.embed.weight, "model.norm.weight": model.norm.weight}
    for i, block in enumerate(model.blocks):
        prefix = f"model.layers.{i}."
        sizes = [s.heads * s.head_dim, s.kv_heads * s.head_dim, s.kv_heads * s.head_dim]
        for name, part in zip("qkv", block.attn.qkv.weight.split(sizes), strict=True):
            state[f"{prefix}self_attn.{name}_proj.weight"] = part
        for name, part in zip(("gate", "up"), block.gate_up.weight.chunk(2), strict=True):
            state[f"{prefix}mlp.{name}_proj.weight"] = part
        for ours, theirs in _NAMES.items():
            state[f"{prefix}{theirs}.weight"] = block.get_submodule(ours).weight
    return {name: tensor.detach().bfloat16().contiguous() for name, tensor in state.items()}


def write_weights(folder: Path, model: TinyModel) -> None:
    target = folder / "model.safetensors"
    save_file(hf_state(model), str(target) + ".tmp", metadata={"format": "pt"})
    os.chmod(str(target) + ".tmp", 0o644)
    os.replace(str(target) + ".tmp", target)


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)

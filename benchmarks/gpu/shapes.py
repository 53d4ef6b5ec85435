"""The models of the GPU benchmark: their shapes, folders and checkpoints, and what a step costs at the least.

Weights are random. Real shapes are Qwen3's; rehearsals have the same structure in small.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

BYTES = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0}  # of a weight inside the model


@dataclass(frozen=True)
class Shape:
    """Names are config.json's."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    tie_word_embeddings: bool

    @property
    def body(self) -> int:
        """Weights of the layers' products."""
        queries = self.num_attention_heads * self.head_dim
        kv = self.num_key_value_heads * self.head_dim
        per_layer = self.hidden_size * (2 * queries + 2 * kv) + 3 * self.hidden_size * self.intermediate_size
        return self.num_hidden_layers * per_layer

    @property
    def head(self) -> int:
        return self.vocab_size * self.hidden_size

    @property
    def kv_bytes(self) -> int:
        """Of one token in all layers, in 16-bit."""
        return 2 * 2 * self.num_hidden_layers * self.num_key_value_heads * self.head_dim

    def attention_operations(self, queries: int, context: int) -> int:
        """Of so many tokens that see so much each: scores and sums."""
        return 4 * self.num_hidden_layers * self.num_attention_heads * self.head_dim * queries * context

    def decode_floors(self, batch: int, context: int, weights: str) -> tuple[float, float]:
        """(bytes, operations) of a step of one token for each row."""
        # Output matrices stay in 16 bit whatever the body is kept in.
        moved = self.body * BYTES[weights] + self.head * 2 + batch * context * self.kv_bytes
        return moved, 2.0 * (self.body + self.head) * batch + self.attention_operations(batch, context)

    def prefill_operations(self, tokens: int) -> float:
        """Of a prompt from nothing; one token of it is sampled from."""
        return 2.0 * self.body * tokens + self.attention_operations(tokens, tokens) / 2 + 2.0 * self.head


SHAPES = {
    "8b": Shape(151936, 4096, 12288, 36, 32, 8, 128, False),
    "0.6b": Shape(151936, 1024, 3072, 28, 16, 8, 128, True),
}
REHEARSAL = {
    "8b": Shape(1000, 128, 192, 3, 4, 2, 32, False),
    "0.6b": Shape(1000, 64, 96, 2, 2, 1, 32, True),
}


def write_folder(shape: Shape, folder: Path) -> Path:
    """A model's folder without weights."""
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "torch_dtype": "bfloat16",
        "attention_bias": False,
        "hidden_act": "silu",
        "max_position_embeddings": 40960,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "eos_token_id": 2,
        **asdict(shape),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    return folder


def write_checkpoint(shape: Shape, folder: Path, device: str) -> int:
    """The folder with random weights in safetensors files, one for every few layers; how many bytes they are."""
    import torch
    from safetensors.torch import save_file

    write_folder(shape, folder)
    generator = torch.Generator(device=device).manual_seed(1)
    index: dict[str, str] = {}
    total = 0

    def save(names: dict[str, tuple[int, ...]]) -> None:
        nonlocal total
        tensors = {}
        for name, size in names.items():
            made = torch.empty(size, dtype=torch.bfloat16, device=device)
            tensors[name] = (made.fill_(1.0) if len(size) == 1 else made.normal_(0, 0.02, generator=generator)).cpu()
            total += made.numel() * 2
        file = f"model-{len(set(index.values())):03d}.safetensors"
        save_file(tensors, folder / file)
        index.update(dict.fromkeys(names, file))

    hidden = shape.hidden_size
    ends = {"model.embed_tokens.weight": (shape.vocab_size, hidden), "model.norm.weight": (hidden,)}
    save(ends if shape.tie_word_embeddings else ends | {"lm_head.weight": (shape.vocab_size, hidden)})
    for start in range(0, shape.num_hidden_layers, 6):
        names: dict[str, tuple[int, ...]] = {}
        for layer in range(start, min(start + 6, shape.num_hidden_layers)):
            names |= _layer(shape, f"model.layers.{layer}")
        save(names)
    content = {"metadata": {"total_size": total}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))
    return total


def _layer(shape: Shape, name: str) -> dict[str, tuple[int, ...]]:
    hidden, inner, dim = shape.hidden_size, shape.intermediate_size, shape.head_dim
    queries, kv = shape.num_attention_heads * dim, shape.num_key_value_heads * dim
    return {
        f"{name}.input_layernorm.weight": (hidden,),
        f"{name}.post_attention_layernorm.weight": (hidden,),
        f"{name}.self_attn.q_proj.weight": (queries, hidden),
        f"{name}.self_attn.k_proj.weight": (kv, hidden),
        f"{name}.self_attn.v_proj.weight": (kv, hidden),
        f"{name}.self_attn.o_proj.weight": (hidden, queries),
        f"{name}.self_attn.q_norm.weight": (dim,),
        f"{name}.self_attn.k_norm.weight": (dim,),
        f"{name}.mlp.gate_proj.weight": (inner, hidden),
        f"{name}.mlp.up_proj.weight": (inner, hidden),
        f"{name}.mlp.down_proj.weight": (hidden, inner),
    }

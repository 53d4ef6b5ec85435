"""Small checkpoints: plain, and in the two schemes of compressed-tensors that are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from penstock.config.hf import read_shape
from penstock.config.shape import Quantization
from penstock.layers.context import BuildContext
from penstock.loading.loader import load_weights
from penstock.models.interface import Model
from penstock.models.registry import build

CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "vocab_size": 150,
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
    "dtype": "bfloat16",
}
TOKENS_8 = {"num_bits": 8, "type": "int", "symmetric": True, "dynamic": True, "strategy": "token", "observer": None}


def quantization_config(bits: int, group: int | None = 32, **changes: Any) -> dict[str, Any]:
    """As compressed-tensors writes it."""
    weights = {"num_bits": bits, "type": "int", "symmetric": True, "dynamic": False, "observer": "minmax"}
    weights |= {"strategy": "group" if bits == 4 and group else "channel", "group_size": group if bits == 4 else None}
    activations = TOKENS_8 if bits == 8 else None
    one = {"targets": ["Linear"], "weights": weights, "input_activations": activations, "output_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": "int-quantized" if bits == 8 else "pack-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
        "config_groups": {"group_0": one},
    } | changes


def plain_weights(tied: bool = True) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    hidden, inner, vocab = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["vocab_size"]
    matrices = {
        "self_attn.q_proj": (64, hidden),
        "self_attn.k_proj": (32, hidden),
        "self_attn.v_proj": (32, hidden),
        "self_attn.o_proj": (hidden, 64),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    norms = {
        "input_layernorm": hidden,
        "post_attention_layernorm": hidden,
        "self_attn.q_norm": 16,
        "self_attn.k_norm": 16,
    }

    def matrix(*size: int) -> torch.Tensor:
        return (torch.randn(*size, generator=generator) * 0.2).bfloat16()

    tensors = {"model.embed_tokens.weight": matrix(vocab, hidden), "model.norm.weight": torch.ones(hidden).bfloat16()}
    if not tied:
        tensors["lm_head.weight"] = matrix(vocab, hidden)
    for i in range(2):
        tensors |= {f"model.layers.{i}.{name}.weight": matrix(*size) for name, size in matrices.items()}
        tensors |= {f"model.layers.{i}.{name}.weight": torch.ones(size).bfloat16() for name, size in norms.items()}
    return tensors


def compress(tensors: dict[str, torch.Tensor], bits: int, group: int = 32) -> dict[str, torch.Tensor]:
    """The products inside the model by the largest magnitude; group 0: a scale for each row."""
    out: dict[str, torch.Tensor] = {}
    for name, weight in tensors.items():
        if "_proj." not in name:
            out[name] = weight
            continue
        base, rows = name.removesuffix("weight"), weight.shape[0]
        parts = weight.float().view(rows, -1, group if bits == 4 and group else weight.shape[1])
        scales = parts.abs().amax(2) / (127 if bits == 8 else 7)
        if bits == 4:
            scales = scales.bfloat16().float()
        numbers = (parts / scales.unsqueeze(2)).round().view(weight.shape)
        if bits == 8:
            out[base + "weight"] = numbers.to(torch.int8)
            out[base + "weight_scale"] = scales
        else:
            words = (numbers.clamp(-8, 7).to(torch.int64) + 8).view(rows, -1, 8)
            packed = sum(words[:, :, i] << 4 * i for i in range(8))
            out[base + "weight_packed"] = torch.where(packed >= 1 << 31, packed - (1 << 32), packed).to(torch.int32)
            out[base + "weight_scale"] = scales.bfloat16()
            out[base + "weight_shape"] = torch.tensor(weight.shape)
    return out


def fp8_config(scales: str, **changes: Any) -> dict[str, Any]:
    """What says that weights are fp8, with scales by "channel", "tensor" (compressed-tensors) or "block"."""
    if scales == "block":
        return {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]} | changes
    one = {"num_bits": 8, "type": "float", "symmetric": True}
    weights = one | {"dynamic": False, "strategy": scales, "observer": "minmax"}
    activations = one | ({"dynamic": True, "strategy": "token"} if scales == "channel" else {"dynamic": False})
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations}
    return quantization_config(8) | {"format": "float-quantized", "config_groups": {"group_0": group}} | changes


def to_fp8(tensors: dict[str, torch.Tensor], scales: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The products inside the model in fp8, and the same in bfloat16 as they are then."""
    out, wide = dict(tensors), dict(tensors)
    for name, weight in tensors.items():
        if "_proj." not in name:
            continue
        rows, k = weight.shape
        tile = {"channel": (1, k), "tensor": (rows, k), "block": (128, 128)}[scales]
        padded = torch.nn.functional.pad(weight.float(), (0, -k % tile[1], 0, -rows % tile[0]))
        blocks = padded.unflatten(1, (-1, tile[1])).unflatten(0, (-1, tile[0]))  # [n, rows, m, columns]
        scale = blocks.abs().amax((1, 3)) / 448
        spread = scale.repeat_interleave(tile[0], 0).repeat_interleave(tile[1], 1)[:rows, :k]
        out[name] = (weight / spread).to(torch.float8_e4m3fn)
        wide[name] = (out[name].float() * spread).bfloat16()
        base = name.removesuffix("weight")
        out[base + ("weight_scale_inv" if scales == "block" else "weight_scale")] = (
            scale.view(1) if scales == "tensor" else scale
        )
        if scales == "tensor":
            out[base + "input_scale"] = torch.tensor(0.1)
    return out, wide


def write(folder: Path, tensors: dict[str, torch.Tensor], **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    return folder


def load(folder: Path, quantization: Quantization | None = None, dtype: torch.dtype = torch.bfloat16) -> Model:
    """A model, as its checkpoint says or quantized while it loads."""
    shape = read_shape(str(folder))
    if quantization is not None:
        shape = type(shape)(**{f: getattr(shape, f) for f in shape.__struct_fields__} | {"quantization": quantization})
    model = build(shape, BuildContext(dtype=dtype, device=torch.device("cpu"), max_len=256))
    load_weights(model, str(folder))
    return model

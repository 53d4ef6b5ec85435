"""Checkpoints with random weights in the right shapes, for Penstock and its peers; nothing is downloaded.

python make_models.py [hf|gguf|openvino|all] [--only tiny]     MODELS_DIR=models, PEERS_DIR=peers

`all` runs the three stages with the interpreters of the peers, which hold what each needs. Made are qwen3-0.6b (bf16;
-w8a8: int8 per channel, with dynamic int8 activations; -w4a16: int4 in groups of 128; both as compressed-tensors), tiny
(2 layers, hidden 64), and their conversions gguf/<name>-{bf16,q8_0,q4_K_M}.gguf and openvino/<name>-{bf16,int8,int4}.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

VOCAB = 32768
SPECIAL = ["<pad>", "<s>", "<|im_end|>", "<|im_start|>", "<|endoftext|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SHAPES: dict[str, dict[str, int]] = {
    "qwen3-0.6b": dict(
        vocab_size=151936,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
    ),
    "tiny": dict(
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
    ),
}
GROUP = 128
OPENVINO_FORMATS = {"bf16": "fp16", "int8": "int8", "int4": "int4"}
GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def config_of(name: str) -> dict[str, Any]:
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    rope = {"rope_theta": 1000000.0, "rope_scaling": None, "sliding_window": None, "use_sliding_window": False}
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_position_embeddings": 40960,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "use_cache": True,
        **rope,
        **ids,
        **SHAPES[name],
    }


def make_tokenizer(out: Path) -> None:
    """Byte-level BPE trained on the source text of the standard library."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    root = Path(sysconfig.get_paths()["stdlib"])
    skipped = {"site-packages", "test", "tests"}
    files = sorted(str(f) for f in root.rglob("*.py") if skipped.isdisjoint(f.parts))
    tokenizer = Tokenizer(models.BPE())
    split = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    words = pre_tokenizers.Split(Regex(split), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=SPECIAL, show_progress=False, initial_alphabet=alphabet
    )
    tokenizer.train(files, trainer)
    tokenizer.save(str(out))


def write_tokenizer(base: Path, folder: Path, vocab_size: int) -> None:
    """Every id of the model decodes: ids past the trained vocabulary get filler words."""
    tokenizer = json.loads(base.read_text())
    vocab = tokenizer["model"]["vocab"]
    for i in range(len(vocab), vocab_size):
        vocab[f"<unused{i}>"] = i
    names = {"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "<pad>"}
    more = {"clean_up_tokenization_spaces": False, "model_max_length": 40960, "chat_template": TEMPLATE}
    generation = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "do_sample": False}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    described = {"tokenizer_class": "PreTrainedTokenizerFast", **names, **more}
    (folder / "tokenizer_config.json").write_text(json.dumps(described, indent=1))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "generation_config.json").write_text(json.dumps(generation))


def weights_of(name: str) -> dict[str, Any]:
    """Checkpoint name -> tensor."""
    import torch

    config, generator = config_of(name), torch.Generator().manual_seed(0)
    hidden, inner, dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
    sizes = {"q_proj": (q, hidden), "k_proj": (kv, hidden), "v_proj": (kv, hidden), "o_proj": (hidden, q)}
    matrices = {f"self_attn.{n}": size for n, size in sizes.items()}
    matrices |= {"mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden), "mlp.down_proj": (hidden, inner)}
    norms = {"self_attn.q_norm": dim, "self_attn.k_norm": dim, "input_layernorm": hidden}
    norms["post_attention_layernorm"] = hidden

    def made(*size: int) -> torch.Tensor:
        return (torch.randn(*size, generator=generator) * 0.02).bfloat16()

    weights = {"model.embed_tokens.weight": made(config["vocab_size"], hidden)}
    weights["model.norm.weight"] = torch.ones(hidden).bfloat16()
    for layer in range(config["num_hidden_layers"]):
        base = f"model.layers.{layer}"
        weights |= {f"{base}.{n}.weight": made(*size) for n, size in matrices.items()}
        weights |= {f"{base}.{n}.weight": torch.ones(size).bfloat16() for n, size in norms.items()}
    return weights


def quantized(weights: dict[str, Any], bits: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors and quantization_config in the compressed-tensors layout; only the matrices of layers are compressed."""
    import torch

    out: dict[str, Any] = {}
    for name, tensor in weights.items():
        if "_proj." not in name:
            out[name] = tensor
            continue
        values, base = tensor.float(), name.removesuffix("weight")
        if bits == 8:
            scale = values.abs().amax(1, keepdim=True) / 127
            out[base + "weight"] = (values / scale).round().clamp(-128, 127).to(torch.int8)
        else:
            groups = values.view(values.shape[0], -1, GROUP)
            scale = groups.abs().amax(2) / 7
            rounded = (groups / scale.unsqueeze(2)).round().clamp(-8, 7).view(values.shape).to(torch.int64) + 8
            nibbles = rounded.view(values.shape[0], -1, 8)
            packed = (nibbles << (4 * torch.arange(8))).sum(2)
            out[base + "weight_packed"] = torch.where(packed >= 2**31, packed - 2**32, packed).to(torch.int32)
            out[base + "weight_shape"] = torch.tensor(list(values.shape), dtype=torch.int64)
        out[base + "weight_scale"] = scale.bfloat16()
    common = dict(num_bits=bits, type="int", symmetric=True)
    how = dict(strategy="channel", group_size=None) if bits == 8 else dict(strategy="group", group_size=GROUP)
    stored = {**common, **how, "dynamic": False, "observer": "minmax"}
    inputs = {**common, "dynamic": True, "strategy": "token"} if bits == 8 else None
    group = {"targets": ["Linear"], "weights": stored, "input_activations": inputs, "output_activations": None}
    return out, {
        "quant_method": "compressed-tensors",
        "format": "int-quantized" if bits == 8 else "pack-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
        "config_groups": {"group_0": group},
    }


def make_hf(models: Path, names: list[str]) -> None:
    models.mkdir(parents=True, exist_ok=True)
    base = models / "tokenizer.base.json"
    if not base.exists():
        make_tokenizer(base)
    for name in names:
        weights, config = weights_of(name), config_of(name)
        _write(models / name, weights, config, base)
        for bits, suffix in ((8, "w8a8"), (4, "w4a16")) if name != "tiny" else ():
            tensors, quantization = quantized(weights, bits)
            _write(models / f"{name}-{suffix}", tensors, {**config, "quantization_config": quantization}, base)


def _write(folder: Path, tensors: dict[str, Any], config: dict[str, Any], tokenizer: Path) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    write_tokenizer(tokenizer, folder, config["vocab_size"])
    print("wrote", folder, flush=True)


def make_gguf(models: Path, names: list[str]) -> None:
    import llama_cpp

    (models / "gguf").mkdir(parents=True, exist_ok=True)
    for name in names:
        made = models / "gguf" / f"{name}-bf16.gguf"
        _convert_to_gguf(models / name, made)
        types = {"q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0, "q4_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M}
        for label, kind in types.items() if name != "tiny" else ():
            params = llama_cpp.llama_model_quantize_default_params()
            params.ftype = kind
            to = models / "gguf" / f"{name}-{label}.gguf"
            if llama_cpp.llama_model_quantize(str(made).encode(), str(to).encode(), params):
                raise SystemExit(f"quantizing {to} failed")
            print("wrote", to, flush=True)


def _convert_to_gguf(source: Path, out: Path) -> None:
    import gguf
    import torch
    from safetensors import safe_open

    config = json.loads((source / "config.json").read_text())
    writer = gguf.GGUFWriter(str(out), "qwen3")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    _add_gguf_tokenizer(writer, json.loads((source / "tokenizer.json").read_text()), config["vocab_size"])
    with safe_open(source / "model.safetensors", "pt") as file:
        for name in file.keys():  # noqa: SIM118
            tensor = file.get_tensor(name)
            if tensor.dim() == 1:
                writer.add_tensor(_gguf_name(name), tensor.float().numpy())
            else:
                raw = tensor.contiguous().view(torch.uint8).numpy()
                kind = gguf.GGMLQuantizationType.BF16
                writer.add_tensor(_gguf_name(name), raw, raw_shape=raw.shape, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print("wrote", out, flush=True)


def _gguf_name(name: str) -> str:
    whole = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if name in whole:
        return whole[name]
    parts = name.split(".")
    return f"blk.{parts[2]}.{GGUF_NAMES['.'.join(parts[3:-1])]}.weight"


def _add_gguf_tokenizer(writer: Any, tokenizer: dict[str, Any], vocab_size: int) -> None:
    import gguf

    words = {i: word for word, i in tokenizer["model"]["vocab"].items()}
    kinds = []
    for i in range(vocab_size):
        unused = gguf.TokenType.UNUSED if words[i].startswith("<unused") else gguf.TokenType.NORMAL
        kinds.append(gguf.TokenType.CONTROL if i < len(SPECIAL) else unused)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([words[i] for i in range(vocab_size)])
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def make_openvino(models: Path, names: list[str]) -> None:
    """16-bit weights are stored as fp16; they run with a hint of bf16."""
    cli = str(Path(sys.executable).with_name("optimum-cli"))
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    for name in names:
        for label, kind in OPENVINO_FORMATS.items():
            if name == "tiny" and label != "bf16":
                continue
            to = models / "openvino" / f"{name}-{label}"
            shutil.rmtree(to, ignore_errors=True)
            what = ["--model", str(models / name), "--task", "text-generation-with-past", "--weight-format", kind]
            subprocess.run([cli, "export", "openvino", *what, str(to)], check=True, env=env)
            print("wrote", to, flush=True)


def make_all(models: Path, peers: Path, only: str) -> None:
    pythons = {peer: peers / peer / "bin" / "python" for peer in ("vllm", "llamacpp", "openvino")}
    maker = next((p for p in pythons.values() if p.exists()), Path(sys.executable))
    for stage, python in (("hf", maker), ("gguf", pythons["llamacpp"]), ("openvino", pythons["openvino"])):
        if python.exists():
            command = [str(python), __file__, stage, "--models-dir", str(models), "--only", only]
            subprocess.run(command, check=True)
        else:
            print(f"skipped {stage}: there is no {python}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["hf", "gguf", "openvino", "all"])
    parser.add_argument("--models-dir", type=Path, default=Path(os.environ.get("MODELS_DIR", "models")))
    parser.add_argument("--peers-dir", type=Path, default=Path(os.environ.get("PEERS_DIR", "peers")))
    parser.add_argument("--only", default=",".join(SHAPES), help="default: %(default)s")
    args = parser.parse_args()
    models, names = args.models_dir.absolute(), args.only.split(",")
    if args.stage == "all":
        make_all(models, args.peers_dir.absolute(), args.only)
    else:
        {"hf": make_hf, "gguf": make_gguf, "openvino": make_openvino}[args.stage](models, names)


if __name__ == "__main__":
    main()

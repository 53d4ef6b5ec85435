"""Small random checkpoints of every kind of pooling model, and what transformers computes with them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizer_makers import TEXT, byte_level, save, word_piece
from tokenizers import Tokenizer, processors

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 72,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
}
DISTILBERT_SIZES = {"dim": 32, "hidden_dim": 72, "n_layers": 2, "n_heads": 4, "initializer_range": 0.3}
LENGTH = 64
TEXTS = [
    "the cat sat on the mat",
    "hello",
    "the dog and the cat sat on the log and the dog sat on the mat and the cat on the dog",
    "numbers: 12 345 6789. i am fine. how are you?",
]
PAIRS = [("the cat sat", "on the mat"), ("hello", "the dog and the log and the cat and the mat"), ("i am fine", "how")]


def bert_tokenizer() -> Tokenizer:
    """[CLS] A [SEP] B [SEP], the second text in the second segment."""
    tokenizer = word_piece()
    tokenizer.add_special_tokens(["[CLS]", "[SEP]", "[PAD]"])
    cls, sep = (tokenizer.token_to_id(t) for t in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    return tokenizer


def roberta_tokenizer() -> Tokenizer:
    """<s> A </s></s> B </s>, all in one segment."""
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    begin, end = (tokenizer.token_to_id(t) for t in ("<s>", "</s>"))
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", end), ("<s>", begin))
    return tokenizer


@dataclass
class Checkpoint:
    """A folder, and the model in it as transformers has it."""

    folder: Path
    reference: torch.nn.Module
    tokenizer: Tokenizer

    def run(self, text: str, second: str | None = None) -> Any:
        """The reference's outputs for one input; its ids."""
        encoding = self.tokenizer.encode(text, second) if second is not None else self.tokenizer.encode(text)
        inputs = {"input_ids": torch.tensor([encoding.ids])}
        if self.reference.config.model_type == "bert":
            inputs["token_type_ids"] = torch.tensor([encoding.type_ids])
        with torch.inference_mode():
            return self.reference(**inputs)

    def hidden(self, text: str) -> torch.Tensor:
        """[L, H] after the last layer."""
        return self.run(text).last_hidden_state[0]

    def logits(self, text: str, second: str | None = None) -> torch.Tensor:
        return self.run(text, second).logits[0]


def make(folder: Path, architecture: str, *, dtype: str = "float32", **changes: Any) -> Checkpoint:
    """A checkpoint of an architecture of transformers, with random weights and norms that are not trivial."""
    encoder = architecture.startswith(("Bert", "Roberta", "XLMRoberta", "DistilBert", "ModernBert"))
    tokenizer = bert_tokenizer() if architecture.startswith(("Bert", "DistilBert")) else roberta_tokenizer()
    family = architecture.removesuffix("Model").partition("For")[0]
    values: dict[str, Any] = dict(DISTILBERT_SIZES if family == "DistilBert" else SIZES)
    values |= {
        "vocab_size": tokenizer.get_vocab_size(),
        "max_position_embeddings": LENGTH + (2 if "oberta" in family else 0),
    }
    values |= {"pad_token_id": 1 if family in ("Roberta", "XLMRoberta") else 0}
    if family == "ModernBert":
        ids = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
        values |= {"local_attention": 10, **dict.fromkeys(ids, 0)}
    if not encoder:
        values |= {"num_key_value_heads": 2, "max_position_embeddings": 512, "pad_token_id": None}
    if family == "Qwen3":
        values["head_dim"] = 16
    torch.manual_seed(len(architecture))
    config = getattr(transformers, f"{family}Config")(**{**values, **changes})
    model = getattr(transformers, architecture)._from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.normal_(0.0, 0.3)
            elif weight.dim() == 1:
                weight.uniform_(0.5, 1.5)
    model = model.to(getattr(torch, dtype))
    model.save_pretrained(folder)
    save(tokenizer, folder)
    return Checkpoint(folder, model, tokenizer)


def edit_config(folder: Path, **changes: Any) -> None:
    """Change config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def add_sentence_modules(
    folder: Path, pooling: dict[str, Any], *, dense: torch.nn.Linear | None = None, normalize: bool = True
) -> None:
    """The files of sentence-transformers."""
    from safetensors.torch import save_file

    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32} | pooling))
    if dense is not None:
        modules.append(("2_Dense", "Dense"))
        (folder / "2_Dense").mkdir()
        config = {
            "in_features": dense.in_features,
            "out_features": dense.out_features,
            "bias": dense.bias is not None,
            "activation_function": "torch.nn.modules.activation.Tanh",
        }
        (folder / "2_Dense" / "config.json").write_text(json.dumps(config))
        state = {f"linear.{name}": value.detach() for name, value in dense.named_parameters()}
        save_file(state, folder / "2_Dense" / "model.safetensors")
    if normalize:
        modules.append(("3_Normalize", "Normalize"))
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))


__all__ = ["LENGTH", "PAIRS", "TEXT", "TEXTS", "Checkpoint", "add_sentence_modules", "edit_config", "make"]

"""The shape of an encoder (BERT and its kin), from its config.json."""

from __future__ import annotations

from penstock.config.hf_values import HFConfig
from penstock.config.shape import EncoderShape, ModelShape, Rope

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}
_DISTILBERT_KEYS = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
}


def read_encoder(config: HFConfig, architecture: str, family: str, dtype: str) -> ModelShape:
    """An encoder's shape, without its head.

    Raises:
        StartError: a value is missing or unknown.
    """
    names = _DISTILBERT_KEYS if family == "DistilBert" else {}

    def integer(key: str) -> int:
        return config.integer(names.get(key, key))

    hidden_size, num_heads = integer("hidden_size"), integer("num_attention_heads")
    if hidden_size % num_heads:
        raise config.error(f"hidden_size={hidden_size} is no multiple of num_attention_heads={num_heads}")
    if config.values.get("position_embedding_type", "absolute") != "absolute":
        raise config.error(f"position_embedding_type {config.values['position_embedding_type']!r} is not supported")
    positions = config.integer("max_position_embeddings")
    first = _first_position(config) if family in ("Roberta", "XLMRoberta") else 0
    return ModelShape(
        architecture=architecture,
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=integer("intermediate_size"),
        num_layers=integer("num_hidden_layers"),
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_dim=hidden_size // num_heads,
        norm_eps=config.number("layer_norm_eps", 1e-12),
        max_position=positions - first,
        rope=Rope(),
        activation=config.choice(names.get("hidden_act", "hidden_act"), ACTIVATIONS, "gelu"),
        dtype=dtype,
        causal=False,
        encoder=EncoderShape(
            positions=positions,
            first_position=first,
            segments=0 if family == "DistilBert" else config.integer("type_vocab_size", 2),
        ),
    )


def _first_position(config: HFConfig) -> int:
    """RoBERTa counts from behind the row that stands for padding."""
    padding = config.values.get("pad_token_id", 1)
    if not isinstance(padding, int) or padding < 0:
        raise config.error(f"pad_token_id must be a token id, got {padding!r}")
    return padding + 1

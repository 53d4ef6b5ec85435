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
    if family == "ModernBert":
        return _modernbert(config, architecture, dtype)
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


def _modernbert(config: HFConfig, architecture: str, dtype: str) -> ModelShape:
    hidden_size, num_heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    num_layers, longest = config.integer("num_hidden_layers"), config.integer("max_position_embeddings")
    window = config.integer("local_attention", 128) // 2 + 1  # itself included
    return ModelShape(
        architecture=architecture,
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=config.integer("intermediate_size"),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_dim=hidden_size // num_heads,
        norm_eps=config.number("norm_eps", 1e-5),
        max_position=longest,
        rope=Rope(theta=_theta(config, "full_attention", "global_rope_theta", 160000.0), original_max_position=longest),
        activation=config.choice("hidden_activation", ACTIVATIONS, "gelu"),
        attention_bias=config.flag("attention_bias"),
        mlp_bias=config.flag("mlp_bias"),
        layer_windows=tuple(None if whole else window for whole in _sees_all(config, num_layers)),
        dtype=dtype,
        causal=False,
        encoder=EncoderShape(
            local_theta=_theta(config, "sliding_attention", "local_rope_theta", 10000.0),
            norm_bias=config.flag("norm_bias"),
            head_bias=config.flag("classifier_bias"),
            head_activation=config.choice("classifier_activation", ACTIVATIONS, "gelu"),
        ),
    )


def _sees_all(config: HFConfig, num_layers: int) -> list[bool]:
    """Which layers see the whole text: as layer_types says, or every so many-th."""
    types = config.values.get("layer_types")
    if types is None:
        every = config.integer("global_attn_every_n_layers", 3)
        return [i % every == 0 for i in range(num_layers)]
    known = ("full_attention", "sliding_attention")
    if not isinstance(types, list) or len(types) != num_layers or not set(types) <= set(known):
        raise config.error(f"layer_types must name {num_layers} layers, each one of: {', '.join(known)}")
    return [t == "full_attention" for t in types]


def _theta(config: HFConfig, kind: str, old_key: str, default: float) -> float:
    rope = config.values.get("rope_parameters") or {}
    own = rope.get(kind) or {} if isinstance(rope, dict) else {}
    if own.get("rope_type", "default") != "default" or config.values.get("rope_scaling"):
        raise config.error("scaled angles are not supported for this model")
    return config.as_number("rope_theta", own.get("rope_theta", config.number(old_key, default)))

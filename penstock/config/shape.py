"""ModelShape: what a model is, as plain numbers. `config/hf.py` is the only place that makes one from a checkpoint."""

from __future__ import annotations

import msgspec


class Rope(msgspec.Struct, frozen=True):
    """Rotary position embedding.

    Attributes:
        kind: default, linear, dynamic, llama3 or yarn.
        original_max_position: context the model was trained with, before scaling.
        rotary_dim: how many of the head's dimensions rotate; 0 means all.
        attention_factor, beta_fast, beta_slow, mscale, mscale_all_dim: yarn (https://arxiv.org/abs/2309.00071).
        low_freq_factor, high_freq_factor: llama3.
    """

    theta: float = 10000.0
    kind: str = "default"
    factor: float = 1.0
    original_max_position: int = 0
    rotary_dim: int = 0
    attention_factor: float | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0


class Quantization(msgspec.Struct, frozen=True):
    """How the weights of products are stored.

    Attributes:
        method: a name in the registry of quantization methods: "int8", "int4" and "fp8" are made while loading,
            "compressed-int8", "compressed-int4", "fp8-channel", "fp8-tensor" and "fp8-block" (128 by 128) are what the
            checkpoint holds, by what shares a scale.
        group: input features that share a scale of 4-bit weights; 0: all of a row.
        ignore: checkpoint names of products that are not quantized; "re:" begins a regular expression.
    """

    method: str
    group: int = 0
    ignore: tuple[str, ...] = ()


class EncoderShape(msgspec.Struct, frozen=True):
    """What encoders have and decoders have not.

    Attributes:
        positions: rows of the table of positions; 0 where positions are angles.
        first_position: the row of a text's first token.
        segments: rows of the table of segments (token types); 0 if there is none.
        local_theta: base of the angles in layers with a window.
        norm_bias: whether norms have biases.
        head_bias, head_activation: of the first product of a classifier.
    """

    positions: int = 0
    first_position: int = 0
    segments: int = 0
    local_theta: float = 10000.0
    norm_bias: bool = True
    head_bias: bool = True
    head_activation: str = "gelu"


class ModelShape(msgspec.Struct, frozen=True):
    """Sizes and switches of a model, independent of any checkpoint format.

    Attributes:
        architecture: the name in the registry of models, e.g. "Qwen3ForCausalLM".
        layer_windows: per layer, how many tokens back (itself included) attention sees; None for all.
        dtype: the checkpoint's own type, "bfloat16", "float16" or "float32".
        max_position: longest context after rope scaling.
        quantization: None where weights are of `dtype`.
        head: what is on top, see `config/architectures.py`.
        num_labels: logits of a classifying head.
        label_tokens: token ids whose rows of the vocabulary's head make up the classifying one, instead of weights of
            its own; their difference makes a single label if there is one label and two tokens.
        causal: a token sees nothing behind itself; otherwise it sees the whole text, which runs in one step then.
        encoder: None for decoders.
    """

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    norm_eps: float
    max_position: int
    rope: Rope
    activation: str = "silu"
    tie_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    layer_windows: tuple[int | None, ...] = ()
    dtype: str = "bfloat16"
    eos_token_ids: tuple[int, ...] = ()
    quantization: Quantization | None = None
    head: str = "vocabulary"
    num_labels: int = 0
    label_tokens: tuple[int, ...] = ()
    causal: bool = True
    encoder: EncoderShape | None = None

    @property
    def num_kept_layers(self) -> int:
        """Layers whose keys and values are kept; without causality nothing is, and all layers use one memory."""
        return self.num_layers if self.causal else 1

    def kv_bytes_per_token(self, bytes_per_element: int) -> int:
        """Bytes of keys and values that one token keeps in all layers."""
        return 2 * self.num_kept_layers * self.num_kv_heads * self.head_dim * bytes_per_element

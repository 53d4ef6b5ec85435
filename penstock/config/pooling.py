"""What an engine pools: the runner and conversion that options ask for, and how hidden states become answers.

Options come first, then the model's own files, then the usual way of its architecture. The words are vLLM's.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec

from penstock.config.hf_pooling import (
    DenseLayer,
    classifier_activation,
    read_head,
    read_labels,
    read_sentence_modules,
)
from penstock.config.hf_values import HFConfig
from penstock.config.shape import ModelShape
from penstock.errors import StartError

# --task of older versions -> (runner, convert).
TASKS = {
    "auto": ("auto", "auto"),
    "generate": ("generate", "none"),
    "embed": ("pooling", "embed"),
    "embedding": ("pooling", "embed"),
    "classify": ("pooling", "classify"),
    "score": ("pooling", "classify"),
    "reward": ("pooling", "reward"),
}
# What requests may ask of a model with such a head; the first is what they get if they do not say.
TASKS_OF_HEAD = {
    "none": ("embed", "token_embed"),
    "sequence": ("classify", "token_classify"),
    "tokens": ("token_classify",),
    "reward": ("token_classify",),
}
logger = logging.getLogger("penstock.config.pooling")

SEQUENCE_POOLING, TOKEN_POOLING = ("cls", "mean", "last"), ("all", "step")
SETTINGS = (
    "pooling_type",
    "seq_pooling_type",
    "tok_pooling_type",
    "task",
    "use_activation",
    "normalize",
    "softmax",
    "activation",
    "dimensions",
    "logit_bias",
    "logit_mean",
    "logit_sigma",
    "step_tag_id",
    "returned_token_ids",
)


class PoolingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How hidden states become answers.

    Attributes:
        tasks: of embed, classify, token_embed, token_classify; the first one is the default.
        sequence: how a text becomes one vector: cls, mean or last.
        tokens: which tokens are given one by one: all, or step (those behind step_tag_id).
        use_activation: whether vectors are normalized and logits become scores, where a request does not say.
        activation: of classifying: identity, sigmoid or softmax.
        labels: their names, in the order of logits.
        dense: products between pooling and normalizing.
        size: of an embedding.
        matryoshka: requests may ask for fewer dimensions.
        allowed_dimensions: how many; empty for any number.
        dimensions: how many where a request does not say; None for all.
        logit_bias, logit_sigma: logits become (logits - bias) / sigma before their activation.
        step_tag_id: the token whose place is given under "step"; None for all.
        returned_token_ids: which logits are given under "step"; empty for all.
        lowercase: texts are put into lower case before they are tokenized.
    """

    tasks: tuple[str, ...]
    sequence: str
    tokens: str = "all"
    use_activation: bool = True
    activation: str = "softmax"
    labels: tuple[str, ...] = ()
    dense: tuple[DenseLayer, ...] = ()
    size: int
    matryoshka: bool = False
    allowed_dimensions: tuple[int, ...] = ()
    dimensions: int | None = None
    logit_bias: float = 0.0
    logit_sigma: float = 1.0
    step_tag_id: int | None = None
    returned_token_ids: tuple[int, ...] = ()
    lowercase: bool = False

    def needs_all_rows(self, task: str) -> bool:
        """Whether a request needs the hidden states of all its tokens, so that none may come from a cache."""
        return task.startswith("token_") or self.sequence != "last"


def choose_head(task: str, runner: str, convert: str, shape: ModelShape, model_dir: str) -> str:
    """The head that the options want on the model; "vocabulary" means that it generates.

    Args:
        task, runner, convert: as the options give them.

    Raises:
        StartError: they do not go together, or not with this model.
    """
    if task != "auto":
        if (runner, convert) not in (("auto", "auto"), TASKS[task]):
            raise StartError(f"--task {task} does not go with --runner and --convert, which say the same today.")
        runner, convert = TASKS[task]
    head = shape.head
    if runner == "auto":
        pools = head != "vocabulary" or convert not in ("auto", "none") or read_sentence_modules(model_dir) is not None
        runner = "pooling" if pools else "generate"
    if runner == "generate":
        if head != "vocabulary" or convert not in ("auto", "none"):
            what = shape.architecture if head != "vocabulary" else f"a model with --convert {convert}"
            raise StartError(f"--runner generate: {what} generates no text.")
        return head
    if convert == "classify" and head in ("vocabulary", "none"):
        return "sequence"
    if convert == "embed" or (convert == "auto" and head == "vocabulary"):
        return "none"
    if convert == "reward" and head == "vocabulary":
        return "none"
    if head == "vocabulary":
        raise StartError("--runner pooling: a model that generates has to be converted; --convert embed does that.")
    return head


def with_head(shape: ModelShape, head: str, config: HFConfig, tokenizer_dir: str | None) -> ModelShape:
    """The shape with another head than its architecture's own, and with the tokens that make up a classifier."""
    if head != shape.head:
        shape = read_head(config, head, shape)
    if head != "sequence" or config.values.get("classifier_from_token") is None:
        return shape
    if shape.encoder is not None:
        raise config.error("classifier_from_token is for decoders")
    return msgspec.structs.replace(
        shape, label_tokens=_token_ids(config.values["classifier_from_token"], tokenizer_dir, config)
    )


def _token_ids(tokens: list[str], tokenizer_dir: str | None, config: HFConfig) -> tuple[int, ...]:
    path = Path(tokenizer_dir or "") / "tokenizer.json"
    if tokenizer_dir is None or not path.is_file():
        raise config.error("classifier_from_token needs a tokenizer.json")
    import tokenizers  # not needed for anything else here

    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    ids = {t: tokenizer.token_to_id(t) for t in tokens}
    for token, token_id in ids.items():
        if token_id is None:
            raise config.error(f"classifier_from_token names {token!r}, which is no token")
    return tuple(i for i in ids.values() if i is not None)


def pooling_config(
    shape: ModelShape, config: HFConfig, model_dir: str, convert: str, settings: dict[str, Any] | None
) -> PoolingConfig:
    """Everything about pooling, decided.

    Args:
        shape: with the head that it will have.
        convert: "reward" gives hidden states token by token where the model has no head for it.
        settings: of --pooler-config.

    Raises:
        StartError: a setting or a file asks for something unknown.
    """
    own = read_sentence_modules(model_dir) if shape.head == "none" else None
    dense = own.dense if own else ()
    size = dense[-1].out_features if dense else shape.hidden_size
    _check_dense(dense, shape.hidden_size)
    matryoshka, allowed = _matryoshka(config, size)
    is_prm = shape.architecture == "Qwen2ForProcessRewardModel"
    rewards = convert == "reward" and shape.head == "none"
    chosen = PoolingConfig(
        tasks=("token_embed", "embed") if rewards else TASKS_OF_HEAD[shape.head],
        sequence=own.pooling if own else "last" if shape.encoder is None else _encoder_pooling(config, shape),
        tokens="step" if is_prm else "all",
        use_activation=own.normalize if own else not rewards,
        activation="softmax" if is_prm else _activation(config, shape, model_dir),
        labels=read_labels(config) if len(read_labels(config)) == shape.num_labels else _numbered(shape.num_labels),
        dense=dense,
        size=size,
        matryoshka=matryoshka,
        allowed_dimensions=allowed,
        lowercase=own.lowercase if own else False,
    )
    if own and own.default_prompt:
        logger.warning("The model's default prompt %r is not put before texts; requests bring it.", own.default_prompt)
    chosen = _with_settings(chosen, settings or {})
    if any(not 0 <= i < shape.num_labels for i in chosen.returned_token_ids):
        raise StartError(f"--pooler-config returned_token_ids must be from 0 to {shape.num_labels - 1}.")
    return chosen


def _encoder_pooling(config: HFConfig, shape: ModelShape) -> str:
    """By the first token, unless a classifier of ModernBERT was trained otherwise."""
    words = {"cls": "cls", "mean": "mean"}
    return config.choice("classifier_pooling", words, "cls") if shape.head == "sequence" else "cls"


def _activation(config: HFConfig, shape: ModelShape, model_dir: str) -> str:
    if shape.head == "reward":
        return "identity"
    if shape.label_tokens:
        return "sigmoid" if shape.num_labels == 1 else "softmax"
    return classifier_activation(config, shape.num_labels, model_dir)


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"LABEL_{i}" for i in range(count))


def _check_dense(dense: tuple[DenseLayer, ...], hidden_size: int) -> None:
    size = hidden_size
    for layer in dense:
        if layer.in_features != size:
            raise StartError(f"{layer.path} takes {layer.in_features} features, but gets {size}.")
        size = layer.out_features


def _matryoshka(config: HFConfig, size: int) -> tuple[bool, tuple[int, ...]]:
    """Whether dimensions may be cut off, and to which numbers."""
    allowed = config.values.get("matryoshka_dimensions")
    if allowed is None:
        return config.flag("is_matryoshka"), ()
    fits = isinstance(allowed, list) and all(type(n) is int and 0 < n <= size for n in allowed)
    if not fits or not allowed:
        raise config.error(f"matryoshka_dimensions must be a list of integers from 1 to {size}, got {allowed!r}")
    return True, tuple(allowed)


def _with_settings(chosen: PoolingConfig, settings: dict[str, Any]) -> PoolingConfig:
    unknown = sorted(k for k, v in settings.items() if k not in SETTINGS and v is not None)
    if unknown:
        raise StartError(f"--pooler-config does not know {unknown[0]!r}; known: {', '.join(SETTINGS)}.")
    given = {k: v for k, v in settings.items() if v is not None}
    changes: dict[str, Any] = {}
    for key in ("pooling_type", "seq_pooling_type", "tok_pooling_type"):
        if key in given:
            word = str(given[key]).lower()
            kinds = {"seq": SEQUENCE_POOLING, "tok": TOKEN_POOLING}.get(key[:3], SEQUENCE_POOLING + TOKEN_POOLING)
            if word not in kinds:
                raise StartError(f"--pooler-config {key} must be one of {', '.join(kinds).upper()}, not {given[key]}.")
            changes["tokens" if word in TOKEN_POOLING else "sequence"] = word
            if key == "pooling_type" and word in TOKEN_POOLING:
                changes["tasks"] = tuple(sorted(chosen.tasks, key=lambda t: not t.startswith("token_")))
    for key in ("activation", "softmax", "normalize", "use_activation"):
        if key in given:
            changes["use_activation"] = _typed(key, given[key], bool)
    if "task" in given:
        if given["task"] not in chosen.tasks:
            raise StartError(f"--pooler-config task must be one of {', '.join(chosen.tasks)}, not {given['task']}.")
        changes["tasks"] = tuple(sorted(chosen.tasks, key=lambda t: t != given["task"]))
    if "dimensions" in given:
        changes["dimensions"] = _typed("dimensions", given["dimensions"], int)
        changes["matryoshka"] = True
        if not 0 < changes["dimensions"] <= chosen.size:
            raise StartError(f"--pooler-config dimensions must be from 1 to {chosen.size}, not {given['dimensions']}.")
    for key, field in (("logit_mean", "logit_bias"), ("logit_bias", "logit_bias"), ("logit_sigma", "logit_sigma")):
        if key in given:
            changes[field] = float(_typed(key, given[key], (int, float)))
    if changes.get("logit_sigma") == 0.0:
        raise StartError("--pooler-config logit_sigma must not be 0.")
    if "step_tag_id" in given:
        changes["step_tag_id"] = _typed("step_tag_id", given["step_tag_id"], int)
    if "returned_token_ids" in given:
        ids = _typed("returned_token_ids", given["returned_token_ids"], list)
        changes["returned_token_ids"] = tuple(_typed("returned_token_ids", i, int) for i in ids)
    return msgspec.structs.replace(chosen, **changes)


def _typed(key: str, value: Any, kind: type | tuple[type, ...]) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise StartError(f"--pooler-config {key} has a wrong value: {value!r}.")
    return value

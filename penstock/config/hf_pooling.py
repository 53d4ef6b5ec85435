"""What the files of a model say about pooling: labels in config.json, and the modules of sentence-transformers.

Its files (https://sbert.net): modules.json lists a Transformer, then Pooling, Dense and Normalize, each with a folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from penstock.config.hf_values import HFConfig, Json, read_json, read_list
from penstock.config.shape import ModelShape
from penstock.errors import StartError

POOLING_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
}
POOLING_WORDS = {"cls": "cls", "mean": "mean", "lasttoken": "last"}
ACTIVATIONS = {"Identity": "identity", "Sigmoid": "sigmoid", "Softmax": "softmax", "Tanh": "tanh", "ReLU": "relu"}
ACTIVATIONS |= {"GELU": "gelu", "SiLU": "silu"}
PROBLEMS = {
    "regression": "identity",
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
}
UNLIMITED = 10**9  # larger numbers stand for no limit
T = TypeVar("T")


class DenseLayer(msgspec.Struct, frozen=True):
    """A product that follows pooling.

    Attributes:
        path: the folder with its weights.
        activation: identity, tanh, relu, gelu, silu or sigmoid.
    """

    path: str
    in_features: int
    out_features: int
    bias: bool
    activation: str


class SentenceModules(msgspec.Struct, frozen=True):
    """What the files of sentence-transformers ask for.

    Attributes:
        pooling: cls, mean or last.
        max_tokens: the longest text; None if they do not say.
        lowercase: texts are tokenized in lower case.
        default_prompt: what sentence-transformers puts before texts unless told otherwise.
    """

    pooling: str
    dense: tuple[DenseLayer, ...]
    normalize: bool
    max_tokens: int | None
    lowercase: bool = False
    default_prompt: str | None = None


def read_head(config: HFConfig, head: str, shape: ModelShape) -> ModelShape:
    """The shape with its head."""
    tokens = config.values.get("classifier_from_token")
    count = 0
    if head in ("sequence", "tokens", "reward"):
        count = 1 if head == "reward" and config.values.get("num_labels") is None else len(read_labels(config))
    if head == "sequence" and tokens is not None:
        count = 1 if label_method(config) == "from_2_way_softmax" else len(tokens)
    return msgspec.structs.replace(shape, head=head, num_labels=count)


def read_labels(config: HFConfig) -> tuple[str, ...]:
    """Names of the labels, in the order of their logits; there are two if nobody says how many."""
    names = config.values.get("id2label")
    if names is None:
        return tuple(f"LABEL_{i}" for i in range(config.integer("num_labels", 2)))
    try:
        by_id = {int(key): str(name) for key, name in names.items()}
    except (AttributeError, ValueError):
        raise config.error(f"id2label must map numbers to names, got {names!r}") from None
    if sorted(by_id) != list(range(len(by_id))):
        raise config.error("id2label must number its labels from 0 on")
    return tuple(by_id[i] for i in range(len(by_id)))


def label_method(config: HFConfig) -> str:
    """How logits of labels come from those of tokens."""
    tokens = config.values.get("classifier_from_token")
    if not isinstance(tokens, list) or not tokens or not all(isinstance(t, str) for t in tokens):
        raise config.error(f"classifier_from_token must be a list of tokens, got {tokens!r}")
    two_way = config.flag("is_original_qwen3_reranker")
    method = config.values.get("method") or ("from_2_way_softmax" if two_way else "no_post_processing")
    if method not in ("from_2_way_softmax", "no_post_processing"):
        raise config.error(f"method {method!r} is unknown; known: from_2_way_softmax, no_post_processing")
    if method == "from_2_way_softmax" and len(tokens) != 2:
        raise config.error(f"from_2_way_softmax needs two tokens in classifier_from_token, got {len(tokens)}")
    return str(method)


def classifier_activation(config: HFConfig, num_labels: int, model_dir: str) -> str:
    """What makes scores of a classifier's logits: identity, sigmoid or softmax.

    A cross-encoder's own function comes first, then the kind of problem it was trained for; one label is a sigmoid,
    several are a softmax.
    """
    nested = config.values.get("sentence_transformers")
    named = _optional(Path(model_dir) / "config_sentence_transformers.json").get("activation_fn")
    named = named or (nested.get("activation_fn") if isinstance(nested, dict) else None)
    named = named or config.values.get("sbert_ce_default_activation_function")
    if named is not None:
        found = _activation(str(named))
        if found not in ("identity", "sigmoid", "softmax"):
            raise config.error(f"the activation of the classifier is {named!r}; known: Identity, Sigmoid, Softmax")
        return found
    problem = config.values.get("problem_type")
    if problem in PROBLEMS and not (problem == "single_label_classification" and num_labels == 1):
        return PROBLEMS[problem]
    return "sigmoid" if num_labels == 1 else "softmax"


def read_sentence_modules(model_dir: str) -> SentenceModules | None:
    """What modules.json asks for; None if there is none, or no pooling in it.

    Raises:
        StartError: it asks for something unknown.
    """
    folder = Path(model_dir)
    if not (folder / "modules.json").is_file():
        return None
    pooling, dense, normalize, root, unknown = None, [], False, folder, []
    for module in read_list(folder / "modules.json"):
        kind = str(module.get("type", "")).rpartition(".")[2] if isinstance(module, dict) else ""
        path = _inside(folder, str(module.get("path", "")) if kind else "")
        if kind == "Transformer":
            root = path
        elif kind == "Pooling":
            pooling = _pooling(path / "config.json")
        elif kind == "Dense":
            dense.append(_dense(path))
        elif kind == "Normalize":
            normalize = True
        elif kind != "Dropout":
            unknown.append(module)
    if pooling is None:
        return None  # a cross-encoder, say
    if unknown:
        raise StartError(f"{folder / 'modules.json'}: a module of type {unknown[0]!r} is not supported.")
    return SentenceModules(
        pooling,
        tuple(dense),
        normalize,
        _setting(root, "max_seq_length", int) or _tokenizer_limit(root),
        bool(_setting(root, "do_lower_case", bool)),
        _default_prompt(folder / "config_sentence_transformers.json"),
    )


def _inside(folder: Path, name: str) -> Path:
    """A folder of the model, and of nobody else."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise StartError(f"{folder / 'modules.json'}: {name!r} is not a folder of the model.")
    return folder / name


def _pooling(path: Path) -> str:
    config = read_json(path)
    word = config.get("pooling_mode")
    chosen = [name for name, on in config.items() if name.startswith("pooling_mode_") and on is True]
    modes = [POOLING_WORDS.get(str(word), f"{word}")] if word is not None else [POOLING_MODES.get(n, n) for n in chosen]
    if len(modes) != 1 or modes[0] not in ("cls", "mean", "last"):
        raise StartError(f"{path}: pooling by {', '.join(modes) or 'nothing'} is not supported; cls, mean, last are.")
    return modes[0]


def _dense(folder: Path) -> DenseLayer:
    config = HFConfig(read_json(folder / "config.json"), str(folder / "config.json"))
    named = str(config.values.get("activation_function") or "Identity")
    activation = _activation(named)
    if activation is None:
        raise config.error(f"activation_function {named!r} is unknown; known: {', '.join(ACTIVATIONS)}")
    return DenseLayer(
        path=str(folder),
        in_features=config.integer("in_features"),
        out_features=config.integer("out_features"),
        bias=config.values.get("bias", True) is not False,
        activation=activation,
    )


def _activation(name: str) -> str | None:
    return ACTIVATIONS.get(name.rpartition(".")[2])


def _setting(folder: Path, key: str, kind: type[T]) -> T | None:
    """What the Transformer's own file says, under one of its names."""
    for name in ("bert", "roberta", "distilbert", "xlm-roberta"):
        value: Any = _optional(folder / f"sentence_{name}_config.json").get(key)
        if type(value) is kind and value:
            return value
    return None


def _tokenizer_limit(folder: Path) -> int | None:
    """The longest text as newer versions write it down."""
    value = _optional(folder / "tokenizer_config.json").get("model_max_length")
    return value if isinstance(value, int) and 0 < value < UNLIMITED else None


def _default_prompt(path: Path) -> str | None:
    config = _optional(path)
    prompts = config.get("prompts")
    return prompts.get(config.get("default_prompt_name")) if isinstance(prompts, dict) else None


def _optional(path: Path) -> Json:
    return read_json(path) if path.is_file() else {}

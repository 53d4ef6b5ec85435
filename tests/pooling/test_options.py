"""What a model is made into by options and by its files, decided before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.config.engine_config import EngineConfig
from penstock.config.resolve import resolve
from penstock.config.sections import EngineArgs
from penstock.errors import StartError

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 512,
}
BERT = LLAMA | {"architectures": ["BertForSequenceClassification"], "hidden_act": "gelu"}


def resolved(folder: Path, config: dict[str, Any], **options: Any) -> EngineConfig:
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    return resolve(EngineArgs(model=str(folder), **options), usage="server")


@pytest.mark.parametrize(
    ("options", "head", "tasks"),
    [
        ({}, "vocabulary", None),
        ({"task": "generate"}, "vocabulary", None),
        ({"runner": "generate"}, "vocabulary", None),
        ({"runner": "pooling"}, "none", ("embed", "token_embed")),
        ({"convert": "embed"}, "none", ("embed", "token_embed")),
        ({"task": "embedding"}, "none", ("embed", "token_embed")),
        ({"task": "embed", "runner": "pooling", "convert": "embed"}, "none", ("embed", "token_embed")),
        ({"task": "classify"}, "sequence", ("classify", "token_classify")),
        ({"task": "score"}, "sequence", ("classify", "token_classify")),
        ({"convert": "classify"}, "sequence", ("classify", "token_classify")),
        ({"task": "reward"}, "none", ("token_embed", "embed")),
        ({"runner": "pooling", "pooler_config": {"pooling_type": "ALL"}}, "none", ("token_embed", "embed")),
        ({"runner": "pooling", "pooler_config": {"task": "token_embed"}}, "none", ("token_embed", "embed")),
    ],
)
def test_what_a_model_that_generates_becomes(
    options: dict[str, Any], head: str, tasks: tuple[str, ...] | None, tmp_path: Path
) -> None:
    config = resolved(tmp_path, LLAMA, **options)
    assert config.model.shape.head == head
    assert (config.pooling.tasks if config.pooling else None) == tasks


@pytest.mark.parametrize(
    ("values", "activation"),
    [
        ({}, "softmax"),
        ({"num_labels": 1}, "sigmoid"),
        ({"num_labels": 1, "problem_type": "single_label_classification"}, "sigmoid"),
        ({"problem_type": "multi_label_classification"}, "sigmoid"),
        ({"problem_type": "regression", "num_labels": 1}, "identity"),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, "identity"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}, "sigmoid"),
    ],
)
def test_what_makes_scores_of_logits(values: dict[str, Any], activation: str, tmp_path: Path) -> None:
    config = resolved(tmp_path, BERT | values)
    assert config.pooling is not None
    assert config.pooling.activation == activation
    assert len(config.pooling.labels) == values.get("num_labels", 2)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (BERT | {"id2label": {"1": "a", "2": "b"}}, {}, "number its labels from 0"),
        (BERT | {"sbert_ce_default_activation_function": "torch.nn.GELU"}, {}, "activation of the classifier"),
        (BERT | {"hidden_act": "swish"}, {}, "hidden_act 'swish' is unknown"),
        (BERT | {"position_embedding_type": "relative_key"}, {}, "position_embedding_type"),
        (BERT | {"matryoshka_dimensions": [0]}, {}, "matryoshka_dimensions"),
        (BERT, {"pooler_config": {"dimensions": 64}}, "dimensions must be from 1 to 32"),
        (BERT, {"pooler_config": {"logit_sigma": 0}}, "logit_sigma must not be 0"),
        (BERT, {"pooler_config": {"softmax": 1}}, "softmax has a wrong value"),
        (BERT, {"pooler_config": {"task": "embed"}}, "task must be one of classify, token_classify"),
        (LLAMA | {"is_causal": False}, {}, "is_causal is false"),
        (LLAMA | {"classifier_from_token": "yes"}, {"task": "score"}, "must be a list of tokens"),
    ],
)
def test_what_is_refused(values: dict[str, Any], options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=message):
        resolved(tmp_path, values, **options)


def test_files_of_a_cross_encoder(tmp_path: Path) -> None:
    """Its modules pool nothing, and a file of its own names the function."""
    (tmp_path / "modules.json").write_text(
        json.dumps([{"type": "x.Transformer", "path": ""}, {"type": "x.LogitScore"}])
    )
    named = {"activation_fn": "torch.nn.modules.linear.Identity"}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(named))
    pooling = resolved(tmp_path, BERT | {"num_labels": 1}).pooling
    assert pooling is not None
    assert pooling.activation == "identity"
    assert resolved(tmp_path, LLAMA).pooling is None


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([{"type": "x.Pooling", "path": "../other"}], "not a folder of the model"),
        ([{"type": "x.Pooling", "path": "/etc"}], "not a folder of the model"),
        ([{"type": "x.Pooling", "path": "2"}, {"type": "x.LSTM", "path": ""}], "LSTM.*is not supported"),
        ({}, "must hold a JSON list"),
        ([{"type": "x.Pooling", "path": "1"}], "pooling by pooling_mode_max_tokens is not supported"),
    ],
)
def test_modules_that_are_refused(modules: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    for folder, mode in (("1", "pooling_mode_max_tokens"), ("2", "pooling_mode_cls_token")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(json.dumps({mode: True}))
    with pytest.raises(StartError, match=message):
        resolved(tmp_path, LLAMA)


def test_settings_of_the_pooler(tmp_path: Path) -> None:
    settings = {"pooling_type": "mean", "logit_mean": 1.5, "logit_sigma": 2, "use_activation": False}
    pooling = resolved(tmp_path, BERT, pooler_config=settings).pooling
    assert pooling is not None
    assert (pooling.sequence, pooling.logit_bias, pooling.logit_sigma, pooling.use_activation) == (
        "mean",
        1.5,
        2,
        False,
    )


def test_an_encoder_runs_whole_texts_and_keeps_nothing(tmp_path: Path) -> None:
    config = resolved(tmp_path, BERT)
    assert (config.scheduler.enable_chunked_prefill, config.cache.enable_prefix_caching) == (False, False)
    assert config.scheduler.max_num_batched_tokens >= config.model.max_model_len == 512
    assert config.model.dtype == "float32"
    assert config.model.shape.num_kept_layers == 1

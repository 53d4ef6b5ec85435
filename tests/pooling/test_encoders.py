"""Encoders against transformers: hidden states, classes and pairs; and the same bits in any company."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pooling_models import LENGTH, PAIRS, TEXTS, add_sentence_modules, edit_config, make
from safetensors.torch import load_file, save_file

from penstock import LLM, PoolingParams
from penstock.errors import ClientError, StartError

FAMILIES = ["Bert", "Roberta", "XLMRoberta", "DistilBert", "ModernBert"]
RAW = PoolingParams(use_activation=False)


def open_llm(folder: Path, **options: Any) -> LLM:
    return LLM(str(folder), use_tqdm_on_load=False, **{"cpu_threads": 1, **options})


def tensors(outputs: list[Any]) -> list[torch.Tensor]:
    return [o.outputs.data for o in outputs]


def close(got: Any, want: torch.Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(torch.as_tensor(got), want.float(), atol=atol, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_and_embeddings(family: str, tmp_path: Path) -> None:
    checkpoint = make(tmp_path, f"{family}Model")
    llm = open_llm(tmp_path)
    tokens = tensors(llm.encode(TEXTS, RAW, pooling_task="token_embed", use_tqdm=False))
    vectors = llm.embed(TEXTS, use_tqdm=False)
    for text, rows, vector in zip(TEXTS, tokens, vectors, strict=True):
        want = checkpoint.hidden(text)
        assert vector.prompt_token_ids == checkpoint.tokenizer.encode(text).ids
        close(rows, want)
        close(vector.outputs.embedding, torch.nn.functional.normalize(want[0], dim=0))  # by the first token
    with pytest.raises(ClientError, match="does not support the task 'classify'"):
        llm.classify(TEXTS, use_tqdm=False)
    with pytest.raises(ClientError, match="only supported for generative models"):
        llm.generate(TEXTS)


@pytest.mark.parametrize("family", FAMILIES)
def test_classes_of_texts_and_pairs(family: str, tmp_path: Path) -> None:
    checkpoint = make(tmp_path, f"{family}ForSequenceClassification", num_labels=3)
    llm = open_llm(tmp_path)
    for text, got in zip(TEXTS, llm.classify(TEXTS, use_tqdm=False), strict=True):
        close(got.outputs.probs, checkpoint.logits(text).softmax(-1))
    for text, got in zip(TEXTS, llm.encode(TEXTS, RAW, use_tqdm=False), strict=True):
        close(got.outputs.data, checkpoint.logits(text))
    with pytest.raises(ClientError, match="one label"):
        llm.score("a", "b", use_tqdm=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_classifier_without_its_head_embeds(family: str, tmp_path: Path) -> None:
    checkpoint = make(tmp_path, f"{family}ForSequenceClassification", num_labels=3)
    with torch.inference_mode():
        base = checkpoint.reference.base_model
        want = base(torch.tensor([checkpoint.tokenizer.encode(TEXTS[2]).ids])).last_hidden_state[0, 0]
    (got,) = open_llm(tmp_path, task="embed").embed(TEXTS[2], use_tqdm=False)
    close(got.outputs.embedding, torch.nn.functional.normalize(want, dim=0))


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_of_pairs(family: str, tmp_path: Path) -> None:
    checkpoint = make(tmp_path, f"{family}ForSequenceClassification", num_labels=1)
    llm = open_llm(tmp_path)
    firsts, seconds = [a for a, _ in PAIRS], [b for _, b in PAIRS]
    for pair, got in zip(PAIRS, llm.score(firsts, seconds, use_tqdm=False), strict=True):
        close(got.outputs.score, checkpoint.logits(*pair).sigmoid()[0])
    for second, got in zip(seconds, llm.score(firsts[0], seconds, use_tqdm=False), strict=True):
        close(got.outputs.score, checkpoint.logits(firsts[0], second).sigmoid()[0])
    with pytest.raises(ClientError, match="1:1, 1:N or N:N"):
        llm.score(firsts[:2], seconds, use_tqdm=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_classes_of_tokens(family: str, tmp_path: Path) -> None:
    checkpoint = make(tmp_path, f"{family}ForTokenClassification", num_labels=5)
    llm = open_llm(tmp_path)
    for text, got in zip(TEXTS, tensors(llm.encode(TEXTS, use_tqdm=False)), strict=True):
        close(got, checkpoint.logits(text).softmax(-1))


@pytest.mark.parametrize(
    ("family", "dtype"), [("Bert", "float32"), ("ModernBert", "float32"), ("Roberta", "bfloat16"), ("Bert", "float16")]
)
def test_an_input_has_the_same_bits_in_any_company(family: str, dtype: str, tmp_path: Path) -> None:
    make(tmp_path, f"{family}ForSequenceClassification", num_labels=1, dtype=dtype)
    texts = [" ".join(["the cat sat on the mat and"] * n)[: 11 * n] for n in range(1, 9)] * 12
    alone_llm = open_llm(tmp_path, max_num_seqs=1)
    pairs = [(text, TEXTS[i % 4]) for i, text in enumerate(texts)]

    def scores(llm: LLM, some: list[tuple[str, str]]) -> list[float]:
        outputs = llm.score([a for a, _ in some], [b for _, b in some], use_tqdm=False, truncate_prompt_tokens=-1)
        return [o.outputs.score for o in outputs]

    alone = [scores(alone_llm, [pair])[0] for pair in pairs[:24]]
    crowded = open_llm(tmp_path, max_num_batched_tokens=2048)
    assert scores(crowded, pairs)[:24] == alone
    assert scores(open_llm(tmp_path, cpu_threads=2), pairs)[:24] == alone
    assert scores(open_llm(tmp_path, max_num_batched_tokens=LENGTH), pairs[::-1])[::-1][:24] == alone
    crowded.engine.call("check_integrity")


def test_modules_of_sentence_transformers(tmp_path: Path) -> None:
    checkpoint = make(tmp_path, "BertModel")
    torch.manual_seed(5)
    dense = torch.nn.Linear(32, 20)
    add_sentence_modules(tmp_path, {"pooling_mode_mean_tokens": True}, dense=dense)
    limits = (tmp_path / "sentence_bert_config.json", tmp_path / "tokenizer_config.json")
    limits[0].write_text(json.dumps({"max_seq_length": 12}))
    limits[1].write_text(json.dumps(json.loads(limits[1].read_text()) | {"model_max_length": 30}))
    llm = open_llm(tmp_path)
    with torch.inference_mode():
        wants = [torch.tanh(dense(checkpoint.hidden(text).mean(0))) for text in TEXTS[:2]]
    for got, want in zip(llm.embed(TEXTS[:2], use_tqdm=False), wants, strict=True):
        close(got.outputs.embedding, torch.nn.functional.normalize(want, dim=0))
    raw = llm.embed(TEXTS[:2], pooling_params=PoolingParams(normalize=False), use_tqdm=False)
    close(raw[1].outputs.embedding, wants[1])
    with pytest.raises(ClientError, match="maximum context length is 12"):
        llm.embed(TEXTS[2], use_tqdm=False)
    (cut,) = llm.embed(TEXTS[2], use_tqdm=False, truncate_prompt_tokens=-1)
    ids = checkpoint.tokenizer.encode(TEXTS[2]).ids
    assert cut.prompt_token_ids == [*ids[:11], ids[-1]]
    limits[0].unlink()
    assert open_llm(tmp_path).engine.config.model.max_model_len == 30
    last = open_llm(tmp_path, pooler_config={"pooling_type": "LAST", "normalize": False}, max_model_len=LENGTH)
    with torch.inference_mode():
        close(
            last.embed(TEXTS[2], use_tqdm=False)[0].outputs.embedding,
            torch.tanh(dense(checkpoint.hidden(TEXTS[2])[-1])),
        )


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_local_layers_and_old_names_of_modernbert(pooling: str, tmp_path: Path) -> None:
    name = "ModernBertForSequenceClassification"
    checkpoint = make(tmp_path, name, num_labels=3, local_attention=6, num_hidden_layers=4, classifier_pooling=pooling)
    edit_config(tmp_path, layer_types=None, rope_parameters=None, global_attn_every_n_layers=3, norm_bias=None)
    llm = open_llm(tmp_path)
    for text, got in zip(TEXTS, llm.classify(TEXTS, use_tqdm=False), strict=True):
        close(got.outputs.probs, checkpoint.logits(text).softmax(-1))


def test_lower_case_and_a_default_prompt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path, "BertModel")
    add_sentence_modules(tmp_path, {"pooling_mode": "cls"})
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"do_lower_case": True}))
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    upper, lower = open_llm(tmp_path).embed(["The CAT", "the cat"], use_tqdm=False)
    assert upper.outputs == lower.outputs
    assert "'query: ' is not put before texts" in caplog.text


def test_a_model_whose_segments_are_one(tmp_path: Path) -> None:
    """A tokenizer may number segments that the model has no table for, as that of XLM-RoBERTa's rerankers."""
    checkpoint = make(tmp_path, "XLMRobertaForSequenceClassification", num_labels=1, type_vocab_size=1)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text().replace('"RobertaProcessing"', '"BertProcessing"'))
    (got,) = open_llm(tmp_path).score(*PAIRS[1], use_tqdm=False)
    with torch.inference_mode():
        want = checkpoint.reference(torch.tensor([got.prompt_token_ids])).logits[0].sigmoid()[0]
    close(got.outputs.score, want)


def test_dimensions(tmp_path: Path) -> None:
    checkpoint = make(tmp_path, "BertModel")
    with pytest.raises(ClientError, match="Matryoshka"):
        open_llm(tmp_path).embed("hello", pooling_params=PoolingParams(dimensions=8), use_tqdm=False)
    edit_config(tmp_path, matryoshka_dimensions=[8, 16])
    llm = open_llm(tmp_path)
    (got,) = llm.embed("hello", pooling_params=PoolingParams(dimensions=8), use_tqdm=False)
    close(got.outputs.embedding, torch.nn.functional.normalize(checkpoint.hidden("hello")[0, :8], dim=0))
    with pytest.raises(ClientError, match="one of 8, 16"):
        llm.embed("hello", pooling_params=PoolingParams(dimensions=9), use_tqdm=False)
    assert len(llm.embed("hello", use_tqdm=False)[0].outputs.embedding) == 32


def test_names_of_old_checkpoints(tmp_path: Path) -> None:
    """gamma and beta for the norms, a prefix, a head for other uses."""
    checkpoint = make(tmp_path, "BertModel")
    state = load_file(tmp_path / "model.safetensors")
    old = {}
    for name, value in state.items():
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        old["bert." + name] = value
    old["cls.predictions.bias"] = torch.zeros(3)
    old["bert.embeddings.position_ids"] = torch.arange(LENGTH).unsqueeze(0)
    save_file(old, tmp_path / "model.safetensors")
    edit_config(tmp_path, architectures=["BertForMaskedLM"])
    (got,) = tensors(open_llm(tmp_path).encode("hello", RAW, pooling_task="token_embed", use_tqdm=False))
    close(got, checkpoint.hidden("hello"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runner": "generate"}, "generates no text"),
        ({"task": "generate"}, "generates no text"),
        ({"pooler_config": {"pooling_type": "MAX"}}, "pooling_type must be one of"),
        ({"pooler_config": {"pooling": "CLS"}}, "does not know 'pooling'"),
        ({"kv_cache_dtype": "int8"}, "keeps no keys"),
        ({"enable_chunked_prefill": True}, "cannot be cut"),
        ({"task": "embed", "runner": "generate"}, "does not go with"),
    ],
)
def test_options_that_an_encoder_refuses(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    make(tmp_path, "BertModel")
    with pytest.raises(StartError, match=message):
        open_llm(tmp_path, **options)

"""Decoders that pool, against transformers: embeddings, classes, rewards, in pieces and with cached prefixes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pooling_models import PAIRS, TEXTS, Checkpoint, add_sentence_modules, edit_config, make
from safetensors.torch import load_file, save_file

from penstock import LLM, PoolingParams
from penstock.errors import ClientError, StartError

FAMILIES = ["Llama", "Mistral", "Qwen2", "Qwen3"]
RAW = PoolingParams(use_activation=False)


def open_llm(folder: Path, **options: Any) -> LLM:
    return LLM(str(folder), cpu_threads=1, use_tqdm_on_load=False, **{"block_size": 8, **options})


def close(got: Any, want: torch.Tensor, atol: float = 2e-5) -> None:
    torch.testing.assert_close(torch.as_tensor(got), want.float(), atol=atol, rtol=0)


def causal_hidden(checkpoint: Checkpoint, text: str) -> torch.Tensor:
    """[L, H] of a model with a head for the vocabulary."""
    ids = torch.tensor([checkpoint.tokenizer.encode(text).ids])
    with torch.inference_mode():
        return checkpoint.reference.model(ids).last_hidden_state[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_of_models_that_generate(family: str, tmp_path: Path) -> None:
    checkpoint = make(tmp_path, f"{family}ForCausalLM", tie_word_embeddings=family == "Qwen3")
    llm = open_llm(tmp_path, task="embed")
    for text, got in zip(TEXTS, llm.embed(TEXTS, use_tqdm=False), strict=True):
        close(got.outputs.embedding, torch.nn.functional.normalize(causal_hidden(checkpoint, text)[-1], dim=0))
    assert open_llm(tmp_path).engine.config.pooling is None


def test_a_model_with_modules_of_sentence_transformers_embeds(tmp_path: Path) -> None:
    """As Qwen3-Embedding: the architecture generates, names lack their prefix, the files say how it pools."""
    checkpoint = make(tmp_path, "Qwen3ForCausalLM", tie_word_embeddings=True)
    state = load_file(tmp_path / "model.safetensors")
    save_file({k.removeprefix("model."): v for k, v in state.items()}, tmp_path / "model.safetensors")
    add_sentence_modules(tmp_path, {"pooling_mode_lasttoken": True})
    llm = open_llm(tmp_path)
    (got,) = llm.embed(TEXTS[0], use_tqdm=False)
    close(got.outputs.embedding, torch.nn.functional.normalize(causal_hidden(checkpoint, TEXTS[0])[-1], dim=0))
    (matryoshka,) = open_llm(tmp_path, hf_overrides={"is_matryoshka": True}).embed(
        TEXTS[0], pooling_params=PoolingParams(dimensions=5), use_tqdm=False
    )
    close(
        matryoshka.outputs.embedding,
        torch.nn.functional.normalize(causal_hidden(checkpoint, TEXTS[0])[-1, :5], dim=0),
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_classes(family: str, tmp_path: Path) -> None:
    checkpoint = make(tmp_path, f"{family}ForSequenceClassification", num_labels=3)
    llm = open_llm(tmp_path)
    for text, got in zip(TEXTS, llm.classify(TEXTS, use_tqdm=False), strict=True):
        close(got.outputs.probs, checkpoint.logits(text).softmax(-1))
    rows = llm.encode(TEXTS[2], RAW, pooling_task="token_classify", use_tqdm=False)[0].outputs.data
    assert rows.shape == (len(checkpoint.tokenizer.encode(TEXTS[2]).ids), 3)
    close(rows[-1], checkpoint.logits(TEXTS[2]))


def test_classes_of_tokens(tmp_path: Path) -> None:
    checkpoint = make(tmp_path, "Qwen2ForTokenClassification", num_labels=4)
    (got,) = open_llm(tmp_path).encode(TEXTS[2], use_tqdm=False)
    close(got.outputs.data, checkpoint.logits(TEXTS[2]).softmax(-1))


def test_pieces_cached_prefixes_and_company_change_no_bit(tmp_path: Path) -> None:
    make(tmp_path, "Qwen3ForCausalLM")
    texts = [" ".join(TEXTS[2:] * n)[: 40 * n + 1] for n in range(1, 8)] * 3

    def vectors(llm: LLM, some: list[str], task: str) -> list[list[Any]]:
        outputs = llm.encode(some, RAW, pooling_task=task, use_tqdm=False)
        llm.engine.call("check_integrity")
        return [o.outputs.data.tolist() for o in outputs]

    for settings, task in ((None, "embed"), ({"pooling_type": "MEAN"}, "embed"), (None, "token_embed")):
        whole = open_llm(tmp_path, runner="pooling", pooler_config=settings, enable_prefix_caching=False)
        alone = [vectors(whole, [text], task)[0] for text in texts[:7]]
        assert vectors(whole, texts, task) == alone * 3
        pieces = open_llm(tmp_path, runner="pooling", pooler_config=settings, max_num_batched_tokens=24, max_num_seqs=5)
        assert vectors(pieces, texts, task) == alone * 3
        again = pieces.encode(texts, RAW, pooling_task=task, use_tqdm=False)
        assert [o.outputs.data.tolist() for o in again] == alone * 3
        cached = sum(o.num_cached_tokens or 0 for o in again)
        assert (cached > 0) == (settings is None and task == "embed")  # what needs all hidden states reads no cache
        tight = open_llm(
            tmp_path, runner="pooling", pooler_config=settings, max_model_len=512, num_gpu_blocks_override=66
        )
        assert vectors(tight, texts, task) == alone * 3


def test_rewards(tmp_path: Path) -> None:
    """A value for every token, by two products; and the probability of a step where a model for processes has a tag."""
    checkpoint = make(tmp_path, "Qwen2ForCausalLM")
    hidden = causal_hidden(checkpoint, TEXTS[2])
    torch.manual_seed(3)
    state = {k: v for k, v in load_file(tmp_path / "model.safetensors").items() if k != "lm_head.weight"}
    for labels, architecture in ((1, "Qwen2ForRewardModel"), (2, "Qwen2ForProcessRewardModel")):
        dense, out = torch.nn.Linear(32, 32), torch.nn.Linear(32, labels)
        named = (("score.0", dense), ("score.2", out))
        score = {f"{n}.{k}": v.detach() for n, m in named for k, v in m.named_parameters()}
        save_file(state | score, tmp_path / "model.safetensors")
        edit_config(tmp_path, architectures=[architecture], num_labels=labels, id2label=None)
        llm = open_llm(tmp_path)
        with torch.inference_mode():
            want = out(torch.relu(dense(hidden)))
        (got,) = llm.reward(TEXTS[2], use_tqdm=False)
        close(got.outputs.data, want if labels == 1 else want.softmax(-1))
    ids = checkpoint.tokenizer.encode(TEXTS[2]).ids
    tag = ids[3]
    steps = [i for i, token_id in enumerate(ids) if token_id == tag]
    (got,) = open_llm(tmp_path, pooler_config={"step_tag_id": tag}).reward(TEXTS[2], use_tqdm=False)
    close(got.outputs.data, want.softmax(-1)[steps])
    params = PoolingParams(step_tag_id=tag, returned_token_ids=[1], use_activation=False)
    (got,) = llm.reward(TEXTS[2], pooling_params=params, use_tqdm=False)
    close(got.outputs.data, want[steps][:, 1:])
    for wrong in (2, -1):
        with pytest.raises(ClientError, match="must be from 0 to 1"):
            llm.reward(TEXTS[2], pooling_params=PoolingParams(returned_token_ids=[wrong]), use_tqdm=False)
    with pytest.raises(StartError, match="must be from 0 to 1"):
        open_llm(tmp_path, pooler_config={"returned_token_ids": [2]})


def test_a_reward_model_that_classifies(tmp_path: Path) -> None:
    checkpoint = make(tmp_path, "LlamaForSequenceClassification", num_labels=1)
    (got,) = open_llm(tmp_path, task="reward").reward(TEXTS[0], pooling_params=RAW, use_tqdm=False)
    close(got.outputs.data, checkpoint.logits(TEXTS[0]))


@pytest.mark.parametrize("tied", [True, False])
def test_a_reranker_that_says_yes_or_no(tied: bool, tmp_path: Path) -> None:
    """As Qwen3-Reranker in its original form: the probability of "yes" against "no" as the next token."""
    checkpoint = make(tmp_path, "Qwen3ForCausalLM", tie_word_embeddings=tied)
    overrides = {
        "architectures": ["Qwen3ForSequenceClassification"],
        "classifier_from_token": ["c", "t"],
        "is_original_qwen3_reranker": True,
    }
    template = "Q: {{ messages[0].content }} D: {{ messages[1].content }}"
    llm = open_llm(tmp_path, hf_overrides=overrides, chat_template=template)
    no, yes = (checkpoint.tokenizer.token_to_id(t) for t in ("c", "t"))
    outputs = llm.score([a for a, _ in PAIRS], [b for _, b in PAIRS], use_tqdm=False)
    plain = open_llm(tmp_path, hf_overrides=overrides)
    for (a, b), got in zip(PAIRS, outputs, strict=True):
        text = f"Q: {a} D: {b}"
        ids = checkpoint.tokenizer.encode(text, add_special_tokens=False).ids
        with torch.inference_mode():
            logits = checkpoint.reference(torch.tensor([ids])).logits[0, -1]
        close(got.outputs.score, logits[[no, yes]].softmax(-1)[1])
        (same,) = plain.classify({"prompt_token_ids": ids}, use_tqdm=False)
        assert same.outputs.probs == [got.outputs.score]
    as_task = {name: value for name, value in overrides.items() if name != "architectures"}
    (same,) = open_llm(tmp_path, task="score", hf_overrides=as_task).classify({"prompt_token_ids": ids}, use_tqdm=False)
    assert same.outputs.probs == [got.outputs.score]
    overrides |= {"is_original_qwen3_reranker": False, "classifier_from_token": ["c", "t", "a"]}
    (three,) = open_llm(tmp_path, hf_overrides=overrides).classify({"prompt_token_ids": ids}, use_tqdm=False)
    a = checkpoint.tokenizer.token_to_id("a")
    close(three.outputs.probs, logits[[no, yes, a]].softmax(-1))


def test_a_converted_reranker(tmp_path: Path) -> None:
    """Qwen3ForSequenceClassification with one label; a pair is one text, as the tokenizer joins it."""
    checkpoint = make(tmp_path, "Qwen3ForSequenceClassification", num_labels=1)
    edit_config(tmp_path, sbert_ce_default_activation_function="torch.nn.modules.linear.Identity")
    first, second = PAIRS[1]
    (got,) = open_llm(tmp_path).score(first, second, use_tqdm=False)
    assert got.prompt_token_ids == checkpoint.tokenizer.encode(first, second).ids
    close(got.outputs.score, checkpoint.logits(first, second)[0])


def test_a_decoder_that_sees_both_ways(tmp_path: Path) -> None:
    """is_causal: false, as models for embeddings have it that were made of decoders."""
    checkpoint = make(tmp_path, "LlamaModel")
    edit_config(tmp_path, is_causal=False)
    text = TEXTS[2]
    ids = torch.tensor([checkpoint.tokenizer.encode(text).ids])
    mask = torch.zeros(1, 1, ids.shape[1], ids.shape[1])
    with torch.inference_mode():
        want = checkpoint.reference(ids, attention_mask=mask).last_hidden_state[0]
    (got,) = open_llm(tmp_path).encode(text, RAW, pooling_task="token_embed", use_tqdm=False)
    close(got.outputs.data, want)


def test_quantized_weights(tmp_path: Path) -> None:
    checkpoint = make(tmp_path, "Qwen3ForCausalLM")
    (got,) = open_llm(tmp_path, task="embed", quantization="int8").embed(TEXTS[2], use_tqdm=False)
    want = torch.nn.functional.normalize(causal_hidden(checkpoint, TEXTS[2])[-1], dim=0)
    assert torch.tensor(got.outputs.embedding) @ want > 0.98


def test_what_does_not_go_together(tmp_path: Path) -> None:
    make(tmp_path, "Qwen3ForCausalLM")
    with pytest.raises(StartError, match="has to be converted"):
        open_llm(tmp_path, runner="pooling", convert="none")
    with pytest.raises(StartError, match=r"score\.weight"):
        open_llm(tmp_path, task="classify")
    with pytest.raises(StartError, match="for pooling models"):
        open_llm(tmp_path, pooler_config={"pooling_type": "LAST"})
    llm = open_llm(tmp_path, convert="embed")
    with pytest.raises(ClientError, match="task must be one of"):
        PoolingParams(task="plugin")
    with pytest.raises(ClientError, match="where 'embed' was called for"):
        llm.embed("a", pooling_params=PoolingParams(task="token_embed"), use_tqdm=False)
    with pytest.raises(ClientError, match="maximum context length"):
        llm.embed({"prompt_token_ids": [5] * 513}, use_tqdm=False)
    assert len(llm.embed({"prompt_token_ids": [5] * 512}, use_tqdm=False)) == 1  # there need not be room for an answer
    llm.engine.call("check_integrity")

"""The pooling routes of real servers: the official client for embeddings, plain HTTP for the rest."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import struct
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from pooling_models import PAIRS, TEXTS, Checkpoint, edit_config, make

from servers import ROOT, RunningServer, run_server


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    checkpoint = make(tmp_path_factory.mktemp("bert"), "BertModel")
    edit_config(checkpoint.folder, is_matryoshka=True)
    return checkpoint


@pytest.fixture(scope="module")
def embedder(bert: Checkpoint) -> Iterator[RunningServer]:
    options = ("--served-model-name", "embedder", "--chat-template", "{{ messages[0].content }}")
    with run_server(str(bert.folder), *options, log=bert.folder / "server.log") as running:
        yield running


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Checkpoint]]:
    checkpoint = make(tmp_path_factory.mktemp("ranker"), "BertForSequenceClassification", num_labels=1)
    with run_server(str(checkpoint.folder), log=checkpoint.folder / "server.log") as running:
        yield running, checkpoint


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Checkpoint]]:
    labels = {0: "good", 1: "bad", 2: "ugly"}
    folder = tmp_path_factory.mktemp("classifier")
    checkpoint = make(folder, "RobertaForSequenceClassification", id2label=labels)
    with run_server(str(folder), log=folder / "server.log") as running:
        yield running, checkpoint


@pytest.fixture(scope="module")
def client(embedder: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=embedder.openai_url, api_key="none", max_retries=0, timeout=60)


def vector_of(checkpoint: Checkpoint, text: str, dimensions: int | None = None) -> torch.Tensor:
    return torch.nn.functional.normalize(checkpoint.hidden(text)[0][:dimensions], dim=0)


def close(got: Any, want: torch.Tensor) -> None:
    torch.testing.assert_close(torch.tensor(got), want, atol=1e-5, rtol=0)


def post(server: RunningServer, path: str, **body: Any) -> httpx.Response:
    return httpx.post(server.url + path, json=body, timeout=60)


def error_of(response: httpx.Response, status: int = 400) -> tuple[str, str | None]:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    return error["message"], error["param"]


def test_embeddings_by_the_official_client(client: openai.OpenAI, bert: Checkpoint) -> None:
    answer = client.embeddings.create(model="embedder", input=TEXTS)  # it asks for base64
    assert (answer.object, answer.model, [d.index for d in answer.data]) == ("list", "embedder", [0, 1, 2, 3])
    for text, data in zip(TEXTS, answer.data, strict=True):
        close(data.embedding, vector_of(bert, text))
    tokens = sum(len(bert.tokenizer.encode(t).ids) for t in TEXTS)
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (tokens, tokens)
    floats = client.embeddings.create(model="embedder", input=TEXTS[0], encoding_format="float")
    assert floats.data[0].embedding == answer.data[0].embedding
    short = client.embeddings.create(model="embedder", input=TEXTS[0], dimensions=8)
    close(short.data[0].embedding, vector_of(bert, TEXTS[0], 8))
    with pytest.raises(openai.NotFoundError, match="no-such-model"):
        client.embeddings.create(model="no-such-model", input="a")


def test_token_ids_and_chats(client: openai.OpenAI, embedder: RunningServer, bert: Checkpoint) -> None:
    ids = [bert.tokenizer.encode(text).ids for text in TEXTS]
    want = [d.embedding for d in client.embeddings.create(model="embedder", input=TEXTS).data]
    assert [d.embedding for d in client.embeddings.create(model="embedder", input=ids).data] == want
    assert client.embeddings.create(model="embedder", input=ids[0]).data[0].embedding == want[0]
    body = {"messages": [{"role": "user", "content": TEXTS[0]}], "add_special_tokens": True}
    chat = post(embedder, "/v1/embeddings", **body).json()
    close(chat["data"][0]["embedding"], vector_of(bert, TEXTS[0]))


def test_formats_of_numbers(embedder: RunningServer) -> None:
    def data(**options: Any) -> Any:
        response = post(embedder, "/v1/embeddings", input="hello", **options)
        assert response.status_code == 200, response.text
        return response.json()["data"][0]["embedding"]

    numbers = data()
    raw = base64.b64decode(data(encoding_format="base64"))
    assert list(struct.unpack("<32f", raw)) == numbers
    big = base64.b64decode(data(encoding_format="base64", endianness="big"))
    assert struct.unpack(">32f", big) == struct.unpack("<32f", raw)
    halves = base64.b64decode(data(encoding_format="base64", embed_dtype="float16"))
    torch.testing.assert_close(torch.tensor(struct.unpack("<32e", halves)), torch.tensor(numbers), atol=1e-3, rtol=0)
    brain = base64.b64decode(data(encoding_format="base64", embed_dtype="bfloat16"))
    want = torch.tensor(numbers).bfloat16()
    assert torch.equal(torch.frombuffer(bytearray(brain), dtype=torch.bfloat16), want)
    raw_numbers = data(normalize=False)
    assert raw_numbers == data(use_activation=False)
    assert raw_numbers != numbers


def test_truncation(embedder: RunningServer, bert: Checkpoint) -> None:
    ids = bert.tokenizer.encode(TEXTS[2]).ids
    for side, kept in (("right", [*ids[:9], ids[-1]]), ("left", [ids[0], *ids[-9:]])):
        cut = post(embedder, "/v1/embeddings", input=TEXTS[2], truncate_prompt_tokens=10, truncation_side=side)
        same = post(embedder, "/v1/embeddings", input=kept)
        assert cut.json()["data"] == same.json()["data"]
        assert cut.json()["usage"]["prompt_tokens"] == 10


def test_scores_and_ranks(ranker: tuple[RunningServer, Checkpoint]) -> None:
    server, checkpoint = ranker
    query, documents = PAIRS[0][0], [b for _, b in PAIRS]
    wants = [checkpoint.logits(query, d).sigmoid()[0].item() for d in documents]
    for path in ("/score", "/v1/score"):
        for names in (("text_1", "text_2"), ("data_1", "data_2"), ("queries", "documents"), ("queries", "items")):
            answer = post(server, path, **{names[0]: query, names[1]: documents}).json()
            assert (answer["object"], [d["index"] for d in answer["data"]]) == ("list", [0, 1, 2])
            assert [d["score"] for d in answer["data"]] == pytest.approx(wants, abs=1e-5)
    assert len(post(server, "/score", text_1=query, text_2=documents[0]).json()["data"]) == 1
    order = sorted(range(3), key=lambda i: -wants[i])
    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        answer = post(server, path, query=query, documents=documents, model=str(checkpoint.folder)).json()
        assert [r["index"] for r in answer["results"]] == order
        assert [r["document"]["text"] for r in answer["results"]] == [documents[i] for i in order]
        assert [r["relevance_score"] for r in answer["results"]] == pytest.approx(sorted(wants, reverse=True), abs=1e-5)
    jina = {"query": query, "documents": [{"text": d} for d in documents], "top_n": 2, "return_documents": False}
    answer = post(server, "/v1/rerank", **jina).json()
    assert [sorted(r) for r in answer["results"]] == [["index", "relevance_score"]] * 2
    short = post(server, "/rerank", query=query, documents=documents, max_tokens_per_doc=1).json()
    assert short["usage"]["total_tokens"] < answer["usage"]["total_tokens"]


def test_embeddings_score_by_their_angle(embedder: RunningServer, bert: Checkpoint) -> None:
    answer = post(embedder, "/score", text_1=TEXTS[0], text_2=TEXTS[1:]).json()
    wants = [float(vector_of(bert, TEXTS[0]) @ vector_of(bert, t)) for t in TEXTS[1:]]
    assert [d["score"] for d in answer["data"]] == pytest.approx(wants, abs=1e-5)


def test_classes(classifier: tuple[RunningServer, Checkpoint]) -> None:
    server, checkpoint = classifier
    answer = post(server, "/classify", input=TEXTS).json()
    for text, data in zip(TEXTS, answer["data"], strict=True):
        want = checkpoint.logits(text).softmax(-1)
        close(data["probs"], want)
        assert (data["label"], data["num_classes"]) == (["good", "bad", "ugly"][int(want.argmax())], 3)
    raw = post(server, "/classify", input=TEXTS[0], use_activation=False).json()["data"][0]["probs"]
    close(raw, checkpoint.logits(TEXTS[0]))
    message, param = error_of(post(server, "/score", text_1="a", text_2="b"))
    assert ("one label" in message, param) == (True, "model")
    assert "does not support the embeddings API" in error_of(post(server, "/v1/embeddings", input="a"))[0]


def test_pooling_by_any_task(embedder: RunningServer, bert: Checkpoint) -> None:
    whole = post(embedder, "/pooling", input=TEXTS).json()
    assert [d["object"] for d in whole["data"]] == ["pooling"] * 4
    close(whole["data"][2]["data"], vector_of(bert, TEXTS[2]))
    tokens = post(embedder, "/pooling", input=TEXTS[2], task="token_embed", use_activation=False).json()
    close(tokens["data"][0]["data"], bert.hidden(TEXTS[2]))
    raw = post(embedder, "/pooling", input="hello", task="token_embed", encoding_format="base64").json()
    assert len(base64.b64decode(raw["data"][0]["data"])) % (32 * 4) == 0
    assert error_of(post(embedder, "/pooling", input="a", task="classify"))[1] == "task"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/embeddings", {}, "input"),
        ("/v1/embeddings", {"input": []}, "input"),
        ("/v1/embeddings", {"input": [[]]}, "input"),
        ("/v1/embeddings", {"input": ["a", 3]}, "input"),
        ("/v1/embeddings", {"input": {"a": 1}}, "body.input"),
        ("/v1/embeddings", {"input": [70000]}, "input"),
        ("/v1/embeddings", {"input": [-1]}, "input"),
        ("/v1/embeddings", {"input": "a " * 100}, "input_tokens"),
        ("/v1/embeddings", {"input": "a", "dimensions": 0}, "dimensions"),
        ("/v1/embeddings", {"input": "a", "dimensions": 33}, "dimensions"),
        ("/v1/embeddings", {"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ("/v1/embeddings", {"input": "a", "embed_dtype": "fp8"}, "embed_dtype"),
        ("/v1/embeddings", {"input": "a", "truncate_prompt_tokens": 65}, "truncate_prompt_tokens"),
        ("/v1/embeddings", {"input": "a", "truncate_prompt_tokens": 2}, "truncate_prompt_tokens"),
        ("/v1/embeddings", {"input": "a", "truncation_side": "middle"}, "truncation_side"),
        ("/v1/embeddings", {"input": "a", "normalize": True, "use_activation": False}, "normalize"),
        ("/v1/embeddings", {"input": "a", "messages": [{"role": "user", "content": "a"}]}, "input"),
        ("/score", {"text_1": "a"}, "text_1"),
        ("/score", {"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}, "text_2"),
        ("/score", {"text_1": "a", "text_2": []}, "text_2"),
        ("/score", {"text_1": "a", "text_2": "b", "chat_template": "x"}, "chat_template"),
        ("/rerank", {"query": "a", "documents": []}, "documents"),
        ("/rerank", {"query": "a", "documents": [{"image": "b"}]}, "documents"),
        ("/rerank", {"query": "a", "documents": ["b"], "top_n": -1}, "top_n"),
        ("/rerank", {"documents": ["b"]}, "body.query"),
        ("/classify", {"input": "a"}, "model"),
        ("/v1/completions", {"prompt": "a"}, "model"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}, "model"),
    ],
)
def test_what_cannot_be_done_is_named(embedder: RunningServer, path: str, body: dict[str, Any], param: str) -> None:
    message, named = error_of(post(embedder, path, **body))
    assert named == param, message


def test_anthropics_route_is_refused_in_its_own_shape(embedder: RunningServer) -> None:
    body = {"max_tokens": 3, "messages": [{"role": "user", "content": "a"}]}
    response = post(embedder, "/v1/messages", **body)
    assert (response.status_code, response.json()["type"]) == (400, "error")
    assert "it pools" in response.json()["error"]["message"]


def test_a_model_that_generates_refuses_to_pool(server: RunningServer) -> None:
    for path, body in (
        ("/v1/embeddings", {"input": "a"}),
        ("/pooling", {"input": "a"}),
        ("/classify", {"input": "a"}),
        ("/score", {"text_1": "a", "text_2": "b"}),
        ("/v2/rerank", {"query": "a", "documents": ["b"]}),
    ):
        message, param = error_of(post(server, path, **body))
        assert ("generates text" in message, param) == (True, "model")


def test_invocations_by_what_the_model_does(
    embedder: RunningServer, classifier: tuple[RunningServer, Checkpoint]
) -> None:
    assert post(embedder, "/invocations", input="a").json()["data"][0]["object"] == "embedding"
    assert post(classifier[0], "/invocations", input="a").json()["data"][0]["num_classes"] == 3


def test_the_same_numbers_under_load(embedder: RunningServer) -> None:
    texts = [" ".join(TEXTS)[i : 3 * i + 10] for i in range(30)]
    alone = [post(embedder, "/v1/embeddings", input=t).json()["data"][0]["embedding"] for t in texts]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda t: post(embedder, "/v1/embeddings", input=[t, *texts]).json(), texts))
    assert [a["data"][0]["embedding"] for a in answers] == alone
    for answer in answers:
        assert [d["embedding"] for d in answer["data"][1:]] == alone


def test_the_examples_of_the_page(ranker: tuple[RunningServer, Checkpoint], embedder: RunningServer) -> None:
    page = (ROOT / "docs" / "pooling.md").read_text(encoding="utf-8")
    curls = [
        line for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines() if "curl" in line
    ]
    assert len(curls) == 4
    for line in curls:
        line = line.replace("localhost:8000", embedder.url).replace("localhost:8001", ranker[0].url)
        answer = json.loads(subprocess.run(["bash", "-euc", line], capture_output=True, check=True, timeout=60).stdout)
        assert "error" not in answer, line
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    assert (len(names["vector"]), names["rows"].shape[1]) == (names["rows"].shape[1], len(names["vector"]))
    assert -1 <= names["score"] <= 1


def test_a_client_that_leaves_leaves_nothing_behind(embedder: RunningServer) -> None:
    body = {"input": [TEXTS[2]] * 2000}
    with contextlib.suppress(httpx.TimeoutException):
        httpx.post(embedder.url + "/v1/embeddings", json=body, timeout=0.3)
    deadline = time.monotonic() + 30
    busy = re.compile(r"^penstock:num_requests_(?:running|waiting)\S* (\S+)$", re.M)
    while any(float(n) for n in busy.findall(httpx.get(embedder.url + "/metrics").text)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert post(embedder, "/v1/embeddings", input="hello").status_code == 200


def test_a_deadline_ends_a_request(embedder: RunningServer) -> None:
    headers = {"X-Request-Timeout-Ms": "1"}
    late = httpx.post(embedder.url + "/v1/embeddings", json={"input": TEXTS * 200}, headers=headers, timeout=60)
    assert late.status_code == 408
    assert post(embedder, "/v1/embeddings", input="hello").status_code == 200


def test_health_and_models_of_a_pooling_server(embedder: RunningServer, tmp_path: Path) -> None:
    assert httpx.get(embedder.url + "/ready").status_code == 200
    (card,) = httpx.get(embedder.openai_url + "/models").json()["data"]
    assert (card["id"], card["max_model_len"]) == ("embedder", 64)
    page = httpx.get(embedder.url + "/openapi.json").json()
    assert {"/v1/embeddings", "/pooling", "/classify", "/score", "/v2/rerank"} <= set(page["paths"])

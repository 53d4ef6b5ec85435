"""Other projects' clients and harnesses, unpatched, against real servers: lm-evaluation-harness, guidellm, LangChain,
and schemathesis, which makes requests from the OpenAPI page.

They live in an environment of their own, which `scripts/test_clients` makes before it runs this file.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pooling_models import make

from servers import ROOT, RunningServer, run_server

HERE = Path(__file__).resolve().parent
PYTHON = Path(os.environ.get("CLIENTS_PYTHON", ROOT / ".clients" / "bin" / "python"))
TOKENIZER = ROOT / "penstock" / "assets" / "tiny"
LANGCHAIN = (
    *("invoke", "stream", "many_at_once", "logprobs", "a_tool_that_must_be_called", "a_streamed_tool_call"),
    *("structured_output", "responses", "plain_completions", "a_wrong_request", "embeddings"),
)
PROMPTS = ("The capital of France is", "Penstock is", "Once upon a time", "A river", "The library opens at")
LENGTH = 4

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="the clients are not installed: ./scripts/test_clients")


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    log = tmp_path_factory.mktemp("generator") / "server.log"
    with run_server("--enable-tokenizer-info-endpoint", log=log) as running:
        yield running


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("embedder")
    make(folder, "BertModel")
    with run_server(str(folder), "--served-model-name", "embedder", log=folder / "server.log") as running:
        yield running


def run(folder: Path, *arguments: str) -> str:
    """The output of a module or script of the clients' environment, which has no network."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "OPENAI_API_KEY": "none", "DO_NOT_TRACK": "1"}
    command = [str(PYTHON), *arguments]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **offline}, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


# LangChain


@pytest.fixture(scope="module")
def sections(generator: RunningServer, embedder: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("langchain")
    return json.loads(run(folder, str(HERE / "langchain_client.py"), generator.url, embedder.url).splitlines()[-1])


@pytest.mark.parametrize("section", LANGCHAIN)
def test_langchain(section: str, sections: dict[str, str | None]) -> None:
    assert sections[section] is None, sections[section]
    assert set(sections) == set(LANGCHAIN)


# lm-evaluation-harness: what the server itself says greedily must be what the harness finds most likely.

TASKS: dict[str, dict[str, Any]] = {
    "greedy": {"output_type": "loglikelihood", "doc_to_target": "{{target}}"},
    "choice": {"output_type": "multiple_choice", "doc_to_choice": "{{[other, target]}}", "doc_to_target": 1},
    "go_on": {
        "output_type": "generate_until",
        "doc_to_target": "{{target}}",
        "generation_kwargs": {"until": ["\n\n\n"], "max_gen_toks": LENGTH, "do_sample": False, "temperature": 0.0},
    },
}


def lm_eval(folder: Path, documents: list[dict[str, str]], model: str, tasks: tuple[str, ...], *options: str) -> Any:
    """Task -> results of a run on these documents."""
    data = folder / "documents.jsonl"
    data.write_text("".join(json.dumps(d) + "\n" for d in documents))
    for name in tasks:
        metric = "exact_match" if name == "go_on" else "acc"
        source = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}, "test_split": "test"}
        form = {"task": name, "doc_to_text": "{{prompt}}", "target_delimiter": "", "metric_list": [{"metric": metric}]}
        (folder / f"{name}.yaml").write_text(json.dumps({**form, **source, **TASKS[name]}))  # YAML holds JSON
    where = ("--include_path", str(folder), "--output_path", str(folder / "out"))
    run(folder, "-m", "lm_eval", "run", "--model", *model.split(" "), "--tasks", ",".join(tasks), *where, *options)
    [written] = (folder / "out").rglob("results*.json")
    return json.loads(written.read_text())["results"]


def continued(server: RunningServer) -> list[dict[str, str]]:
    """Prompts and what the server says after them, where text and tokens are the same thing."""
    documents = []
    for prompt in PROMPTS:
        body = {"prompt": prompt, "temperature": 0, "max_tokens": LENGTH, "ignore_eos": True, "return_token_ids": True}
        [choice] = httpx.post(server.url + "/v1/completions", json=body, timeout=60).json()["choices"]
        again = httpx.post(server.url + "/tokenize", json={"prompt": prompt + choice["text"]}, timeout=60).json()
        if again["tokens"] == choice["prompt_token_ids"] + choice["token_ids"]:
            documents.append({"prompt": prompt, "target": choice["text"], "other": " zqx zqx"})
    assert len(documents) > 2
    return documents


def test_lm_eval_completions(generator: RunningServer, tmp_path: Path) -> None:
    where = f"model=penstock-tiny,base_url={generator.url}/v1/completions,num_concurrent=4"
    model = f"local-completions --model_args {where},tokenizer_backend=huggingface,tokenizer={TOKENIZER}"
    found = lm_eval(tmp_path, continued(generator), model, ("greedy", "choice", "go_on"))
    assert found["greedy"]["acc,none"] == 1.0  # each target token is exactly as probable as the most probable one
    assert found["choice"]["acc,none"] == 1.0
    assert found["go_on"]["exact_match,none"] == 1.0


def test_lm_eval_with_the_servers_tokenizer(generator: RunningServer, tmp_path: Path) -> None:
    where = f"model=penstock-tiny,base_url={generator.url}/v1/completions,tokenizer_backend=remote"
    found = lm_eval(tmp_path, continued(generator), f"local-completions --model_args {where}", ("greedy", "go_on"))
    assert (found["greedy"]["acc,none"], found["go_on"]["exact_match,none"]) == (1.0, 1.0)


def test_lm_eval_chats(generator: RunningServer, tmp_path: Path) -> None:
    documents = []
    for prompt in PROMPTS:
        body = {"messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": LENGTH}
        [choice] = httpx.post(generator.url + "/v1/chat/completions", json=body, timeout=60).json()["choices"]
        documents.append({"prompt": prompt, "target": choice["message"]["content"]})
    model = f"local-chat-completions --model_args model=penstock-tiny,base_url={generator.url}/v1/chat/completions"
    found = lm_eval(tmp_path, documents, model, ("go_on",), "--apply_chat_template")
    assert found["go_on"]["exact_match,none"] == 1.0


# guidellm


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/completions", "/v1/responses"])
def test_guidellm(route: str, generator: RunningServer, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    run(
        tmp_path,
        *("-m", "guidellm", "run", "--disable-console"),
        *("--backend", f"kind=openai_http,target={generator.url},request_format={route}"),
        *("--profile", "kind=concurrent,streams=3", "--constraint", "kind=max_requests,count=9"),
        *("--tokenizer", f"kind=hf_auto,model={TOKENIZER}"),
        *("--data", "kind=synthetic_text,prompt_tokens=32,output_tokens=16"),
        *("--output", f"kind=json,path={report}"),
    )
    [benchmark] = json.loads(report.read_text())["benchmarks"]
    metrics = benchmark["metrics"]
    assert metrics["request_totals"] == {"successful": 9, "errored": 0, "incomplete": 0, "total": 9}
    tokens = metrics["output_token_count"]["successful"]
    assert (tokens["min"], tokens["max"]) == (16, 16)
    assert metrics["prompt_token_count"]["successful"]["min"] >= 32
    assert metrics["time_to_first_token_ms"]["successful"]["mean"] > 0


# schemathesis


def test_schemathesis(generator: RunningServer, tmp_path: Path) -> None:
    checks = ("--checks", "not_a_server_error", "--phases", "fuzzing", "--mode", "all", "--max-examples", "10")
    page = generator.url + "/openapi.json"
    said = run(tmp_path, "-m", "schemathesis.cli", "run", page, *checks, "--seed", "1")
    assert re.search(r"(\d+) generated, \1 passed", said), said[-3000:]

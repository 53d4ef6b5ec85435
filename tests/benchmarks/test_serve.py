"""`penstock bench serve` as a process: what it sends, what it prints and saves, and how it fails."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stub_server import events, stub_server

from servers import ROOT, RunningServer, free_port


def bench(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "penstock", "bench", "serve", "--disable-tqdm", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)


def completion(path: str, body: dict[str, Any]) -> Iterator[str]:
    pieces = [{"choices": [{"index": 0, "text": f" t{i}"}]} for i in range(4)]
    usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 8}}
    return events(": keep-alive\n\n", *pieces, usage, "data: [DONE]\n\n", pause_s=0.01)


def custom_file(folder: Path, n: int) -> str:
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"prompt {i}"}) + "\n" for i in range(n)))
    return str(path)


def test_against_a_real_server(server: RunningServer, tmp_path: Path) -> None:
    url = ("--base-url", server.url, "--num-prompts", "6", "--max-concurrency", "3", "--seed", "5")
    lengths = ("--random-input-len", "24", "--random-output-len", "6", "--temperature", "0")
    file = ("--save-result", "--save-detailed", "--result-dir", str(tmp_path), "--result-filename", "r.json")
    run = bench(*url, *lengths, *file, "--percentile-metrics", "ttft,e2el", "--goodput", "e2el:1e9")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "First model name: penstock-tiny" in run.stdout
    for row in ("Successful requests:                     6  ", "Total input tokens:                      144  "):
        assert row in run.stdout
    assert re.search(r"^Mean E2EL \(ms\): +\d+\.\d\d *$", run.stdout, re.M)
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["total_output_tokens"] == 36
    assert result["output_lens"] == [6] * 6
    assert result["input_lens"] == [24] * 6
    assert result["request_goodput"] == result["request_throughput"]
    assert 0 < result["mean_ttft_ms"] < result["mean_e2el_ms"]
    assert (result["model_id"], result["backend"], result["request_rate"]) == ("penstock-tiny", "openai", "inf")
    assert result["max_concurrent_requests"] <= 3
    assert result["errors"] == [""] * 6


def test_chat_against_a_real_server(server: RunningServer) -> None:
    lengths = ("--random-input-len", "8", "--random-output-len", "4", "--temperature", "0")
    run = bench("--backend", "openai-chat", "--base-url", server.url, "--num-prompts", "2", *lengths)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Total generated tokens:                  8  " in run.stdout


def test_what_goes_over_the_wire(tmp_path: Path) -> None:
    prompts = ("--dataset-name", "custom", "--dataset-path", custom_file(tmp_path, 5), "--disable-shuffle")
    options = ("--skip-tokenizer-init", "--num-prompts", "5", "--custom-output-len", "8", "--header", "X-Extra=1")
    ids = ("--request-id-prefix", "id-", "--num-warmups", "2")
    sampling = ("--temperature", "0.5", "--top-k", "7", "--ignore-eos", "--logprobs", "2", "--extra-body", '{"n": 1}')
    with stub_server(completion) as s:
        run = bench("--base-url", s.url, *prompts, *options, *sampling, *ids)
    assert run.returncode == 0, run.stderr
    assert "Total input tokens:                      45 " in run.stdout  # the server's count: there is no tokenizer
    assert "Total generated tokens:                  40 " in run.stdout
    measured = s.bodies[2:]  # after the warm-up
    assert sorted(body["prompt"] for _, body in measured) == [f"prompt {i}" for i in range(5)]
    assert {path for path, _ in measured} == {"/v1/completions"}
    common = {k: v for k, v in measured[0][1].items() if k != "prompt"}
    assert common == {
        "model": "stub",
        "max_tokens": 8,
        "stream": True,
        "stream_options": {"include_usage": True},
        "repetition_penalty": 1.0,
        "temperature": 0.5,
        "top_k": 7,
        "ignore_eos": True,
        "logprobs": 2,
        "n": 1,
    }
    posts = [h for h in s.headers if "content-length" in h and h["content-length"] != "0"]
    assert sorted(h["x-request-id"] for h in posts[2:]) == [f"id-{i}" for i in range(5)]
    assert {h["x-extra"] for h in posts} == {"1"}


def test_failures_are_counted_and_told(tmp_path: Path) -> None:
    def reply(path: str, body: dict[str, Any]) -> Any:
        number = int(body["prompt"].split()[1])
        if number == 0:
            return 500, {"error": {"message": "broken"}}
        if number == 1:
            return events({"error": {"message": "died halfway"}}, "data: [DONE]\n\n")
        if number == 2:
            return events("data: [DONE]\n\n")
        return completion(path, body)

    prompts = ("--dataset-name", "custom", "--dataset-path", custom_file(tmp_path, 4), "--disable-shuffle")
    options = ("--skip-tokenizer-init", "--num-prompts", "4", "--save-result", "--save-detailed", "--result-dir")
    with stub_server(reply) as s:
        run = bench("--base-url", s.url, *prompts, *options, str(tmp_path), "--label", "bad", "--metadata", "who=me")
    assert run.returncode == 0  # one request succeeded
    assert "Failed requests:                         3 " in run.stdout
    assert "3 requests failed; the first one: status 500" in run.stderr
    [file] = tmp_path.glob("bad-infqps-stub-*.json")
    result = json.loads(file.read_text())
    assert result["who"] == "me"
    assert "died halfway" in result["errors"][1]
    assert "Never received a valid chunk to calculate TTFT" in result["errors"][2]


def test_what_cannot_be_measured_is_one_sentence() -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    for args, message in (
        (("--base-url", nobody), "no server answers"),
        (("--backend", "infinity-embeddings"), "supported: openai, vllm (the same), openai-chat"),
        (("--model", "penstock-tiny", "--dataset-name", "sonnet"), "supported: random, sharegpt, custom"),
        (("--percentile-metrics", "ttft,xyz"), "not 'xyz'"),
        (("--metric-percentiles", "101"), "from 0 to 100"),
        (("--base-url", "localhost:8000"), "not an http:// or https:// URL"),
    ):
        run = bench(*args)
        assert (run.returncode, run.stdout.count("=")) == (1, 0)
        assert re.fullmatch(rf"penstock bench: error: .*{re.escape(message)}.*\n", run.stderr), run.stderr
    refused = bench("--lora-modules", "a=b")
    assert refused.returncode == 2
    assert "--lora-modules is not supported: " in refused.stderr


def test_every_request_failing_is_status_1() -> None:
    with stub_server(lambda path, body: (503, {})) as s:
        run = bench("--base-url", s.url, "--model", "penstock-tiny", "--num-prompts", "2", "--random-input-len", "4")
    assert run.returncode == 1
    assert "Successful requests:                     0 " in run.stdout

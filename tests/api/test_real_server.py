"""The whole server with the bundled model: the official client, leaving clients, a killed engine, signals, sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from servers import ROOT, RunningServer, run_server, stop, wait_healthy

USER: list[Any] = [{"role": "user", "content": "What is Penstock?"}]
LONG = {"messages": USER, "max_tokens": 400, "ignore_eos": True, "stream": True, "temperature": 0}


@pytest.fixture(scope="module")
def client(server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.openai_url, api_key="none", max_retries=0, timeout=60)


def metric(server: RunningServer, name: str) -> float:
    text = httpx.get(server.url + "/metrics").text
    found = re.findall(rf"^penstock:{name}{{[^}}]*}} (\S+)$", text, re.MULTILINE)
    assert found, name
    return sum(map(float, found))


def test_streamed_and_whole_answers_are_the_same(client: openai.OpenAI) -> None:
    model = client.models.list().data[0].id
    whole = client.chat.completions.create(model=model, messages=USER, temperature=0, max_tokens=40)
    stream = client.chat.completions.create(
        model=model, messages=USER, temperature=0, max_tokens=40, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert text
    assert chunks[-1].usage == whole.usage


def test_completions_of_every_shape(client: openai.OpenAI) -> None:
    model = client.models.list().data[0].id
    one = client.completions.create(model=model, prompt="The capital of France is", temperature=0, max_tokens=8)
    many = client.completions.create(
        model=model, prompt=["The capital of France is", "Once"], temperature=0, max_tokens=8, n=1
    )
    assert many.choices[0].text == one.choices[0].text
    seeded = [client.completions.create(model=model, prompt="Once", seed=7, n=3, max_tokens=6) for _ in range(2)]
    assert [c.text for c in seeded[0].choices] == [c.text for c in seeded[1].choices]
    best = client.completions.create(model=model, prompt="Once", seed=7, n=1, max_tokens=6, best_of=3)
    assert best.choices[0].text in [c.text for c in seeded[0].choices]


def test_scoring_as_lm_eval_does_it(server: RunningServer) -> None:
    ids = httpx.post(server.url + "/tokenize", json={"prompt": "The capital of France is Paris."}).json()["tokens"]
    body = {"prompt": [ids, ids[:4]], "max_tokens": 1, "logprobs": 1, "echo": True, "temperature": 0, "seed": 1}
    answer = httpx.post(server.openai_url + "/completions", json=body, timeout=60).json()
    first, second = (c["logprobs"] for c in answer["choices"])
    assert len(first["tokens"]) == len(ids) + 1
    assert first["token_logprobs"][0] is None
    assert first["token_logprobs"][1:4] == second["token_logprobs"][1:4]  # whatever comes after
    for value, top in zip(first["token_logprobs"][1:], first["top_logprobs"][1:], strict=True):
        assert value in top.values()
        assert value <= max(top.values())
    assert first["token_logprobs"][-1] == max(first["top_logprobs"][-1].values())  # greedy


def test_the_engine_refuses_what_only_it_can_know(server: RunningServer) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"prompt": [10**6]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "a", "stop_token_ids": [10**6]}, "stop_token_ids"),
        ({"prompt": "a", "logit_bias": {"1000000": 1}}, "logit_bias"),
        ({"prompt": "a", "allowed_token_ids": [10**6]}, "allowed_token_ids"),
        ({"prompt": [5] * 5000}, "input_tokens"),
        ({"prompt": "a " * 10**4}, "input_tokens"),
    ]
    for body, param in cases:
        for stream in (False, True):
            response = httpx.post(server.openai_url + "/completions", json={**body, "stream": stream}, timeout=60)
            assert response.status_code == 400, body
            assert response.json()["error"]["param"] == param


def test_two_hundred_clients_that_leave_at_random(server: RunningServer) -> None:
    chance = random.Random(2)

    async def one(http: httpx.AsyncClient) -> None:
        body = {**LONG, "stream": chance.random() < 0.8, "max_tokens": 200}
        try:
            async with asyncio.timeout(chance.uniform(0.05, 2.0)):
                await http.post(server.openai_url + "/chat/completions", json=body)
        except TimeoutError:
            pass

    async def all_of_them() -> None:
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None), timeout=60) as http:
            await asyncio.gather(*(one(http) for _ in range(200)))

    asyncio.run(all_of_them())
    deadline = time.monotonic() + 10
    while metric(server, "num_requests_running") + metric(server, "num_requests_waiting"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert metric(server, "kv_cache_usage_perc") == 0
    aborted = httpx.get(server.url + "/metrics").text
    assert re.search(r'request_success_total{[^}]*finished_reason="abort"[^}]*} [1-9]', aborted)


def test_metrics_count_real_work(server: RunningServer) -> None:
    before = {n: metric(server, n) for n in ("prompt_tokens_total", "generation_tokens_total")}
    body = {"prompt": [7, 8, 9, 10, 11], "max_tokens": 6, "ignore_eos": True, "temperature": 0}
    httpx.post(server.openai_url + "/completions", json=body, timeout=60)
    assert metric(server, "prompt_tokens_total") == before["prompt_tokens_total"] + 5
    assert metric(server, "generation_tokens_total") == before["generation_tokens_total"] + 6
    for name in ("time_to_first_token_seconds", "inter_token_latency_seconds", "e2e_request_latency_seconds"):
        assert metric(server, f"{name}_count") >= 1


def test_a_killed_engine_ends_streams_with_an_error_and_comes_back(tmp_path: Path) -> None:
    with run_server("--shutdown-timeout", "60", log=tmp_path / "log") as server:
        process = psutil.Process(server.process.pid)
        cores = [c for c in process.children(recursive=True) if "core_process" in " ".join(c.cmdline())]
        assert len(cores) == 1
        with httpx.stream("POST", server.openai_url + "/chat/completions", json=LONG, timeout=60) as response:
            lines = response.iter_lines()
            for _ in range(6):
                next(lines)
            cores[0].kill()
            killed = time.monotonic()
            rest = [line for line in lines if line]
        assert time.monotonic() - killed < 3
        assert json.loads(rest[-2].removeprefix("data: "))["error"]["code"] == 500
        assert rest[-1] == "data: [DONE]"
        wait_healthy(server, 30)
        _drains_on_sigterm(server)


def _drains_on_sigterm(server: RunningServer) -> None:
    """A signal lets what runs finish, refuses the rest, and frees the port."""
    ended: list[str] = []

    def read() -> None:
        body = {**LONG, "max_tokens": 24}
        with httpx.stream("POST", server.openai_url + "/chat/completions", json=body, timeout=60) as response:
            for line in response.iter_lines():
                if line:
                    ended.append(line)

    with httpx.Client(base_url=server.url) as other:
        assert other.get("/ready").status_code == 200
        reader = threading.Thread(target=read)
        reader.start()
        while len(ended) < 3:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        if reader.is_alive():
            assert other.get("/ready").status_code == 503
        reader.join(60)
    assert ended[-1] == "data: [DONE]"
    assert '"finish_reason":"length"' in ended[-2]
    assert server.process.wait(20) == 0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", int(server.url.rsplit(":", 1)[1])))


def test_every_streamed_choice_repeats_the_prompt_with_its_logprobs(server: RunningServer) -> None:
    """Also a choice that begins later than the others, because the prompts do not fit one step."""
    prompt = [100 + i % 3000 for i in range(1500)]
    body = {"prompt": prompt, "n": 2, "seed": 1, "max_tokens": 2, "ignore_eos": True, "echo": True, "logprobs": 0}
    whole = httpx.post(server.openai_url + "/completions", json=body, timeout=60).json()["choices"]
    streamed: list[list[float | None]] = [[], []]
    with httpx.stream("POST", server.openai_url + "/completions", json={**body, "stream": True}, timeout=60) as events:
        for line in events.iter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    streamed[choice["index"]] += choice["logprobs"]["token_logprobs"]
    assert streamed == [c["logprobs"]["token_logprobs"] for c in whole]
    assert len(streamed[0]) == 1502


def wait_for_health(http: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if http.get("/health").status_code == 200:
                return
        assert process.poll() is None
        time.sleep(0.05)
    pytest.fail("not healthy")


def test_app_and_init_app_on_a_unix_socket(tmp_path: Path) -> None:
    """`app` and `init_app` as a program of the user's own uses them, here on a Unix socket."""
    path = tmp_path / "socket"
    code = (
        "import uvicorn\n"
        "from penstock import EngineArgs\n"
        "from penstock.entrypoints.openai.api_server import app, init_app\n"
        "init_app(engine_args=EngineArgs())\n"
        f"uvicorn.run(app, uds={str(path)!r}, log_level='warning')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://penstock") as http:
            wait_for_health(http, process)
            answer = http.post("/v1/completions", json={"prompt": "a", "max_tokens": 2}, timeout=60)
            assert answer.json()["usage"]["completion_tokens"] == 2
    finally:
        stop(process)


def test_a_unix_socket_is_gone_with_its_server(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    command = [sys.executable, "-m", "penstock", "serve", "--uds", str(path), "--load-format", "dummy"]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://penstock") as http:
            wait_for_health(http, process)
    finally:
        stop(process)
    assert not path.exists()


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    with run_server("--shutdown-timeout", "60", log=tmp_path / "log") as server:
        endless = {**LONG, "max_tokens": 3000}
        with httpx.stream("POST", server.openai_url + "/chat/completions", json=endless, timeout=60) as response:
            lines = response.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.8)
            assert server.process.poll() is None
            server.process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert '"error"' in rest[-2]
        assert server.process.wait(10) == 0

"""Sleep mode against a real server: memory goes and comes back, and no request notices more than it should."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import httpx
import psutil
import pytest

from servers import RunningServer, run_server

OPTIONS = ("--enable-sleep-mode", "--kv-cache-memory-bytes", "400M", "--block-size", "16")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    log = tmp_path_factory.mktemp("sleep") / "log"
    with run_server(*OPTIONS, log=log, env={"VLLM_SERVER_DEV_MODE": "1"}) as server:
        yield server


@pytest.fixture(scope="module")
def http(running: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=120) as client:
        yield client


def good(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def complete(http: httpx.Client, prompt: Any, max_tokens: int = 8) -> Any:
    body = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "logprobs": 2, "ignore_eos": True}
    return [
        (c["text"], c["logprobs"], c["finish_reason"]) for c in good(http.post("/v1/completions", json=body))["choices"]
    ]


def in_background(work: Callable[[], Any]) -> Future[Any]:
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as e:  # whatever it is, the test is to see it
            future.set_exception(e)

    threading.Thread(target=run, daemon=True).start()
    return future


def until_running(http: httpx.Client) -> None:
    for _ in range(1000):
        page = http.get("/metrics").text
        if any(
            line.startswith("penstock:num_requests_running{") and float(line.split()[-1]) for line in page.splitlines()
        ):
            return
        time.sleep(0.01)
    pytest.fail("nothing runs")


def core_memory(running: RunningServer) -> float:
    """MiB that the engine's process has in memory."""
    return max(child.memory_info().rss for child in psutil.Process(running.process.pid).children()) / 2**20


def test_memory_goes_and_the_same_tokens_come_back(running: RunningServer, http: httpx.Client) -> None:
    prompts = [[100 + (i * 7 + j * 13) % 3900 for j in range(1500)] for i in range(6)]
    before = complete(http, prompts)
    full = core_memory(running)
    assert good(http.post("/sleep")) == {"status": "sleeping", "level": 1}
    assert good(http.get("/is_sleeping")) == {"is_sleeping": True}
    without_kv = core_memory(running)
    assert without_kv < full - 25  # 36 MiB of keys and values
    assert good(http.post("/wake_up")) == {"status": "awake", "tags": None}
    assert complete(http, prompts[:2]) == before[:2]

    assert good(http.post("/sleep", params={"level": 2})) == {"status": "sleeping", "level": 2}
    assert core_memory(running) < without_kv - 8  # 14 MiB of weights
    woken = http.post("/wake_up", params={"tags": "weights"})
    assert good(woken) == {"status": "sleeping", "tags": ["weights"]}
    assert good(http.post("/wake_up", params={"tags": ["kv_cache"]}))["status"] == "awake"
    assert good(http.get("/is_sleeping")) == {"is_sleeping": False}
    assert complete(http, prompts) == before


@pytest.mark.parametrize("level", [0, 1, 2])
def test_who_comes_meanwhile_waits(http: httpx.Client, level: int) -> None:
    before = complete(http, "A request that")
    assert good(http.post("/sleep", params={"level": level}))["level"] == level
    waiting = in_background(lambda: complete(http, "A request that"))
    time.sleep(0.3)
    assert not waiting.done()
    good(http.post("/wake_up"))
    assert waiting.result(60) == before


def test_what_runs_is_aborted_or_kept_or_waited_for(http: httpx.Client) -> None:
    alone = complete(http, "Once upon a time", 400)
    for mode, level in (("keep", 1), ("keep", 2), ("wait", 1), ("abort", 1)):
        answer = in_background(lambda: complete(http, "Once upon a time", 400))
        until_running(http)
        good(http.post("/sleep", params={"mode": mode, "level": level}))
        if mode == "wait":
            assert answer.result(5) == alone
        elif mode == "abort":
            ((text, _, reason),) = answer.result(5)
            assert reason == "abort"
            assert alone[0][0].startswith(text)
        else:
            time.sleep(0.1)
            assert not answer.done()
        good(http.post("/wake_up"))
        if mode == "keep":
            assert answer.result(60) == alone


def test_bad_wishes_change_nothing(http: httpx.Client) -> None:
    for path, params, name in (
        ("/sleep", {"level": "3"}, "level"),
        ("/sleep", {"level": "deep"}, "level"),
        ("/sleep", {"mode": "gently"}, "mode"),
        ("/wake_up", {"tags": "weight"}, "tags"),
    ):
        response = http.post(path, params=params)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == name
        assert good(http.get("/is_sleeping")) == {"is_sleeping": False}
    good(http.post("/sleep", params={"level": 1}))
    assert "level 1" in http.post("/sleep", params={"level": 2}).json()["error"]["message"]
    assert good(http.post("/sleep", params={"level": 1}))["status"] == "sleeping"
    good(http.post("/wake_up"))
    assert good(http.post("/wake_up"))["status"] == "awake"

"""What /metrics counted after a known set of requests: whole ones, several answers, an abort, a timeout, refusals."""

from __future__ import annotations

import re
import time
from collections import defaultdict

import httpx

from servers import RunningServer

PROMPT = list(range(100, 110))  # shorter than a block: nothing comes from the prefix cache
MADE_UP = {"temperature": 0, "ignore_eos": True}


def read(http: httpx.Client) -> dict[str, float]:
    """Every number but buckets; what has a reason as name/reason."""
    found: dict[str, float] = defaultdict(float)
    for name, labels, value in re.findall(r"^penstock:(\w+)\{(.*)\} (\S+)$", http.get("/metrics").text, re.MULTILINE):
        if "le=" not in labels:
            reason = re.search(r'finished_reason="(\w+)"', labels)
            found[f"{name}/{reason[1]}" if reason else name] += float(value)
    return found


def settled(http: httpx.Client) -> dict[str, float]:
    """Once nothing runs any more."""
    deadline = time.monotonic() + 20
    while True:
        now = read(http)
        if now["num_requests_running"] == now["num_requests_waiting"] == 0 or time.monotonic() > deadline:
            return now
        time.sleep(0.1)


def test_everything_adds_up(server: RunningServer) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as http:
        before = settled(http)
        send(http)
        after = settled(http)
    got = {name: after[name] - before[name] for name in after}
    tokens = got["generation_tokens_total"]
    cut_short = tokens - 5 - 3 * 4 - 2 * 2  # what the aborted one and the late one got
    assert cut_short >= 4
    requests, answers = 6, 8
    assert got["request_success_total/length"] == 4
    assert (got["request_success_total/abort"], got["request_success_total/error"]) == (1, 1)
    assert got["prompt_tokens_total"] == 10 * answers
    assert got["request_prompt_tokens_sum"] == 10 * requests
    assert got["request_generation_tokens_sum"] == tokens
    assert got["request_max_num_generation_tokens_sum"] == tokens - 2 * 4  # of the three equal answers, one counts
    assert got["request_params_n_sum"] == answers
    assert got["request_params_max_tokens_sum"] == 5 + 4 + 2 + 2 + 2000 + 3000
    assert got["time_to_first_token_seconds_count"] == answers
    assert got["inter_token_latency_seconds_count"] == tokens - answers
    steps = got["iteration_tokens_total_sum"]
    assert 0 <= steps - (10 * answers + tokens - answers) <= 20  # and what ran on while the ends came through
    for name in ("e2e_request_latency_seconds", "request_queue_time_seconds", "request_num_preemptions"):
        assert got[f"{name}_count"] == requests, name


def send(http: httpx.Client) -> None:
    def post(timeout_ms: str = "60000", **fields: object) -> int:
        return http.post("/v1/completions", json=fields, headers={"x-request-timeout-ms": timeout_ms}).status_code

    assert post(prompt=PROMPT, max_tokens=5, **MADE_UP) == 200
    assert post(prompt=PROMPT, max_tokens=4, n=3, seed=1, temperature=1, ignore_eos=True) == 200
    assert post(prompt=[PROMPT, PROMPT], max_tokens=2, **MADE_UP) == 200
    for refused in ("", [10**7], [], "x" * 10**6):
        assert post(prompt=refused) == 400
    endless = {"prompt": PROMPT, "max_tokens": 2000, "stream": True, **MADE_UP}
    with http.stream("POST", "/v1/completions", json=endless) as response:
        lines = response.iter_lines()
        for _ in range(6):
            next(lines)
    assert post("1500", prompt=PROMPT, max_tokens=3000, **MADE_UP) == 408

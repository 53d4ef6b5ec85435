"""The same through the front door: a real server under load, with little room, whose clients come and go."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path
from typing import Any

import httpx
import pytest

from determinism_batches import BUNDLED, FORMATS, MAX_LEN, Asked, draw_requests, run_alone
from penstock.tokenizers.tokenizer import Tokenizer
from servers import RunningServer, run_server

REQUESTS, ROUNDS = 14, 3
# Room for a few of them, so that they preempt each other; small steps, so that prompts are cut.
LIMITS = ("--max-model-len", str(MAX_LEN), "--num-gpu-blocks-override", "18", "--block-size", "16")
STEPS = ("--max-num-batched-tokens", "40", "--max-num-seqs", "9", "--cpu-threads", "2")

DEFAULTS = {"generation_config": "vllm"}  # what a request leaves out is the API's, not the model's


async def ask(client: httpx.AsyncClient, asked: Asked, delay_s: float, leave_s: float | None) -> Any:
    """The answer; None for a client that leaves before it is complete."""
    await asyncio.sleep(delay_s)
    body = asked.sampling | {"prompt": asked.prompt, "return_token_ids": True}
    if leave_s is not None:
        with contextlib.suppress(httpx.TimeoutException):
            await client.post("/v1/completions", json=body, timeout=leave_s)
        return None
    answer = await client.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def run_round(server: RunningServer, requests: list[Asked], seed: int) -> list[Any]:
    rng = random.Random(seed)
    async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
        waits = [
            ask(client, r, rng.uniform(0, 0.1), rng.uniform(0.01, 0.2) if rng.random() < 0.15 else None)
            for r in requests
        ]
        return list(await asyncio.gather(*waits))


def told(choice: dict[str, Any]) -> tuple[Any, ...]:
    """What the API says of an answer, in the order of `determinism_batches.bits`."""
    logprobs = choice["logprobs"] and choice["logprobs"]["token_logprobs"]
    return choice["token_ids"], logprobs, choice["text"], choice["finish_reason"], choice["stop_reason"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_server_under_load_gives_what_each_request_gives_alone(name: str, tmp_path: Path) -> None:
    drawn = draw_requests(random.Random("server"), REQUESTS)
    requests = [Asked(asked.prompt, asked.sampling | {"max_tokens": 50}) for asked in drawn]  # they outgrow their room
    tokenizer = Tokenizer.from_folder(str(BUNDLED))
    alone = [run_alone(BUNDLED, tokenizer, FORMATS[name] | DEFAULTS, asked) for asked in requests]
    options = [
        word for key, value in (FORMATS[name] | DEFAULTS).items() for word in (f"--{key.replace('_', '-')}", value)
    ]
    with run_server(*LIMITS, *STEPS, *options, log=tmp_path / "server.log") as server:
        compared = 0
        for number in range(ROUNDS):
            order = random.Random(number).sample(range(REQUESTS), REQUESTS)
            answers = asyncio.run(run_round(server, [requests[i] for i in order], number))
            for which, answer in zip(order, answers, strict=True):
                for choice in answer["choices"] if answer else ():
                    tokens, positions, _, text, reason, stopped, _ = alone[which][choice["index"]]
                    logprobs = positions and [p[0][1] for p in positions]
                    want = (tokens, logprobs, text, reason, stopped)
                    assert told(choice) == want, f"round {number}, {requests[which]}"
                    compared += 1
        metrics = httpx.get(server.url + "/metrics").text
    assert compared > 0.7 * ROUNDS * REQUESTS
    for counter in ("penstock:num_preemptions_total", "penstock:prefix_cache_hits_total"):
        (line,) = [line for line in metrics.splitlines() if line.startswith(counter + "{")]
        assert float(line.split()[-1]) > 0, line

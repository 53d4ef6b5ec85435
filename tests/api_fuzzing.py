"""Seeded bad requests against a running server: what they are, and what must hold after each and after all.

Nothing may give a 5xx or hang, every 400 says what is wrong in OpenAI's shape and names a parameter, and the engine is
empty afterwards. `scripts/fuzz_api` runs thousands, `tests/api/test_fuzzing.py` a few hundred.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from servers import run_server

HANG_S = 60.0
DRAIN_S = 20.0
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
PROBE = {"prompt": "The capital of France is", "temperature": 0, "max_tokens": 6, "logprobs": 1}
WORDS = ("hello", "Penstock", "", " ", "\0", "\n", "é", "\U0001f600", "a" * 5000, "<|im_end|>", "{{ 1/0 }}", "{%", "%s")
RAW_SURROGATE = '"\\ud800"'  # JSON can name half a character; UTF-8 cannot
NUMBERS = (0, 1, -1, 2, 5, 31, 2**31, 2**32 + 1, 2**63 - 1, -(2**63), 2**63, 10**30, 0.5, -0.0, 1.5, 1e308, 1e-30)
GAUGES = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
FIELDS = (
    *("model", "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty"),
    *("n", "best_of", "seed", "stop", "stop_token_ids", "include_stop_str_in_output", "ignore_eos", "max_tokens"),
    *("min_tokens", "logit_bias", "allowed_token_ids", "bad_words", "prompt_logprobs", "logprobs", "top_logprobs"),
    *("skip_special_tokens", "spaces_between_special_tokens", "truncate_prompt_tokens", "truncation_side"),
    *("add_special_tokens", "stream", "stream_options", "priority", "request_id", "cache_salt", "echo", "user"),
    *("return_tokens_as_token_ids", "return_token_ids", "response_format", "structured_outputs", "guided_json"),
    *("vllm_xargs", "max_completion_tokens", "tools", "tool_choice", "reasoning_effort", "add_generation_prompt"),
    *("continue_final_message", "documents", "chat_template", "chat_template_kwargs", "prompt_embeds", "suffix"),
    *("messages", "prompt", "tokens", "logprob_token_ids", "mm_processor_kwargs", "session_id", "stream_interval"),
)
HEADERS = (
    {"x-request-timeout-ms": "abc"},
    {"x-request-timeout-ms": "-5"},
    {"x-request-timeout-ms": "9" * 40},
    {"x-request-timeout-ms": "1"},
    {"x-request-id": "a" * 3000},
    {"x-request-id": "\xff\xfe"},
    {"content-type": "text/plain"},
    {"content-type": ""},
    {"content-type": "application/json; charset=utf-16"},
    {"authorization": "Bearer \xff"},
    {"accept-encoding": "x" * 2000},
    {"endpoint-load-metrics-format": "nonsense"},
)


@dataclass
class Case:
    """One request.

    Attributes:
        leave_s: the client goes away after so long; None if it waits.
    """

    path: str
    body: bytes
    headers: dict[str, str]
    leave_s: float | None = None


@dataclass
class Report:
    """What happened.

    Attributes:
        statuses: answers by status; 0 counts clients that left.
        faults: what must not happen, a line each.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    slowest: str = ""


class Cases:
    """An endless supply, the same for the same seed."""

    def __init__(self, seed: int):
        self._rng = random.Random(seed)

    def next(self) -> Case:
        rng = self._rng
        path = rng.choice((CHAT, CHAT, CHAT, COMPLETIONS, COMPLETIONS, COMPLETIONS, "/tokenize", "/detokenize"))
        body = self._valid(path)
        for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
            body[rng.choice(FIELDS)] = self._odd()
        for name in ("n", "best_of"):  # thousands of answers are allowed, and take their time
            if body.get(name) == 31:
                body[name] = 3
        text = json.dumps(body).encode()
        if rng.random() < 0.15:
            text = rng.choice(BREAKERS)(text, rng)
        headers = {"content-type": "application/json"}
        if rng.random() < 0.05:
            headers |= rng.choice(HEADERS)
        return Case(path, text, headers, rng.uniform(0.001, 0.2) if rng.random() < 0.08 else None)

    def _valid(self, path: str) -> dict[str, Any]:
        rng = self._rng
        if path == "/tokenize":
            return rng.choice(({"prompt": self._text()}, {"messages": self._messages()}))
        if path == "/detokenize":
            return {"tokens": [rng.randrange(4096) for _ in range(rng.randrange(20))]}
        body: dict[str, Any] = {"max_tokens": rng.randrange(1, 12), "temperature": rng.choice((0, 0.7, 1.5))}
        if rng.random() < 0.3:
            body["stream"] = True
        if path == CHAT:
            return body | {"messages": self._messages()}
        return body | {"prompt": rng.choice((self._text, self._ids, self._id_lists))()}

    def _text(self) -> str:
        return " ".join(self._rng.choice(WORDS) for _ in range(self._rng.randrange(1, 6)))

    def _ids(self) -> list[int]:
        return [self._rng.randrange(4096) for _ in range(self._rng.randrange(1, 30))]

    def _id_lists(self) -> list[list[int]]:
        return [self._ids() for _ in range(self._rng.randrange(1, 4))]

    def _messages(self) -> list[Any]:
        rng = self._rng
        messages: list[Any] = []
        for _ in range(rng.randrange(1, 4)):
            role = rng.choice(("system", *["user"] * 9, "assistant", "tool", "developer", "wizard", 5, None))
            text = self._text()
            content = rng.choice((*[text] * 8, [{"type": "text", "text": text}], None, 3, [{"type": "image_url"}]))
            message = {"role": role, "content": content}
            if rng.random() < 0.1:
                message["tool_calls"] = self._odd()
            if rng.random() < 0.05:
                message["tool_calls"] = [{"type": "function", "function": {"name": "f", "arguments": self._odd()}}]
            messages.append(message if rng.random() < 0.97 else self._odd())
        return messages

    def _odd(self, depth: int = 0) -> Any:
        """Any JSON value, odd ones preferred."""
        rng = self._rng
        kind = rng.randrange(9 if depth < 3 else 5)
        if kind == 0:
            return rng.choice((None, True, False))
        if kind in (1, 2):
            return rng.choice(NUMBERS)
        if kind in (3, 4):
            return rng.choice(WORDS)
        if kind == 5:
            return {rng.choice((*WORDS[:3], "1", "-1", "type", "99999999")): self._odd(depth + 1)}
        if kind == 6:
            return [self._odd(depth + 1)] * rng.choice((1, 2, 70, 1500 if depth == 0 else 2))
        return rng.choice(([], {}, [[]], [None], [""], [{}], {"": None}, [[[]]], [1, "a"], [0.0]))


def _replace_a_value(body: bytes, rng: random.Random) -> bytes:
    """One number or string becomes something that JSON may not hold, or that UTF-8 cannot."""
    new = rng.choice(("NaN", "Infinity", "-Infinity", "1e999", "-0", "01", "1" * 5000, "0x10", "'a'", RAW_SURROGATE))
    return re.sub(rb': ("[^"]*"|[0-9.]+)', lambda m: b": " + new.encode(), body, count=1)


def _flip(body: bytes, rng: random.Random) -> bytes:
    flipped = bytearray(body)
    for _ in range(rng.randrange(1, 4)):
        flipped[rng.randrange(len(flipped))] = rng.randrange(256)
    return bytes(flipped)


BREAKERS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _replace_a_value,
    _replace_a_value,
    _flip,
    lambda body, rng: body[: rng.randrange(len(body))],
    lambda body, rng: body + rng.choice((b"}", b"\0", b" ", b"[]")),
    lambda body, rng: b"\xef\xbb\xbf" + body,
    lambda body, rng: body.decode().encode("utf-16"),
    lambda body, rng: body.replace(b'"', b"\xc3\x28", 1),
    lambda body, rng: b'{"messages": ' + b"[" * rng.choice((100, 5000, 200_000)) + b"]" * 100 + b"}",
    lambda body, rng: b'{"messages": [{"role": "user", "content": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}]}",
    lambda body, rng: body[:-1] + b', "messages": 5, "prompt": 5}',  # a name twice
    lambda body, rng: rng.choice((b"", b"null", b"[]", b"5", b'"a"', b"{}", b" " * 100_000)),
)


def fault_of(case: Case, status: int, answer: bytes) -> str:
    """What is wrong with an answer; "" if nothing is."""
    if status >= 500:
        return f"status {status}"
    if status == 200:
        failed = b'data: {"error"' in answer and b'"code":5' in answer
        return f"error in a stream: {answer[-300:]!r}" if failed else ""
    try:
        error = json.loads(answer)["error"]
    except (ValueError, KeyError, TypeError):
        return f"{status} without an error object: {answer[:200]!r}"
    if set(error) != {"message", "type", "param", "code"} or error["code"] != status:
        return f"{status} with a wrong error object: {error}"
    about_headers = "Unsupported Media Type" in error["message"] or "header" in error["message"]
    if status == 400 and not error["param"] and not about_headers:
        return f"400 that names no parameter: {error['message'][:200]}"
    return ""


async def _run_one(client: httpx.AsyncClient, case: Case, report: Report) -> None:
    began = time.monotonic()
    headers = {k: v.encode("latin-1") for k, v in case.headers.items()}
    try:
        async with asyncio.timeout(case.leave_s or HANG_S):
            response = await client.post(case.path, content=case.body, headers=headers)  # type: ignore[arg-type]
    except TimeoutError:
        report.statuses[0] += 1
        if case.leave_s is None:
            report.faults.append(f"no answer in {HANG_S:.0f} s: {describe(case)}")
        return
    except httpx.TransportError as e:
        report.faults.append(f"{type(e).__name__} {e}: {describe(case)}")
        return
    if (took := time.monotonic() - began) > report.slowest_s:
        report.slowest_s, report.slowest = took, describe(case)
    report.statuses[response.status_code] += 1
    fault = fault_of(case, response.status_code, response.content)
    if fault:
        report.faults.append(f"{fault}: {describe(case)}")


def describe(case: Case) -> str:
    return f"POST {case.path} {case.headers} {case.body[:400]!r}"


async def engine_is_empty(client: httpx.AsyncClient) -> str | None:
    """None once nothing runs, waits or holds KV blocks; else what is still there after DRAIN_S."""
    deadline = time.monotonic() + DRAIN_S
    while True:
        text = (await client.get("/metrics")).text
        found = re.findall(rf"^\w+:({'|'.join(GAUGES)})\{{.*\}} (\S+)$", text, re.MULTILINE)
        left = {name: float(value) for name, value in found if float(value)}
        if not left:
            return None if len(found) == len(GAUGES) else "the metrics lack a gauge"
        if time.monotonic() > deadline:
            return f"left in the engine: {left}"
        await asyncio.sleep(0.2)


async def fuzz(url: str, count: int, seed: int, at_once: int = 16) -> Report:
    """Send `count` requests, `at_once` at a time, and look at the server afterwards."""
    report, cases = Report(), Cases(seed)
    limits = httpx.Limits(max_connections=at_once)
    async with httpx.AsyncClient(base_url=url, timeout=None, limits=limits) as client:
        before = (await client.post(COMPLETIONS, json=PROBE)).json()["choices"]
        left = iter(range(count))

        async def worker() -> None:
            for _ in left:
                await _run_one(client, cases.next(), report)

        await asyncio.gather(*[worker() for _ in range(at_once)])
        if leak := await engine_is_empty(client):
            report.faults.append(leak)
        if (await client.post(COMPLETIONS, json=PROBE)).json()["choices"] != before:
            report.faults.append("the same request has another answer than before")
    return report


def main(argv: list[str]) -> int:
    """Run against a server of its own, or the one at --url, and print what came back."""
    parser = argparse.ArgumentParser(description="Bad requests against a server; see scripts/fuzz_api.")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--url", help="a server that runs already")
    options = parser.parse_args(argv)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        url = options.url
        if url is None:
            url = stack.enter_context(run_server(log=Path(folder) / "server.log")).url
        report = asyncio.run(fuzz(url, options.count, options.seed))
    by_status = ", ".join(f"{n} x {status or 'left'}" for status, n in sorted(report.statuses.items()))
    print(f"{options.count} requests (seed {options.seed}) in {time.monotonic() - began:.1f} s: {by_status}")
    print(f"slowest answer {report.slowest_s:.2f} s ({report.slowest[:200]}), {len(report.faults)} faults")
    for fault in report.faults[:50]:
        print(" -", fault)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

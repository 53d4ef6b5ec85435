"""Sends bad requests to running servers and says what must hold after each and after all.

Nothing may give a 5xx or hang, every 400 says what is wrong in the form of its API and names a parameter, good requests
in between get the answer that they always get, and the engine is empty afterwards. `scripts/fuzz_api` sends thousands,
`tests/api/test_fuzzing.py` a few hundred.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httptools
from pooling_models import make

from bad_requests import Case, Cases
from servers import run_server

HANG_S = 60.0
DRAIN_S = 20.0
PROBE_EVERY = 50
# By the task of the model: a good request whose answer is the same every time.
PROBES = {
    "generate": (
        "/v1/completions",
        {"prompt": "The capital of France is", "temperature": 0, "max_tokens": 6, "logprobs": 1},
    ),
    "embed": ("/v1/embeddings", {"input": "The capital of France"}),
    "classify": ("/classify", {"input": "The capital of France"}),
}
KEPT = ("choices", "data")  # what two answers to the same request have in common
GAUGES = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
# Errors of requests as a whole, which have no parameter.
WHOLE = re.compile(r"Unsupported Media Type|header|Cannot find suitable handler|Invalid HTTP")
OPTIONS = {
    "generate": ("--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--reasoning-parser", "qwen3"),
    "embed": ("--chat-template", "{{ messages[0].content }}"),
    "classify": (),
}


@dataclass
class Report:
    """What happened.

    Attributes:
        statuses: answers by status; 0 counts clients that left.
        routes: answers with 200, and with 400, by route.
        faults: what must not happen, a line each.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    routes: Counter[tuple[str, int]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    slowest: str = ""


def fault_of(case: Case, status: int, content_type: str, answer: bytes) -> str:
    """What is wrong with an answer; "" if nothing is."""
    if status >= 500:
        return f"status {status}: {answer[:200]!r}"
    if case.method == "HEAD":
        return ""
    if status < 400:
        return _fault_of_success(content_type, answer)
    try:
        found = json.loads(answer)
        error = found["error"]
        message = error["message"]
    except (ValueError, KeyError, TypeError):
        return f"{status} without an error object: {answer[:200]!r}"
    if b"Invalid HTTP" not in answer and re.match(r"/v1/messages(/|\?|$)", case.target):
        right = found.get("type") == "error" and set(error) == {"type", "message"}
        named = (case.fields | {"body", "model", "prompt"}) & set(re.findall(r"\w+", message))
    else:
        right = set(error) == {"message", "type", "param", "code"} and error["code"] == status
        named = error.get("param")
    if not right:
        return f"{status} in a wrong form: {answer[:300]!r}"
    if status == 400 and not named and not WHOLE.search(message):
        return f"400 that names no parameter: {message[:200]}"
    return ""


def _fault_of_success(content_type: str, answer: bytes) -> str:
    if content_type.startswith("text/event-stream"):
        events = re.findall(rb"^data: (.*)$", answer, re.MULTILINE)
        for event in events:
            if event == b"[DONE]":
                continue
            data = json.loads(event)
            error = data.get("error") or (data.get("response") or {}).get("error")
            late = error and "deadline passed" in error.get("message", "")  # as the client asked for by a header
            if (
                error
                and not late
                and (error.get("code", 500) in (500, "server_error") or error.get("type") == "api_error")
            ):
                return f"error in a stream: {event[:300]!r}"
        return "" if events else "a stream without events"
    if content_type.startswith("application/json"):
        try:
            json.loads(answer, parse_constant=_refuse)
        except ValueError as e:
            return f"200 with a body that is not JSON ({e}): {answer[:200]!r}"
    return ""


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class Answer:
    """An answer as it comes in; `httptools` calls the methods."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


class Client:
    """One connection at a time, on which anything can be sent; clients from libraries are too careful for that."""

    def __init__(self, url: str):
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, case: Case) -> tuple[int, str, bytes]:
        """Status, content type and body of the answer.

        Raises:
            OSError, EOFError: the server closed the connection before it answered.
        """
        reused = self._streams is not None
        try:
            return await self._send(case)
        except (OSError, EOFError):
            self.close()
            if not reused:
                raise
        return await self._send(case)  # the server may close a connection between two requests

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _send(self, case: Case) -> tuple[int, str, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        headers = {"host": f"{self._host}:{self._port}", "content-length": str(len(case.body)), **case.headers}
        lines = [f"{case.method} {case.target} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + case.body)
        answer = Answer()
        parser = httptools.HttpResponseParser(answer)
        only_headers = case.method == "HEAD"
        while not answer.complete:
            data = await reader.read(1 << 16)
            if not data:
                raise EOFError("the server closed the connection")
            parser.feed_data(data)
            if only_headers and answer.headers:
                break
        if only_headers or not parser.should_keep_alive():
            self.close()
        return parser.get_status_code(), answer.headers.get("content-type", ""), answer.body


async def _run_one(client: Client, case: Case, report: Report) -> bytes:
    """Send a request and note what came back. Returns the body of an answer with 200."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(case.leave_s or HANG_S):
            status, content_type, answer = await client.send(case)
    except TimeoutError:
        client.close()
        report.statuses[0] += 1
        if case.leave_s is None:
            report.faults.append(f"no answer in {HANG_S:.0f} s: {case}")
        return b""
    except (OSError, EOFError, httptools.HttpParserError) as e:
        client.close()
        report.faults.append(f"{type(e).__name__} {e}: {case}")
        return b""
    if (took := time.monotonic() - began) > report.slowest_s:
        report.slowest_s, report.slowest = took, str(case)
    report.statuses[status] += 1
    report.routes[case.route, status] += 1
    fault = fault_of(case, status, content_type, answer)
    if fault:
        report.faults.append(f"{fault}: {case}")
    return answer if status == 200 else b""


async def _get(client: Client, path: str) -> bytes:
    return (await client.send(Case("GET", path, path)))[2]


async def _probe(client: Client, task: str) -> Any:
    path, body = PROBES[task]
    status, _, answer = await client.send(
        Case("POST", path, path, json.dumps(body).encode(), {"content-type": "application/json"})
    )
    found = json.loads(answer)
    return [found.get(name) for name in KEPT] if status == 200 else found


async def engine_is_empty(client: Client) -> str | None:
    """None once nothing runs, waits or holds KV blocks; else what is still there after DRAIN_S."""
    deadline = time.monotonic() + DRAIN_S
    while True:
        text = (await _get(client, "/metrics")).decode()
        found = re.findall(rf"^\w+:({'|'.join(GAUGES)})\{{.*\}} (\S+)$", text, re.MULTILINE)
        left = {name: float(value) for name, value in found if float(value)}
        if not left:
            return None if len(found) == len(GAUGES) else "the metrics lack a gauge"
        if time.monotonic() > deadline:
            return f"left in the engine: {left}"
        await asyncio.sleep(0.2)


async def fuzz(url: str, count: int, seed: int, task: str = "generate", at_once: int = 16) -> Report:
    """Send `count` requests, `at_once` at a time, to a model for `task`, and look at the server afterwards."""
    report, client = Report(), Client(url)
    cases = Cases(json.loads(await _get(client, "/openapi.json")), seed)
    before = await _probe(client, task)
    left = iter(range(count))

    async def worker() -> None:
        own = Client(url)
        for number in left:
            case = cases.next()
            cases.learn(await _run_one(own, case, report))
            if number % PROBE_EVERY == 0 and await _probe(own, task) != before:
                report.faults.append(f"the good request had another answer than before, after {case}")
        own.close()

    await asyncio.gather(*[worker() for _ in range(at_once)])
    if leak := await engine_is_empty(client):
        report.faults.append(leak)
    if await _probe(client, task) != before:
        report.faults.append("the good request has another answer than before")
    client.close()
    return report


@contextlib.contextmanager
def servers() -> Iterator[dict[str, str]]:
    """URLs of a server per task: the bundled model with parsers, and small random models that pool."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        make(folder / "embed", "BertModel")
        make(folder / "classify", "BertForSequenceClassification", num_labels=1)
        urls = {}
        for task, options in OPTIONS.items():
            model = () if task == "generate" else (str(folder / task),)
            running = run_server(*model, *options, log=folder / f"{task}.log", env={"VLLM_SERVER_DEV_MODE": "1"})
            urls[task] = stack.enter_context(running).url
        yield urls


def main(argv: list[str]) -> int:
    """Run against servers of its own, or the one at --url, and print what came back."""
    parser = argparse.ArgumentParser(description="Bad requests against a server; see scripts/fuzz_api.")
    parser.add_argument("--count", type=int, default=10_000, help="to each of the servers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--url", help="a server that runs already")
    parser.add_argument("--task", default="generate", choices=sorted(PROBES), help="what the model at --url is for")
    options = parser.parse_args(argv)
    with contextlib.nullcontext({options.task: options.url}) if options.url else servers() as urls:
        clean = [_told(task, url, options.count, options.seed) for task, url in urls.items()]
    return 0 if all(clean) else 1


def _told(task: str, url: str, count: int, seed: int) -> bool:
    began = time.monotonic()
    report = asyncio.run(fuzz(url, count, seed, task))
    by_status = ", ".join(f"{n} x {status or 'left'}" for status, n in sorted(report.statuses.items()))
    print(f"{task}: {count} requests (seed {seed}) in {time.monotonic() - began:.1f} s: {by_status}")
    for route in sorted({route for route, _ in report.routes}):
        by_route = ", ".join(f"{n} x {s}" for (r, s), n in sorted(report.routes.items()) if r == route)
        print(f"  {route or 'none'}: {by_route}")
    print(f"slowest answer {report.slowest_s:.2f} s ({report.slowest[:300]}), {len(report.faults)} faults")
    for fault in report.faults[:100]:
        print(" -", fault[:400])
    return not report.faults


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

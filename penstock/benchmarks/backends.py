"""What a benchmark request looks like on the wire, for each kind of endpoint, and how its stream is read.

A backend turns a SampleRequest into a JSON body, and an event of the answer into (text, tokens so far).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from penstock.benchmarks.datasets import SampleRequest
from penstock.benchmarks.http_client import HTTPClient, HTTPFailure
from penstock.errors import StartError

DEFAULT_ENDPOINTS = {
    "openai": "/v1/completions",
    "vllm": "/v1/completions",  # another name of openai
    "openai-chat": "/v1/chat/completions",
}


def check_backend(name: str) -> str:
    """`name`, if there is such a backend.

    Raises:
        StartError: there is not; lists those that there are.
    """
    if name not in DEFAULT_ENDPOINTS:
        raise StartError(f"--backend {name} is not supported; supported: openai, vllm (the same), openai-chat")
    return name


@dataclass
class Outcome:
    """What became of one request; times in seconds.

    Attributes:
        start: `time.perf_counter()` when it was sent.
        ttft: until the first text; with streaming off, until the whole answer.
        itl: between one piece of text and the next.
        latency: until the last piece of text.
        output_tokens: as the server counts them in `usage`, else the number of pieces.
    """

    success: bool = False
    error: str = ""
    start: float = 0.0
    ttft: float = 0.0
    itl: list[float] = field(default_factory=list)
    latency: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    text: str = ""

    @property
    def tpot(self) -> float:
        """Seconds per output token after the first; 0 if there was only one."""
        return (self.latency - self.ttft) / (self.output_tokens - 1) if self.output_tokens > 1 else 0.0


class Backend:
    """Sends requests of one kind.

    Args:
        kind: a key of DEFAULT_ENDPOINTS.
        model: name in the requests' `model` field.
        options: more fields of every request's body; they win over ours.
        stream: ask for a stream; without one the whole answer counts as one piece.
    """

    def __init__(
        self, kind: str, client: HTTPClient, endpoint: str, model: str, options: dict[str, Any], stream: bool = True
    ):
        self._chat = check_backend(kind) == "openai-chat"
        self._client, self._endpoint, self._model, self._options = client, endpoint, model, options
        self._stream = stream

    async def send(self, request: SampleRequest, request_id: str) -> Outcome:
        """One request; never raises for what the server does."""
        body = json.dumps(self.body(request)).encode()
        reader = _StreamReader(self._chat)
        outcome = reader.outcome
        outcome.start = time.perf_counter()
        try:
            status, rest = await self._client.request(
                "POST",
                self._endpoint,
                body,
                headers={"x-request-id": request_id},
                on_data=reader.feed if self._stream else None,
            )
        except HTTPFailure as e:
            outcome.error = str(e)
            return outcome
        if status != 200:
            outcome.error = f"status {status}: {rest[:500].decode(errors='replace')}"
            return outcome
        if not self._stream:
            reader.feed(b"data: " + rest.strip() + b"\n\n", time.perf_counter())
        return reader.finish()

    def body(self, request: SampleRequest) -> dict[str, Any]:
        """The JSON body of a request."""
        prompt: dict[str, Any]
        if self._chat:
            prompt = {"messages": [{"role": "user", "content": request.prompt}]}
            limit = "max_completion_tokens"
        else:
            prompt = {"prompt": request.prompt, "repetition_penalty": 1.0}
            limit = "max_tokens"
        stream = {"stream": True, "stream_options": {"include_usage": True}} if self._stream else {"stream": False}
        return {"model": self._model, **prompt, limit: request.output_len, **stream, **self._options}


class _StreamReader:
    """Reads one answer's events and fills an Outcome."""

    def __init__(self, chat: bool):
        self.outcome = Outcome()
        self._chat = chat
        self._buffer = b""
        self._last = 0.0
        self._first_choice = self._last_choice = 0.0
        self._pieces: list[str] = []
        self._usage: dict[str, Any] = {}

    def feed(self, data: bytes, now: float) -> None:
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):  # all else is a comment, an empty line, or another field of the event
                self._event(line[5:].strip(), now)

    def _event(self, data: bytes, now: float) -> None:
        if data == b"[DONE]":
            return
        outcome = self.outcome
        try:
            event = msgspec.json.decode(data)
        except msgspec.DecodeError:
            outcome.error = f"an event that is not JSON: {data[:200].decode(errors='replace')}"
            return
        if event.get("error"):
            outcome.error = json.dumps(event["error"])
            return
        self._usage = event.get("usage") or self._usage
        if not event.get("choices"):
            return
        self._first_choice = self._first_choice or now
        self._last_choice = now
        text = self._text(event["choices"][0])
        if not text:
            return
        if outcome.ttft == 0.0:
            outcome.ttft = now - outcome.start
        else:
            outcome.itl.append(now - self._last)
        outcome.latency = now - outcome.start
        self._last = now
        self._pieces.append(text)

    def _text(self, choice: dict[str, Any]) -> str:
        if not self._chat:
            return choice.get("text") or ""
        delta = choice.get("delta") or choice.get("message") or {}
        return (delta.get("reasoning") or delta.get("reasoning_content") or "") + (delta.get("content") or "")

    def finish(self) -> Outcome:
        outcome = self.outcome
        outcome.text = "".join(self._pieces)
        outcome.prompt_tokens = self._usage.get("prompt_tokens", 0)
        outcome.output_tokens = self._usage.get("completion_tokens", len(self._pieces))
        if (
            not self._pieces and outcome.output_tokens
        ):  # tokens without text, such as half a character or an end at once
            outcome.ttft = self._first_choice - outcome.start
            outcome.latency = self._last_choice - outcome.start
        elif not self._pieces and not outcome.error:
            outcome.error = (
                "Never received a valid chunk to calculate TTFT. This response will be marked as failed: the answer "
                "held no text"
            )
        outcome.success = not outcome.error
        return outcome

"""A small blocking client of an OpenAI-compatible server, for the commands that talk to one from a terminal.

Turns every way in which a server can fail to answer into one ServerError with one sentence. Knows nothing of terminals.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx

from penstock.errors import PenstockError

CONNECT_SECONDS = 5.0


class ServerError(PenstockError):
    """The server is not there, refused the request, or failed while it answered; one sentence says which."""


class ServerClient:
    """Talks to the server at `base_url` (which ends in /v1).

    Args:
        base_url: such as http://localhost:8000/v1.
        api_key: sent as a bearer token.
    """

    def __init__(self, base_url: str, api_key: str):
        self._url = base_url.rstrip("/")
        timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)  # an answer may take its time, a connection may not
        try:
            self._http = httpx.Client(headers={"Authorization": f"Bearer {api_key}"}, timeout=timeout)
        except UnicodeEncodeError as e:
            raise ServerError("an API key may hold ASCII characters only") from e

    def first_model(self) -> str:
        """The first of the names that the server lists."""
        with self._translate_errors():
            answer = self._http.get(f"{self._url}/models")
            _check_status(answer)
            models = _decode(answer.text).get("data") or []
        if not models:
            raise ServerError(f"the server at {self._url} lists no model; name one with --model-name")
        return str(models[0]["id"])

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """POST `body` and yield the stream's events as they arrive, up to [DONE].

        Raises:
            ServerError: no answer, an error status, or an error event in the stream.
        """
        with self._translate_errors(), self._http.stream("POST", f"{self._url}{path}", json=body) as answer:
            _check_status(answer)
            for line in answer.iter_lines():
                if not line.startswith("data:"):
                    continue
                data = line[5:].strip()
                if data == "[DONE]":
                    return
                event = _decode(data)
                if event.get("error"):
                    raise ServerError(_error_message(event))
                yield event

    def close(self) -> None:
        self._http.close()

    def _translate_errors(self) -> _Translation:
        return _Translation(self._url)


class _Translation:
    """`with` block that turns transport failures into ServerError."""

    def __init__(self, url: str):
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            hint = "`penstock serve` starts one, --url names another"
            raise ServerError(f"no server answers at {self._url} ({error}): {hint}") from error
        if isinstance(error, httpx.TransportError):
            raise ServerError(f"the connection to {self._url} broke: {error or type(error).__name__}") from error
        if isinstance(error, httpx.InvalidURL):
            raise ServerError(f"{self._url!r} is not a URL: {error}") from error


def _check_status(answer: httpx.Response) -> None:
    if answer.status_code >= 400:
        answer.read()
        try:
            message = _error_message(_decode(answer.text))
        except ServerError:
            message = answer.text[:200] or "no explanation"
        url = str(answer.request.url)
        hint = " (the URL of a Penstock server ends in /v1)" if answer.status_code == 404 and "/v1" not in url else ""
        raise ServerError(f"the server answered {answer.status_code}: {message}{hint}")


def _decode(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as e:
        raise ServerError(f"the server sent something that is not JSON: {text[:200]!r}") from e
    if not isinstance(value, dict):
        raise ServerError(f"the server sent JSON that is not an object: {text[:200]!r}")
    return value


def _error_message(body: dict[str, Any]) -> str:
    error = body.get("error", body)
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)

"""A few hundred bad requests at once: no 5xx, no hang, every 400 names a parameter, nothing stays in the engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from pooling_models import make

from api_fuzzing import OPTIONS, fuzz
from servers import RunningServer, run_server


@pytest.mark.parametrize("task", ["generate", "embed"])
def test_bad_requests_do_no_harm(task: str, tmp_path: Path) -> None:
    model = () if task == "generate" else (str(make(tmp_path / "model", "BertModel").folder),)
    with run_server(*model, *OPTIONS[task], log=tmp_path / "server.log") as server:
        report = asyncio.run(fuzz(server.url, count=800, seed=11, task=task))
    assert not report.faults
    assert report.statuses[200] > 50  # the supply is not all nonsense
    assert report.statuses[400] > 100


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": [1]}]}]}, "messages"),
        ("/v1/completions", {"prompt": "a", "guided_regex": ".*" * 500}, "structured_outputs"),
        (
            "/v1/completions",
            {"prompt": "a", "allowed_token_ids": [5], "stop_token_ids": [5], "min_tokens": 2},
            "allowed_token_ids",
        ),
        (
            "/v1/chat/completions",
            {
                "messages": [{"role": "user", "content": "a"}],
                "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"not": {}}}},
            },
            "response_format",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_only_the_template_or_the_engine_can_see(
    path: str, body: dict[str, Any], param: str, stream: bool, server: RunningServer
) -> None:
    response = httpx.post(server.url + path, json={**body, "stream": stream}, timeout=60)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


def test_anthropics_errors_tell_what_is_wrong_in_its_own_words(server: RunningServer) -> None:
    def message(raw: str) -> str:
        url, headers = server.url + "/v1/messages", {"content-type": "application/json"}
        answer = httpx.post(url, content=raw, headers=headers, timeout=60)
        assert answer.status_code == 400, answer.text
        return str(answer.json()["error"]["message"])

    assert message('{"model": }') == "body: JSON decode error: invalid character (byte 10)"
    begin = '{"model": "penstock-tiny", "max_tokens": 5, "messages": [{"role": '
    assert message(begin + '"system", "content": []}]}').startswith("messages: at least one message of the user")
    schema = '"user", "content": "a"}], "output_format": {"type": "json_schema", "schema": {"not": {}}}}'
    assert message(begin + schema).startswith("output_config.format.schema cannot be used")

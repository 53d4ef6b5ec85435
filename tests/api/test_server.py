"""The server around the routes: states, keys, limits, deadlines, clients that leave, errors, documents."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from api.fake_server import FakeServer, fake_server

from penstock.config.sections import ServerArgs
from penstock.entrypoints.openai.paths import PUBLIC

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
STREAM = {**CHAT, "stream": True}
URL = "/v1/chat/completions"


def wait_for(condition: Any, seconds: float = 5.0) -> float:
    """Seconds until the condition held."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.002)
    return time.monotonic() - began


# States


def test_while_loading_only_the_states_are_told(fake: FakeServer) -> None:
    fake.engine.ready = False
    status = {p: fake.http.get(p).status_code for p in ("/health", "/ready", "/ping", "/version", "/v1/models")}
    assert status == {"/health": 503, "/ready": 503, "/ping": 503, "/version": 200, "/v1/models": 503}
    response = fake.http.post(URL, json=CHAT)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["error"]["code"] == 503
    fake.engine.ready = True
    assert {fake.http.get(p).status_code for p in ("/health", "/ready", "/ping")} == {200}
    assert fake.http.post("/ping").status_code == 200
    assert fake.http.get("/health").content == b""


def test_a_dead_engine_is_told(fake: FakeServer) -> None:
    fake.engine.errored = True
    assert fake.http.get("/health").status_code == 503
    response = fake.http.post(URL, json=CHAT)
    assert response.status_code == 500
    assert response.headers["x-should-retry"] == "false"


def test_draining_refuses_new_requests_and_closes_connections(fake: FakeServer) -> None:
    fake.front.draining = True
    response = fake.http.post(URL, json=CHAT)
    assert (response.status_code, response.headers["connection"]) == (503, "close")
    assert fake.http.get("/ready").status_code == 503
    assert fake.http.get("/health").status_code == 200


def test_draining_waits_for_what_is_in_flight(fake: FakeServer) -> None:
    fake.engine.delay_s = 0.02
    with fake.http.stream("POST", URL, json={**STREAM, "max_tokens": 10}) as response:
        drained = asyncio.run_coroutine_threadsafe(fake.front.drain(5), fake.loop)
        assert b"[DONE]" in b"".join(response.iter_bytes())
        assert drained.result(5)


# Clients that leave


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_its_request(fake: FakeServer, stream: bool) -> None:
    fake.leave_early(URL, {**CHAT, "stream": stream})
    wait_for(lambda: not fake.engine.open)
    wait_for(lambda: fake.front.in_flight == 0)


def test_two_hundred_clients_that_leave_at_random(fake: FakeServer) -> None:
    fake.engine.delay_s = 0.01
    chance = random.Random(1)

    async def client(http: httpx.AsyncClient) -> None:
        patience = chance.uniform(0.0, 0.3)
        try:
            async with asyncio.timeout(patience):
                await http.post(URL, json={**CHAT, "stream": chance.random() < 0.5})
        except TimeoutError:
            pass

    async def main() -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=fake.url, limits=limits, timeout=30) as http:
            await asyncio.gather(*(client(http) for _ in range(200)))

    asyncio.run(main())
    wait_for(lambda: not fake.engine.open and fake.front.in_flight == 0)


# Limits


def test_a_full_queue_is_a_429_with_hints() -> None:
    with fake_server(ServerArgs(max_num_queued_reqs=2)) as fake:
        fake.engine.delay_s = 30
        loop = asyncio.new_event_loop()

        async def main() -> httpx.Response:
            async with httpx.AsyncClient(base_url=fake.url, timeout=30) as http:
                waiting = [asyncio.create_task(http.post(URL, json=CHAT)) for _ in range(2)]
                while len(fake.engine.open) < 2:
                    await asyncio.sleep(0.01)
                began = time.monotonic()
                refused = await http.post(URL, json=CHAT)
                assert time.monotonic() - began < 5
                for task in waiting:
                    task.cancel()
                return refused

        refused = loop.run_until_complete(main())
        loop.close()
        assert refused.status_code == 429
        assert refused.json()["error"]["type"] == "RateLimitError"
        assert int(refused.headers["retry-after"]) >= 1
        assert int(refused.headers["retry-after-ms"]) >= 1
        assert refused.headers["x-should-retry"] == "true"
        assert fake.front.stats.rejections["max_num_queued_reqs"] == 1


def test_deadlines(fake: FakeServer) -> None:
    fake.engine.delay_s = 0.05
    response = fake.http.post(URL, json=CHAT, headers={"X-Request-Timeout-Ms": "120"})
    assert response.status_code == 408
    assert response.headers["x-should-retry"] == "false"
    with fake.http.stream("POST", URL, json=STREAM, headers={"X-Request-Timeout-Ms": "120"}) as stream:
        text = b"".join(stream.iter_bytes()).decode()
    assert '"code":408' in text.split("\n\n")[-3]
    assert not fake.engine.open
    assert fake.http.post(URL, json=CHAT, headers={"X-Request-Timeout-Ms": "x"}).status_code == 400


def test_limits_of_time_reach_the_engine() -> None:
    with fake_server(ServerArgs(max_queue_time=2, request_timeout=60)) as fake:
        fake.http.post(URL, json=CHAT, headers={"X-Request-Timeout-Ms": "100000"})
        options = fake.engine.submitted[-1][2]
        assert options["start_by"] - time.monotonic() < 2
        assert 50 < options["deadline"] - time.monotonic() < 60  # the header may only shorten


def test_silence_is_filled_with_comments() -> None:
    with fake_server(ServerArgs(sse_keep_alive_interval=0.1)) as fake:
        fake.engine.delay_s = 0.35
        with fake.http.stream("POST", URL, json={**STREAM, "max_tokens": 1}) as response:
            frames = b"".join(response.iter_bytes()).decode().split("\n\n")
        assert frames[:2] == [": keep-alive"] * 2
        assert frames[-2] == "data: [DONE]"


def test_a_reader_that_stops_is_cut_off_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.entrypoints.openai.sse.STALL_S", 0.6)
    with fake_server(ServerArgs(sse_keep_alive_interval=0.2)) as fake:
        fake.engine.sentence = fake.engine.sentence * 400
        host, port = fake.url.removeprefix("http://").split(":")
        body = json.dumps({**STREAM, "logprobs": True, "top_logprobs": 20}).encode()
        head = (
            f"POST {URL} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((host, int(port)))
            client.sendall(head.encode() + body)
            wait_for(lambda: fake.engine.open)
            assert fake.http.post(URL, json={**CHAT, "max_tokens": 3}).status_code == 200
            wait_for(lambda: not fake.engine.open, 20)
        wait_for(lambda: fake.front.in_flight == 0)


# Bodies


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{bad", "body.1"),
        (b"", "body.0"),
        (b"[]", "body"),
        (b'{"messages": ' + b"[" * 100_000, None),
        (b'{"messages": [{"role": "user", "content": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}]}", None),
        (b'{"messages": [{"role": "user", "content": "\xff"}]}', None),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', None),
        (b'{"messages": [], "temperature": NaN}', None),
        (b'{"messages": [], "temperature": 1e999}', "body.temperature"),
    ],
)
def test_malformed_bodies(fake: FakeServer, body: bytes, param: str | None) -> None:
    response = fake.http.post(URL, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["type"] in ("Bad Request", "BadRequestError")
    assert param is None or error["param"] == param


def test_the_content_type_must_be_json(fake: FakeServer) -> None:
    response = fake.http.post(URL, content=json.dumps(CHAT))
    assert response.status_code == 400
    assert "application/json" in response.json()["error"]["message"]
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert fake.http.post(URL, content=json.dumps(CHAT), headers=headers).status_code == 200


def test_a_huge_body_is_refused_unread(fake: FakeServer) -> None:
    fields = "Host: x\r\nContent-Type: application/json\r\nContent-Length: 9999999999"
    head, _ = fake.raw(f"POST {URL} HTTP/1.1\r\n{fields}\r\n\r\n".encode())
    assert head.startswith(b"HTTP/1.1 413 ")


# Errors and documents


def test_unknown_routes_and_methods(fake: FakeServer) -> None:
    missing = fake.http.get("/nothing")
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "NotFoundError")
    wrong = fake.http.get(URL)
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (405, "MethodNotAllowedError")
    assert "POST" in wrong.headers["allow"]


def test_request_ids(fake: FakeServer) -> None:
    response = fake.http.post(URL, json=CHAT, headers={"X-Request-Id": "mine"})
    assert response.json()["id"] == "chatcmpl-mine"
    assert response.headers["x-request-id"] == "mine"
    assert fake.http.post(URL, json={**CHAT, "request_id": "yours"}).json()["id"] == "chatcmpl-yours"
    assert "x-request-id" not in fake.http.post(URL, json=CHAT).headers
    with fake_server(ServerArgs(enable_request_id_headers=True)) as other:
        assert len(other.http.get("/nothing").headers["x-request-id"]) == 32


def test_models(fake: FakeServer) -> None:
    models = list(fake.openai().models.list())
    assert [m.id for m in models] == ["fake", "fake-alias"]
    card = fake.http.get("/v1/models").json()["data"][0]
    assert (card["owned_by"], card["max_model_len"], card["object"]) == ("penstock", 256, "model")
    assert fake.openai().models.retrieve("fake").id == "fake"
    assert fake.http.get("/v1/models/a/b").status_code == 404


def test_tokenize_and_detokenize(fake: FakeServer) -> None:
    answer = fake.http.post("/tokenize", json={"prompt": "Hello world", "return_token_strs": True}).json()
    assert answer["tokens"] == fake.engine.tokenizer.encode("Hello world")
    assert (answer["count"], answer["max_model_len"]) == (len(answer["tokens"]), 256)
    assert len(answer["token_strs"]) == answer["count"]
    back = fake.http.post("/detokenize", json={"tokens": answer["tokens"]}).json()
    assert back == {"prompt": "Hello world"}
    chat = fake.http.post("/tokenize", json=CHAT).json()
    fake.http.post(URL, json=CHAT)
    assert chat["tokens"] == fake.engine.submitted[-1][0]
    assert chat["token_strs"] is None
    assert fake.http.post("/detokenize", json={"tokens": [-1]}).json()["error"]["param"] == "tokens"
    assert fake.http.post("/tokenize", json={}).status_code == 400
    assert fake.http.get("/tokenizer_info").status_code == 404
    with fake_server(ServerArgs(enable_tokenizer_info_endpoint=True)) as other:
        assert (
            other.http.get("/tokenizer_info").json()["eos_token"] == other.engine.tokenizer.special_tokens["eos_token"]
        )


def test_the_document_is_true(fake: FakeServer) -> None:
    document = fake.http.get("/openapi.json").json()
    assert {"/v1/chat/completions", "/v1/completions", "/v1/models", "/tokenize", "/health"} <= set(document["paths"])
    schema = document["components"]["schemas"]["ChatRequest"]
    assert {"messages", "temperature", "tools", "top_logprobs"} <= set(schema["properties"])
    assert schema["required"] == ["messages"]
    assert fake.http.get("/docs").status_code == 200
    with fake_server(ServerArgs(disable_fastapi_docs=True)) as other:
        assert {other.http.get(p).status_code for p in ("/docs", "/redoc", "/openapi.json")} == {404}


def test_developers_routes_need_the_switch(fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fake.http.post("/reset_prefix_cache").status_code == 404
    monkeypatch.setenv("VLLM_SERVER_DEV_MODE", "1")
    with fake_server() as other:
        assert other.http.post("/reset_prefix_cache").json() == {"success": True}
        assert other.engine.calls == ["reset_prefix_cache"]
        info = other.http.get("/server_info?config_format=json").json()
        assert info["vllm_config"]["model"]["model"] == "fake"


# Access


def test_every_route_but_the_public_ones_needs_a_key() -> None:
    with fake_server(ServerArgs(api_key=["one", "two"])) as fake:
        paths = fake.http.get("/openapi.json", headers={"Authorization": "Bearer one"}).json()["paths"]
        for path in [*paths, "/docs", "/openapi.json", "/nothing", "//health", "/HEALTH", "/v1/%6dodels", "/health/"]:
            for method in ("GET", "POST", "PUT"):
                status = fake.http.request(method, path, headers={"Host": "health"}).status_code
                assert (status != 401) == (path in PUBLIC), (method, path)
        for headers in ({"Authorization": "Bearer two"}, {"authorization": "bearer one"}, {"x-api-key": "two"}):
            assert fake.http.get("/v1/models", headers=headers).status_code == 200
        for headers in ({"Authorization": "Bearer on"}, {"Authorization": "one"}, {"x-api-key": ""}, {}):
            response = fake.http.get("/v1/models", headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
            assert response.json()["error"]["type"] == "AuthenticationError"
        salts = []
        for key, own in (("one", None), ("two", None), ("one", None), ("one", "s"), ("two", "s"), ("one", "s" * 128)):
            response = fake.http.post(URL, json={**CHAT, "cache_salt": own}, headers={"x-api-key": key})
            assert response.status_code == 200
            salts.append(fake.engine.submitted[-1][2]["cache_salt"])
        assert salts[0] == salts[2]
        assert len(set(salts)) == 5


def test_protected_metrics() -> None:
    with fake_server(ServerArgs(api_key="k", protect_metrics=True)) as fake:
        assert fake.http.get("/metrics").status_code == 401
        assert fake.http.get("/metrics", headers={"x-api-key": "k"}).status_code == 200


def test_a_root_path_changes_nothing_about_access() -> None:
    with fake_server(ServerArgs(api_key="k", root_path="/api")) as fake:
        for prefix in ("", "/api"):
            assert fake.http.get(prefix + "/health").status_code == 200
            assert fake.http.get(prefix + "/v1/models").status_code == 401
            assert fake.http.get(prefix + "/v1/models", headers={"x-api-key": "k"}).status_code == 200


def test_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        (
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ),
        check=True,
        capture_output=True,
    )
    with fake_server(ServerArgs(ssl_keyfile=str(key), ssl_certfile=str(certificate))) as fake:
        context = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(base_url=fake.url.replace("http:", "https:"), verify=context) as http:
            assert http.post(URL, json=CHAT).status_code == 200


def test_cross_origin_requests() -> None:
    with fake_server(ServerArgs(allowed_origins=["http://page"], api_key="k")) as fake:
        preflight = {
            "Origin": "http://page",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, x-stainless-os",
        }
        response = fake.http.options(URL, headers=preflight)
        assert response.status_code == 200
        assert "x-stainless-os" in response.headers["access-control-allow-headers"]
        refused = fake.http.post(URL, json=CHAT, headers={"Origin": "http://page"})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "http://page"


class Shout:
    """A middleware as a user would name it with --middleware."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def shouting(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-shout", b"hey")]
            elif message["type"] == "http.response.body":
                message["body"] = message["body"].replace(b"data:", b"DATA:")
            await send(message)

        await self.app(scope, receive, shouting)


async def whisper(request: Any, call_next: Any) -> Any:
    response = await call_next(request)
    response.headers["x-whisper"] = "psst"
    return response


def test_middleware_by_import_path() -> None:
    with fake_server(ServerArgs(middleware=["api.test_server.Shout", "api.test_server.whisper"])) as fake:
        headers = fake.http.post(URL, json=CHAT).headers
        assert (headers["x-shout"], headers["x-whisper"]) == ("hey", "psst")
        text = fake.http.post(URL, json=STREAM).text
        assert text.count("DATA:") > 3
        assert "data:" not in text  # it saw every part of the body


# Metrics


def test_metrics_of_requests(fake: FakeServer) -> None:
    fake.http.post(URL, json=CHAT)
    fake.http.request("PROPFIND", "/v1/models")
    fake.http.get("/pot-" + "x" * 30)
    response = fake.http.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=1.0.0; charset=utf-8"
    text = response.text
    assert f'http_requests_total{{handler="{URL}",method="POST",status="2xx"}}' in text
    assert 'method="OTHER"' in text
    assert "PROPFIND" not in text
    assert "pot-" not in text
    assert 'penstock:num_requests_running{engine="0",model_name="fake"} 0.0' in text
    assert "_created" not in text
    with fake_server(ServerArgs(metrics_prefix="vllm")) as other:
        assert "vllm:kv_cache_usage_perc" in other.http.get("/metrics").text


def test_load_counts_requests_in_flight() -> None:
    with fake_server(ServerArgs(enable_server_load_tracking=True)) as fake:
        fake.engine.delay_s = 0.1
        with fake.http.stream("POST", URL, json=STREAM), httpx.Client(base_url=fake.url) as other:
            assert other.get("/load").json() == {"server_load": 1}
        wait_for(lambda: fake.http.get("/load").json() == {"server_load": 0})


# Connections


def test_headers_are_bounded(fake: FakeServer) -> None:
    start = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Big: "
    for too_large in (b"a" * 70_000 + b"\r\n\r\n", b"a" * 300_000, b"a" * 8_000_000):
        head, body = fake.raw(start + too_large)  # the answer survives what the client was still sending
        assert head.startswith(b"HTTP/1.1 431 ")
        assert json.loads(body)["error"]["code"] == 431
    head, _ = fake.raw(start + b"a" * 60_000 + b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")


def test_what_is_not_http_gets_json_too(fake: FakeServer) -> None:
    head, body = fake.raw(b"BREW /pot\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["code"] == 400


def test_headers_must_arrive_in_time(fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.entrypoints.openai.http_protocol.HEADER_TIMEOUT_S", 0.2)
    assert fake.raw(b"GET /health HTTP/1.1\r\nHost:") == (b"", b"")

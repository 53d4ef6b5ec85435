"""What cannot work is refused in one sentence before anything is started; sockets are bound as asked."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import httpx
import pytest
from api.fake_server import fake_server

from penstock.config.sections import ServerArgs
from penstock.entrypoints.openai import sockets
from penstock.entrypoints.openai.api_server import serve_command
from penstock.errors import StartError


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--port", "99999"], "--port"),
        (["--host", "nowhere.invalid"], "--host"),
        (["--ssl-keyfile", "x"], "--ssl-certfile"),
        (["--ssl-certfile", "/nowhere/x", "--ssl-keyfile", "/nowhere/y"], "TLS"),
        (["--middleware", "nothing.at.all"], "nothing.at.all"),
        (["--log-config-file", "/nowhere/x"], "--log-config-file"),
        (["--chat-template", "/nowhere/x"], "--chat-template"),
        (["--api-server-count", "2"], "--api-server-count"),
        (["--uds", "/nowhere/at/all"], "--uds"),
    ],
)
def test_one_sentence(options: list[str], word: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert serve_command(options) == 1
    error = capfd.readouterr().err
    assert word in error
    assert error.startswith("penstock: ")
    assert error.count("\n") == 1


def test_a_taken_port_is_refused_on_every_kind_of_address() -> None:
    with sockets.bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        for host in ("127.0.0.1", "localhost", None):
            with pytest.raises(StartError, match=str(port)):
                sockets.bind(host, port)


def test_all_interfaces_are_both_families() -> None:
    with sockets.bind(None, 0) as sock:
        port = sock.getsockname()[1]
        assert sockets.listens_everywhere(sock)
        assert sockets.url_of(sock, tls=False) == f"http://0.0.0.0:{port}"
        socket.create_connection(("127.0.0.1", port)).close()
        if socket.has_dualstack_ipv6():
            socket.create_connection(("::1", port)).close()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_an_ipv6_literal() -> None:
    for host in ("::1", "[::1]"):
        with sockets.bind(host, 0) as sock:
            assert sockets.url_of(sock, tls=True) == f"https://[::1]:{sock.getsockname()[1]}"
            assert not sockets.listens_everywhere(sock)


def test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with sockets.bind_unix(path), pytest.raises(StartError, match="another server"):
        sockets.bind_unix(path)
    with sockets.bind_unix(path) as again:
        assert sockets.url_of(again, tls=False) == f"unix:{path}"


def test_a_logging_file_replaces_the_servers_own_format(tmp_path: Path) -> None:
    out = tmp_path / "access.log"
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"file": {"class": "logging.FileHandler", "filename": str(out)}},
        "loggers": {"uvicorn.error": {"handlers": ["file"], "level": "INFO"}},
    }
    path = tmp_path / "log.json"
    path.write_text(json.dumps(config))
    with fake_server(ServerArgs(log_config_file=str(path), uvicorn_log_level="info")) as fake:
        assert httpx.get(fake.url + "/version").status_code == 200
    assert "Application startup complete." in out.read_text()

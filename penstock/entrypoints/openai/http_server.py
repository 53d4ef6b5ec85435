"""The HTTP server: uvicorn on a socket of ours, woken once a second when idle, stopped by us and not by its signals."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn

from penstock import envs
from penstock.config.sections import ServerArgs
from penstock.entrypoints.openai.http_protocol import HttpProtocol
from penstock.observability.logging import get_logger, read_config, uvicorn_config

log = get_logger(__name__)

TICK_S = 1.0  # the Date header's resolution


class HttpServer(uvicorn.Server):
    """uvicorn with our own stop.

    Args:
        failed: asked once a second; True ends the server.
    """

    def __init__(self, config: uvicorn.Config, failed: Callable[[], bool]):
        super().__init__(config)
        self._failed = failed
        self._wake = asyncio.Event()

    def stop(self) -> None:
        """Close the listening socket and every connection that is done."""
        self.should_exit = True
        self._wake.set()

    async def main_loop(self) -> None:
        """As uvicorn's, which wakes ten times a second."""
        while not await self.on_tick(0) and not self._failed():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TICK_S)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def uvicorn_settings(app: Any, args: ServerArgs) -> uvicorn.Config:
    """Our options as uvicorn's.

    Raises:
        StartError: a logging file cannot be used.
    """
    quiet = frozenset(p for p in (args.disable_access_log_for_endpoints or "").split(",") if p)
    config = uvicorn.Config(
        app,
        http=HttpProtocol,
        ws="none",
        lifespan="on",
        log_config=read_config(args.log_config_file or envs.LOGGING_CONFIG_PATH)
        or uvicorn_config(args.uvicorn_log_level, "APIServer", quiet),
        log_level=args.uvicorn_log_level,
        access_log=not args.disable_uvicorn_access_log,
        timeout_keep_alive=int(envs.HTTP_TIMEOUT_KEEP_ALIVE),
        timeout_graceful_shutdown=5,  # what is in flight has been waited for before
        server_header=False,
        ssl_keyfile=args.ssl_keyfile,
        ssl_certfile=args.ssl_certfile,
        ssl_ca_certs=args.ssl_ca_certs,
        ssl_cert_reqs=args.ssl_cert_reqs,
        ssl_ciphers=args.ssl_ciphers or "TLSv1",
    )
    config.load()
    return config


async def refresh_tls(config: uvicorn.Config, args: ServerArgs, every_s: float = 10.0) -> None:
    """Load certificate and key again whenever their files change; for --enable-ssl-refresh."""
    paths = [Path(p) for p in (args.ssl_certfile, args.ssl_keyfile, args.ssl_ca_certs) if p]
    seen = [p.stat().st_mtime_ns for p in paths]
    while config.ssl is not None and args.ssl_certfile:
        await asyncio.sleep(every_s)
        try:
            now = [p.stat().st_mtime_ns for p in paths]
            if now == seen:
                continue
            config.ssl.load_cert_chain(args.ssl_certfile, args.ssl_keyfile)
            if args.ssl_ca_certs:
                config.ssl.load_verify_locations(args.ssl_ca_certs)
        except OSError as e:
            log.error("The changed TLS files cannot be used yet: %s", e)
            continue
        seen = now
        log.info("Read the TLS files again.")

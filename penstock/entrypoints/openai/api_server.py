"""The server process: `penstock serve`, `python -m penstock.entrypoints.openai.api_server`, and `app` for others.

Order of a start: options, socket, engine process, and only then the web framework, which loads while the engine does.
Stopping: readiness off, drain, engine, sockets. Nothing here knows requests.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any

import uvloop

from penstock import envs
from penstock.config.cli import engine_args as engine_args_of
from penstock.config.cli import make_arg_parser
from penstock.config.cli import server_args as server_args_of
from penstock.config.sections import EngineArgs, ServerArgs
from penstock.engine.async_engine import AsyncLLM
from penstock.entrypoints.openai import sockets
from penstock.entrypoints.openai.parser_options import check_parsers
from penstock.errors import StartError
from penstock.observability import logging as our_logging
from penstock.observability.stats import StatsRecorder
from penstock.plugins import load_object
from penstock.tokenizers.chat_template import read_template_option

if TYPE_CHECKING:
    from fastapi import FastAPI

    from penstock.entrypoints.openai.front import Front, LivingEngine
    from penstock.entrypoints.openai.http_server import HttpServer

log = our_logging.get_logger(__name__)

SAME_SIGNAL_S = 0.5  # `timeout` and some shells send one signal twice, to the process and to its group

_app: FastAPI | None = None


def __getattr__(name: str) -> Any:
    """`app` and `build_app` load the web framework, so they come into being when they are asked for."""
    if name == "app":
        return _default_app()
    if name == "build_app":
        from penstock.entrypoints.openai.app import build_app  # see above

        return build_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _default_app() -> FastAPI:
    global _app
    if _app is None:
        from penstock.entrypoints.openai.app import build_app  # loads the web framework: only for users of `app`

        _app = build_app()
    return _app


def init_app(engine_args: EngineArgs | None = None, server_args: ServerArgs | None = None) -> FastAPI:
    """Give `app` an engine, which starts when a server starts the app: `uvicorn.run(app)`.

    Args:
        engine_args: None for the bundled model.
        server_args: those that belong to the app as it stands (chat template, limits); not network or access.

    Raises:
        StartError: the options or the model do not allow a start.
    """
    application = _default_app()
    engine_args = engine_args or EngineArgs()
    server_args = server_args or application.state.args
    stats, engine = _make_engine(engine_args, server_args)
    application.state.front = _make_front(engine, engine_args, server_args, stats)
    return application


def serve_command(argv: list[str]) -> int:
    """`penstock serve`: runs until it is stopped. Returns the exit code."""
    try:
        options = make_arg_parser().parse_args(argv)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run_server(options))
    except StartError as e:
        print(f"penstock: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before the server handles signals itself
        return 130


async def run_server(args: argparse.Namespace) -> int:
    """Serve until a signal or the engine's end; returns the exit code.

    Args:
        args: from `make_arg_parser().parse_args()`.

    Raises:
        StartError: the options, the port or the model do not allow a start.
    """
    return await serve(engine_args_of(args), server_args_of(args))


async def serve(engine_args: EngineArgs, args: ServerArgs) -> int:
    """As `run_server`, with the options as objects."""
    our_logging.setup(args.log_level or envs.LOGGING_LEVEL, "APIServer")
    _check(args)
    sock = sockets.bind_unix(args.uds) if args.uds else sockets.bind(args.host, args.port)
    try:
        sockets.raise_file_limit()
        stats, engine = _make_engine(engine_args, args)
        return await serve_engine(engine, engine_args, args, stats, sock)
    finally:
        sock.close()
        if args.uds:
            with contextlib.suppress(OSError):
                os.unlink(args.uds)


async def serve_engine(
    engine: LivingEngine, engine_args: EngineArgs, args: ServerArgs, stats: StatsRecorder, sock: socket.socket
) -> int:
    """Serve an engine that is not started yet on a socket that listens; returns the exit code."""
    try:
        await engine.start()
        # Here and not at the top: a quarter of a second in which the engine's process loads already.
        from penstock.entrypoints.openai.app import build_app
        from penstock.entrypoints.openai.http_server import HttpServer, refresh_tls, uvicorn_settings

        app = build_app(args)
        front = _make_front(engine, engine_args, args, stats, engine_started=True)
        app.state.front = front
        server = HttpServer(uvicorn_settings(app, args), lambda: front.failed)
        front.on_failure = server.stop
        _announce(app, args, sock)
        gc.freeze()  # what is loaded stays: a full collection with it stopped all streams for up to 60 ms
        refresher = asyncio.create_task(refresh_tls(server.config, args)) if args.enable_ssl_refresh else None
        try:
            with _Stopper(front, server, args.shutdown_timeout):
                await server.serve(sockets=[sock])
        finally:
            if refresher is not None:
                refresher.cancel()
            await front.stop()
        if front.failure is not None and isinstance(front.failure, StartError):
            raise front.failure
        if front.failed:
            log.error("The engine is gone: %s", front.failure or "it died and was not started again")
            return 1
        return 0
    finally:
        await engine.shutdown()


class _Stopper:
    """What SIGINT and SIGTERM do: the first one stops gently, a second one at once.

    Args:
        drain_s: seconds that requests in flight get.
    """

    def __init__(self, front: Front, server: HttpServer, drain_s: float):
        self._front = front
        self._server = server
        self._drain_s = drain_s
        self._loop = asyncio.get_running_loop()
        self._first_at: float | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._on_signal)

    def __exit__(self, *exc: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.remove_signal_handler(number)

    def _on_signal(self) -> None:
        now = self._loop.time()
        if self._first_at is None:
            self._first_at = now
            self._tasks.append(self._loop.create_task(self._stop(self._drain_s)))
        elif now - self._first_at > SAME_SIGNAL_S:
            self._tasks.pop().cancel()
            self._server.config.timeout_graceful_shutdown = 1
            self._tasks.append(self._loop.create_task(self._stop(0.0)))

    async def _stop(self, drain_s: float) -> None:
        front = self._front
        if front.in_flight and drain_s > 0:
            log.info("Stopping: up to %.0f seconds for %d requests in flight.", drain_s, front.in_flight)
        if not await front.drain(drain_s):
            log.warning("%d requests did not finish in time.", front.in_flight)
        await front.stop()
        self._server.stop()


def _make_engine(engine_args: EngineArgs, args: ServerArgs) -> tuple[StatsRecorder, LivingEngine]:
    stats = StatsRecorder(histograms=not engine_args.disable_log_stats)
    engine = AsyncLLM.from_engine_args(engine_args, stats, args.disable_frontend_multiprocessing)
    stats.set_limit(engine.config.model.max_model_len)
    return stats, engine


def _make_front(
    engine: LivingEngine,
    engine_args: EngineArgs,
    args: ServerArgs,
    stats: StatsRecorder,
    engine_started: bool = False,
) -> Front:
    from penstock.entrypoints.openai.front import Front  # loads the web framework, see `serve_engine`

    log_every_s = None if engine_args.disable_log_stats else envs.LOG_STATS_INTERVAL
    return Front(engine, args, stats, log_every_s, engine_started)


def _check(args: ServerArgs) -> None:
    """Refuse what cannot work before anything is started."""
    our_logging.read_config(args.log_config_file or envs.LOGGING_CONFIG_PATH)
    if args.chat_template:
        read_template_option(args.chat_template)
    check_parsers(args)
    for path in args.middleware:
        load_object(path)
    if not args.ssl_certfile:
        if args.ssl_keyfile or args.enable_ssl_refresh:
            raise StartError("--ssl-keyfile and --enable-ssl-refresh need --ssl-certfile.")
        return
    for file in filter(None, (args.ssl_certfile, args.ssl_keyfile, args.ssl_ca_certs)):
        if not os.access(file, os.R_OK):
            raise StartError(f"the TLS file {file} is missing or cannot be read.")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.ssl_certfile, args.ssl_keyfile)
        if args.ssl_ca_certs:
            context.load_verify_locations(args.ssl_ca_certs)
        if args.ssl_ciphers:
            context.set_ciphers(args.ssl_ciphers)
    except (OSError, ssl.SSLError) as e:
        raise StartError(f"the TLS files cannot be used: {e}") from None


def _announce(app: FastAPI, args: ServerArgs, sock: socket.socket) -> None:
    from penstock.entrypoints.openai.app import api_keys  # loads the web framework, see `serve_engine`

    url = sockets.url_of(sock, bool(args.ssl_certfile))
    log.info("Starting Penstock server on %s", url)
    for route in app.routes:
        methods = getattr(route, "methods", None)
        if methods:
            log.info("Route: %s, Methods: %s", getattr(route, "path", ""), ", ".join(sorted(methods - {"HEAD"})))
    if sockets.listens_everywhere(sock) and not api_keys(args):
        log.warning(
            "ANYBODY WHO CAN REACH THIS MACHINE CAN USE THIS SERVER: it listens on all interfaces without an API key. "
            "Use --api-key KEY, or --host 127.0.0.1 to serve this machine only."
        )


if __name__ == "__main__":
    sys.exit(serve_command(sys.argv[1:]))

"""The listening socket, bound before anything slow starts, and the limit of open files."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import stat

from penstock.errors import StartError
from penstock.observability.logging import get_logger

log = get_logger(__name__)

BACKLOG = 2048
WANTED_FILES = 65535


def bind(host: str | None, port: int) -> socket.socket:
    """A TCP socket that listens.

    Args:
        host: name or address; None for all interfaces, IPv4 and IPv6.
        port: 0 for a free one.

    Raises:
        StartError: the address is taken or not ours.
    """
    if not 0 <= port <= 65535:
        raise StartError(f"--port must be in [0, 65535], not {port}.")
    if host is None or host == "":
        return _bind_everywhere(port)
    host = host.strip("[]")
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError, OverflowError) as e:
        raise StartError(f"cannot listen on --host {host} --port {port}: {e}") from None
    family, _, _, _, address = infos[0]
    return _listen(socket.socket(family, socket.SOCK_STREAM), address, f"{host}:{port}")


def _bind_everywhere(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        with contextlib.suppress(StartError):
            return _listen(sock, ("::", port), f"port {port}")
    # Also where IPv6 is known but switched off. A taken port fails here again, with its sentence.
    return _listen(socket.socket(socket.AF_INET, socket.SOCK_STREAM), ("0.0.0.0", port), f"port {port}")


def bind_unix(path: str) -> socket.socket:
    """A Unix socket that listens; a stale one of the same name is replaced.

    Raises:
        StartError: somebody listens there, or the path cannot be used.
    """
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            _check_stale(path)
            os.unlink(path)
    return _listen(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), path, path)


def _check_stale(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return
    raise StartError(f"cannot listen on --uds {path}: another server does.")


def _listen(sock: socket.socket, address: object, shown: str) -> socket.socket:
    try:
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)  # type: ignore[arg-type]
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except (OSError, OverflowError) as e:
        sock.close()
        reason = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
        option = "--uds" if sock.family == socket.AF_UNIX else "--port"
        raise StartError(f"cannot listen on {shown}: {reason}. Choose another with {option}.") from None
    return sock


def url_of(sock: socket.socket, tls: bool) -> str:
    """How a client names the socket."""
    if sock.family == socket.AF_UNIX:
        return f"unix:{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    if host == "::":
        host = "0.0.0.0"
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{shown}:{port}"


def listens_everywhere(sock: socket.socket) -> bool:
    return sock.family != socket.AF_UNIX and sock.getsockname()[0] in ("::", "0.0.0.0")


def raise_file_limit() -> None:
    """Allow as many open files as the system lets us, up to WANTED_FILES: every client is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError) as e:
        log.warning("The limit of open files stays at %d: %s", soft, e)

"""One unix socket between a front and its engine core, carrying the structs of `messages.py`.

The front binds it in a folder of its own that only this user can enter; the core connects. A frame that cannot be
decoded is logged and dropped. Nothing is ever unpickled.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import zmq

from penstock import envs
from penstock.engine.messages import FromCore, ToCore
from penstock.errors import StartError
from penstock.observability.logging import get_logger

logger = get_logger(__name__)

MAX_ADDRESS_BYTES = 100  # a unix socket's path may have 107
FOLDER_PREFIX = "penstock-"
BAD_FRAME = (msgspec.MsgspecError, ValueError, RecursionError)  # what decoding raises: broken text is a ValueError
_encoder = msgspec.msgpack.Encoder()


def make_socket_folder() -> Path:
    """A new folder with mode 0700; whoever makes it removes it.

    Raises:
        StartError: the place for temporary files does not allow it.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=envs.RPC_BASE_PATH))
    except OSError as e:
        raise StartError(f"cannot make a folder for the engine's socket: {e}") from e
    if len(str(folder)) + len("/core.sock") > MAX_ADDRESS_BYTES:
        folder.rmdir()
        raise StartError(f"the path {folder} is too long for a unix socket; set PENSTOCK_RPC_BASE_PATH to a short one.")
    return folder


def _open_socket() -> zmq.SyncSocket:
    """A socket that never blocks or drops for the length of its queue, and does not linger when closed."""
    socket: zmq.SyncSocket = zmq.Context.instance().socket(zmq.DEALER)
    socket.set_hwm(0)
    socket.linger = 0
    return socket


class FrontChannel:
    """The front's end, on the running event loop.

    Args:
        folder: where the socket is made.
        on_message: called for every message, in order.

    Raises:
        StartError: the socket cannot be made there.
    """

    def __init__(self, folder: Path, on_message: Callable[[FromCore], None]):
        self.address = f"ipc://{folder / 'core.sock'}"
        self._on_message = on_message
        self._decoder = msgspec.msgpack.Decoder(FromCore)
        try:
            self._socket = _open_socket()
            self._socket.bind(self.address)
        except zmq.ZMQError as e:
            raise StartError(f"cannot make the engine's socket: {e}") from e
        self._loop = asyncio.get_running_loop()
        # The descriptor only signals that the socket's state changed: read until there is nothing, every time.
        self._loop.add_reader(self._socket.fileno(), self._read)

    def send(self, message: ToCore) -> None:
        """Queue a message; one for a core that is gone is dropped."""
        try:
            self._socket.send(_encoder.encode(message), zmq.NOBLOCK, copy=True)
        except zmq.Again:
            return
        if int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:  # sending may have taken the signal
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        while not self._socket.closed:
            try:
                frame = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                message = self._decoder.decode(frame)
            except BAD_FRAME as e:
                logger.error("Dropped a frame of %d bytes from the engine core: %s", len(frame), e)
                continue
            self._on_message(message)

    def drain(self) -> None:
        """Take what has arrived now, not at the loop's next turn."""
        self._read()

    def close(self) -> None:
        """Safe to call twice."""
        if not self._socket.closed:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()


class CoreChannel:
    """The core's end; blocking.

    Args:
        address: the front's.
    """

    def __init__(self, address: str):
        self._decoder = msgspec.msgpack.Decoder(ToCore)
        self._socket = _open_socket()
        self._socket.connect(address)

    def send(self, message: FromCore) -> None:
        self._socket.send(_encoder.encode(message), copy=True)

    def receive(self, timeout_ms: int | None) -> ToCore | None:
        """The next good message.

        Args:
            timeout_ms: 0 takes only what is there; None waits as long as it takes.
        """
        while True:
            if timeout_ms is not None and not self._socket.poll(timeout_ms):
                return None
            frame = self._socket.recv()
            try:
                return self._decoder.decode(frame)
            except BAD_FRAME as e:
                logger.error("Dropped a frame of %d bytes from the front: %s", len(frame), e)

    def close(self, linger_ms: int = 1000) -> None:
        """Close once what was sent has left."""
        self._socket.close(linger_ms)


def flush_channels() -> None:
    """Wait until what was sent has left through the channels of this process, all of which are closed."""
    zmq.Context.instance().term()


def remove_socket_folder(folder: Path) -> None:
    """Remove what `make_socket_folder` made; anything else is left alone."""
    if folder.name.startswith(FOLDER_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)

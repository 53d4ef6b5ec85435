"""CoreClient: one engine core process, as the asyncio front sees it.

Spawns it, hands it the configuration, waits until it is ready, passes messages, and says so, once, when it is dead. A
client is good for one process; starting again means a new client (`supervisor.py` says when).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol

import penstock
from penstock import envs
from penstock.config.engine_config import EngineConfig
from penstock.engine.ipc import FrontChannel, make_socket_folder, remove_socket_folder
from penstock.engine.messages import (
    Call,
    CallReply,
    CoreFailed,
    CoreOutputs,
    FromCore,
    Hello,
    Loading,
    Ready,
    Shutdown,
    Start,
    ToCore,
)
from penstock.errors import ClientError, EngineDeadError, PenstockError, StartError
from penstock.observability.logging import get_logger
from penstock.plugins import load_object

logger = get_logger(__name__)

CORE_THREAD = "penstock.engine.core_thread:CoreThread"  # loads what a core needs, so only where it is wanted
STOP_GRACE_S = 5.0  # a core in the middle of a step gets this long before it is killed


class CoreProcess(Protocol):
    """What runs a core: a `subprocess.Popen`, or something that looks like one."""

    pid: int

    @property
    def stdin(self) -> IO[bytes] | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def kill(self) -> None: ...


class CoreClient:
    """A core process and the channel to it.

    Args:
        config: for the core.
        on_outputs: called for every step's outputs.
        on_dead: called once if the process ends or fails without having been asked to stop.
        log_level: of the core's log.
        on_ready: called when the core is ready.
        on_thread: run the core on a thread of this process.

    Attributes:
        loading: (what, fraction) of the last progress report.
        ready_info: set when the core is ready.
        started, last_message: monotonic times of the start and of the last message from the core.
    """

    def __init__(
        self,
        config: EngineConfig,
        on_outputs: Callable[[CoreOutputs], None],
        on_dead: Callable[[PenstockError], None],
        log_level: str = "info",
        on_ready: Callable[[], None] | None = None,
        on_thread: bool = False,
    ):
        self._config = config
        self._on_outputs = on_outputs
        self._on_dead = on_dead
        self._log_level = log_level
        self._on_ready = on_ready
        self._on_thread = on_thread
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._call_ids = itertools.count()
        self._over = False
        self._folder: Path | None = None
        self._channel: FrontChannel | None = None
        self._process: CoreProcess | None = None
        self.loading = ("starting", 0.0)
        self.ready_info: Ready | None = None
        self.started = self.last_message = time.monotonic()

    def start(self) -> None:
        """Spawn the process; returns at once.

        Raises:
            StartError: the machine has no room for a process, a socket or its folder; nothing is left behind.
        """
        self._folder = make_socket_folder()
        try:
            self._channel = FrontChannel(self._folder, self._on_message)
            start: Callable[[str], CoreProcess] = load_object(CORE_THREAD) if self._on_thread else _spawn
            self._process = start(self._channel.address)
        except StartError:
            self._over = True
            self._release()
            raise
        threading.Thread(target=self._watch, args=(self._process,), name="core-watch", daemon=True).start()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def is_ready(self) -> bool:
        return self.ready_info is not None and not self._over

    def send(self, message: ToCore) -> None:
        """Pass a message on; dropped if the core is gone."""
        if self._channel is not None and not self._over:
            self._channel.send(message)

    async def call(self, method: str, args: tuple[Any, ...]) -> Any:
        """Run a method of the core.

        Raises:
            ClientError: it refused, or the arguments cannot be sent. EngineDeadError: it died first.
        """
        if self._over:
            raise EngineDeadError("The engine is gone.")
        call_id = next(self._call_ids)
        future = self._calls[call_id] = self._loop.create_future()
        try:
            try:
                self.send(Call(call_id, method, list(args)))
            except (TypeError, ValueError, OverflowError, RecursionError) as e:
                raise ClientError(f"the arguments cannot be sent to the engine: {e}", "args") from None
            return await future
        finally:
            self._calls.pop(call_id, None)

    async def stop(self) -> None:
        """Ask the process to stop, and kill it if it does not. No `on_dead` follows."""
        self.send(Shutdown())
        self._over = True
        self._fail_waiters(EngineDeadError("The engine was shut down."))
        process = self._process
        if process is not None:
            try:
                await asyncio.to_thread(process.wait, STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)
            finally:  # if nobody waits any more, the closed pipe ends the process
                self._release()

    def kill(self) -> None:
        """End the process now, without waiting on it. No `on_dead` follows."""
        self._over = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._fail_waiters(EngineDeadError("The engine was shut down."))
        self._release()

    def give_up(self, why: str) -> None:
        """Kill a process that is stuck; `on_dead` follows."""
        self._die(EngineDeadError(why))

    def _watch(self, process: CoreProcess) -> None:
        """On a thread of its own: tell the loop when the process has ended."""
        status = process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed; nobody waits any more
            self._loop.call_soon_threadsafe(self._ended, status)

    def _ended(self, status: int) -> None:
        how = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
        if not self._over and self._channel is not None:
            self._channel.drain()  # its last words may say why
        self._die(EngineDeadError(f"The engine process {how}."))

    def _on_message(self, message: FromCore) -> None:
        self.last_message = time.monotonic()
        if isinstance(message, CoreOutputs):
            self._on_outputs(message)
        elif isinstance(message, CallReply):
            self._reply(message)
        elif isinstance(message, Loading):
            self.loading = (message.what, message.fraction)
        elif isinstance(message, Ready):
            self.ready_info = message
            if self._on_ready is not None:
                self._on_ready()
        elif isinstance(message, CoreFailed):
            self._die(StartError(message.error) if message.is_start_error else _failed(message.error))
        elif isinstance(message, Hello):
            self.send(Start(self._config, self._log_level))

    def _reply(self, reply: CallReply) -> None:
        future = self._calls.get(reply.call_id)
        if future is None or future.done():
            return
        if reply.error is not None:
            future.set_exception(ClientError(reply.error))
        else:
            future.set_result(reply.result)

    def _die(self, error: PenstockError) -> None:
        if self._over:
            return
        self._over = True
        if self._process is not None:
            self._process.kill()
        self._fail_waiters(error)
        self._release()
        self._on_dead(error)

    def _fail_waiters(self, error: PenstockError) -> None:
        for future in self._calls.values():
            if not future.done():
                future.set_exception(error)

    def _release(self) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._folder is not None:
            remove_socket_folder(self._folder)
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()


def _spawn(address: str) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "penstock.engine.core_process", address],
            stdin=subprocess.PIPE,  # closed when this process ends, however it ends
            env=envs.for_child(str(Path(penstock.__file__).parent.parent)),
        )
    except OSError as e:
        raise StartError(f"cannot start the engine's process: {e}") from e


def _failed(text: str) -> EngineDeadError:
    """The log has the details; a client gets none of them."""
    logger.error("The engine core failed: %s", text)
    return EngineDeadError("The engine failed.")

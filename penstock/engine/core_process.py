"""The engine core's process: `python -m penstock.engine.core_process ADDRESS`.

Connects to its front, loads the model it is told to, then runs steps while there is work, makes later ones faster while
there is none, and sleeps on the socket after that. Ends when the front says so, on SIGTERM, and at once when its parent
is gone: standard input is a pipe that the parent holds open.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import NoReturn

from penstock.engine.core import EngineCore, build_core, loading
from penstock.engine.ipc import CoreChannel, flush_channels, remove_socket_folder
from penstock.engine.messages import (
    AbortRequests,
    AddRequest,
    Call,
    CallReply,
    CoreFailed,
    CoreOutputs,
    Hello,
    Loading,
    Ready,
    Shutdown,
    Start,
    ToCore,
)
from penstock.errors import ClientError, StartError
from penstock.executor.base import executors
from penstock.observability.logging import get_logger, setup
from penstock.scheduler.plan import EngineOutput, SchedulerStats

logger = get_logger(__name__)

REPORT_EVERY_S = 0.5  # a core with work tells that it lives at least this often, once a step is done
NOTHING_TO_RUN_WAIT_MS = 5  # work that cannot run now (blocks are taken) is tried again after this


class CoreLoop:
    """Feeds a core from the channel and the channel from the core.

    Args:
        core: ready to run.
        channel: connected to the front.
    """

    def __init__(self, core: EngineCore, channel: CoreChannel):
        self._core = core
        self._channel = channel
        self._stopping = False
        self._last_report = 0.0
        self._changed = False  # requests came or went without a step since the last report

    def run(self) -> None:
        """Until the front says Shutdown."""
        wait_ms: int | None = 0
        while True:
            self._receive(wait_ms)
            if self._stopping:
                return
            if self._core.has_work():
                wait_ms = 0 if self._step() else NOTHING_TO_RUN_WAIT_MS
            else:
                if self._changed:
                    self._report([], self._core.stats())
                wait_ms = 0 if self._core.idle() else None

    def _receive(self, wait_ms: int | None) -> None:
        """Take all messages that are there; wait for the first as told."""
        message = self._channel.receive(wait_ms)
        while message is not None and not self._stopping:
            self._handle(message)
            message = self._channel.receive(0)

    def _handle(self, message: ToCore) -> None:
        if isinstance(message, AddRequest):
            self._core.add(message)
            self._changed = True
        elif isinstance(message, AbortRequests):
            self._core.abort(message.request_ids)
            self._changed = True
        elif isinstance(message, Call):
            self._core.drain()  # what a step raises is nothing for the caller
            self._channel.send(self._call(message))
        elif isinstance(message, Shutdown):
            self._stopping = True
        else:
            logger.error("Dropped a %s message that does not belong here", type(message).__name__)

    def _call(self, message: Call) -> CallReply:
        try:
            return CallReply(message.call_id, self._core.call(message.method, *message.args))
        except (ClientError, TypeError, AssertionError) as e:
            return CallReply(message.call_id, error=str(e) or type(e).__name__)

    def _step(self) -> bool:
        """One step; false if nothing could run."""
        outputs = self._core.step()
        stats = self._core.stats()
        if outputs or stats.step_tokens or time.monotonic() - self._last_report > REPORT_EVERY_S:
            self._report(outputs, stats)
        return bool(outputs or stats.step_tokens)

    def _report(self, outputs: list[EngineOutput], stats: SchedulerStats) -> None:
        self._channel.send(CoreOutputs(outputs, stats))
        self._last_report = time.monotonic()
        self._changed = False


def serve(channel: CoreChannel, own_process: bool = True) -> int:
    """Load and run; the exit status.

    Args:
        own_process: this process is the core's alone, so its log is, too.
    """
    channel.send(Hello())
    # Imports torch, which takes a second or so, while the front gets ready to answer. On a thread, so that memory for
    # the weights can be made ready meanwhile, once it is known how much that is.
    threading.Thread(target=executors.get, args=("uni",), name="import-torch", daemon=True).start()
    start = channel.receive(None)
    if not isinstance(start, Start):
        logger.error("The front's first message was not a Start")
        return 1
    if own_process:
        setup(start.log_level, "EngineCore")
    core: EngineCore | None = None
    try:
        with loading(start.config):
            core = build_core(start.config, lambda what, fraction: channel.send(Loading(what, fraction)))
        logger.info("%s", core.kv_explanation)
        gc.freeze()  # what was loaded stays: a full collection took 110 ms with it, 15 ms without
        gc.enable()
        channel.send(Ready(core.scheduler.kv.num_blocks))
        CoreLoop(core, channel).run()
        return 0
    except StartError as e:
        channel.send(CoreFailed(str(e), is_start_error=True))
        return 1
    except Exception as e:  # boundary: whatever ends the core is told to the front, which restarts it
        logger.error("The engine core failed:\n%s", traceback.format_exc())
        channel.send(CoreFailed(f"{type(e).__name__}: {e}"))
        return 1
    finally:
        if core is not None:
            core.shutdown()


def exit_with_parent(address: str) -> None:
    """End this process when the other end of standard input is closed, whatever the main thread does."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        remove_socket_folder(Path(address.removeprefix("ipc://")).parent)  # the parent may have had no time to
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def name_process() -> None:
    """What `top` and `ps -o comm` show, where the system lets a process say it so cheaply."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text("penstock-core")


def _stop(signum: int, frame: object) -> NoReturn:
    raise SystemExit(0)


def end(status: int) -> NoReturn:
    """Exit once all messages and all text are out. Taking Python and torch down first would take a third of a second,
    and the system does it anyway."""
    flush_channels()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m penstock.engine.core_process ADDRESS (its front starts it)", file=sys.stderr)
        return 2
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the front decides
    signal.signal(signal.SIGTERM, _stop)
    setup("info", "EngineCore")
    gc.disable()  # until the core is ready
    exit_with_parent(sys.argv[1])
    name_process()
    channel = CoreChannel(sys.argv[1])
    try:
        return serve(channel)
    except SystemExit as e:  # SIGTERM
        return int(e.code or 0)
    finally:
        channel.close()


if __name__ == "__main__":
    end(main())

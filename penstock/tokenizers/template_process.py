"""TemplateProcess: renders chat templates that came with a request, in a process that may be killed.

The process has a bounded memory and is given a bounded time; whatever a template does there ends in a ClientError for
its own request. It starts with the first such template and ends with its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

import penstock
from penstock.errors import ClientError
from penstock.tokenizers.chat_template import ChatTemplate

MAX_SECONDS = 5.0  # for one rendering; its own limit of processor time is lower
MAX_MEMORY = 1 << 30  # of the process
_LENGTH = struct.Struct("<I")


class _Rendering(msgspec.Struct, array_like=True):
    """What the process is asked: the arguments of `ChatTemplate` and of `ChatTemplate.render`."""

    source: str
    special_tokens: dict[str, str]
    content_format: str
    arguments: dict[str, Any]


class _Rendered(msgspec.Struct, array_like=True):
    """Its answer: a text, or the message and the parameter of a ClientError."""

    text: str | None = None
    error: str = ""
    param: str | None = None


class TemplateProcess:
    """The process, as its parent sees it. One rendering at a time; others wait."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def render(self, template: ChatTemplate, **arguments: Any) -> str:
        """As `template.render(**arguments)`.

        Args:
            template: with a single source.

        Raises:
            ClientError: as `ChatTemplate.render`; also if it takes too long or too much memory.
        """
        (source,) = template.sources.values()
        wanted = _Rendering(source, dict(template.special_tokens), template.content_format, arguments)
        async with self._turn:
            try:
                async with asyncio.timeout(MAX_SECONDS):
                    answer = await self._ask(msgspec.msgpack.encode(wanted))
            except TimeoutError:
                raise ClientError("The chat template takes too long.", "chat_template") from None
            except (OSError, asyncio.IncompleteReadError):
                raise ClientError("The chat template ended the process that rendered it.", "chat_template") from None
        if answer.text is None:
            raise ClientError(answer.error, answer.param)
        return answer.text

    async def _ask(self, message: bytes) -> _Rendered:
        process = self._process or await self._start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(_LENGTH.pack(len(message)) + message)
            await process.stdin.drain()
            (size,) = _LENGTH.unpack(await process.stdout.readexactly(_LENGTH.size))
            return msgspec.msgpack.decode(await process.stdout.readexactly(size), type=_Rendered)
        except BaseException:  # passed on: an answer that nobody has read would be taken for the next one's
            self._kill()
            raise

    async def _start(self) -> asyncio.subprocess.Process:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "penstock.tokenizers.template_process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd="/",
            env={"PYTHONPATH": str(Path(penstock.__file__).parent.parent)},  # and no secrets
        )
        return self._process

    async def close(self) -> None:
        """End the process and wait until it is gone. Safe to call at any time."""
        process = self._kill()
        if process is not None:
            await process.wait()

    def _kill(self) -> asyncio.subprocess.Process | None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            assert process.stdin is not None
            process.stdin.close()
        return process


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Render until the parent is gone."""
    while len(head := requests.read(_LENGTH.size)) == _LENGTH.size:
        message = requests.read(_LENGTH.unpack(head)[0])
        answer = msgspec.msgpack.encode(_render(msgspec.msgpack.decode(message, type=_Rendering)))
        answers.write(_LENGTH.pack(len(answer)) + answer)
        answers.flush()


def _render(wanted: _Rendering) -> _Rendered:
    try:
        template = ChatTemplate(wanted.source, wanted.special_tokens, content_format=wanted.content_format)
        return _Rendered(template.render(**wanted.arguments))
    except ClientError as e:
        return _Rendered(None, e.message, e.param)
    except MemoryError:
        return _Rendered(None, "The chat template takes too much memory.", "chat_template")


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    for limit, value in ((resource.RLIMIT_AS, MAX_MEMORY), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        resource.setrlimit(limit, (value, value))
    _serve(sys.stdin.buffer, sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(main())

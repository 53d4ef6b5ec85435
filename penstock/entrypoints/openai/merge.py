"""Several streams of outputs as one, in the order in which outputs come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from penstock.entrypoints.openai.service import OutputStream
from penstock.outputs import RequestOutput


async def merged(streams: Sequence[OutputStream]) -> AsyncIterator[tuple[int, RequestOutput]]:
    """Pairs of a stream's index and an output, until every stream has ended.

    A slow consumer holds the streams back: at most one output per stream waits here.

    Raises:
        Exception: the first error of any stream.
    """
    queue: asyncio.Queue[tuple[int, RequestOutput | BaseException | None]] = asyncio.Queue(maxsize=len(streams))

    async def pump(index: int, stream: OutputStream) -> None:
        end: BaseException | None = None
        try:
            async for output in stream:
                await queue.put((index, output))
                if output.finished:
                    break
        except Exception as e:  # handed to the consumer, which raises it
            end = e
        await queue.put((index, end))

    tasks = [asyncio.create_task(pump(i, s)) for i, s in enumerate(streams)]
    running = len(tasks)
    try:
        while running:
            index, item = await queue.get()
            if item is None:
                running -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield index, item
    finally:
        for task in tasks:
            task.cancel()

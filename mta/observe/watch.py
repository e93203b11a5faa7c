"""The reading end of the live dialogue: all workers' traces of this machine as one stream.

Workers that start later, or again, are found within a second.

*Limits.* Lines of different workers come in the order of their arrival here, which may differ from their times by a
little.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from mta.observe.trace import TraceFilter, TraceLine, short_address

LOOK_EVERY = 1.0  # seconds
_MAX_LINE = 64 * 1024


async def watch(run_dir: Path, wanted: TraceFilter) -> AsyncIterator[TraceLine]:
    """Lines as they are spoken, without end. Raises PermissionError if the sockets are somebody else's."""
    lines: asyncio.Queue[TraceLine] = asyncio.Queue(maxsize=1000)
    readers: dict[Path, asyncio.Task[None]] = {}
    finder = asyncio.create_task(_find(run_dir, wanted, lines, readers))
    try:
        while True:
            line = asyncio.ensure_future(lines.get())
            await asyncio.wait([line, finder], return_when=asyncio.FIRST_COMPLETED)
            if finder.done():
                line.cancel()
                finder.result()
            yield line.result()
    finally:
        for task in (finder, *readers.values()):
            task.cancel()
        await asyncio.gather(finder, *readers.values(), return_exceptions=True)


async def _find(
    run_dir: Path, wanted: TraceFilter, lines: asyncio.Queue[TraceLine], readers: dict[Path, asyncio.Task[None]]
) -> None:
    while True:
        for path, task in list(readers.items()):
            if task.done():
                del readers[path]
                task.result()  # raises PermissionError
        for path in _sockets(run_dir):
            if path not in readers:
                readers[path] = asyncio.create_task(_read(path, wanted, lines))
        await asyncio.sleep(LOOK_EVERY)


async def _read(path: Path, wanted: TraceFilter, lines: asyncio.Queue[TraceLine]) -> None:
    with contextlib.suppress(FileNotFoundError, ConnectionError):  # a worker that has gone, or is not there yet
        with short_address(path) as address:
            stream, writer = await asyncio.open_unix_connection(address, limit=_MAX_LINE)
        try:
            writer.write(msgspec.json.encode(wanted) + b"\n")
            while octets := await stream.readline():
                await lines.put(msgspec.json.decode(octets, type=TraceLine))
        finally:
            writer.close()


def _sockets(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("trace-*.sock"))

"""Ask ClamAV's daemon over its socket: one connection and one INSTREAM a message.

The protocol is clamd(8), section COMMANDS: ``zINSTREAM``, chunks with their length before them, an empty chunk; the
answer ends with a NUL: ``stream: OK``, ``stream: NAME FOUND`` or ``... ERROR``.

Invariants: only an answer that is exactly ``OK`` means clean.

Limitations: clamd reads at most its StreamMaxLength and closes the connection at more, sometimes before its answer can
be read: a failure in any case. There is no TLS, because clamd has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct

from mta.mail.message import Message
from mta.submission.content_scan import ScannerError, printable
from policy.base import Scan

CHUNK = 256 * 1024
ANSWER = 4096  # octets; longer ones are nonsense

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Clamd:
    """``address``: ``host:port``, ``[v6]:port``, or the path of a unix socket."""

    name = "clamav"

    def __init__(self, address: str) -> None:
        self._address = address

    async def scan(self, message: Message) -> Scan:
        """Return its verdict on the message. Raises ScannerError, OSError."""
        reader, writer = await self._connect()
        try:
            answer = await _ask(reader, writer, message.content)
        finally:
            writer.close()
        return judge(answer)

    async def _connect(self) -> Streams:
        if self._address.startswith("/"):
            return await asyncio.open_unix_connection(self._address, limit=ANSWER)
        host, _, port = self._address.rpartition(":")
        return await asyncio.open_connection(host.strip("[]"), int(port), limit=ANSWER)


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content: bytes) -> bytes:
    """Return the answer without its NUL. It may come, and the connection be closed, before all is sent."""
    answer = asyncio.ensure_future(reader.readuntil(b"\0"))
    try:
        with contextlib.suppress(ConnectionError):  # it has stopped reading: its answer says why
            await _send(writer, content, answer)
        return (await answer)[:-1]
    except (asyncio.IncompleteReadError, ConnectionError):
        raise ScannerError("connection closed before an answer") from None
    except asyncio.LimitOverrunError:
        raise ScannerError(f"answer of more than {ANSWER} octets") from None
    finally:
        answer.cancel()


async def _send(writer: asyncio.StreamWriter, content: bytes, answer: asyncio.Future[bytes]) -> None:
    view = memoryview(content)
    writer.write(b"zINSTREAM\0")
    for start in range(0, len(view), CHUNK):
        chunk = view[start : start + CHUNK]
        writer.write(struct.pack(">I", len(chunk)))
        writer.write(chunk)
        await writer.drain()
        await asyncio.sleep(0)  # so that an early answer is read before the next write fails
        if answer.done():
            return
    writer.write(struct.pack(">I", 0))
    await writer.drain()


def judge(answer: bytes) -> Scan:
    """Return what an answer means. Raises ScannerError for anything that is not a verdict."""
    text = printable(answer.decode("ascii", "replace"))
    verdict = text.removeprefix("stream: ")
    if verdict == "OK":
        return Scan(Clamd.name, evidence="OK")
    if verdict.endswith(" FOUND"):
        found = verdict.removesuffix(" FOUND")
        return Scan(Clamd.name, refused=found, evidence=found)
    raise ScannerError(f"unexpected answer: {text or 'empty'}")

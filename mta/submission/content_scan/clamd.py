"""ClamAV's daemon, asked over its socket: one connection and one INSTREAM a message.

The protocol is clamd(8), section COMMANDS: ``zINSTREAM``, chunks with their length before them, an empty chunk; the
answer ends with a NUL: ``stream: OK``, ``stream: NAME FOUND`` or ``... ERROR``.

It must never take anything for clean that is not exactly ``OK``.

*Limits.* clamd reads at most its StreamMaxLength and ends the connection at more, sometimes before its answer can be
read: a failure in any case. There is no TLS, because clamd has none.
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
        """Its word on the message. Raises ScannerError or OSError if there is none."""
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
    """The answer, without its NUL. It may come, and the connection go, before all is sent."""
    answer = asyncio.ensure_future(reader.readuntil(b"\0"))
    try:
        with contextlib.suppress(ConnectionError):  # it has stopped listening: its answer tells why
            await _send(writer, content, answer)
        return (await answer)[:-1]
    except (asyncio.IncompleteReadError, ConnectionError):
        raise ScannerError("the connection was closed before an answer") from None
    except asyncio.LimitOverrunError:
        raise ScannerError(f"an answer of more than {ANSWER} octets") from None
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
        await asyncio.sleep(0)  # so that an early answer is read before the next write finds nobody there
        if answer.done():
            return
    writer.write(struct.pack(">I", 0))
    await writer.drain()


def judge(answer: bytes) -> Scan:
    """What an answer means. Raises ScannerError for anything that is no verdict."""
    text = printable(answer.decode("ascii", "replace"))
    said = text.removeprefix("stream: ")
    if said == "OK":
        return Scan(Clamd.name, evidence="OK")
    if said.endswith(" FOUND"):
        found = said.removesuffix(" FOUND")
        return Scan(Clamd.name, refused=found, evidence=found)
    raise ScannerError(f"it answered: {text or 'nothing'}")

"""The content of messages in the store: written and read in pieces if it is too large for memory.

Invariants: what is read is complete, or ContentMissing is raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from mta.mail.identity import MessageId, format_id
from mta.mail.large_body import LARGE
from mta.mail.message import Message
from mta.store.postgres.database import Connection, Database

PIECE = 8112  # octets of content that fill one heap page: 8160 for the tuple, 24 its header, 24 id, part and length
ROWS = 32  # pieces written or read at a time: a quarter of a megabyte
LONGEST_PAUSE = 0.05  # seconds between two writes
FIRST_ROWS = 64  # pieces read first: they have the whole header block

SLOT = "(select slot from content_ring)"  # for new content

_WRITE = f"""
insert into content (slot, message_id, part, octets)
select {SLOT}, $1, $2 + n, substr($3::bytea, 1 + n * {PIECE}, {PIECE})
from generate_series(0, (octet_length($3::bytea) - 1) / {PIECE}) as n"""  # noqa: S608 - PIECE is our own constant

_READ = """
select m.size, (
    select string_agg(octets, '' order by part) from content
    where message_id = m.id and part < case when m.size > $2 then $3 else 32767 end
) as content
from message m where m.id = $1"""

_READ_ON = """
select string_agg(octets, '' order by part) from content where message_id = $1 and part >= $2 and part < $2 + $3"""


class ContentMissing(LookupError):
    """The content of a queued message is missing or incomplete: it must not be sent."""

    def __init__(self, message_id: MessageId) -> None:
        super().__init__(f"the content of message {format_id(message_id)} is incomplete")


async def write(connection: Connection, message: Message) -> None:
    """Write a large message piece by piece, in the caller's transaction.

    It leaves the database to others half of the time: their statements and commits would wait behind a flood of pages.
    """
    part, rest, clock = 0, b"", asyncio.get_running_loop().time
    async for piece in message.pieces():
        rest += piece
        while len(rest) >= ROWS * PIECE:
            began = clock()
            await connection.execute(_WRITE, message.id, part, rest[: ROWS * PIECE])
            await asyncio.sleep(min(clock() - began, LONGEST_PAUSE))
            part, rest = part + ROWS, rest[ROWS * PIECE :]
    if rest:
        await connection.execute(_WRITE, message.id, part, rest)


async def read(database: Database, message_id: MessageId) -> bytes | StoredContent:
    """Return the message as it goes over the wire. Raises ContentMissing, StoreUnavailable."""
    async with database.session() as connection:
        row = await connection.fetchrow(_READ, message_id, LARGE, FIRST_ROWS)
    if row is None or row["content"] is None:
        raise ContentMissing(message_id)
    size, octets = row["size"], bytes(row["content"])
    if size > LARGE and len(octets) == FIRST_ROWS * PIECE:
        return StoredContent(database, message_id, size, octets)
    if len(octets) != size:
        raise ContentMissing(message_id)
    return octets


class StoredContent:
    """A message that is too large for memory. ``head``: its header block, with the empty line."""

    def __init__(self, database: Database, message_id: MessageId, size: int, first: bytes) -> None:
        self._database, self._message_id, self._first = database, message_id, first
        self.size = size
        self.head = first[: first.index(b"\r\n\r\n") + 4] if b"\r\n\r\n" in first else first

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the octets in order. Raises ContentMissing, StoreUnavailable: what was yielded must not be used."""
        yield self._first
        part, left = FIRST_ROWS, self.size - len(self._first)
        while left:
            async with self._database.session() as connection:
                octets = await connection.fetchval(_READ_ON, self._message_id, part, ROWS)
            if not octets or len(octets) != min(left, ROWS * PIECE):
                raise ContentMissing(self._message_id)
            yield octets
            part, left = part + ROWS, left - len(octets)


async def whole(content: bytes | StoredContent) -> bytes:
    """Return all of it, for a command that has the memory."""
    if isinstance(content, bytes):
        return content
    return b"".join([piece async for piece in content.pieces()])

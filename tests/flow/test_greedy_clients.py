"""Clients that send thousands of commands in one flight: others get their turn, and the loop never stands still."""

from __future__ import annotations

import asyncio

from tests.flow.harness import World, message

FLIGHT = 5000  # commands
GREEDY = 4  # clients

MAIL = b"MAIL FROM:<ann@sender.example>\r\n"
FLIGHTS = (b"NOOP\r\n", b"RSET\r\n", b"VRFY ann\r\n", MAIL + b"RSET\r\n", b"BDAT 0\r\n")


async def flood(port: int, commands: bytes) -> None:
    """Send one flight after the other, until the session is closed for it or the test ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    writer.write(b"EHLO greedy.example\r\n")
    while (await reader.readline())[3:4] == b"-":
        pass
    replies = asyncio.create_task(_drop(reader))
    try:
        while not replies.done():
            writer.write(commands * FLIGHT)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        replies.cancel()
        writer.close()


async def _drop(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


async def test_others_are_served(world: World) -> None:
    await world.start()
    for commands in FLIGHTS:
        floods = [asyncio.create_task(flood(world.service.port, commands)) for _ in range(GREEDY)]
        for number in range(5):
            await world.accept("ben@example.com", content=message(f"{commands[:4].decode()} {number}"))
        for task in floods:
            task.cancel()
        await asyncio.gather(*floods, return_exceptions=True)
    await world.received(5 * len(FLIGHTS))
    assert "event loop stood still" not in world.service.output()

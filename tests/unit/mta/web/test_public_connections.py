"""Clients that hold connections to a port: slowly, in numbers, or both (slowloris)."""

from __future__ import annotations

import asyncio

from mta.web.clients import UNKNOWN
from mta.web.server import HttpConnections, HttpLimits
from tests.unit.mta.web.test_server import opened, talk

REQUEST = b"GET /u/x HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /u/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def closed(reader: asyncio.StreamReader) -> bytes:
    """What still comes, once the server has closed the connection."""
    try:
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionError:
        return b""


async def dribble(writer: asyncio.StreamWriter, octets: bytes) -> None:
    try:
        while True:
            writer.write(octets)
            await writer.drain()
            await asyncio.sleep(0.01)
    except ConnectionError:
        pass


async def test_a_head_that_never_ends_is_cut() -> None:
    async with opened(HttpLimits(head=0.2)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        slow = asyncio.create_task(dribble(writer, b"a"))
        assert await closed(reader) == b""
        await slow
        assert b"hello" in await talk(port, LAST)


async def test_a_client_that_says_nothing_is_cut() -> None:
    async with opened(HttpLimits(head=0.1)) as (_, port):
        reader, _ = await asyncio.open_connection("127.0.0.1", port)
        assert await closed(reader) == b""


async def test_a_second_request_has_its_time_too() -> None:
    async with opened(HttpLimits(idle=0.2)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST + b"GET / HTTP/1.1\r\nX: ")
        slow = asyncio.create_task(dribble(writer, b"a"))
        assert (await closed(reader)).count(b"hello") == 1
        await slow


async def test_one_address_has_its_share_of_the_connections() -> None:
    async with opened(HttpLimits(per_client=3)) as (_, port):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        reader, _ = await asyncio.open_connection("127.0.0.1", port)
        assert await closed(reader) == b""
        others, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
        writer.write(LAST)
        assert b"hello" in await closed(others)
        held[0][1].write(LAST)
        assert b"hello" in await closed(held[0][0])
        assert b"hello" in await talk(port, LAST)


async def test_a_proxy_may_have_all_of_them() -> None:
    async with opened(HttpLimits(per_client=1), proxy_from=["127.0.0.1/32"]) as (_, port):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        for reader, writer in held:
            writer.write(LAST)
            assert b"hello" in await closed(reader)


def test_what_left_is_not_counted() -> None:
    connections = HttpConnections(HttpLimits(connections=2))
    here = UNKNOWN
    assert [connections.enter(here) for _ in range(3)] == [True, True, False]
    connections.leave(here)
    assert connections.enter(here)


async def test_a_head_is_bounded_in_one_piece_and_in_many() -> None:
    async with opened(HttpLimits(head_size=2000)) as (_, port):
        for head in (b"X: " + b"a" * 3000, b"X: a\r\n" * 600, b"X: " + b"a" * 100_000):
            assert b" 400 " in (await talk(port, b"GET / HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n"))[:20]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        slow = asyncio.create_task(dribble(writer, b"a" * 300))
        assert b" 400 " in (await closed(reader))[:20] + b" 400 "
        await slow


async def test_requests_one_behind_the_other_are_answered_in_order() -> None:
    async with opened() as (_, port):
        answer = await talk(port, REQUEST * 5 + LAST)
        assert answer.count(b"hello") == 6

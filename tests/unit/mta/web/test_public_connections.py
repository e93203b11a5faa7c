"""Clients that hold connections to the public port: slowly, in numbers, or both (slowloris)."""

from __future__ import annotations

import asyncio

import pytest

from mta.web import public
from mta.web.public import PublicConnections
from tests.unit.mta.web.test_public import opened, talk

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


async def test_a_head_that_never_ends_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public, "HEAD", 0.2)
    async with opened() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        slow = asyncio.create_task(dribble(writer, b"a"))
        assert await closed(reader) == b""
        await slow
        assert b"hello" in await talk(port, LAST)


async def test_a_client_that_says_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public, "HEAD", 0.1)
    async with opened() as (_, port):
        reader, _ = await asyncio.open_connection("127.0.0.1", port)
        assert await closed(reader) == b""


async def test_a_body_that_never_ends_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public, "BODY", 0.2)
    async with opened() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /u/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        slow = asyncio.create_task(dribble(writer, b"a"))
        assert b"hello" not in await closed(reader)
        await slow


async def test_a_second_request_has_its_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public, "IDLE", 0.2)
    async with opened() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST + b"GET / HTTP/1.1\r\nX: ")
        slow = asyncio.create_task(dribble(writer, b"a"))
        assert (await closed(reader)).count(b"hello") == 1
        await slow


async def test_one_address_has_its_share_of_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public, "MAX_PER_CLIENT", 3)
    async with opened() as (_, port):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        reader, _ = await asyncio.open_connection("127.0.0.1", port)
        assert await closed(reader) == b""
        others, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
        writer.write(LAST)
        assert b"hello" in await closed(others)
        held[0][1].write(LAST)
        assert b"hello" in await closed(held[0][0])
        assert b"hello" in await talk(port, LAST)


async def test_a_proxy_may_have_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public, "MAX_PER_CLIENT", 1)
    async with opened(proxy_from=["127.0.0.1/32"]) as (_, port):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        for reader, writer in held:
            writer.write(LAST)
            assert b"hello" in await closed(reader)


def test_what_left_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public, "MAX_CONNECTIONS", 2)
    connections = PublicConnections()
    here = public.UNKNOWN
    assert [connections.enter(here) for _ in range(3)] == [True, True, False]
    connections.leave(here)
    assert connections.enter(here)

"""Listeners: PROXY headers before plain, STARTTLS and TLS sessions, limits before a session, reloading."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import struct
from ipaddress import ip_address
from typing import Any

import pytest

from config.schema import Limits, Listener
from mta.smtp_server import listener as doors
from mta.smtp_server.listener import ListenError, bind, listen
from mta.smtp_server.proxy import SIGNATURE
from tests.unit.mta.store.make import until
from tests.unit.mta.submission_rig import HELLO, MAIL, MESSAGE, RCPT, certificates, submission

BALANCED = {"tls": "none", "proxy_from": ["127.0.0.0/8"]}
TEXT = b"PROXY TCP4 10.1.2.3 192.0.2.1 5555 587\r\n"
BINARY = (
    SIGNATURE
    + struct.pack("!BBH", 0x21, 0x11, 12 + 7)
    + bytes([10, 1, 2, 3, 192, 0, 2, 1, 0, 1, 2, 75])
    + b"\3\0\4abcd"
)
LOCAL = SIGNATURE + struct.pack("!BBH", 0x20, 0, 0)


@pytest.mark.parametrize("header", [TEXT, BINARY], ids=["text", "binary"])
@pytest.mark.parametrize("tls", ["none", "starttls", "implicit"])
async def test_the_balancer_says_who_the_client_is(header: bytes, tls: str) -> None:
    """Before TLS and through STARTTLS (where aiosmtpd forgets it), and not one octet of TLS is lost to the header."""
    _, trust = certificates()
    async with submission(listeners=[{**BALANCED, "tls": tls}], networks=["10.1.0.0/16"]) as rig:
        client = await rig.connect(first=header, tls=trust if tls == "implicit" else None)
        assert (await client.reply())[:3] == "220"
        await client.ask(HELLO)
        if tls == "starttls":
            await client.ask("STARTTLS")
            await client.start_tls(trust)
            await client.ask(HELLO)
        assert await client.codes(MAIL + RCPT + b"DATA\r\n", 3) == ["250", "250", "354"]
        await client.ask(MESSAGE + b".\r\n")
        known = rig.taken[0].client
        assert known.address == ip_address("10.1.2.3")
        assert (known.tls is None) == (tls == "none")


async def test_a_header_in_single_octets() -> None:
    async with submission(listeners=[BALANCED], networks=["10.1.0.0/16"]) as rig:
        for header in (TEXT, BINARY):
            client = await rig.connect()
            for octet in header:
                client.send(bytes([octet]))
                await asyncio.sleep(0)
            assert (await client.reply())[:3] == "220"
            await client.ask(HELLO)
            assert (await client.ask(MAIL))[:3] == "250"


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"])
async def test_a_balancer_may_speak_for_itself(header: bytes) -> None:
    async with submission(listeners=[BALANCED]) as rig:
        client = await rig.connect(first=header)
        assert (await client.reply())[:3] == "220"
        await client.ask(HELLO)
        assert (await client.ask(MAIL))[:3] == "250"  # its own network, 127.0.0.0/8


@pytest.mark.parametrize("nonsense", [HELLO, TEXT[:-2] + b" x\r\n", b"PROXY " + b"x" * 200, SIGNATURE + b"\x31" * 5])
async def test_from_a_balancer_nothing_else_is_believed(nonsense: bytes) -> None:
    async with submission(listeners=[BALANCED]) as rig:
        client = await rig.connect(first=nonsense)
        assert await client.rest() == ""


async def test_a_header_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "HEADER_TIMEOUT", 0.03)
    async with submission(listeners=[BALANCED]) as rig:
        client = await rig.connect(first=TEXT[:20])
        assert await client.rest() == ""


async def test_other_peers_of_a_proxy_port_are_the_clients_themselves() -> None:
    async with submission(listeners=[{"tls": "none", "proxy_from": ["10.9.9.9/32"]}]) as rig:
        client = await rig.greeted()
        assert await client.ask(TEXT) == "500 5.5.2 Command not recognized"
        await client.ask(HELLO)
        assert (await client.ask(MAIL))[:3] == "250"


async def test_connections_are_counted_before_tls() -> None:
    async with submission(listeners=[{"tls": "implicit"}], limits={"connections_per_address": 2}) as rig:
        _, trust = certificates()
        first, second = await rig.greeted(tls=trust), await rig.connect()  # the second one never begins TLS
        third = await rig.connect()
        assert await third.rest() == ""
        assert rig.listeners._context.connections.total == 2
        second.close()
        await first.ask("QUIT")
        await first.rest()
        await rig.greeted(tls=trust)


async def test_connections_through_a_balancer_are_counted_by_client() -> None:
    async with submission(listeners=[BALANCED], limits={"connections_per_address": 1}) as rig:
        first = await rig.connect(first=TEXT)
        assert (await first.reply())[:3] == "220"
        second = await rig.connect(first=TEXT)
        assert await second.rest() == "421 4.7.0 Too many connections from your address, try again later\r\n"
        other = await rig.connect(first=TEXT.replace(b"10.1.2.3", b"10.1.2.4"))
        assert (await other.reply())[:3] == "220"


async def test_a_failed_handshake_is_counted_no_longer() -> None:
    async with submission(listeners=[{"tls": "implicit"}]) as rig:
        client = await rig.connect(first=b"EHLO plain.test\r\n" * 20)
        await client.rest()
        while rig.listeners._introductions:
            await asyncio.wait(rig.listeners._introductions)
        assert rig.listeners._context.connections.total == 0


async def test_reloaded_settings_hold_for_open_sessions_and_new_ones() -> None:
    _, trust = certificates()
    async with submission(listeners=[{"tls": "starttls"}]) as rig:
        client = await rig.said_hello()
        changed = Listener(port=0, tls="starttls", proxy_from=["127.0.0.0/8"])
        await rig.listeners.reload([changed], Limits(message_size=1000, header_size=500), certificates()[0])
        assert (await client.ask("MAIL FROM:<a@shop.example> SIZE=1001"))[:9] == "552 5.3.4"
        assert "250-SIZE 1000" in await client.ask(HELLO)
        await client.ask("STARTTLS")
        await client.start_tls(trust)
        assert (await client.ask("NOOP"))[:3] == "250"
        proxied = await rig.connect(first=TEXT)
        assert (await proxied.reply())[:3] == "220"


def test_of_two_that_start_at_once_one_gets_the_port() -> None:
    with bind(Listener(port=0)) as first:
        port = Listener(port=first.getsockname()[1])
        with bind(port) as second:
            assert first.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            listen(port, first)
            with pytest.raises(ListenError, match="Address already in use; `ss -ltnp"):
                listen(port, second)


@pytest.mark.parametrize("tls", ["none", "implicit"])
async def test_accepting_goes_on_when_there_were_no_descriptors(
    tls: str, monkeypatch: pytest.MonkeyPatch, logs: list[Any]
) -> None:
    """uvloop closes what it cannot accept; where we accept ourselves, the client waits in the backlog."""
    monkeypatch.setattr(doors, "ACCEPT_PAUSE", 0.01)
    async with submission(listeners=[{"tls": tls}]) as rig:
        loop, soft = asyncio.get_running_loop(), resource.getrlimit(resource.RLIMIT_NOFILE)
        client = socket.socket()
        client.setblocking(False)
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, soft[1]))
        try:
            await loop.sock_connect(client, ("127.0.0.1", rig.ports[0]))
            if tls == "none":
                assert await loop.sock_recv(client, 100) == b""
            else:
                await until(lambda: any(line["event"] == "accept failed" for line in logs))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, soft)
            client.close()
        talker = await rig.connect(tls=certificates()[1] if tls == "implicit" else None)
        assert (await talker.reply())[:3] == "220"


def test_a_port_in_use_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port}: Address already in use; `ss -ltnp"):
            bind(Listener(port=port))


def test_a_port_is_not_shared_with_another_service_of_the_same_user() -> None:
    with bind(Listener(port=0)) as theirs:
        theirs.listen()
        with pytest.raises(ListenError, match="already in use"):
            bind(Listener(port=theirs.getsockname()[1]))

"""The public port: logging, limits, clients behind proxies, HTTPS and its certificate."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import structlog
import trustme
from aiohttp import ClientSession, TCPConnector, web

from bench.service import free_port
from config.schema import PublicPagesSettings
from mta.smtp_server.tls import CertificateError
from mta.web import public
from mta.web.public import PublicServer, RequestRates, client_of, server_context

SECRET = "/u/c2VjcmV0dG9rZW4"


async def hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


@asynccontextmanager
async def opened(**settings: object) -> AsyncIterator[tuple[PublicServer, int]]:
    app = web.Application()
    app.router.add_get("/{rest:.*}", hello)
    server, port = PublicServer(app), free_port()
    await server.open(PublicPagesSettings.model_validate({"port": port, **settings}))
    try:
        yield server, port
    finally:
        await server.close()


async def talk(port: int, request: bytes) -> bytes:
    """The whole answer, up to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


async def test_no_request_is_ever_logged(caplog: pytest.LogCaptureFixture) -> None:
    good = f"GET {SECRET} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    bad = [f"GET {SECRET} HTTP/9.\r\n\r\n", f"BAD\0 {SECRET} HTTP/1.1\r\n\r\n"]
    with caplog.at_level(logging.DEBUG), structlog.testing.capture_logs() as logged:
        async with opened() as (_, port):
            assert b"hello" in await talk(port, good)
            for request in bad:
                assert b" 400 " in await talk(port, request.encode())
    assert logged == []
    assert SECRET not in caplog.text


async def test_too_many_connections_are_closed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public, "MAX_CONNECTIONS", 1)
    async with opened() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in await reader.readline()
        assert await talk(port, b"") == b""
        writer.close()


async def test_a_connection_that_says_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public, "LIFETIME", 0.05)
    monkeypatch.setattr(public, "ABORT_AFTER", 0.05)
    async with opened() as (_, port):
        async with asyncio.timeout(10):
            assert await talk(port, b"") == b""
            assert await talk(port, b"GET / HTTP/1.1\r\nHost:") == b""


async def test_https_with_a_certificate_that_is_renewed(tmp_path: Path) -> None:
    first, second = trustme.CA(), trustme.CA()
    settings = write(tmp_path, first)
    async with opened(**settings) as (server, port):
        assert await fetch(port, first) == "hello"
        server.configure(PublicPagesSettings.model_validate({"port": port, **write(tmp_path, second)}))
        assert await fetch(port, second) == "hello"
        settings["key"].write_bytes(first.issue_cert("127.0.0.1").private_key_pem.bytes())
        with pytest.raises(CertificateError):
            server.configure(PublicPagesSettings.model_validate({"port": port, **settings}))
        assert await fetch(port, second) == "hello", "what does not fit together is not taken over"


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    settings = write(tmp_path, trustme.CA())
    (tmp_path / "key.pem").write_text("nonsense")
    with pytest.raises(CertificateError, match=r"web\.public: .*chain\.pem and .*key\.pem cannot be used"):
        server_context(PublicPagesSettings.model_validate(settings))
    assert server_context(PublicPagesSettings()) is None


def write(folder: Path, authority: trustme.CA) -> dict[str, Path]:
    """The certificate and key of 127.0.0.1, always in the same files."""
    issued = authority.issue_cert("127.0.0.1")
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(issued.cert_chain_pems[0].bytes())
    key.write_bytes(issued.private_key_pem.bytes())
    return {"certificate": chain, "key": key}


async def fetch(port: int, authority: trustme.CA) -> str:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    connector = TCPConnector(ssl=context)
    async with ClientSession(connector=connector) as client, client.get(f"https://127.0.0.1:{port}/") as answer:
        return await answer.text()


# --- clients and their rates

PROXIES = [ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7, nonsense"], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["2001:db8::7"], "2001:db8::7"),
        ("2001:db8:1::1", ["198.51.100.7"], "198.51.100.7"),
        ("fe80::1%eth0", [], "fe80::1"),
        ("", [], "0.0.0.0"),
        ("10.0.0.1", ["10.0.0.9"], "10.0.0.9"),
    ],
)
def test_proxies_are_believed_from_the_right(peer: str, forwarded: list[str], client: str) -> None:
    assert client_of(peer, forwarded, PROXIES) == ip_address(client)


def test_a_burst_and_then_the_rate() -> None:
    now = 100.0
    rates = RequestRates(2, 3, lambda: now)
    one, other = ip_address("192.0.2.1"), ip_address("192.0.2.2")
    assert [rates.take(one) for _ in range(4)] == [0, 0, 0, 0.5]
    assert rates.take(one) == 0.5, "asking in vain does not make the wait longer"
    assert rates.take(other) == 0
    now = 100.5
    assert [rates.take(one), rates.take(one)] == [0, 0.5]
    now = 200.0
    assert [rates.take(one) for _ in range(4)] == [0, 0, 0, 0.5]


def test_a_subscriber_with_many_addresses_is_one_client() -> None:
    rates = RequestRates(1, 1, lambda: 0.0)
    assert rates.take(ip_address("2001:db8::1")) == 0
    assert rates.take(ip_address("2001:db8::ffff:2")) > 0
    assert rates.take(ip_address("2001:db8:0:1::1")) == 0


def test_a_reload_changes_rate_and_burst() -> None:
    rates = RequestRates(1, 1, lambda: 0.0)
    rates.configure(10, 3)
    client = ip_address("192.0.2.1")
    assert [rates.take(client) for _ in range(4)] == [0, 0, 0, pytest.approx(0.1)]


def test_only_so_many_clients_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public, "MAX_CLIENTS", 2)
    rates = RequestRates(1, 1, lambda: 0.0)
    first = ip_address("192.0.2.1")
    rates.take(first)
    for n in range(2, 5):
        rates.take(ip_address(f"192.0.2.{n}"))
    assert rates.take(first) == 0, "the one who asked longest ago was forgotten"

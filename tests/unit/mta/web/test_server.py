"""A port: what is logged, limits, HTTPS and its certificate."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
import trustme
from aiohttp import ClientSession, TCPConnector
from starlette.responses import PlainTextResponse

from bench.service import free_port
from config.schema import PublicPagesSettings
from mta.smtp_server.tls import CertificateError
from mta.web.asgi import Receive, Scope, Send
from mta.web.https import https_context
from mta.web.server import HttpLimits, HttpServer

SECRET = "/u/c2VjcmV0dG9rZW4"


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("hello")(scope, receive, send)


@asynccontextmanager
async def opened(limits: HttpLimits = HttpLimits(), **settings: object) -> AsyncIterator[tuple[HttpServer, int]]:  # noqa: B008
    server, port = HttpServer(hello, "web.public", limits), free_port()
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


async def test_too_many_connections_are_closed_at_once() -> None:
    async with opened(HttpLimits(connections=1)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in await reader.readline()
        assert await talk(port, b"") == b""
        writer.close()


async def test_a_connection_that_says_nothing_ends() -> None:
    async with opened(HttpLimits(lifetime=0.05, abort_after=0.05)) as (_, port):
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
        https_context(PublicPagesSettings.model_validate(settings), "web.public")
    assert https_context(PublicPagesSettings(), "web.public") is None


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

"""Scanners against scripted servers: what they are told, what their answers mean, and every way to fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import pytest

from config.schema import ContentScanSettings, ScannerSettings
from mta.mail.address import Address
from mta.mail.identity import format_id, new_message_id
from mta.mail.message import Envelope, Message, Origin, Recipient
from mta.submission import content_scan
from policy.base import Scan

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
CONTENT = b"Subject: hello\r\n\r\n" + b"some text\r\n" * 60_000  # more than two chunks
CLEAN = b'{"is_skipped":false,"score":1.5,"required_score":15.0,"action":"no action","symbols":{"A":{"score":1.5}}}'


def message(content: bytes = CONTENT, *, sender: str | None = "shop@shop.example", recipients: int = 2) -> Message:
    to = tuple(Recipient(Address(f"r{n}", "example.net")) for n in range(recipients))
    envelope = Envelope(Address.parse(sender) if sender else None, to)
    origin = Origin(1, "shop", "shop-1", ip_address("10.1.2.3"), "app.shop.example", "s1", "ESMTPSA", datetime.now(UTC))
    return Message.of(new_message_id(), envelope, origin, content)


@asynccontextmanager
async def server(talk: Talk) -> AsyncIterator[str]:
    """``host:port`` of a server that does ``talk`` with each client."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    running = await asyncio.start_server(one, "127.0.0.1", 0)
    async with running:
        yield "{}:{}".format(*running.sockets[0].getsockname())


def clamav(address: str, **settings: Any) -> content_scan.Scanners:
    return content_scan.Scanners(ContentScanSettings(clamav=ScannerSettings(address=address, **settings)))


def over_http(address: str, **settings: Any) -> content_scan.Scanners:
    return content_scan.Scanners(ContentScanSettings(rspamd=ScannerSettings(address=f"http://{address}", **settings)))


async def streamed(reader: asyncio.StreamReader) -> bytes:
    """What a client sends with zINSTREAM."""
    assert await reader.readexactly(10) == b"zINSTREAM\0"
    content = b""
    while size := int.from_bytes(await reader.readexactly(4)):
        content += await reader.readexactly(size)
    return content


def http(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


async def request(reader: asyncio.StreamReader) -> tuple[list[str], bytes]:
    """Lines of a request's head, and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    (length,) = (int(line.partition(":")[2]) for line in head if line.lower().startswith("content-length:"))
    return head, await reader.readexactly(length)


async def test_no_scanner_is_asked_by_default() -> None:
    assert await content_scan.Scanners(ContentScanSettings()).scan(message()) == ()


async def test_clamd_gets_the_whole_message(tmp_path: Path) -> None:
    got = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await streamed(reader))
        writer.write(b"stream: OK\0")

    async with server(talk) as address:
        assert await clamav(address).scan(message()) == (Scan("clamav", evidence="OK"),)
    async with await asyncio.start_unix_server(talk, str(tmp_path / "clamd")):
        assert await clamav(str(tmp_path / "clamd")).scan(message()) == (Scan("clamav", evidence="OK"),)
    assert got == [CONTENT, CONTENT]


async def test_rspamd_gets_message_and_envelope() -> None:
    got = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await request(reader))
        writer.write(http(CLEAN))

    asked = message(recipients=2)
    async with server(talk) as address:
        found = await over_http(address).scan(asked)
    assert found == (Scan("rspamd", evidence="no action, 1.5 of 15: A 1.5", labels=frozenset({"A"})),)
    ((head, body),) = got
    assert body == CONTENT
    assert head[0] == "POST /checkv2 HTTP/1.1"
    assert {
        "From: shop@shop.example",
        "Rcpt: r0@example.net",
        "Rcpt: r1@example.net",
        "IP: 10.1.2.3",
        "Helo: app.shop.example",
        "User: shop-1",
        f"Queue-Id: {format_id(asked.id)}",
    } <= set(head)


def test_rspamd_is_told_a_null_sender_and_a_hundred_recipients() -> None:
    headers = content_scan.envelope_headers(message(sender=None, recipients=150))
    assert ("From", "<>") in headers
    assert [name for name, _ in headers].count("Rcpt") == 100


async def test_both_are_asked_at_once() -> None:
    both = asyncio.Barrier(2)

    async def http_side(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        await both.wait()
        writer.write(http(CLEAN))

    async def clamd_side(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await streamed(reader)
        await both.wait()
        writer.write(b"stream: Worm FOUND\0")

    async with server(http_side) as one, server(clamd_side) as other:
        settings = ContentScanSettings(
            rspamd=ScannerSettings(address=f"http://{one}"), clamav=ScannerSettings(address=other)
        )
        found = await content_scan.Scanners(settings).scan(message())
    assert [(scan.scanner, scan.refused) for scan in found] == [("rspamd", None), ("clamav", "Worm")]


@pytest.mark.parametrize(
    ("action", "refused", "later"),
    [
        ("reject", "reason to reject it: Spam (reject, 20 of 15: B -9, A 5)", None),
        ("discard", "reason to discard it: Spam (discard, 20 of 15: B -9, A 5)", None),
        ("quarantine", "reason to quarantine it: Spam (quarantine, 20 of 15: B -9, A 5)", None),
        ("soft reject", None, "Spam"),
        ("greylist", None, None),
        ("add header", None, None),
        ("rewrite subject", None, None),
        ("no action", None, None),
    ],
)
def test_actions_of_rspamd(action: str, refused: str | None, later: str | None) -> None:
    symbols = {"A": {"score": 5}, "B": {"score": -9}}
    answer = {"action": action, "score": 20, "required_score": 15, "symbols": symbols}
    body = msgspec.json.encode({**answer, "messages": {"smtp_message": "Spam"}})
    evidence = f"{action}, 20 of 15: B -9, A 5"
    assert content_scan.read_rspamd_answer(200, body) == Scan(
        "rspamd", refused, later, None, evidence, frozenset({"A", "B"})
    )


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (200, b"", "answer not understood"),
        (200, b"[]", "answer not understood"),
        (200, b"{}", "answer not understood"),
        (200, b'{"action":7}', "answer not understood"),
        (200, b'{"action":"no action"', "answer not understood"),
        (200, b'{"action":"no action","score":"high"}', "answer not understood"),
        (200, b'{"action":"NO ACTION"}', "unknown action: NO ACTION"),
        (200, b'{"action":"a\\r\\nb"}', "unknown action: a??b"),
        (500, b"oh\r\n", "HTTP 500: oh??"),
        (404, CLEAN, "HTTP 404"),
    ],
)
def test_no_verdict_of_rspamd(status: int, body: bytes, why: str) -> None:
    with pytest.raises(content_scan.ScannerError, match=why.replace("?", r"\?")):
        content_scan.read_rspamd_answer(status, body)


def test_scores_may_be_missing() -> None:
    assert (
        content_scan.read_rspamd_answer(200, b'{"action":"no action","required_score":null}').evidence
        == "no action, 0 of 0"
    )


@pytest.mark.parametrize(
    "answer",
    [b"", b"OK FOR NOW", b"stream: ok", b"stream: OK ERROR", b"INSTREAM size limit exceeded. ERROR", b"\xff\r\n"],
)
def test_no_verdict_of_clamd(answer: bytes) -> None:
    with pytest.raises(content_scan.ScannerError, match="unexpected answer: "):
        content_scan.read_clamd_answer(answer)


def test_a_finding_of_clamd() -> None:
    assert content_scan.read_clamd_answer(b"stream: Win.Test.EICAR_HDB-1 FOUND").refused == "Win.Test.EICAR_HDB-1"


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pass


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while not writer.transport.is_closing():
        writer.write(b"x" * 65536)
        await writer.drain()


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.write(b"\x00\x01 what?\r\n\r\n\0")


@pytest.mark.parametrize("talk", [silent, gone, endless, garbage])
@pytest.mark.parametrize("make", [clamav, over_http])
async def test_failures_put_off_or_pass_as_set(talk: Talk, make: Callable[..., content_scan.Scanners]) -> None:
    async with server(talk) as address:
        (closed,) = await make(address, timeout="200ms").scan(message())
        (opened,) = await make(address, timeout="200ms", on_failure="open").scan(message())
    assert closed.failed
    assert closed.refused is closed.later is None
    assert opened.refused is opened.later is opened.failed is None
    assert opened.evidence.startswith("not scanned: ")


@pytest.mark.parametrize("make", [clamav, over_http])
async def test_a_scanner_that_does_not_listen(make: Callable[..., content_scan.Scanners]) -> None:
    async with server(gone) as address:
        pass
    (found,) = await make(address).scan(message())
    assert "onnect" in (found.failed or "")  # each loop has its own words


async def test_no_socket(tmp_path: Path) -> None:
    (found,) = await clamav(str(tmp_path / "clamd")).scan(message())
    assert "No such file" in (found.failed or "")


async def test_an_internal_error_is_a_failure(monkeypatch: pytest.MonkeyPatch, internal_errors_expected: None) -> None:
    def broken(answer: bytes) -> Scan:
        raise KeyError("secret")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await streamed(reader)
        writer.write(b"stream: OK\0")

    monkeypatch.setattr(content_scan, "read_clamd_answer", broken)
    async with server(talk) as address:
        assert await clamav(address).scan(message()) == (Scan("clamav", failed="KeyError"),)


async def test_the_answer_of_a_scanner_that_stopped_reading_counts() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(10)
        writer.write(b"INSTREAM size limit exceeded. ERROR\0")
        await writer.drain()
        await reader.read()  # a reset would take the answer with it

    async with server(talk) as address:
        (found,) = await clamav(address).scan(message())
    assert found.failed == "unexpected answer: INSTREAM size limit exceeded. ERROR"


async def test_a_large_message_is_not_sent() -> None:
    (closed,) = await clamav("127.0.0.1:9", max_size="1kB").scan(message())
    (opened,) = await clamav("127.0.0.1:9", max_size="1kB", on_failure="open").scan(message())
    assert closed.failed == f"{len(CONTENT)} octets are more than max_size, 1000"
    assert opened.failed is None


async def test_concurrent_scans_are_bounded() -> None:
    open_now = most = 0
    full, go = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        if open_now == content_scan.CONCURRENT:
            full.set()
        await streamed(reader)
        await go.wait()
        open_now -= 1
        writer.write(b"stream: OK\0")

    async with server(talk) as address:
        scanners = clamav(address)
        asked = asyncio.gather(
            *(scanners.scan(message(b"Subject: s\r\n\r\n")) for _ in range(3 * content_scan.CONCURRENT))
        )
        await full.wait()
        go.set()
        assert {found.evidence for (found,) in await asked} == {"OK"}
    assert most == content_scan.CONCURRENT

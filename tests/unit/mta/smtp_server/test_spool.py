"""A large message goes to disk in pieces and comes back as its author wrote it; nothing of it is left behind."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from config.schema import Limits
from mta.mail.large_body import LARGE
from mta.smtp_server import body, spool
from mta.smtp_server.body import Collected, DataReader
from mta.smtp_server.limits import MemoryBudget
from mta.smtp_server.message_syntax import message_fault
from mta.smtp_server.spool import Spool, SpooledMessage
from tests.unit.mta.submission_rig import BEGIN, MAIL, RCPT, Rig, submission

HEADER = b"From: news@shop.example\r\nSubject: large\r\n\r\n"
LINE = b"x" * 70 + b"\r\n"


@asynccontextmanager
async def with_spool(directory: Path, most: int = 1 << 30, **limits: object) -> AsyncIterator[Rig]:
    async with submission(limits=limits) as rig:
        rig.listeners._context.spool = Spool(directory, most)
        yield rig


def content(size: int, seed: int = 1) -> bytes:
    """A message with dots and hyphens where they matter."""
    make = random.Random(seed)
    lines = [make.choice([LINE, b".\r\n", b"..x\r\n", b"--b\r\n", b"\r\n", LINE, LINE]) for _ in range(size // 40)]
    return HEADER + b"".join(lines)


def stuffed(message: bytes) -> bytes:
    return message.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def room(rig: Rig) -> tuple[int, int]:
    """Octets in use in memory and on disk."""
    context = rig.listeners._context
    assert context.spool
    return context.message_budget.used, context.spool.used


async def test_what_data_brings_is_what_the_handler_gets(tmp_path: Path) -> None:
    sent = content(3 * LARGE)
    async with with_spool(tmp_path) as rig:
        client = await rig.in_transaction()
        await client.ask("DATA")
        assert await client.ask(stuffed(sent)) == "250 2.0.0 OK: queued"
        assert rig.taken[0].content == sent
        assert room(rig) == (0, 0)
        assert os.listdir(tmp_path) == []


async def test_what_bdat_brings_is_what_the_handler_gets(tmp_path: Path) -> None:
    sent = content(3 * LARGE) + b"no line end"
    async with with_spool(tmp_path) as rig:
        client = await rig.in_transaction()
        for start in range(0, len(sent), 777_777):
            chunk = sent[start : start + 777_777]
            assert (await client.ask(b"BDAT %d\r\n" % len(chunk) + chunk))[:3] == "250"
        assert await client.ask("BDAT 0 LAST") == "250 2.0.0 OK: queued"
        assert rig.taken[0].content == sent + b"\r\n"
        assert room(rig) == (0, 0)


async def test_a_message_in_any_pieces_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cut comes at every place within a line sooner or later: small pieces, and odd packets."""
    monkeypatch.setattr(body, "LARGE", 80)
    monkeypatch.setattr(body, "PIECE", 40)
    monkeypatch.setattr(body, "SPILL", 32)
    place = Spool(tmp_path, 1 << 20)
    for seed in range(30):
        make = random.Random(seed)
        sent = HEADER + content(2000, seed)[len(HEADER) :].replace(LINE, b"x.y\r\n")
        collected = Collected(Limits(), MemoryBudget(1 << 20), place)
        reader, buffer, wire = DataReader(collected), bytearray(), stuffed(sent)
        while not reader.has_all:
            if reader.take(buffer) and not reader.has_all:
                await collected.spill()
                assert collected.refusal is None
            elif not reader.has_all:
                step = make.randint(1, 9)
                buffer += wire[:step]
                wire = wire[step:]
        large = await collected.finish()
        assert large, (seed, collected.refusal)
        assert await large.whole() == sent
        assert large.header + b"".join([piece async for piece in large.pieces()]) == sent
        assert large.size == len(sent) - len(large.header)
        collected.drop()
    assert place.used == 0


@pytest.mark.parametrize("fault", [b"bare\nLF\r\n", b"x" * 999 + b"\r\n", b"NUL \0\r\n"])
@pytest.mark.parametrize("place", [LARGE // 2, 2 * LARGE])
async def test_faults_are_found_wherever_they_are(tmp_path: Path, fault: bytes, place: int) -> None:
    sent = content(3 * LARGE)
    cut = sent.index(b"\r\n", place) + 2
    sent = sent[:cut] + fault + sent[cut:]
    expected = message_fault(sent, Limits())
    assert expected
    async with with_spool(tmp_path) as rig:
        client = await rig.in_transaction()
        await client.ask("DATA")
        assert (await client.ask(stuffed(sent))).startswith(f"{expected} [session ")
        assert room(rig) == (0, 0)
        assert await client.codes(MAIL + RCPT, 2) == ["250", "250"]


async def test_the_end_without_a_line_end_is_checked_too(tmp_path: Path) -> None:
    async with with_spool(tmp_path) as rig:
        client = await rig.in_transaction()
        sent = content(2 * LARGE) + b"\r"
        assert (await client.ask(b"BDAT %d LAST\r\n" % len(sent) + sent)).startswith(
            "554 5.6.0 Message contains bare <CR>"
        )
        assert room(rig) == (0, 0)


async def test_parts_are_counted_over_all_pieces(tmp_path: Path) -> None:
    part = b"--b\r\nContent-Type: text/plain\r\n\r\n" + LINE * 20_000
    sent = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + part * 4
    async with with_spool(tmp_path, mime_parts=3) as rig:
        client = await rig.in_transaction()
        await client.ask("DATA")
        reply = await client.ask(sent + b".\r\n")
        assert reply.startswith("554 5.6.0 Too many MIME parts: more than 3 [session ")


async def test_beyond_the_room_on_disk_the_client_is_to_try_again(tmp_path: Path) -> None:
    async with with_spool(tmp_path, most=2 * LARGE) as rig:
        client = await rig.said_hello()
        assert (await client.ask(f"MAIL FROM:<news@shop.example> SIZE={3 * LARGE}"))[:9] == "452 4.3.1"
        assert await client.codes(MAIL + RCPT, 2) == ["250", "250"]
        await client.ask("DATA")
        assert (await client.ask(stuffed(content(3 * LARGE))))[:9] == "452 4.3.1"
        assert room(rig) == (0, 0)


async def test_a_full_disk_is_answered_452(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: list[object]) -> None:
    def full(self: SpooledMessage, octets: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spool.SpooledMessage, "_write", full)
    async with with_spool(tmp_path) as rig:
        client = await rig.in_transaction()
        await client.ask("DATA")
        assert (await client.ask(stuffed(content(3 * LARGE))))[:9] == "452 4.3.1"
        assert room(rig) == (0, 0)
    assert [line["event"] for line in logs if line["log_level"] == "error"] == [  # type: ignore[index]
        "large message could not be written to disk"
    ]
    logs.clear()


@pytest.mark.parametrize("end", [b"RSET\r\n", b"QUIT\r\n", b""])
async def test_nothing_is_left_however_a_transaction_ends(tmp_path: Path, end: bytes) -> None:
    async with with_spool(tmp_path) as rig:
        client = await rig.in_transaction()
        sent = content(3 * LARGE)
        assert (await client.ask(b"BDAT %d\r\n" % len(sent) + sent))[:3] == "250"
        assert room(rig)[1] > LARGE
        client.send(end)
        if end == b"RSET\r\n":
            assert (await client.reply())[:3] == "250"
        else:
            client.close()
            await rig.all_left()
        assert room(rig) == (0, 0)


async def test_a_client_that_waits_its_turn_is_not_timed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_spool(tmp_path, data_timeout="50ms") as rig:
        place = rig.listeners._context.spool
        assert place
        client = await rig.in_transaction()
        async with place.turn:
            client.send(b"DATA\r\n" + stuffed(content(3 * LARGE)))
            assert (await client.reply())[:3] == "354"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await client.reply()
        assert await client.reply() == "250 2.0.0 OK: queued"


async def test_small_messages_never_touch_the_disk(tmp_path: Path) -> None:
    async with with_spool(tmp_path / "missing") as rig:
        client = await rig.greeted()
        client.send(BEGIN + b"DATA\r\n")
        assert [reply[:3] for reply in await client.replies(4)] == ["250", "250", "250", "354"]
        assert (await client.ask(stuffed(content(LARGE // 2))))[:3] == "250"


@pytest.mark.parametrize("seed", range(5))
async def test_bare_line_feeds_become_line_ends_if_the_operator_says_so(tmp_path: Path, seed: int) -> None:
    sent = content(3 * LARGE, seed)
    wire = stuffed(sent)[: -len(b".\r\n")].replace(b"\r\n", b"\n") + b"\r\n.\r\n"
    async with with_spool(tmp_path, line_endings="normalise") as rig:
        client = await rig.in_transaction()
        await client.ask("DATA")
        assert await client.ask(wire) == "250 2.0.0 OK: queued"
        assert rig.taken[0].content == sent + b"\r\n"

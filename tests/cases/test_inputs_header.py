"""What leaves is what may leave: the header of a submitted message, as the queue has it."""

from __future__ import annotations

import email
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from config.schema import PolicySettings, SubmissionSettings
from mta.mail.reply import Reply
from mta.store.journal.record_details import unpack
from mta.store.store import Store
from policy.accounts.account import Account
from tests.unit.mta.submission.test_accept import make

INPUTS = Path(__file__).with_name("inputs")
SHOP = Account(1, "shop", frozenset({"shop.example", "xn--bcher-kva.example"}))


def given(name: str) -> bytes:
    (path,) = INPUTS.glob(f"{name}-*")
    return path.read_bytes()


def message(*fields: str | bytes) -> bytes:
    lines = [each if isinstance(each, bytes) else each.encode() for each in fields]
    return b"\r\n".join(
        [b"Date: Sun, 29 Nov 2026 09:30:00 +0000", b"Message-ID: <a@shop.example>", *lines, b"", b"x\r\n"]
    )


FROM = "From: Corner Shop <hello@shop.example>"


@dataclass
class Left:
    """What became of a submission. ``raw``: all of it, "" if it was refused; ``changes``: what `mta explain` tells."""

    reply: Reply
    raw: bytes = b""
    changes: str = ""

    @property
    def parsed(self) -> EmailMessage:
        parsed = email.message_from_bytes(self.raw, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed


async def submit(store: Store, content: bytes, **sections: Any) -> Left:
    rig = make(store, policy=PolicySettings(default_profile="transactional"), **sections)
    rig.client.account = SHOP
    reply = await rig.accept(content=content, sender="hello@shop.example")
    if reply.code != 250:
        return Left(reply)
    async with store._database.session() as connection:
        findings = unpack(await connection.fetchval("select details from message"))["findings"]
    changes = [evidence for name, _, evidence, *_ in findings if name == "header_fields"]
    return Left(reply, await rig.stored(), "; ".join(changes))


async def test_no_blind_copy_leaves(store: Store) -> None:
    left = await submit(store, given("07"))
    assert left.reply.code == 250
    assert b"bcc:" not in left.raw.lower()
    assert b"other.example" not in left.raw
    assert left.changes == "removed Bcc, Resent-Bcc"


async def test_fields_of_the_last_system_are_removed(store: Store) -> None:
    left = await submit(store, given("08"))
    assert left.reply.code == 250
    assert left.changes == "removed Return-Path, Delivered-To, Content-Length"
    for name in ("Return-Path", "Delivered-To", "Content-Length"):
        assert name not in left.parsed


async def test_comments_and_blanks_in_from_are_legal(store: Store) -> None:
    left = await submit(store, given("19"))
    assert left.reply.code == 250
    assert b"From: Corner Shop (accounts) <hello@shop.example>\r\n" in left.raw


async def test_blanks_in_the_brackets_are_written_anew(store: Store) -> None:
    left = await submit(store, given("20"))
    assert left.reply.code == 250
    assert b"From: Corner Shop <hello@shop.example>\r\n" in left.raw
    assert left.changes == "written anew From"


async def test_raw_utf8_is_encoded(store: Store) -> None:
    left = await submit(store, given("31"))
    assert left.reply.code == 250
    assert left.raw.partition(b"\r\n\r\n")[0].isascii()
    assert left.parsed["from"] == "Läden <hello@shop.example>"
    assert left.parsed["subject"] == "Größe 42"
    assert left.changes == "written anew From, Subject"


async def test_what_is_not_utf8_is_refused_by_its_field(store: Store) -> None:
    left = await submit(store, message(FROM, b"Subject: Gr\xf6\xdfe"))
    assert (left.reply.code, left.reply.status) == (550, "5.6.0")
    assert left.reply.text.startswith("headers: field Subject, line 4: octet 0xF6 is not UTF-8; encode the field")


@pytest.mark.parametrize("name", ["34", "36"])
async def test_leap_seconds_and_comments_are_legal(store: Store, name: str) -> None:
    assert (await submit(store, given(name))).reply.code == 250


async def test_a_zone_with_a_colon_is_no_zone(store: Store) -> None:
    reply = (await submit(store, given("35"))).reply
    assert (reply.code, reply.status) == (550, "5.6.0")
    assert 'a zone such as `+0200` is expected at position 27 instead of "+02:00"' in reply.text


@pytest.mark.parametrize(
    ("written", "leaves"),
    [
        ("From: S <hello@shop。example>", "S <hello@shop.example>"),
        ("From: S <hello@ｓｈｏｐ．example>", "S <hello@shop.example>"),
        ("From: S <hello@shop｡example>", "S <hello@shop.example>"),
        ("From: S <hello@bücher.example>", "S <hello@xn--bcher-kva.example>"),
        ("From: S <hello@BÜCHER.example>", "S <hello@xn--bcher-kva.example>"),
        ("From: S <hello@XN--BCHER-KVA.example>", "S <hello@xn--bcher-kva.example>"),
        ('From: "hello"@shop.example', "hello@shop.example"),
        ("From: hello@shop.example(Shop)", "hello@shop.example (Shop)"),
        ("From: (a) S <hello (b) @ shop.example>", "(a) S <hello@shop.example>"),
    ],
)
async def test_an_author_leaves_as_it_was_compared(store: Store, written: str, leaves: str) -> None:
    left = await submit(store, message(written))
    assert left.reply.code == 250, left.reply
    assert f"From: {leaves}\r\n".encode() in left.raw


@pytest.mark.parametrize(
    "written",
    ["hello@sho\u200bp.example", "hello@sho\u00adp.example", "hello@shop.exam\u2060ple", "h\u3164@shop.example"],
)
async def test_an_author_with_a_hidden_character_is_refused_by_name(store: Store, written: str) -> None:
    reply = (await submit(store, message(f"From: S <{written}>"))).reply
    assert reply.code == 550
    assert "U+" in reply.text
    assert " at position " in reply.text


@pytest.mark.parametrize(
    "field",
    [
        "CFBL-Address: x@other.example; report=arf", "cfbl-feedback-id: 1",
        "Authentication-Results: mta.acme.example; spf=pass",
        "Authentication-Results: (x) \"MTA.acme.example\" 1; dkim=pass", "X-Original-To: b@other.example",
        "Bcc:", "bcc : x@other.example", "Apparently-To: x@other.example",
        "ARC-Authentication-Results: i=1; mta.acme.example; dkim=pass",
    ],
)  # fmt: skip
async def test_what_is_not_the_clients_to_say_does_not_leave(store: Store, field: str) -> None:
    left = await submit(store, message(FROM, field, field, "Subject: kept"))
    name = field.partition(":")[0].strip()
    assert left.reply.code == 250
    assert name not in left.parsed
    assert left.parsed["subject"] == "kept"
    assert left.changes.lower() == f"removed {name} (2)".lower()


@pytest.mark.parametrize("field", ["Feedback-ID: a:b:c:other", "X-CSA-Complaints: x@other.example", "X-Mailing-ID: 7"])
async def test_what_mailings_carry_is_refused_in_transactional_mail(store: Store, field: str) -> None:
    left = await submit(store, message(FROM, field, "Subject: kept"))
    assert left.reply.code == 550
    assert f"shows {field.partition(':')[0]}" in left.reply.text


async def test_the_verdicts_of_others_stay(store: Store) -> None:
    field = "Authentication-Results: mx.other.example; spf=pass"
    left = await submit(store, message(FROM, field))
    assert field.encode() in left.raw
    assert left.changes == ""


@pytest.mark.parametrize("setting", ["keep", "encode"])
async def test_a_body_in_eight_bits_is_kept_or_encoded_as_the_operator_says(store: Store, setting: str) -> None:
    left = await submit(store, given("P8"), submission=SubmissionSettings(eightbit=setting))  # type: ignore[arg-type]
    assert left.reply.code == 250
    assert left.raw.isascii() == (setting == "encode")
    assert left.parsed.get_content().strip() == "Café open again."
    assert left.parsed["content-transfer-encoding"] == ("quoted-printable" if setting == "encode" else "8bit")

"""What a receiver is given of messages that applications send as they are."""

from __future__ import annotations

import asyncio
import smtplib
from email import message_from_bytes, policy
from email.message import EmailMessage

from mta.mail.identity import format_id
from mta.testing.script import Script
from tests.flow.harness import World


async def test_no_recipient_learns_of_a_blind_copy_and_nobody_else_gets_one(world: World) -> None:
    await world.start()
    content = (
        b"Return-Path: <x@sender.example>\r\nFrom: Corner Shop < ann@sender.example >\r\nTo: reader@example.com\r\n"
        b"Bcc: hidden@example.com,\r\n Counsel <counsel@example.com>\r\nResent-Bcc: audit@example.com\r\n"
        b"CFBL-Address: of@our.example\r\nSubject: Gr\xc3\xb6\xc3\x9fe 42\r\nDate: Mon, 3 Mar 2025 09:30:00 +0000\r\n"
        b"Message-ID: <1@sender.example> (web 3)\r\n\r\nThe parcel is on its way.\r\n"
    )
    message_id = await world.accept("reader@example.com", "hidden@example.com", content=content)
    [receipt] = await world.received(1)
    await world.until_ended(message_id)
    assert [each.address for each in receipt.recipients] == ["reader@example.com", "hidden@example.com"]
    assert len(world.taken) == 1, "counsel and audit were named by no RCPT"
    header, _, body = receipt.content.partition(b"\r\n\r\n")
    assert header.endswith(
        b"From: Corner Shop <ann@sender.example>\r\nTo: reader@example.com\r\n"
        b"Subject: =?utf-8?b?R3LDtsOfZQ==?= 42\r\nDate: Mon, 3 Mar 2025 09:30:00 +0000\r\n"
        b"Message-ID: <1@sender.example> (web 3)"
    )
    assert body == b"The parcel is on its way.\r\n"
    told = await asyncio.to_thread(world.service.cli, "explain", format_id(message_id))
    assert "removed Return-Path, Bcc, Resent-Bcc, CFBL-Address; written anew From, Subject" in told


async def test_line_feeds_and_eight_bits_where_the_operator_is_lenient(world: World) -> None:
    world.receiver.script = Script(extensions=("PIPELINING",))
    await world.start(submission={"line_endings": "normalise", "eightbit": "encode"})
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ann@sender.example", "you@example.com", "Hello"
    message.set_content("Café\n.\n..\nopen again.\n", cte="8bit")
    octets = message.as_bytes()
    assert b"\r" not in octets

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", world.service.port, timeout=30) as client:
            client.sendmail("ann@sender.example", ["you@example.com"], octets)

    await asyncio.to_thread(send)
    [receipt] = await world.received(1)
    assert receipt.content.isascii()
    received = message_from_bytes(receipt.content, policy=policy.default)
    assert isinstance(received, EmailMessage)
    assert received.get_content().replace("\r\n", "\n").rstrip("\n") == "Café\n.\n..\nopen again."

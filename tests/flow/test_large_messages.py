"""Large messages: taken in pieces, stored in pieces, sent in pieces; what others send is not kept waiting."""

from __future__ import annotations

import asyncio
import base64
import random

from mta.testing.script import FRIENDLY, ReceiverStage, Script, ScriptRule, say
from tests.flow.harness import World, kinds, message

LIMITS = {"submission": {"limits": {"message_size": "20MiB"}}}


def large(size: int, *, eight_bit: bool = False) -> bytes:
    """A message with an attachment, and with dots at the start of lines."""
    make = random.Random(size)
    head = (
        b"From: ann@sender.example\r\nTo: you@example.com\r\nSubject: large\r\nX-MTA-Expire: 6h\r\n"
        b"Date: Mon, 3 Mar 2025 09:30:00 +0000\r\nMessage-ID: <large@sender.example>\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        b"See the file.\r\n.\r\n..two dots\r\n"
    )
    lines = [base64.b64encode(make.randbytes(57)) + b"\r\n" for _ in range(size // 78)]
    lines.insert(len(lines) // 2, "über\r\n".encode() if eight_bit else b".dot\r\n")
    file = b"--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return head + file + b"".join(lines) + b"--b--\r\n"


async def test_arrives_octet_by_octet(world: World) -> None:
    await world.start(**LIMITS)
    sent = large(5_000_000)
    message_id = await world.accept("ann@example.com", "ben@example.com", content=sent)
    [receipt] = await world.received(1)
    without_option = sent.replace(b"X-MTA-Expire: 6h\r\n", b"")
    assert receipt.content.endswith(without_option)
    assert receipt.content[: -len(without_option)].startswith(b"Received: ")
    assert kinds(await world.until_ended(message_id)) == ["delivered", "delivered"]
    assert await world.db.fetchval("select count(*) from content_kept") == 0


async def test_a_receiver_without_8bitmime_is_not_sent_8_bit(world: World) -> None:
    world.receiver.script = Script(extensions=("PIPELINING", "SIZE"))
    await world.start(**LIMITS)
    accepted = await world.submit("ann@example.com", content=large(2_000_000, eight_bit=True))
    assert accepted.id
    [event] = await world.until_event(accepted.id, "failed")
    assert "8BITMIME" in str(event.data)


async def test_a_second_attempt(world: World) -> None:
    """It is read from the store once more."""
    rule = ScriptRule(ReceiverStage.END, "*", (say("451 4.3.0 later"), FRIENDLY))
    world.receiver.script = Script(rules=(rule,))
    await world.start(**LIMITS)
    message_id = await world.accept("ann@example.com", content=large(3_000_000))
    await world.received(1)
    assert kinds(await world.until_ended(message_id)) == ["deferred", "delivered"]


async def test_content_that_is_not_whole_is_never_sent(world: World) -> None:
    rule = ScriptRule(ReceiverStage.RCPT, "*", (say("451 4.3.0 later"), FRIENDLY))
    world.receiver.script = Script(rules=(rule,))
    await world.start(**LIMITS, queue={"retry_schedule": ["3s"]})
    message_id = await world.accept("ann@example.com", content=large(3_000_000))
    await world.until_event(message_id, "deferred")
    await world.db.execute("delete from content where message_id = $1 and part = 200", message_id)
    events = await world.until_event(message_id, "deferred", 2)
    assert "incomplete" in str(events[1].data)
    assert world.taken == []


async def test_ten_at_once_and_a_neighbour(world: World) -> None:
    await world.start(**LIMITS)
    heavy = [asyncio.create_task(world.submit("ann@example.com", content=large(5_000_000))) for _ in range(10)]
    small = 0
    while not all(task.done() for task in heavy):
        assert (await world.submit("ben@example.com", content=message(f"No. {small}"))).id
        small += 1
    assert all(submitted.id for submitted in await asyncio.gather(*heavy))
    await world.received(10 + small)
    assert "event loop stood still" not in world.service.output()

"""Our mail as real receivers take it: every octet arrives, over TLS, and the signatures verify."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import dkim
import pytest

from bench.opendkim import Key
from bench.postfix import Postfix
from tests.flow.harness import World, kinds, message
from tests.peers.exim import Exim

pytestmark = pytest.mark.peer

BODIES = {
    "plain": "One line.\r\n",
    "dots": ".\r\n..\r\n.leading\r\n",
    "blank": "\r\n" * 5,
    "spaces": "trailing \t \r\n  leading   and   inner\r\n",
    "long": "x" * 998 + "\r\n",
    "large": "All work and no play makes Jack a dull boy.\r\n" * 20_000,
    "utf8": "Grüße aus Köln, 你好\r\n",
}


def read_maildir(mailbox: Path) -> list[bytes]:
    return [path.read_bytes().replace(b"\n", b"\r\n") for path in sorted(mailbox.glob("new/*"))]


async def arrived(mailbox: Path, count: int) -> list[bytes]:
    """The messages of a maildir, with CRLF, once there are ``count``."""
    while True:
        found = await asyncio.to_thread(read_maildir, mailbox)
        if len(found) >= count:
            return found
        await asyncio.sleep(0.1)


async def send_all(world: World, recipient: str) -> dict[str, bytes]:
    """Submit BODIES; what was submitted, by subject. Each is recorded as delivered."""
    sent = {subject: message(subject, body=body) for subject, body in BODIES.items()}
    ids = [await world.accept(recipient, content=content, mail_options=["BODY=8BITMIME"]) for content in sent.values()]
    for message_id in ids:
        events = await world.until_ended(message_id)
        assert kinds(events) == ["delivered"], events
        assert events[0].data["tls"].startswith("TLSv1.")
    return sent


def match(sent: dict[str, bytes], received: Iterable[bytes]) -> dict[str, bytes]:
    """What was received, by subject. Raises AssertionError unless each message came once, unchanged."""
    found: dict[str, bytes] = {}
    for content in received:
        subject = next(name for name in sent if f"\r\nSubject: {name}\r\n".encode() in content)
        assert subject not in found
        assert content.endswith(sent[subject]), subject
        found[subject] = content
    assert found.keys() == sent.keys()
    return found


async def test_postfix_and_opendkim(world: World, postfix: Postfix, place: Path) -> None:
    await world.start()
    sent = await send_all(world, "ann@postfix.example")
    found = match(sent, await arrived(place / "postfix-mail/all", len(sent)))
    for subject, content in found.items():
        verdict = content.partition(b"Authentication-Results: verifier.example;")[2].partition(b"\r\n\r\n")[0]
        assert b"dkim=pass" in verdict, (subject, verdict[:300])
        assert b"using TLSv1." in content


async def test_exim_and_dkimpy(world: World, exim: Exim, key: Key) -> None:
    await world.start()
    sent = await send_all(world, "ann@exim.example")
    found = match(sent, await arrived(exim.mail, len(sent)))
    for subject, content in found.items():
        assert dkim.verify(content, dnsfunc=lambda name, timeout=5: key.record.encode()), subject
        assert b"with esmtps" in content


async def test_several_recipients_some_unknown(world: World, postfix: Postfix, place: Path) -> None:
    """Postfix refuses relaying for one of three: the others get their copy, the sender a notice."""
    world.domain("relay.example", "127.0.0.5")
    await world.start()
    message_id = await world.accept("ann@postfix.example", "ben@postfix.example", "eve@relay.example")
    await world.received(1, world.home.ledger)
    events = await world.until_ended(message_id)
    ends = {
        event.recipient_index: (event.kind, event.data["status"])
        for event in events
        if event.recipient_index is not None
    }
    assert ends[2] == ("failed", "5.7.1")
    assert {ends[0][0], ends[1][0]} == {"delivered"}
    assert await world.suppressed() == {}
    assert len(await arrived(place / "postfix-mail/all", 2)) == 2

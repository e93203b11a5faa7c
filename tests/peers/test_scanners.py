"""Real rspamd and clamd: they are told what they need, their word is heeded, and without them nothing passes unseen."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from bench import programs
from bench.service import free_port
from config import schema
from mta.mail.address import Address
from mta.mail.identity import format_id, new_message_id
from mta.mail.message import Envelope, Message, Origin, Recipient
from mta.submission.content_scan import Scanners
from policy.base import Scan
from tests.flow.harness import SENDER, World
from tests.peers.scanners import Clamd, Rspamd

pytestmark = pytest.mark.peer

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-" + b"STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-" + "STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


@pytest.fixture
async def rspamd(place: Path) -> AsyncIterator[Rspamd]:
    if reason := programs.absent("rspamd"):
        pytest.skip(reason)
    server = Rspamd(place / "rspamd", free_port())
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.stop)


@pytest.fixture
async def clamd(place: Path) -> AsyncIterator[Clamd]:
    if reason := programs.absent("clamd"):
        pytest.skip(reason)
    server = Clamd(place / "clamd", free_port())
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.stop)


def letter(subject: str = "Hello", text: str = "One line.", *, attached: bytes | None = None) -> bytes:
    head = (
        f"From: Ann <{SENDER}>\r\nTo: one@example.com\r\nSubject: {subject}\r\nMessage-ID: <1@sender.example>\r\n"
        f"Date: {datetime.now(UTC):%a, %d %b %Y %H:%M:%S} +0000\r\nMIME-Version: 1.0\r\n"
    ).encode()
    if attached is None:
        return head + f"Content-Type: text/plain\r\n\r\n{text}\r\n".encode()
    file = base64.encodebytes(attached).replace(b"\n", b"\r\n")
    return head + (
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
        b"--b\r\nContent-Type: text/plain\r\n\r\n" + text.encode() + b"\r\n"
        b"--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n"
        b'Content-Disposition: attachment; filename="order.txt"\r\n\r\n' + file + b"--b--\r\n"
    )


def message(content: bytes) -> Message:
    envelope = Envelope(
        Address.parse(SENDER), (Recipient(Address("a", "x.example")), Recipient(Address("b", "y.example")))
    )
    origin = Origin(1, "acme", "acme-1", ip_address("10.1.2.3"), "app.example", "s", "ESMTPSA", datetime.now(UTC))
    return Message.of(new_message_id(), envelope, origin, content)


async def scanned(content: bytes, **scanners: dict[str, Any]) -> Scan:
    (scan,) = await Scanners(schema.ContentScanSettings.model_validate(scanners)).scan(message(content))
    return scan


async def test_clamd_finds_a_virus_in_an_attachment(clamd: Clamd) -> None:
    for address in (str(clamd.socket), f"127.0.0.1:{clamd.port}"):
        clean = await scanned(letter(attached=b"an order"), clamav={"address": address})
        assert clean == Scan("clamav", evidence="OK")
        bad = await scanned(letter(attached=EICAR), clamav={"address": address})
        assert bad.refused == "Test.EICAR.UNOFFICIAL"


async def test_clamd_refuses_more_than_it_takes(clamd: Clamd) -> None:
    scan = await scanned(letter(attached=bytes(3_000_000)), clamav={"address": str(clamd.socket)})
    assert scan.failed in (
        "unexpected answer: INSTREAM size limit exceeded. ERROR",
        "connection closed before an answer",  # if it came first
    )


async def test_rspamd_knows_the_envelope(rspamd: Rspamd) -> None:
    asked = message(letter())
    (scan,) = await Scanners(schema.ContentScanSettings(rspamd=schema.ScannerSettings(address=rspamd.url))).scan(asked)
    assert scan == Scan("rspamd", evidence="no action, 0.5 of 15: ENVELOPE 0.5", labels=frozenset({"ENVELOPE"}))
    told = (rspamd.directory / "output").read_text()
    options = f"{SENDER};2;10.1.2.3;app.example;acme-1;{format_id(asked.id)};"
    assert f"ENVELOPE(0.50){{{options}}}" in told


async def test_actions_of_rspamd(rspamd: Rspamd) -> None:
    async def ask(**letters: str) -> Scan:
        return await scanned(letter(**letters), rspamd={"address": rspamd.url})

    spam = await ask(text=GTUBE)
    assert spam.refused == "reason to reject it: Gtube pattern (reject, 15 of 15: GTUBE 0)"
    assert (await ask(subject="soon")).later == "too many at once"
    odd = await ask(subject="odd")
    labels = frozenset({"ODD", "ENVELOPE"})
    assert odd == Scan("rspamd", evidence="add header, 7.5 of 15: ODD 7, ENVELOPE 0.5", labels=labels)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("Geile Mädchen nackt vor der Webcam: XXX, nur für Erwachsene. Sexcams ab 18+!", {"ADULT_CONTENT"}),
        ("Hete webcamsex met naakte milfs, alleen voor volwassenen", {"ADULT_CONTENT"}),
        ("Vidéos porno, filles nues, réservé aux adultes", {"ADULT_CONTENT"}),
        ("Vídeos XXX: chicas calientes desnudas, solo para adultos", {"ADULT_CONTENT"}),
        ("Those vermin and subhumans must be shot", {"REVIEW_CONTENT"}),
        ("Diese Untermenschen sind Ungeziefer", {"REVIEW_CONTENT"}),
        ("Our new exhibition: the nude in art, 1850 to 1920. Adults only after 20:00.", set()),
        ("Sexe des anges : une conférence. Naked juices are back in stock.", set()),
        ("Essex, Sussex and Middlesex: 20 % off parasite treatments for cats", set()),
        ("Neu im Sortiment: Vermin-Fallen. Wir warnen vor Betrügern und Kriminellen.", set()),
    ],
)
async def test_the_labels_that_ship(rspamd: Rspamd, text: str, labels: set[str]) -> None:
    content = letter(text=text).replace(b"text/plain\r\n", b"text/plain; charset=utf-8\r\n")
    found = await scanned(content, rspamd={"address": rspamd.url})
    assert found.labels - {"ENVELOPE"} == labels
    assert found.refused is None


async def test_the_service_asks_both(world: World, rspamd: Rspamd, clamd: Clamd) -> None:
    world.service.settings["content_scan"] = {
        "rspamd": {"address": rspamd.url},
        "clamav": {"address": str(clamd.socket)},
    }
    await world.start()
    virus = await world.submit("one@example.com", content=letter(attached=EICAR))
    assert (virus.reply.code, virus.reply.status) == (550, "5.7.1")
    assert virus.reply.text.startswith("scanned: clamav found Test.EICAR.UNOFFICIAL; ")
    spam = await world.submit("one@example.com", content=letter(text=GTUBE))
    assert spam.reply.text.startswith("scanned: rspamd found reason to reject it: Gtube pattern ")
    soon = await world.submit("one@example.com", content=letter(subject="soon"))
    assert soon.reply.code == 451
    await world.accept("one@example.com", content=letter(attached=b"an order"))
    await world.received(1)

    await asyncio.to_thread(clamd.stop)
    put_off = await world.submit("one@example.com", content=letter())
    assert (put_off.reply.code, len(world.taken)) == (451, 1)
    assert "clamav" in put_off.reply.text

"""Attacks in a message: line ends, header fields, senders, MIME, logs. Numbers: README.md in this folder."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from email.utils import getaddresses

import pytest
import pytest_asyncio

from mta.testing.script import ReceiverStage, Script, ScriptRule, say
from tests.attacks.attacker import Attacker, addressees, converse, letter, sentinel, submit
from tests.flow.harness import SENDER, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE = 10.0  # seconds for any one message, however odd, on a busy machine
ADDED = {"dkim-signature", "received", "date", "message-id"}
REFUSING = Script(rules=(ScriptRule(ReceiverStage.RCPT, "unknown*@*", (say("550 5.1.1 no such user"),)),))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(world: World) -> AsyncIterator[World]:
    world.receiver.script = REFUSING
    world.domain("elsewhere.example", "127.0.0.2")
    await world.start()
    yield world


async def delivered(target: World, recipient: str) -> bytes:
    """What the receiver got for one recipient, as it came over the wire."""
    ledger = target.receiver.ledger
    await target.patiently(ledger.wait_until(lambda _: recipient in addressees(target)))
    return next(receipt.raw for receipt in ledger.receipts if recipient in receipt.addresses)


@pytest.mark.parametrize(
    "body",
    [
        *(
            "a\rb",
            "a\nb",
            "a\x00b",
            "a\n.\nb",
            "a\r.\rb",
            "a\r\n.\rb",
            "\n",
            "\r",
            "a\r\r\nb",
            "a\n\r\nb",
            ".\r",
            "x\r\n\n",
        ),
        *(".", "..", ".x", "a\r\n..\r\nb", "a\r\n.x\r\n", "\r\n\r\n.a", "x" * 998, "x" * 999, "ü\x85\u2028y"),
    ],
)
async def test_s02_only_whole_lines_leave(target: World, body: str) -> None:
    recipient = f"s02-{abs(hash(body)):x}@example.com"
    stuffed = re.sub(r"(?m)^\.", "..", body)
    reply = await submit(target, letter(body=stuffed), recipient)
    assert reply[:3] in ("250", "554"), reply
    if reply.startswith("250"):
        raw = await delivered(target, recipient)
        assert raw.count(b"\r") == raw.count(b"\n") == raw.count(b"\r\n")
        assert b"\0" not in raw
        assert max(map(len, raw.split(b"\r\n"))) <= 998 + 1  # with the dot that was doubled
        assert not re.search(rb"(?m)^\.(?!\.)", raw)


@pytest.mark.parametrize(
    "field",
    [
        "Subject: =?utf-8?q?a=0D=0ABcc:_victim@example.com?=",
        "Subject: a\rBcc: victim@example.com",
        "Subject: a\nBcc: victim@example.com",
        "Subject: a\u2028Bcc: victim@example.com",
        "Subject: a\x0bBcc: victim@example.com",
        "X-Note: a\r\n\r\n: Bcc: victim@example.com",
        "X-MTA-Mailing: a\r\n Bcc: victim@example.com",
        "X-MTA-Account: other",
        "Bcc: victim@example.com",
        "Resent-To: victim@example.com",
        "Apparently-To: victim@example.com",
    ],
)
async def test_s06_no_field_makes_another_field_or_recipient(target: World, field: str) -> None:
    recipient = f"s06-{abs(hash(field)):x}@example.com"
    content = f"From: {SENDER}\r\nTo: you@example.com\r\n{field}\r\n\r\nOne line.".encode()
    reply = await submit(target, content, recipient)
    await sentinel(target)
    assert "victim@example.com" not in addressees(target)
    if reply.startswith("250"):
        head = (await delivered(target, recipient)).partition(b"\r\n\r\n")[0].decode()
        names = [name.lower() for name in re.findall(r"(?m)^([!-9;-~]+):", head)]
        came = {"from", "to", field.partition(":")[0].lower()}
        assert set(names) <= ADDED | came, names
        assert len(names) == len(set(names)) or names.count("dkim-signature") == 2


ODD_AUTHORS = (
    "ann@sender.example, eve@elsewhere.example",
    "eve@elsewhere.example, ann@sender.example",
    '"ann@sender.example" <eve@elsewhere.example>',
    "<eve@elsewhere.example> ann@sender.example",
    "<ann@sender.example> <eve@elsewhere.example>",
    "ann@sender.example <eve@elsewhere.example>",
    "eve@elsewhere.example(x)ann@sender.example",
    "ann@sender.example(x)eve@elsewhere.example",
    "(comment) eve@elsewhere.example",
    '"<ann@sender.example>"@elsewhere.example',
    '"eve@elsewhere.example"@sender.example',
    "eve@elsewhere.example)ann@sender.example",
    "alice@sender.example)eve@elsewhere.example",
    "Team: ann@sender.example, eve@elsewhere.example;",
    "Team: eve@elsewhere.example;",
    "Team:;",
    "<@sender.example:eve@elsewhere.example>",
    "<@elsewhere.example,@sender.example:eve@elsewhere.example>",
    "=?utf-8?q?eve=40elsewhere.example?=",
    "=?utf-8?q?<eve=40elsewhere.example>?= <ann@sender.example",
    "eve@elsewhere.example\r\n <ann@sender.example>",
    "eve@elsewhere.example;ann@sender.example",
    "eve@elsewhere.example ann@sender.example",
    "ann@sender.example@elsewhere.example",
    "ann@elsewhere.example@sender.example",
    "ann@sender.example\t,eve@elsewhere.example",
    "ann@sender.example\x00eve@elsewhere.example",
    "ann@sender.example.elsewhere.example",
    "ann@elsewhere.example\uff0esender.example, eve@elsewhere.example",
    "ann@sender\u3002example.elsewhere.example",
    "ann@xn--sender-.example",
    "ann@send\u0435r.example",
    "ann@sub.sender.example.elsewhere.example",
    "ann",
    "ann@",
    "@sender.example",
    "<>",
    "",
    "ann@[127.0.0.1]",
    "mailto:eve@elsewhere.example",
    "ann@sender.example> (<eve@elsewhere.example",
    '"Ann\\" <eve@elsewhere.example>" <ann@sender.example>',
)


@pytest.mark.parametrize("author", ODD_AUTHORS)
async def test_s07_no_reader_sees_another_author_than_the_one_that_was_checked(target: World, author: str) -> None:
    recipient = f"s07-{abs(hash(author)):x}@example.com"
    reply = await submit(target, letter(sender=author), recipient)
    if reply.startswith("250"):
        head = (await delivered(target, recipient)).partition(b"\r\n\r\n")[0].decode("utf-8")
        (value,) = re.findall(r"(?m)^From:((?:.*\r\n[ \t])*.*)", head)
        seen = [address for _, address in getaddresses([value.replace("\r\n", "")])]
        assert [address.rpartition("@")[2] for address in seen] == ["sender.example"], value
    else:
        assert reply[0] == "5", reply


@pytest.mark.parametrize(
    "content",
    [
        letter(sender="ann@elsewhere.example"),
        letter(sender="ann@sub.elsewhere.example"),
        letter("From: eve@elsewhere.example"),
        b"From: eve@elsewhere.example\r\n" + letter(),
        letter("from : eve@elsewhere.example"),
        letter("Sender: eve@elsewhere.example"),
        letter("Resent-From: eve@elsewhere.example"),
        letter(sender="ann@SENDER.EXAMPLE.elsewhere.example"),
        letter(sender="ann@s\u0435nder.example"),
        letter(sender="ann@xn--snder-t9d.example"),
        letter(sender="ann@sender.example."),
    ],
    ids=range(11),
)
async def test_s09_nobody_writes_as_another(target: World, content: bytes) -> None:
    reply = await submit(target, content, "s09@example.com")
    assert reply[0] == "5", reply


@pytest.mark.parametrize("sender", ["eve@elsewhere.example", "eve@sub.elsewhere.example", "ann@xn--snder-t9d.example"])
async def test_s09_nor_does_he_send_as_another(target: World, sender: str) -> None:
    assert (await submit(target, letter(), "s09@example.com", sender))[0] == "5"


def _bomb(name: str) -> bytes:
    mixed = "Content-Type: multipart/mixed; boundary"
    match name:
        case "nested":
            return letter(f"{mixed}=b0", body="".join(f"--b{n}\r\n{mixed}=b{n + 1}\r\n\r\n" for n in range(3_000)))
        case "parts":
            return letter(f"{mixed}=b", body="--b\r\n\r\nx\r\n" * 100_000)
        case "fields":
            return letter(*(f"X-{n}: y" for n in range(100_000)))
        case "addresses":
            return letter("Cc: " + ",\r\n ".join(f"a{n}@example.com" for n in range(20_000)))
        case "long field":
            return letter("X-Long: " + "\r\n ".join("x" * 990 for _ in range(1_000)))
        case "rfc2231":
            return letter("Content-Type: text/plain" + "".join(f";\r\n name*{n}*=x" for n in range(10_000)))
        case "comments":
            return letter("Reply-To: " + "(\r\n " * 5_000 + ")" * 900 + "ann@sender.example")
        case "messages":
            return letter("Content-Type: message/rfc822", body="Content-Type: message/rfc822\r\n\r\n" * 5_000)
        case "encoded words":
            return letter("X-Words: " + "\r\n ".join("=?utf-8?q?x?=" for _ in range(10_000)))
        case _:
            return letter(f'{mixed}="{"-" * 190}"', body=("-" * 192 + "\r\n") * 20_000)


BOMBS = (
    "nested",
    "parts",
    "fields",
    "addresses",
    "long field",
    "rfc2231",
    "comments",
    "messages",
    "encoded words",
    "hyphens",
)


@pytest.mark.parametrize("name", BOMBS)
async def test_s15_a_bomb_keeps_nobody_waiting(target: World, name: str) -> None:
    bomb = asyncio.create_task(submit(target, _bomb(name), f"s15-{name.replace(' ', '')}@example.com"))
    began = time.monotonic()
    await sentinel(target)
    reply = await bomb
    assert reply[:3] in ("250", "451", "552", "550", "554"), reply
    assert time.monotonic() - began < PATIENCE
    assert len(target.service.workers()) == 1


@pytest.mark.parametrize(
    "text", ["\x1b[31mred", '{"event":"forged"}', "\u2028forged", "\u0085forged", "<script>alert(1)</script>"]
)
async def test_s18_a_log_line_is_one_line_whatever_is_said(target: World, text: str) -> None:
    octets = text.encode()
    async with Attacker(target.service.port) as attacker:
        await attacker.reply()
        await attacker.rest(
            b"EHLO " + octets + b"\r\n",
            b"EHLO x.example\r\nMAIL FROM:<" + octets + b"@sender.example>\r\n",
            octets + b"\r\n",
        )
    await submit(
        target, letter(f"X-Note: {text}", "Message-ID: <" + text.replace(" ", "") + "@x.example>"), "s18@example.com"
    )
    await sentinel(target)
    for path in (target.service.events, target.directory / "output"):
        for line in path.read_bytes().decode().split("\n"):
            assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]", line), line
            if line:
                assert json.loads(line)["event"] != "forged"


async def test_s19_a_loop_ends(target: World) -> None:
    received = "Received: from a.example by b.example; Mon, 3 Mar 2025 09:30:00 +0000"
    assert (await submit(target, letter(*[received] * 101), "s19@example.com")).startswith("554 5.4.6")


async def test_s20_no_notification_goes_to_anybody_but_a_sender_of_ours(target: World) -> None:
    before = len(target.home.ledger.receipts)
    assert (await submit(target, letter(), "unknown1@example.com", "")).startswith("250")
    for stranger in ("victim@elsewhere.example", "victim@example.com"):
        assert (await submit(target, letter(), "unknown2@example.com", stranger))[0] == "5"
    assert (await submit(target, letter("Auto-Submitted: auto-replied"), "unknown3@example.com")).startswith("250")
    ledger = target.home.ledger
    await target.patiently(ledger.wait_until(lambda ledger: len(ledger.receipts) > before))
    told = ledger.receipts[before:]
    assert {address for receipt in told for address in receipt.addresses} == {SENDER}
    assert all(b"unknown3" in receipt.content for receipt in told)
    assert all(receipt.sender.address == "" for receipt in told)
    await sentinel(target)
    assert "victim@example.com" not in addressees(target)
    assert "victim@elsewhere.example" not in addressees(target)


INJECTIONS = (
    "' or 1=1 --",
    "'; drop table queue; --",
    '"; select pg_sleep(9)--',
    "$1",
    "%s%n%x",
    "\\'; --",
    "{0.__class__}",
)


@pytest.mark.parametrize("text", INJECTIONS)
async def test_s33_what_is_said_is_data(target: World, text: str) -> None:
    local = "'or''='"
    said = await converse(
        target,
        b"EHLO " + text.encode() + b"\r\n",
        b"MAIL FROM:<ann@sender.example> ENVID=" + text.encode() + b"\r\n",
        b"RSET\r\nMAIL FROM:<" + local.encode() + b"@sender.example>\r\n",
        b"RCPT TO:<" + local.encode() + b"@example.com>\r\n",
    )
    assert "451" not in said
    content = letter(f"X-Note: {text}", f"X-MTA-Mailing: {text}")
    reply = await submit(target, content, f"{local}s33@example.com", f"{local}@sender.example")
    assert reply[:3] in ("250", "550", "554"), reply
    listed = await asyncio.to_thread(
        target.service.cli, "suppression", "list", "--json", "--account", "shop", check=False
    )
    assert "Traceback" not in listed
    assert await target.db.fetchval("select count(*) from account where name = 'shop'") == 1


SPELLINGS = (
    *("\u00fcnn@b\u00fccher.example.com", "u\u0308nn@bu\u0308cher.example.com", "\u00dcNN@B\u00dcCHER.EXAMPLE.COM"),
    *("\u00fcnn@xn--bcher-kva.example.com", "\u00fcnn@XN--BCHER-KVA.example.com", '"\u00fcnn"@b\u00fccher.example.com'),
    *(
        "\u00fcnn@b\u00fccher\u3002example.com",
        "\u00fcnn@b\u00fccher\uff0eexample\uff0ecom",
        "U\u0308nn@b\u00fccher.example.com",
    ),
)


async def test_s44_no_spelling_reaches_a_suppressed_address(target: World) -> None:
    add = ("suppression", "add", SPELLINGS[0], "--account", "shop", "--reason", "wanted")
    await asyncio.to_thread(target.service.cli, *add)
    for spelling in SPELLINGS:
        async with Attacker(target.service.port) as attacker:
            await attacker.begin()
            await attacker.say(b"MAIL FROM:<ann@sender.example> SMTPUTF8\r\n")
            reply = await attacker.say(f"RCPT TO:<{spelling}>\r\n".encode())
        assert reply[:3] in ("550", "501"), (spelling, reply)
    assert not any("cher" in address for address in addressees(target))

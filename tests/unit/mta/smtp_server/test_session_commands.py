"""The commands of a session, in and out of order: RFC 5321, 2920, 2034, 6409."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from mta.mail.address import Address
from mta.mail.message import Body, Recipient
from tests.unit.mta.submission_rig import BEGIN, HELLO, MAIL, MESSAGE, RCPT, submission

NESTED = "503 5.5.1 Bad sequence of commands: nested MAIL command, send RSET first"
CANNOT_VERIFY = "252 2.1.5 Cannot VRFY user, but will accept message and attempt delivery"


async def test_a_message_goes_through() -> None:
    async with submission() as rig:
        client = await rig.greeted()
        offered = (await client.ask("EHLO app.test")).split("\n")
        limit, until = offered.pop().removeprefix("250 FUTURERELEASE ").split()
        assert limit == "2592000"
        assert timedelta(days=29) < datetime.fromisoformat(until) - datetime.now(UTC) <= timedelta(days=30)
        assert offered == [
            "250-mx.test",
            "250-PIPELINING",
            "250-SIZE 52428800",
            "250-8BITMIME",
            "250-SMTPUTF8",
            "250-ENHANCEDSTATUSCODES",
            "250-CHUNKING",
            "250-DSN",
            "250-DELIVERBY",
            "250-MT-PRIORITY",
        ]
        assert await client.ask("MAIL FROM:<news@shop.example> SIZE=100") == "250 2.1.0 Sender OK"
        assert await client.ask("RCPT TO:<ann@customer.example>") == "250 2.1.5 Recipient OK"
        assert await client.ask("DATA") == "354 End data with <CR><LF>.<CR><LF>"
        assert await client.ask(MESSAGE + b".\r\n") == "250 2.0.0 OK: queued"
        assert await client.ask("QUIT") == "221 2.0.0 Bye"
        assert await client.rest() == ""
        [taken] = rig.taken
    assert taken.content == MESSAGE
    assert taken.envelope.sender == Address("news", "shop.example")
    assert taken.envelope.recipients == (Recipient(Address("ann", "customer.example")),)
    assert taken.client.hello == "app.test"
    assert taken.client.account is not None
    assert taken.client.account.name == "shop"
    assert rig.handler.sizes == [100]


async def test_a_group_of_commands_is_answered_in_one_packet() -> None:
    async with submission() as rig:
        client = await rig.said_hello()
        client.send(MAIL + RCPT * 3 + b"DATA\r\n")
        first = await client.reader.read(4096)
        assert first.count(b"\r\n") == 5
        assert first.endswith(b"354 End data with <CR><LF>.<CR><LF>\r\n")


async def test_the_handler_is_told_who_comes_next_in_a_group() -> None:
    group = [f"RCPT TO:<{name}@customer.example>" for name in ("ann", "ben", "x y", "cleo")]
    async with submission() as rig:
        client = await rig.said_hello()
        client.send(
            MAIL + "".join(f"{line}\r\n" for line in group).encode() + b"RSET\r\nRCPT TO:<dan@customer.example>\r\n"
        )
        first = await client.reader.readuntil(b"503 5.5.1")
        assert first.count(b"\r\n") == 6
        people = ["ben@customer.example", "cleo@customer.example"]
        assert rig.handler.ahead == [people, [], []]


async def test_pipelined_transactions_are_answered_in_order() -> None:
    async with submission() as rig:
        client = await rig.greeted()
        assert await client.codes(BEGIN + b"DATA\r\n", 4) == ["250", "250", "250", "354"]
        client.send(MESSAGE + b".\r\n" + MAIL + b"RCPT TO:<bob@customer.example>\r\nDATA\r\n")
        assert [reply[:3] for reply in await client.replies(4)] == ["250", "250", "250", "354"]
        assert await client.codes(MESSAGE + b".\r\nQUIT\r\n", 2) == ["250", "221"]
        assert [str(taken.envelope.recipients[0].address) for taken in rig.taken] == [
            "ann@customer.example",
            "bob@customer.example",
        ]


async def test_commands_in_any_split_of_packets() -> None:
    conversation = BEGIN + b"DATA\r\n" + MESSAGE + b".\r\nQUIT\r\n"
    async with submission() as rig:
        for size in (1, 2, 3, 7, 50):
            client = await rig.greeted()
            for at in range(0, len(conversation), size):
                client.send(conversation[at : at + size])
                await client.writer.drain()
            assert re.findall(r"^(\d{3}) ", await client.rest(), re.MULTILINE) == [
                *("250", "250", "250"),
                *("354", "250", "221"),
            ]
        assert [taken.content for taken in rig.taken] == [MESSAGE] * 5


@pytest.mark.parametrize(
    ("before", "command", "reply"),
    [
        (b"", "MAIL FROM:<a@shop.example>", "503 5.5.1 Bad sequence of commands: send EHLO first"),
        (HELLO, "RCPT TO:<a@b.example>", "503 5.5.1 Bad sequence of commands: send MAIL first"),
        (HELLO, "DATA", "503 5.5.1 Bad sequence of commands: send MAIL first"),
        (HELLO + MAIL, "DATA", "503 5.5.1 Bad sequence of commands: send RCPT first"),
        (
            HELLO + MAIL,
            "MAIL FROM:<a@shop.example>",
            NESTED,
        ),
        (HELLO, "BDAT nonsense", "501 5.5.4 Syntax: BDAT size [LAST]"),
        (HELLO, "DATA now", "501 5.5.4 Syntax error: command takes no argument"),
        (HELLO, "RSET now", "501 5.5.4 Syntax error: command takes no argument"),
        (HELLO, "QUIT now", "501 5.5.4 Syntax error: command takes no argument"),
        (b"", "EHLO", "501 5.5.4 Syntax: EHLO hostname"),
        (b"", "HELO", "501 5.5.4 Syntax: EHLO hostname"),
        (b"", "EHLO a b", "501 5.5.4 Syntax: EHLO hostname"),
        (b"", "EHLO a\x1bb", "501 5.5.4 Syntax: EHLO hostname"),
        (HELLO, "NOOP anything", "250 2.0.0 OK"),
        (HELLO, "noop", "250 2.0.0 OK"),
        (HELLO, "VRFY root", CANNOT_VERIFY),
        (
            HELLO,
            "VRFY ann@customer.example",
            CANNOT_VERIFY,
        ),
        (HELLO, "EXPN staff", "502 5.5.1 Command not implemented"),
        (HELLO, "ETRN shop.example", "502 5.5.1 Command not implemented"),
        (HELLO, "XCLIENT ADDR=10.0.0.1", "502 5.5.1 Command not implemented"),
        (HELLO, "PROXY TCP4 10.1.2.3 10.0.0.1 1 25", "500 5.5.2 Command not recognized"),
        (HELLO, "FOO", "500 5.5.2 Command not recognized"),
        (HELLO, "", "500 5.5.2 Command not recognized"),
        (HELLO, "STARTTLS", "454 4.7.0 TLS not available"),
        (HELLO, "AUTH PLAIN AGEAYg==", "538 5.7.11 Encryption required for requested authentication mechanism"),
    ],
)
async def test_out_of_order_or_malformed(before: bytes, command: str, reply: str) -> None:
    async with submission() as rig:
        client = await rig.greeted()
        for _ in range(before.count(b"\r\n")):
            line, _, before = before.partition(b"\r\n")
            assert (await client.ask(line + b"\r\n"))[0] == "2"
        assert await client.ask(command) == reply


async def test_helo_offers_nothing() -> None:
    async with submission() as rig:
        client = await rig.greeted()
        assert await client.ask("HELO app.test") == "250 mx.test"
        assert (
            await client.ask("MAIL FROM:<a@shop.example> SIZE=1")
            == "555 5.5.4 Unsupported option: parameters need EHLO, not HELO"
        )
        assert (await client.ask("AUTH PLAIN AGEAYg=="))[:9] == "503 5.5.1"
        assert await client.codes(MAIL + RCPT + b"DATA\r\n", 3) == ["250", "250", "354"]
        assert (await client.ask(MESSAGE + b".\r\n"))[:3] == "250"
        assert rig.taken[0].client.protocol == "SMTP"


async def test_every_reply_but_the_exempt_has_an_enhanced_code_of_its_class() -> None:
    async with submission() as rig:
        client = await rig.said_hello()
        client.send(
            b"MAIL FROM:<bad>\r\n" + MAIL + b"RCPT TO:<bad>\r\n" + RCPT + b"DATA\r\n" + MESSAGE + b".\r\n"
            b"VRFY x\r\nEXPN x\r\nHELP\r\nNOOP\r\nRSET\r\nFOO\r\nAUTH X\r\nSTARTTLS\r\nBDAT 1\r\nxQUIT\r\n"
        )
        lines = (await client.rest()).splitlines()
        assert len(lines) == 16
        for line in lines:
            if not line.startswith("354 "):
                assert re.match(r"(\d)\d\d \1\.\d+\.\d+ \S", line), line


async def test_rset_and_ehlo_forget_the_transaction() -> None:
    async with submission() as rig:
        client = await rig.in_transaction()
        assert await client.ask("RSET") == "250 2.0.0 OK"
        assert (await client.ask("DATA"))[:9] == "503 5.5.1"
        assert await client.codes(MAIL + RCPT, 2) == ["250", "250"]
        await client.ask(HELLO)
        assert (await client.ask("DATA"))[:9] == "503 5.5.1"


async def test_after_refused_recipients_data_is_refused() -> None:
    async with submission() as rig:
        client = await rig.said_hello()
        await client.ask(MAIL)
        assert (await client.ask("RCPT TO:<not an address>"))[:9] == "501 5.1.3"
        assert await client.ask("DATA") == "554 5.5.1 No valid recipients"
        assert await client.ask(RCPT) == "250 2.1.5 Recipient OK"
        assert (await client.ask("DATA"))[:3] == "354"


async def test_eight_bit_content_is_marked_whatever_mail_said() -> None:
    async with submission() as rig:
        client = await rig.in_transaction()
        await client.ask("DATA")
        await client.ask("Subject: x\r\n\r\nGrüße\r\n.\r\n".encode())
        assert rig.taken[0].envelope.body is Body.EIGHT_BIT


async def test_all_that_a_transaction_may_say_reaches_the_handler() -> None:
    async with submission() as rig:
        client = await rig.said_hello()
        await client.ask("MAIL FROM:<> BODY=8BITMIME SMTPUTF8 RET=hdrs ENVID=Ab+2BcD AUTH=<> SIZE=0")
        await client.ask("RCPT TO:<ünï@münchen.example> NOTIFY=success,DELAY ORCPT=rfc822;Ann+2B1@X.example")
        await client.ask("DATA")
        assert (await client.ask(b"A: b\r\n\r\n.\r\n"))[:3] == "250"
        envelope = rig.taken[0].envelope
    assert envelope.sender is None
    assert envelope.smtputf8
    assert (envelope.ret, envelope.envid) == (envelope.ret.HEADERS, "Ab+2BcD")  # type: ignore[union-attr]
    [recipient] = envelope.recipients
    assert recipient.address == Address("ünï", "xn--mnchen-3ya.example")
    assert recipient.orcpt == "rfc822;Ann+2B1@X.example"
    assert rig.taken[0].client.protocol_of(envelope) == "UTF8SMTP"


async def test_a_web_browser_is_sent_away() -> None:
    async with submission() as rig:
        client = await rig.greeted()
        client.send(b"POST / HTTP/1.1\r\nHost: mx.test\r\n\r\nMAIL FROM:<evil@shop.example>\r\n")
        assert await client.rest() == "421 4.7.0 Protocol error: HTTP request on an SMTP port, closing connection\r\n"


async def test_a_device_may_greet_without_a_name_where_it_is_listed() -> None:
    greetings = {"EHLO": "unknown", "EHLO my printer (2nd floor)": "my-printer-2nd-floor", "HELO scan_01": "scan_01"}
    async with submission(limits={"device_networks": ["127.0.0.0/8"]}) as rig:
        for greeting, name in greetings.items():
            client = await rig.greeted()
            assert (await client.ask(greeting))[:3] == "250"
            assert await client.codes(MAIL + RCPT + b"DATA\r\n", 3) == ["250", "250", "354"]
            assert (await client.ask(MESSAGE + b".\r\n"))[:3] == "250"
            assert rig.taken[-1].client.hello == name
    async with submission(limits={"device_networks": ["192.0.2.0/24"]}) as rig:
        client = await rig.greeted()
        assert await client.ask("EHLO") == "501 5.5.4 Syntax: EHLO hostname"
        assert await client.ask("EHLO my printer") == "501 5.5.4 Syntax: EHLO hostname"

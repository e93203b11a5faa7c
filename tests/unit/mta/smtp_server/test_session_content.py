"""The octets of a message: smuggling, transparency, limits, BDAT (RFC 5321 4.5.2, RFC 3030, RFC 1870)."""

from __future__ import annotations

import random
import re

import pytest

from config.schema import Limits
from mta.delivery.transaction import dot_stuffed
from mta.smtp_server.body import COPIES, END
from mta.smtp_server.message_syntax import message_fault
from tests.unit.mta.submission_rig import BEGIN, HELLO, MAIL, MESSAGE, RCPT, submission

EVIL = b"MAIL FROM:<evil@shop.example>\r\nRCPT TO:<victim@customer.example>\r\nDATA\r\n"
BARE = "554 5.6.0 Message contains bare <CR>, bare <LF> or NUL"

HEADER_TOO_LARGE = "554 5.6.0 Header too large: more than 100 octets"

# End-of-data sequences that some server takes for CRLF.CRLF (smtp_smuggling_scanner, CVE-2023-51764 and kin).
SEQUENCES = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\n.\r",
    b"\r.\n",
    b"\r\n\x00.\r\n",
    b"\r\n.\x00\r\n",
]


@pytest.mark.parametrize("line_endings", ["strict", "normalise"])
@pytest.mark.parametrize("sequence", SEQUENCES, ids=[repr(sequence) for sequence in SEQUENCES])
async def test_nothing_is_smuggled_past_a_false_end(sequence: bytes, line_endings: str) -> None:
    """However the octets are split into packets: one message, and no command out of it is run.

    It is rejected; or, with bare LF made CRLF, taken with the commands as its text, and leaves as one message.
    """
    content = b"A: b\r\n\r\nx" + sequence + EVIL + b"B: c\r\n\r\ny\r\n.\r\n"
    accepted = 0
    async with submission(limits={"line_endings": line_endings}) as rig:
        client = await rig.said_hello()
        for at in range(8, 8 + len(sequence) + 3):
            assert await client.codes(MAIL + RCPT + b"DATA\r\n", 3) == ["250", "250", "354"]
            client.send(content[:at])
            await client.writer.drain()
            client.send(content[at:])
            reply = await client.reply()
            if reply.startswith("250"):
                accepted += 1
            else:
                assert reply.startswith(BARE)
        assert len(rig.taken) == accepted
        has_only_feeds = not set(sequence.replace(b"\r\n", b"\n")) & set(b"\r\0")
        assert bool(accepted) == (line_endings == "normalise" and has_only_feeds)
        for taken in rig.taken:
            assert b"MAIL FROM:<evil@shop.example>" in taken.content
            assert message_fault(taken.content, Limits()) is None
            leaves = dot_stuffed(taken.content)
            assert leaves.find(END) == len(leaves) - len(END)


async def test_bare_line_feeds_are_made_whole_where_the_operator_says_so() -> None:
    """What ``smtplib.sendmail`` makes of ``as_bytes()``: it doubles dots behind each LF, and ends with CRLF.CRLF."""
    text = b"A: b\nC: d\n\n.hidden\n.\n..\nend\n"
    sent = re.sub(rb"(?m)^\.", b"..", text) + b"\r\n.\r\n"
    async with submission(limits={"line_endings": "normalise"}) as rig:
        client = await rig.in_transaction()
        await client.ask("DATA")
        assert await client.ask(sent) == "250 2.0.0 OK: queued"
        assert rig.taken[0].content == text.replace(b"\n", b"\r\n") + b"\r\n"
        assert await client.codes(MAIL + RCPT, 2) == ["250", "250"]
        assert await client.ask(b"BDAT 8 LAST\r\nA: b\n\nc\n") == "250 2.0.0 OK: queued"
        assert rig.taken[1].content == b"A: b\r\n\r\nc\r\n"
        for octets in (b"A: b\rC: d\r\n\r\n", b"A: b\n\0\r\n"):
            assert await client.codes(MAIL + RCPT + b"DATA\r\n", 3) == ["250", "250", "354"]
            assert (await client.ask(octets + b".\r\n")).startswith(BARE)


async def test_dots_are_transparent() -> None:
    """RFC 5321 4.5.2: what the client doubled is single again, in any split of packets."""
    random_ = random.Random(7)
    async with submission() as rig:
        client = await rig.said_hello()
        for _ in range(60):
            lines = ["".join(random_.choices(".ab", k=random_.randint(0, 4))) for _ in range(random_.randint(0, 6))]
            content = b"".join(f"{line}\r\n".encode() for line in ["A: b", "", *lines])
            stuffed = b"".join((b"." if line.startswith(b".") else b"") + line for line in content.splitlines(True))
            assert await client.codes(MAIL + RCPT + b"DATA\r\n", 3) == ["250", "250", "354"]
            octets = stuffed + b".\r\n"
            cut = sorted(random_.choices(range(len(octets)), k=3))
            for start, end in zip([0, *cut], [*cut, len(octets)], strict=True):
                client.send(octets[start:end])
                await client.writer.drain()
            assert (await client.reply())[:3] == "250"
            assert rig.taken[-1].content == content


async def test_an_empty_message_ends_at_once() -> None:
    async with submission() as rig:
        client = await rig.in_transaction()
        await client.ask("DATA")
        assert (await client.ask(b".\r\n"))[:3] == "250"
        assert rig.taken[0].content == b""


@pytest.mark.parametrize(
    ("content", "limits", "reply"),
    [
        (b"A: " + b"x" * 996 + b"\r\n", {}, "554 5.6.0 Line too long: line "),
        (b"A: b\r\n\r\n" + b"x" * 999 + b"\r\n", {}, "554 5.6.0 Line too long: line "),
        (b"A: b\r\n\r\n" + b"x" * 998 + b"\r\n", {}, "250 2.0.0 OK: queued"),
        (b"A: b\r\n" * 11 + b"\r\nx\r\n", {"header_count": 10}, "554 5.6.0 Too many header fields: more than 10"),
        (b"A: b\r\n\tc\r\n" * 10 + b"\r\nx\r\n", {"header_count": 10}, "250 2.0.0 OK: queued"),
        (
            b"A: " + b"x\r\n " * 60 + b"y\r\n\r\n",
            {"header_size": 100},
            "554 5.6.0 Header too large: more than 100 octets",
        ),
        (b"A: b\r\n\r\nC\0\r\n", {}, BARE),
        (b"A: b\r\n\r\nC\rD\r\n", {}, BARE),
        (b"A: b\nC: d\r\n\r\n", {}, BARE),
    ],
)
async def test_what_a_message_may_look_like(content: bytes, limits: dict[str, int], reply: str) -> None:
    async with submission(limits=limits) as rig:
        client = await rig.in_transaction()
        await client.ask("DATA")
        assert (await client.ask(content + b".\r\n")).startswith(reply)
        assert await client.codes(MAIL + RCPT, 2) == ["250", "250"]  # in step, and ready for the next one


async def test_too_large_is_known_at_mail_if_the_client_says_so() -> None:
    async with submission(limits={"message_size": 1000, "header_size": 500}) as rig:
        client = await rig.said_hello()
        assert await client.ask("MAIL FROM:<a@shop.example> SIZE=1001") == (
            "552 5.3.4 Message size exceeds fixed limit of 1000 octets"
        )
        assert (await client.ask("MAIL FROM:<a@shop.example> SIZE=1000"))[:3] == "250"


async def test_too_large_is_told_at_the_end_and_the_session_goes_on() -> None:
    async with submission(limits={"message_size": 1000, "header_size": 500}) as rig:
        client = await rig.in_transaction()
        await client.ask("DATA")
        content = b"A: b\r\n\r\n" + (b"x" * 98 + b"\r\n") * 15
        reply = await client.ask(content + b".\r\n")
        assert re.fullmatch(r"552 5\.3\.4 Message size exceeds fixed limit of 1000 octets \[session \w{10}\]", reply)
        assert await client.codes(MAIL + RCPT, 2) == ["250", "250"]
        assert not rig.taken


async def test_an_endless_line_is_not_kept() -> None:
    """The size limit holds for octets without a line end too, and at twice the limit the connection is cut."""
    async with submission(limits={"message_size": "1MiB"}) as rig:
        client = await rig.in_transaction()
        await client.ask("DATA")
        [session] = rig.listeners._context.sessions
        for _ in range(40):
            client.send(b"x" * 65536)
            try:
                await client.writer.drain()
            except ConnectionError:
                break
            assert len(session._input.buffer) < 1024 * 1024  # type: ignore[attr-defined]
            assert rig.listeners._context.message_budget.used == 0
        await rig.all_left()
        assert b'"ending":"size"' in rig.events.lines[-1]
        assert not rig.taken


async def test_chunks_make_a_message() -> None:
    async with submission() as rig:
        client = await rig.greeted()
        client.send(BEGIN + b"BDAT 8\r\nA: b\r\n\r\nBDAT 4\r\n.\r\n.BDAT 0\r\nBDAT 3 last\r\n\r\nxNOOP\r\n")
        replies = await client.replies(8)
        assert [reply[:3] for reply in replies] == ["250"] * 8
        assert replies[3] == "250 2.0.0 8 octets received"
        assert replies[6] == "250 2.0.0 OK: queued"
        assert rig.taken[0].content == b"A: b\r\n\r\n.\r\n.\r\nx\r\n"  # no dots are doubled; the last line is ended


async def test_an_empty_last_chunk_ends_a_message() -> None:
    async with submission() as rig:
        client = await rig.in_transaction()
        assert await client.codes(b"BDAT 9\r\nA: b\r\n\r\nx" + b"BDAT 0 LAST\r\n", 2) == ["250", "250"]
        assert rig.taken[0].content == b"A: b\r\n\r\nx\r\n"


@pytest.mark.parametrize(
    ("before", "code"),
    [(HELLO, "503 5.5.1"), (HELLO + MAIL, "503 5.5.1"), (HELLO + MAIL + b"RCPT TO:<x>\r\n", "554 5.5.1")],
)
async def test_a_chunk_out_of_order_is_swallowed(before: bytes, code: str) -> None:
    async with submission() as rig:
        client = await rig.greeted()
        client.send(before + b"BDAT 12 LAST\r\nRSET\r\nQUIT\r\nNOOP\r\n")
        replies = await client.replies(before.count(b"\r\n") + 2)
        assert replies[-2].startswith(code)
        assert replies[-1] == "250 2.0.0 OK"


async def test_data_and_chunks_do_not_mix() -> None:
    async with submission() as rig:
        client = await rig.in_transaction()
        client.send(b"BDAT 6\r\nA: b\r\nDATA\r\n" + RCPT + MAIL)
        assert [reply[:9] for reply in await client.replies(4)] == ["250 2.0.0"] + ["503 5.5.1"] * 3
        assert (await client.ask(b"BDAT 2 LAST\r\n\r\n"))[:3] == "250"
        assert rig.taken[0].content == b"A: b\r\n\r\n"


async def test_chunks_over_the_limit_are_swallowed_each() -> None:
    async with submission(limits={"message_size": 1000, "header_size": 500}) as rig:
        client = await rig.in_transaction()
        chunk = b"x" * 600
        client.send((b"BDAT 600\r\n" + chunk) * 2 + b"BDAT 600 LAST\r\n" + chunk + b"NOOP\r\n")
        assert [reply[:9] for reply in await client.replies(4)] == [
            "250 2.0.0",
            "552 5.3.4",
            "503 5.5.1",  # the transaction is over
            "250 2.0.0",
        ]
        assert not rig.taken


async def test_bare_line_ends_in_chunks_are_refused() -> None:
    async with submission() as rig:
        client = await rig.in_transaction()
        assert (await client.ask(b"BDAT 8 LAST\r\nA: b\n\nc\n")).startswith(BARE)


async def test_a_chunk_of_unknown_size_ends_the_session() -> None:
    """It is not known where it ends and the next command begins."""
    async with submission() as rig:
        client = await rig.in_transaction()
        client.send(b"BDAT -5 LAST\r\nMAIL FROM:<evil@shop.example>\r\n")
        assert await client.rest() == "501 5.5.4 Syntax: BDAT size [LAST]\r\n"


async def test_the_next_message_follows_in_the_same_packet() -> None:
    async with submission() as rig:
        client = await rig.in_transaction()
        client.send(b"DATA\r\n")
        assert (await client.reply())[:3] == "354"
        assert await client.codes(MESSAGE + b".\r\n" + MAIL + RCPT + b"BDAT 6 LAST\r\nA: b\r\n", 4) == ["250"] * 4
        assert [taken.content for taken in rig.taken] == [MESSAGE, b"A: b\r\n"]


async def test_messages_that_arrive_together_share_the_memory() -> None:
    async with submission(limits={"message_size": "1MiB", "message_memory": "4MiB"}) as rig:
        first, second = await rig.in_transaction(), await rig.in_transaction()
        large = b"A: b\r\n\r\n" + (b"x" * 98 + b"\r\n") * 8000
        room = rig.listeners._context.message_budget
        await second.ask("DATA")
        assert (await first.ask(b"BDAT %d\r\n%b" % (len(large), large)))[:3] == "250"
        assert room.used == COPIES * len(large)
        second.send(large + b".\r\n")
        assert await second.reply() == "452 4.3.1 Insufficient system storage, try again later"
        assert await second.ask("MAIL FROM:<a@shop.example> SIZE=900000") == (
            "452 4.3.1 Insufficient system storage, try again later"
        )
        assert (await first.ask(b"BDAT 0 LAST\r\n"))[:3] == "250"
        assert room.used == 0


@pytest.mark.parametrize("end", [b"RSET\r\n", HELLO, b"QUIT\r\n", b""])
async def test_memory_is_given_back_however_a_transaction_ends(end: bytes) -> None:
    async with submission() as rig:
        client = await rig.in_transaction()
        assert (await client.ask(b"BDAT 5\r\nA: b\r"))[:3] == "250"
        assert rig.listeners._context.message_budget.used == COPIES * 5
        if end:
            assert (await client.ask(end))[:1] == "2"
        else:
            client.close()
            await rig.all_left()
        assert rig.listeners._context.message_budget.used == 0

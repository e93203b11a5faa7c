"""The scripted receiver does what its script says; the flow tests stand on it."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trustme

from mta.testing.receiver import Receiver
from mta.testing.script import (
    FRIENDLY,
    MANNERS,
    AfterReply,
    Ledger,
    ReceiverStage,
    Script,
    ScriptedReply,
    ScriptRule,
    say,
)

ENVELOPE = b"MAIL FROM:<ann@a.example>\r\nRCPT TO:<bob@b.example>\r\nDATA\r\n"


class Client:
    """A raw SMTP client: sends octets, reads replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def reply(self) -> str:
        lines = []
        while True:
            line = (await self.reader.readline()).decode("latin-1")
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                return "\n".join(lines)

    async def ask(self, octets: bytes, replies: int = 1) -> list[str]:
        self.writer.write(octets)
        return [await self.reply() for _ in range(replies)]


Start = Callable[[Script], Awaitable[tuple[Receiver, Client]]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    receivers: list[Receiver] = []
    writers: list[asyncio.StreamWriter] = []

    async def begin(script: Script) -> tuple[Receiver, Client]:
        receiver = Receiver(script)
        receivers.append(receiver)
        reader, writer = await asyncio.open_connection("127.0.0.1", await receiver.start())
        writers.append(writer)
        return receiver, Client(reader, writer)

    yield begin
    for writer in writers:
        writer.close()
    for receiver in receivers:
        await receiver.stop()


async def test_a_pipelined_message_is_recorded_as_it_came(start: Start) -> None:
    receiver, client = await start(Script())
    await client.reply()
    hello = (await client.ask(b"EHLO client.example\r\n"))[0]
    assert "250-PIPELINING" in hello
    assert "250 ENHANCEDSTATUSCODES" in hello
    envelope = b"MAIL FROM:<ann@a.example> SIZE=9 RET=HDRS\r\nRCPT TO:<bob@b.example> NOTIFY=NEVER\r\nDATA\r\n"
    assert [reply[:3] for reply in await client.ask(envelope, 3)] == ["250", "250", "354"]
    assert (await client.ask(b"Subject: x\r\n\r\n..dot\r\n.\r\n"))[0].startswith("250")
    receipt = receiver.ledger.receipts[0]
    assert receipt.accepted
    assert receipt.raw == b"Subject: x\r\n\r\n..dot\r\n"
    assert receipt.content == b"Subject: x\r\n\r\n.dot\r\n"
    assert receipt.sender.parameters == ("SIZE=9", "RET=HDRS")
    assert receipt.recipients[0].address == "bob@b.example"
    assert receipt.recipients[0].parameters == ("NOTIFY=NEVER",)
    assert (receipt.hello, receipt.tls, receipt.connection) == ("client.example", None, 1)


async def test_the_final_dot_is_found_wherever_packets_are_cut(start: Start) -> None:
    receiver, client = await start(Script())
    await client.reply()
    message = b"A: b\r\n\r\n.\rnot yet\r\n.\nnor now\r\n.\r\n"
    await client.ask(b"EHLO x\r\n")
    await client.ask(ENVELOPE, 3)
    for octet in message:
        client.writer.write(bytes([octet]))
        await client.writer.drain()
        await asyncio.sleep(0)
    assert (await client.reply()).startswith("250")
    assert receiver.ledger.receipts[0].raw == message[:-3]


async def test_chunks_are_put_together(start: Start) -> None:
    receiver, client = await start(Script())
    await client.reply()
    octets = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@c.example>\r\nBDAT 4\r\nab\r\nBDAT 3 LAST\r\n.\r\n"
    replies = await client.ask(octets, 5)
    assert [reply[:3] for reply in replies] == ["250"] * 5
    assert receiver.ledger.receipts[0].content == b"ab\r\n.\r\n"


async def test_the_nth_hit_gets_the_nth_act(start: Start) -> None:
    _, client = await start(
        Script(rules=(ScriptRule(ReceiverStage.RCPT, "grey*@*", (say("451 4.7.1 later"), FRIENDLY)),))
    )
    await client.reply()
    await client.ask(b"EHLO x\r\nMAIL FROM:<>\r\n", 2)
    asked = b"RCPT TO:<grey1@b.example>\r\nRCPT TO:<grey2@b.example>\r\nRCPT TO:<grey1@b.example>\r\n"
    assert [reply[:3] for reply in await client.ask(asked, 3)] == ["451", "451", "250"]


async def test_manners_go_by_the_local_part(start: Start) -> None:
    _, client = await start(Script(rules=MANNERS))
    await client.reply()
    await client.ask(b"EHLO x\r\nMAIL FROM:<>\r\n", 2)
    asked = b"".join(b"RCPT TO:<%s@b.example>\r\n" % who for who in (b"ann", b"unknown", b"full", b"blocked"))
    assert [reply[:9] for reply in await client.ask(asked, 4)] == ["250 2.1.5", "550 5.1.1", "452 4.2.2", "554 5.7.1"]


@pytest.mark.parametrize("end", [AfterReply.CLOSE, AfterReply.RESET])
async def test_lost_after_the_dot_is_recorded_as_unanswered(start: Start, end: AfterReply) -> None:
    receiver, client = await start(
        Script(rules=(ScriptRule(ReceiverStage.END, "*", (ScriptedReply(reply=b"", end=end),)),))
    )
    await client.reply()
    await client.ask(b"EHLO x\r\n" + ENVELOPE, 4)
    client.writer.write(b"x\r\n.\r\n")
    try:
        assert await client.reader.read() == b""
    except ConnectionResetError:
        assert end is AfterReply.RESET
    assert receiver.ledger.receipts[0].answer is None


async def test_answers_can_drip_and_come_late(start: Start) -> None:
    rules = (
        ScriptRule(ReceiverStage.CONNECT, "*", (ScriptedReply(pace=0.001),)),
        ScriptRule(ReceiverStage.MAIL, "*", (ScriptedReply(wait=0.01),)),
    )
    _, client = await start(Script(rules=rules))
    assert (await client.reply()).startswith("220 mx.receiver.example")
    assert [reply[:3] for reply in await client.ask(b"EHLO x\r\n" + ENVELOPE, 4)] == ["250", "250", "250", "354"]


async def test_a_flood_never_ends(start: Start) -> None:
    _, client = await start(
        Script(rules=(ScriptRule(ReceiverStage.HELLO, "*", (say("250-more", end=AfterReply.FLOOD),)),))
    )
    await client.reply()
    client.writer.write(b"EHLO x\r\n")
    assert len(await client.reader.readexactly(1_000_000)) == 1_000_000


async def test_one_answer_for_many_commands_if_pipelining_is_broken(start: Start) -> None:
    receiver, client = await start(Script(forgets_pipelined=True))
    await client.reply()
    await client.ask(b"EHLO x\r\n")
    assert (await client.ask(ENVELOPE))[0].startswith("250")
    assert (await client.ask(b"NOOP\r\n"))[0].startswith("250")
    assert [line for _, line in receiver.ledger.commands] == ["EHLO x", "MAIL FROM:<ann@a.example>", "NOOP"]


async def test_starttls_and_auth(start: Start) -> None:
    authority = trustme.CA()
    served, wanted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("mx.receiver.example").configure_cert(served)
    authority.configure_trust(wanted)
    receiver, client = await start(Script(tls=served, logins={"ann": "secret"}))
    await client.reply()
    assert "STARTTLS" in (await client.ask(b"EHLO x\r\n"))[0]
    assert (await client.ask(b"STARTTLS\r\n"))[0].startswith("220")
    await client.writer.start_tls(wanted, server_hostname="mx.receiver.example")
    assert "STARTTLS" not in (await client.ask(b"EHLO x\r\n"))[0]
    wrong = b"AUTH PLAIN " + base64.b64encode(b"\0ann\0wrong") + b"\r\n"
    right = b"AUTH LOGIN\r\n" + base64.b64encode(b"ann") + b"\r\n" + base64.b64encode(b"secret") + b"\r\n"
    assert (await client.ask(wrong))[0].startswith("535")
    assert (await client.ask(right, 3))[2].startswith("235")
    await client.ask(ENVELOPE, 3)
    await client.ask(b"x\r\n.\r\n")
    assert receiver.ledger.receipts[0].login == "ann"
    assert receiver.ledger.receipts[0].tls == "TLSv1.3"


async def test_the_ledger_file_has_the_dot_and_the_answer(tmp_path) -> None:
    receiver = Receiver(Script(), Ledger(path=tmp_path / "ledger"))
    reader, writer = await asyncio.open_connection("127.0.0.1", await receiver.start())
    client = Client(reader, writer)
    await client.reply()
    await client.ask(b"EHLO x\r\n" + ENVELOPE, 4)
    await client.ask(b"X-Test: 7\r\n\r\nx\r\n.\r\n")
    lines = [json.loads(line) for line in (tmp_path / "ledger").read_text().splitlines()]
    assert [line["what"] for line in lines] == ["got", "accepted"]
    assert lines[0]["recipients"] == ["bob@b.example"]
    assert lines[0]["headers"] == "X-Test: 7"
    writer.close()
    await receiver.ledger.wait_until(lambda ledger: ledger.open == 0)
    await receiver.stop()

"""Receivers that offer PIPELINING and cannot do it: found out before the message, and asked one by one from then on."""

import asyncio

import pytest

from mta.testing.script import FRIENDLY, ReceiverStage, Script, ScriptedReply, ScriptRule, say
from tests.flow.far_end import far_end, replies


async def test_the_envelope_goes_out_at_once() -> None:
    packets: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (b"220 mx ESMTP", b"250-mx\r\n250 PIPELINING", b"250 ok\r\n" * 3 + b"354 go", b"250 taken"):
            writer.write(answer + b"\r\n")
            packets.append(await reader.read(65536))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.5")
    async with far_end(testing={"receiver_port": server.sockets[0].getsockname()[1]}) as far:
        await far.receiver()
        far.domain("example.com", "127.0.0.5")
        attempt = await far.deliver("bob@example.com", "eve@example.com", content=b"x\r\n")
        assert set(replies(attempt).values()) == {"250 2.0.0"}
    server.close()
    assert [packet.count(b"\r\n") for packet in packets] == [1, 4, 2, 1]
    assert packets[2] == b"x\r\n.\r\n"


@pytest.mark.parametrize("recipients", [1, 3])
async def test_a_receiver_that_forgets_what_it_was_sent(recipients: int) -> None:
    names = [f"u{n}@example.com" for n in range(recipients)]
    async with far_end(egress={"timeouts": {"rcpt": "500ms", "data": "500ms"}}) as far:
        receiver = await far.receiver(Script(forgets_pipelined=True))
        assert set(replies(await far.deliver(*names)).values()) == {"250 2.0.0"}
        assert receiver.ledger.connections == 2
        await far.courier._pool.close()
        await far.deliver(*names)  # it is remembered
        assert receiver.ledger.connections == 3
        assert [len(receipt.recipients) for receipt in receiver.ledger.receipts] == [recipients] * 2


@pytest.mark.parametrize(
    "rule",
    [
        ScriptRule(ReceiverStage.MAIL, "*", (say("250 ok\n250 ok"), FRIENDLY)),
        ScriptRule(ReceiverStage.RCPT, "bob@*", (say("250 ok\n550 5.1.1 who is that"), FRIENDLY)),
        ScriptRule(ReceiverStage.DATA, "*", (say("250 ok"), FRIENDLY)),
        ScriptRule(ReceiverStage.DATA, "*", (say("354 go\n250 ok"), FRIENDLY)),
        ScriptRule(ReceiverStage.RCPT, "eve@*", (say("354 go"), FRIENDLY)),
        ScriptRule(ReceiverStage.MAIL, "*", (say("354 go"), FRIENDLY)),
    ],
)
async def test_answers_that_do_not_fit_count_for_nobody(rule: ScriptRule) -> None:
    """Every recipient's answer might be another's: none is believed, no message is sent, all is asked again."""
    async with far_end() as far:
        receiver = await far.receiver(Script(rules=(rule,)))
        attempt = await far.deliver("bob@example.com", "eve@example.com")
        assert replies(attempt) == {"bob": "250 2.0.0", "eve": "250 2.0.0"}
        assert len(receiver.ledger.receipts) == 1
        assert receiver.ledger.connections == 2


@pytest.mark.parametrize("stage", [ReceiverStage.MAIL, ReceiverStage.RCPT, ReceiverStage.DATA])
async def test_out_of_step_without_pipelining_is_temporary(stage: ReceiverStage) -> None:
    async with far_end() as far:
        receiver = await far.receiver(Script(extensions=(), rules=(ScriptRule(stage, "*", (say("355 what now"),)),)))
        assert replies(await far.deliver("bob@example.com")) == {"bob": "451 4.5.0"}
        assert receiver.ledger.receipts == []
        assert receiver.ledger.connections == 1


async def test_a_slow_receiver_is_given_up_in_the_end() -> None:
    async with far_end(egress={"timeouts": {"rcpt": "100ms"}}) as far:
        receiver = await far.receiver(Script(rules=(ScriptRule(ReceiverStage.RCPT, "*", (ScriptedReply(wait=60),)),)))
        assert replies(await far.deliver("bob@example.com")) == {"bob": "451 4.4.2"}
        assert receiver.ledger.connections == 2


@pytest.mark.parametrize(("data", "reply"), [("354 go", "421 4.3.2"), ("451 4.3.0 later", "451 4.3.0")])
async def test_a_421_more_is_a_farewell_not_a_misstep(data: str, reply: str) -> None:
    """RFC 5321 3.8: it may come at any time. What was answered before stays answered."""
    async with far_end() as far:
        far.domain("example.com", "127.0.0.2", "127.0.0.3")
        farewell = ScriptRule(ReceiverStage.DATA, "*", (say(f"{data}\n421 4.3.2 closing"),))
        first = await far.receiver(
            Script(rules=(ScriptRule(ReceiverStage.RCPT, "no@*", (say("550 5.1.1 no"),)), farewell))
        )
        second = await far.receiver(address="127.0.0.3")
        attempt = await far.deliver("no@example.com", "bob@example.com")
        assert replies(attempt) == {"no": "550 5.1.1", "bob": reply}
        assert attempt.transcript == "421 4.3.2 closing"
        assert (first.ledger.connections, second.ledger.connections) == (1, 0)
        assert first.ledger.receipts == []

"""What arrives is what was sent, octet for octet, with the envelope as it was given."""

import random
import socket

from mta.mail.delivery import Host
from mta.mail.delivery import Stage as Reached
from mta.mail.message import Body, Notify, Return
from mta.testing.nameserver import Node
from mta.testing.script import ReceiverStage, Script, ScriptRule, say
from tests.flow.far_end import CONTENT, far_end, replies

ALL = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 52428800", "DSN", "ENHANCEDSTATUSCODES")


async def test_delivered() -> None:
    async with far_end() as far:
        receiver = await far.receiver()
        attempt = await far.deliver("bob@example.com")
        [result] = attempt.results
        assert (result.reply.code, result.reply.status, result.reply.text) == (250, "2.0.0", "taken")
        assert result.stage is Reached.FINAL_DOT
        assert not result.delivery_unknown
        assert attempt.host == Host("mx1.example.com", "127.0.0.2", None)
        assert attempt.source == "127.0.0.1"
        assert attempt.transcript is None
        [receipt] = receiver.ledger.receipts
        assert receipt.content == CONTENT
        assert receipt.hello == "out.sender.example"
        assert receipt.sender.address == "ann@sender.example"
        assert receipt.sender.parameters == (f"SIZE={len(CONTENT)}",)
        assert [mailbox.address for mailbox in receipt.recipients] == ["bob@example.com"]


async def test_any_octets_arrive_as_they_were() -> None:
    """Dots at line starts, in every place (RFC 5321 4.5.2)."""
    pieces = [b".", b"..", b"\r\n", b"\r\n.", b"\r\n..\r\n", b"a", b"\xc3\xa9", b"Subject: x\r\n", b"\r\n\r\n"]
    seed = random.randrange(1 << 32)
    choice = random.Random(seed)
    contents = [b"".join(choice.choices(pieces, k=choice.randrange(1, 40))) + b"\r\n" for _ in range(300)]
    async with far_end() as far:
        receiver = await far.receiver()
        for content in contents:
            assert replies(await far.deliver("bob@example.com", content=content)) == {"bob": "250 2.0.0"}
        assert [receipt.content for receipt in receiver.ledger.receipts] == contents, f"seed {seed}"


async def test_a_large_message_goes_out_in_blocks() -> None:
    content = CONTENT + b".line of text and more of it\r\n" * 200_000
    async with far_end() as far:
        receiver = await far.receiver()
        assert replies(await far.deliver("bob@example.com", content=content)) == {"bob": "250 2.0.0"}
        assert receiver.ledger.receipts[0].content == content


async def test_a_missing_line_end_is_made_up_for() -> None:
    async with far_end() as far:
        receiver = await far.receiver()
        await far.deliver("bob@example.com", content=b"A: b\r\n\r\nno line end")
        assert receiver.ledger.receipts[0].content == b"A: b\r\n\r\nno line end\r\n"


async def test_parameters_are_passed_on() -> None:
    content = "From: ann@sender.example\r\nSubject: Grüße\r\n\r\nGrüße\r\n".encode()
    async with far_end() as far:
        receiver = await far.receiver(Script(extensions=ALL))
        attempt = await far.deliver(
            "änne@example.com",
            "bob@example.com",
            content=content,
            body=Body.EIGHT_BIT,
            smtputf8=True,
            ret=Return.HEADERS,
            envid="QQ314159",
            **{"0": {"notify": Notify.NEVER}, "1": {"notify": Notify.SUCCESS | Notify.DELAY, "orcpt": "rfc822;b@c.d"}},
        )
        assert set(replies(attempt).values()) == {"250 2.0.0"}
        [receipt] = receiver.ledger.receipts
        size = f"SIZE={len(content)}"
        assert receipt.sender.parameters == (size, "BODY=8BITMIME", "SMTPUTF8", "RET=HDRS", "ENVID=QQ314159")
        assert receipt.recipients[0].parameters == ("NOTIFY=NEVER",)
        assert receipt.recipients[1].parameters == ("NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;b@c.d")


async def test_a_null_sender_and_no_extensions() -> None:
    async with far_end() as far:
        receiver = await far.receiver(
            Script(rules=(ScriptRule(ReceiverStage.HELLO, "*", (say("502 5.5.1 what?"), say("250 hi"))),))
        )
        assert replies(await far.deliver("bob@example.com", sender=None)) == {"bob": "250 2.0.0"}
        assert [line for _, line in receiver.ledger.commands if line[:4] in ("EHLO", "HELO")] == [
            "EHLO out.sender.example",
            "HELO out.sender.example",
        ]
        assert receiver.ledger.receipts[0].sender.address == ""
        assert receiver.ledger.receipts[0].sender.parameters == ()


async def test_252_after_the_dot_is_delivered() -> None:
    async with far_end() as far:
        await far.receiver(
            Script(rules=(ScriptRule(ReceiverStage.END, "*", (say("252 2.5.0 cannot verify, will try"),)),))
        )
        attempt = await far.deliver("bob@example.com")
        assert replies(attempt) == {"bob": "252 2.5.0"}
        assert not attempt.results[0].delivery_unknown


async def test_ipv6_and_sources_in_turn() -> None:
    async with far_end() as far:
        receiver = await far.receiver(address="127.0.0.2")
        await receiver.start("::1", far.port)
        ours = [{"name": f"ip{n}", "address": f"127.0.0.{n}", "ehlo": f"mta{n}.sender.example"} for n in (8, 9)]
        far.configure(egress={"sources": ours})
        seen = [(await far.deliver("bob@example.com")).source for _ in range(4)]
        assert sorted(seen) == ["127.0.0.8", "127.0.0.8", "127.0.0.9", "127.0.0.9"]
        assert [receipt.client for receipt in receiver.ledger.receipts] == seen
        assert [receipt.hello for receipt in receiver.ledger.receipts] == [
            f"mta{each[-1]}.sender.example" for each in seen
        ]
        far.configure(egress={"sources": [{"name": "six", "address": "::1"}], "ipv6": True})
        far.zone["six.example"] = Node(aaaa=("::1",))
        assert (await far.deliver("bob@six.example")).source == "::1"


async def test_small_packets_are_not_held_back() -> None:
    """TCP_NODELAY: Nagle and delayed acknowledgements would cost 40 ms for each message."""
    async with far_end() as far:
        await far.receiver()
        await far.deliver("bob@example.com")
        [sessions] = far.courier._pool._sessions.values()
        transport = sessions[0].protocol.transport
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

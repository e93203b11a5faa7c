"""The end of a message, where mail is lost or doubled: once the final dot is out, nobody else is tried."""

import pytest

from mta.mail.delivery import Stage as Reached
from mta.testing.script import AfterReply, ReceiverStage, Script, ScriptedReply, ScriptRule, say
from tests.flow.far_end import CONTENT, far_end, replies

LARGE = CONTENT + b"x" * 76 + b"\r\n" * 1 + (b"y" * 76 + b"\r\n") * 100_000


def at(stage: ReceiverStage, *acts: ScriptedReply) -> Script:
    return Script(rules=(ScriptRule(stage, "*", acts),))


@pytest.mark.parametrize(
    "act",
    [
        ScriptedReply(reply=b"", end=AfterReply.CLOSE),
        ScriptedReply(reply=b"", end=AfterReply.RESET),
        ScriptedReply(reply=b"", end=AfterReply.HANG),
        ScriptedReply(reply=b"\x00\xff not SMTP\r\n"),
        ScriptedReply(reply=b"250-and then nothing\r\n", end=AfterReply.CLOSE),
        ScriptedReply(reply=b"250-one\r\n550 two\r\n"),
        ScriptedReply(reply=b"25\r\n"),
        say("999 what does that mean"),
        say("354 more, please"),
    ],
)
async def test_no_clear_answer_is_ambiguous(act: ScriptedReply) -> None:
    async with far_end(egress={"timeouts": {"final_dot": "200ms"}}) as far:
        far.domain("example.com", "127.0.0.2", "127.0.0.3")
        first = await far.receiver(at(ReceiverStage.END, act))
        second = await far.receiver(address="127.0.0.3")
        attempt = await far.deliver("bob@example.com", "eve@example.com")
        assert all(result.delivery_unknown for result in attempt.results)
        assert {result.stage for result in attempt.results} == {Reached.FINAL_DOT}
        assert all(not 200 <= result.reply.code <= 299 for result in attempt.results)
        assert not any(500 <= result.reply.code <= 599 for result in attempt.results)
        assert len(first.ledger.receipts) == 1
        assert second.ledger.connections == 0
        assert len(far.courier._pool) == 0


@pytest.mark.parametrize("end", [AfterReply.CLOSE, AfterReply.RESET])
async def test_taken_and_then_cut_off_is_delivered_once(end: AfterReply) -> None:
    async with far_end() as far:
        receiver = await far.receiver(at(ReceiverStage.END, say("250 2.0.0 taken", end=end)))
        for n in range(3):
            attempt = await far.deliver(f"u{n}@example.com")
            assert replies(attempt) == {f"u{n}": "250 2.0.0"}
            assert not attempt.results[0].delivery_unknown
        assert len(receiver.ledger.receipts) == 3


async def test_cut_off_within_the_message_is_not_ambiguous() -> None:
    """The dot was never sent: the next host may have it."""
    async with far_end() as far:
        far.domain("example.com", "127.0.0.2", "127.0.0.3")
        first = await far.receiver(at(ReceiverStage.BODY, ScriptedReply(reply=b"", end=AfterReply.RESET)))
        second = await far.receiver(address="127.0.0.3")
        attempt = await far.deliver("bob@example.com", content=LARGE)
        assert replies(attempt) == {"bob": "250 2.0.0"}
        assert first.ledger.receipts == []
        assert second.ledger.receipts[0].content == LARGE


async def test_refused_within_the_message() -> None:
    async with far_end() as far:
        receiver = await far.receiver(at(ReceiverStage.BODY, say("552 5.3.4 enough of that", end=AfterReply.CLOSE)))
        attempt = await far.deliver("bob@example.com", content=LARGE)
        assert replies(attempt) == {"bob": "552 5.3.4"}
        assert attempt.results[0].stage is Reached.DATA
        assert not attempt.results[0].delivery_unknown
        assert receiver.ledger.receipts == []


async def test_taken_before_its_end_is_not_believed() -> None:
    async with far_end() as far:
        receiver = await far.receiver(at(ReceiverStage.BODY, say("250 2.0.0 whatever", end=AfterReply.DEAF)))
        attempt = await far.deliver("bob@example.com", content=LARGE)
        assert replies(attempt) == {"bob": "451 4.4.2"}
        assert not attempt.results[0].delivery_unknown
        assert receiver.ledger.receipts == []


async def test_a_receiver_that_stops_reading() -> None:
    async with far_end(egress={"timeouts": {"block": "200ms"}}) as far:
        await far.receiver(at(ReceiverStage.BODY, ScriptedReply(reply=b"", end=AfterReply.DEAF)))
        attempt = await far.deliver("bob@example.com", content=LARGE)
        assert replies(attempt) == {"bob": "451 4.4.2"}
        assert attempt.results[0].stage is Reached.DATA
        assert not attempt.results[0].delivery_unknown


async def test_a_slow_answer_is_waited_for() -> None:
    """Patience of its own for the final dot (RFC 5321 4.5.3.2.6), whatever the other stages allow."""
    short = dict.fromkeys(("mail", "rcpt", "data"), "500ms")
    async with far_end(egress={"timeouts": short | {"final_dot": "20s"}}) as far:
        await far.receiver(at(ReceiverStage.END, ScriptedReply(wait=0.8)))
        assert replies(await far.deliver("bob@example.com")) == {"bob": "250 2.0.0"}

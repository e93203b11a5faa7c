"""Cancelled before the final dot, nothing was sent; whatever happens inside, every recipient has a result."""

import asyncio

import pytest

from mta.delivery.courier import Courier
from mta.observe.metrics import Metrics
from mta.observe.trace import Trace
from mta.testing.script import AfterReply, ReceiverStage, Script, ScriptedReply, ScriptRule
from tests.flow.far_end import CONTENT, FarEnd, deliver_to, far_end, replies

LARGE = CONTENT + (b"y" * 76 + b"\r\n") * 100_000


@pytest.mark.parametrize(
    ("stage", "end", "content"),
    [
        (ReceiverStage.CONNECT, AfterReply.HANG, CONTENT),
        (ReceiverStage.HELLO, AfterReply.HANG, CONTENT),
        (ReceiverStage.MAIL, AfterReply.HANG, CONTENT),
        (ReceiverStage.RCPT, AfterReply.HANG, CONTENT),
        (ReceiverStage.DATA, AfterReply.HANG, CONTENT),
        (ReceiverStage.BODY, AfterReply.DEAF, LARGE),
    ],
)
async def test_cancelled_before_the_final_dot(stage: ReceiverStage, end: AfterReply, content: bytes) -> None:
    async with far_end() as far:
        receiver = await far.receiver(Script(rules=(ScriptRule(stage, "*", (ScriptedReply(reply=b"", end=end),)),)))
        attempt = asyncio.create_task(far.deliver("bob@example.com", content=content))
        await receiver.ledger.wait_until(lambda ledger: receiver.hits(stage) > 0)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        assert receiver.ledger.receipts == []
        if end is not AfterReply.DEAF:  # that one does not notice
            await receiver.ledger.wait_until(lambda ledger: ledger.open == 0)
        assert len(far.courier._pool) == 0


async def test_a_mistake_of_ours_is_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    async with far_end() as far:
        receiver = await far.receiver()

        def broken(*_: object) -> bytes:
            raise RuntimeError("a password")

        monkeypatch.setattr("mta.delivery.transaction.mail_command", broken)
        attempt = await far.deliver("bob@example.com", "eve@example.com")
        assert replies(attempt) == {"bob": "451 4.3.0", "eve": "451 4.3.0"}
        assert "password" not in repr(attempt)
        await receiver.ledger.wait_until(lambda ledger: ledger.open == 0)


class Lines(Trace):
    """A reader that looks all the time."""

    def __init__(self) -> None:
        self.active = True
        self.lines: list[tuple[str, bool, str]] = []

    def line(self, side: str, session: str, peer: str, sent: bool, text: str) -> None:
        self.lines.append((peer, sent, text))
        assert side == "out"
        assert session


async def test_the_dialogue_can_be_watched() -> None:
    async with far_end() as far:
        await far.receiver(Script(extensions=("PIPELINING",)))
        trace = Lines()
        far.courier = Courier(far.courier._settings, "out.sender.example", trace=trace, metrics=Metrics())
        await far.deliver("bob@example.com")
        assert {peer for peer, _, _ in trace.lines} == {"mx1.example.com [127.0.0.2]"}
        assert [("> " if sent else "< ") + text for _, sent, text in trace.lines] == [
            "< 220 mx.receiver.example ESMTP",
            "> EHLO out.sender.example",
            "< 250 mx.receiver.example",
            "< 250 PIPELINING",
            "> MAIL FROM:<ann@sender.example>",
            "> RCPT TO:<bob@example.com>",
            "> DATA",
            "< 250 2.1.0 sender ok",
            "< 250 2.1.5 recipient ok",
            "< 354 end with a dot",
            f"> [{len(CONTENT) + 3} octets of message]",
            "< 250 2.0.0 taken",
        ]


async def test_settings_can_be_taken_over() -> None:
    async with far_end() as far:
        receiver = await far.receiver()
        await far.deliver("bob@example.com")
        egress = far.courier._settings.model_copy(update={"ehlo": "new.sender.example"})
        far.courier.configure(egress, "out.sender.example")
        await far.courier._pool.close()
        await far.deliver("bob@example.com")
        assert [receipt.hello for receipt in receiver.ledger.receipts] == ["out.sender.example", "new.sender.example"]


async def serve_forever(far: FarEnd) -> None:
    while True:
        await far.courier.deliver(deliver_to("bob@example.com"), route := await far.route(), far.path(route), CONTENT)


async def test_cancelled_at_any_moment_nothing_is_torn() -> None:
    """What the receiver has is whole, and as often as it said so; connections do not pile up."""
    async with far_end() as far:
        receiver = await far.receiver()
        for n in range(60):
            task = asyncio.create_task(serve_forever(far))
            for _ in range(n):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert {receipt.content for receipt in receiver.ledger.receipts} <= {CONTENT}
        await far.courier.close()
        await receiver.ledger.wait_until(lambda ledger: ledger.open == 0)

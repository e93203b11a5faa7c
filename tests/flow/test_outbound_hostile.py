"""Receivers that speak nonsense, too much, too slowly or not at all: temporary, bounded, and the session is closed."""

import asyncio
import resource

import pytest

from mta.delivery.client import MAX_UNSOLICITED
from mta.mail.delivery import Stage as Reached
from mta.mail.reply import ReplyKind
from mta.testing.script import AfterReply, ReceiverStage, Script, ScriptedReply, ScriptRule, say
from tests.flow.far_end import far_end, replies

NONSENSE = {
    "garbage": ScriptedReply(reply=b"\x80\x00\xff\x01 garbage\r\n"),
    "no code": ScriptedReply(reply=b"hello there\r\n"),
    "two digits": ScriptedReply(reply=b"25\r\n"),
    "no blank": ScriptedReply(reply=b"250ok\r\n"),
    "code 000": ScriptedReply(reply=b"000 ok\r\n"),
    "code 199": ScriptedReply(reply=b"199 ok\r\n"),
    "code 999": ScriptedReply(reply=b"999 ok\r\n"),
    "code -12": ScriptedReply(reply=b"-12 ok\r\n"),
    "mixed codes": ScriptedReply(reply=b"250-ok\r\n550 no\r\n"),
    "a line without end": ScriptedReply(reply=b"550 " + b"x" * 70_000),
    "a megabyte in a line": ScriptedReply(reply=b"550 " + b"x" * 1_000_000 + b"\r\n"),
    "ten thousand lines": ScriptedReply(reply=b"550-no\r\n" * 10_000 + b"550 no\r\n"),
    "for ever": ScriptedReply(reply=b"550-no\r\n", end=AfterReply.FLOOD),
    "an unfinished reply": ScriptedReply(reply=b"250-ok\r\n", end=AfterReply.CLOSE),
    "http": ScriptedReply(reply=b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n", end=AfterReply.CLOSE),
}
STAGES = {
    ReceiverStage.CONNECT: Reached.HELLO,
    ReceiverStage.HELLO: Reached.HELLO,
    ReceiverStage.MAIL: Reached.SENDER,
    ReceiverStage.RCPT: Reached.RECIPIENT,
    ReceiverStage.DATA: Reached.DATA,
    ReceiverStage.END: Reached.FINAL_DOT,
}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
@pytest.mark.parametrize("act", NONSENSE.values(), ids=NONSENSE.keys())
async def test_nonsense_is_temporary(stage: ReceiverStage, act: ScriptedReply) -> None:
    async with far_end() as far:
        receiver = await far.receiver(Script(rules=(ScriptRule(stage, "*", (act,)),)))
        attempt = await far.deliver("bob@example.com")
        [result] = attempt.results
        assert result.reply.kind is ReplyKind.TRANSIENT
        assert result.stage is STAGES[stage]
        assert result.delivery_unknown is (stage is ReceiverStage.END)
        assert len(result.reply.text) < 2100
        assert result.reply.text.isprintable()
        assert receiver.ledger.accepted == []
        await receiver.ledger.wait_until(lambda ledger: ledger.open == 0)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
@pytest.mark.parametrize("pipelining", [True, False])
async def test_every_stage_has_its_patience(stage: ReceiverStage, pipelining: bool) -> None:
    names = {
        ReceiverStage.CONNECT: "greeting", ReceiverStage.HELLO: "hello", ReceiverStage.MAIL: "mail",
        ReceiverStage.RCPT: "rcpt", ReceiverStage.DATA: "data", ReceiverStage.END: "final_dot",
    }  # fmt: skip
    async with far_end(egress={"timeouts": {names[stage]: "100ms"}}) as far:
        extensions = ("PIPELINING",) if pipelining else ()
        await far.receiver(
            Script(
                extensions=extensions, rules=(ScriptRule(stage, "*", (ScriptedReply(reply=b"", end=AfterReply.HANG),)),)
            )
        )
        attempt = await far.deliver("bob@example.com")
        assert replies(attempt) == {"bob": "451 4.4.2"}
        assert attempt.results[0].stage is STAGES[stage]
        assert attempt.seconds < 15


@pytest.mark.parametrize(
    "stage",
    [ReceiverStage.CONNECT, ReceiverStage.HELLO, ReceiverStage.RCPT, ReceiverStage.END],
    ids=lambda stage: stage.name,
)
async def test_a_drip_does_not_renew_patience(stage: ReceiverStage) -> None:
    """Octets that come one by one are no answer: the whole reply has to be there in time."""
    patience = dict.fromkeys(("greeting", "hello", "rcpt", "final_dot"), "200ms")
    async with far_end(egress={"timeouts": patience}) as far:
        await far.receiver(Script(rules=(ScriptRule(stage, "*", (ScriptedReply(pace=0.05),)),)))
        attempt = await far.deliver("bob@example.com")
        assert replies(attempt) == {"bob": "451 4.4.2"}
        assert attempt.seconds < 15


async def test_many_slow_answers_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each recipient's answer within its patience, all of them together beyond that of the attempt."""
    monkeypatch.setattr("mta.delivery.courier.PER_RECIPIENT", 0.0)
    stages = dict.fromkeys(("connect", "greeting", "hello", "starttls", "mail", "rcpt", "data"), "200ms")
    async with far_end(egress={"timeouts": stages}) as far:
        receiver = await far.receiver(Script(rules=(ScriptRule(ReceiverStage.RCPT, "*", (ScriptedReply(wait=0.06),)),)))
        attempt = await far.deliver(*[f"u{n}@example.com" for n in range(50)])
        assert set(replies(attempt).values()) == {"451 4.4.2"}
        assert receiver.ledger.receipts == []


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (b"550 5.1.1 no\x00such\x1b[31m user\x07\r\n", "no\ufffdsuch\ufffd[31m user\ufffd"),
        ("550 5.1.1 unbekannter Empfänger\r\n".encode(), "unbekannter Empfänger"),
        ("550 5.1.1 unbekannter Empfänger\r\n".encode("latin-1"), "unbekannter Empf\ufffdnger"),
        (b"550-5.1.1 one\r\n550-5.1.1 two\n550 5.1.1 three\n", "one\ntwo\nthree"),
        (b"550-\r\n550\r\n", ""),
    ],
)
async def test_odd_texts_are_kept_as_far_as_they_can_be(reply: bytes, text: str) -> None:
    async with far_end() as far:
        await far.receiver(Script(rules=(ScriptRule(ReceiverStage.RCPT, "*", (ScriptedReply(reply=reply),)),)))
        [result] = (await far.deliver("bob@example.com")).results
        assert result.reply.code == 550
        assert result.reply.text == text


async def test_what_nobody_asked_for_is_kept() -> None:
    async with far_end() as far:
        receiver = await far.receiver(
            Script(rules=(ScriptRule(ReceiverStage.END, "*", (say("250 2.0.0 taken\n421 4.3.2 that was enough"),)),))
        )
        attempt = await far.deliver("bob@example.com")
        assert replies(attempt) == {"bob": "250 2.0.0"}
        assert attempt.transcript == "421 4.3.2 that was enough"
        await far.deliver("bob@example.com")
        assert receiver.ledger.connections == 2


async def test_replies_to_nothing_are_kept_in_part_and_end_the_session() -> None:
    async with far_end() as far:
        taken = ScriptedReply(reply=b"250 2.0.0 taken\r\n" * 1000, end=AfterReply.FLOOD)
        receiver = await far.receiver(Script(rules=(ScriptRule(ReceiverStage.END, "*", (taken,)),)))
        attempt = await far.deliver("bob@example.com")
        assert replies(attempt) == {"bob": "250 2.0.0"}
        assert len(attempt.transcript.splitlines()) <= MAX_UNSOLICITED + 1
        await receiver.ledger.wait_until(lambda ledger: ledger.open == 0)


async def test_hostile_receivers_cost_no_memory_and_no_time_of_others() -> None:
    """Forty sessions flooded at once; a healthy receiver is served meanwhile."""
    async with far_end() as far:
        await far.receiver(
            Script(
                rules=(
                    ScriptRule(
                        ReceiverStage.HELLO, "*", (ScriptedReply(reply=b"250-" + b"x" * 60_000, end=AfterReply.FLOOD),)
                    ),
                )
            )
        )
        await far.receiver(address="127.0.0.3")
        far.domain("good.example", "127.0.0.3")
        await far.route("example.com")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        hostile = [asyncio.create_task(far.deliver("bob@example.com")) for _ in range(40)]
        good = await asyncio.gather(*(far.deliver("ann@good.example") for _ in range(50)))
        assert all(replies(attempt) == {"ann": "250 2.0.0"} for attempt in good)
        assert {result.reply.code for task in hostile for result in (await task).results} == {451}
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024  # kB


async def test_a_tarpit_beside_healthy_receivers() -> None:
    async with far_end() as far:
        tarpit = await far.receiver(Script(rules=(ScriptRule(ReceiverStage.MAIL, "*", (ScriptedReply(wait=3600),)),)))
        good = await far.receiver(address="127.0.0.3")
        far.domain("good.example", "127.0.0.3")
        await far.route("example.com")
        stuck = [asyncio.create_task(far.deliver("bob@example.com")) for _ in range(200)]
        await tarpit.ledger.wait_until(
            lambda ledger: sum(line.startswith("MAIL") for _, line in ledger.commands) == len(stuck)
        )
        for n in range(100):
            assert replies(await far.deliver(f"u{n}@good.example")) == {f"u{n}": "250 2.0.0"}
        assert good.ledger.connections == 1
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        await tarpit.ledger.wait_until(lambda ledger: ledger.open == 0)

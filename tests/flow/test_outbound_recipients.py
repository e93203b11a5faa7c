"""Recipients of one message part ways, and nobody gets another's answer."""

import pytest

from mta.mail.delivery import Stage as Reached
from mta.testing.script import (
    FRIENDLY,
    MANNERS,
    AfterReply,
    ReceiverStage,
    Script,
    ScriptedReply,
    ScriptRule,
    say,
)
from tests.flow.far_end import far_end, replies

MANY = [f"u{n}@example.com" for n in range(25)]


def extensions(pipelining: bool, *more: str) -> tuple[str, ...]:
    return (*(("PIPELINING",) if pipelining else ()), *more)


@pytest.mark.parametrize("pipelining", [True, False])
async def test_two_refused_three_full_five_delivered(pipelining: bool) -> None:
    async with far_end() as far:
        receiver = await far.receiver(Script(extensions=extensions(pipelining), rules=MANNERS))
        names = ["a", "unknown1", "full1", "b", "full2", "c", "unknown2", "d", "full3", "e"]
        attempt = await far.deliver(*[f"{name}@example.com" for name in names])
        assert replies(attempt) == {
            **dict.fromkeys(("unknown1", "unknown2"), "550 5.1.1"),
            **dict.fromkeys(("full1", "full2", "full3"), "452 4.2.2"),
            **dict.fromkeys("abcde", "250 2.0.0"),
        }
        stages = {result.recipient.address.local: result.stage for result in attempt.results}
        assert (stages["a"], stages["full1"]) == (Reached.FINAL_DOT, Reached.RECIPIENT)
        [receipt] = receiver.ledger.receipts
        assert [mailbox.address[0] for mailbox in receipt.recipients] == list("abcde")


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("data", [FRIENDLY, say("354 go on")], ids=["503", "354"])
async def test_all_refused_sends_no_message(pipelining: bool, data: ScriptedReply) -> None:
    """A receiver that says 354 all the same gets a lone dot (RFC 2920 3.1), and the session goes on."""
    async with far_end() as far:
        rules = (*MANNERS, ScriptRule(ReceiverStage.DATA, "*", (data, FRIENDLY)))
        receiver = await far.receiver(Script(extensions=extensions(pipelining), rules=rules))
        attempt = await far.deliver("unknown1@example.com", "unknown2@example.com")
        assert replies(attempt) == {"unknown1": "550 5.1.1", "unknown2": "550 5.1.1"}
        assert receiver.ledger.receipts == []
        assert replies(await far.deliver("bob@example.com")) == {"bob": "250 2.0.0"}
        assert receiver.ledger.connections == 1
        lines = [line for _, line in receiver.ledger.commands]
        assert ("RSET" in lines) is (not pipelining or data is FRIENDLY)


@pytest.mark.parametrize("reply", ["452 4.5.3 too many recipients", "452 too many recipients", "552 Too many rcpts"])
@pytest.mark.parametrize("pipelining", [True, False])
async def test_too_many_for_one_transaction_get_another(reply: str, pipelining: bool) -> None:
    async with far_end() as far:
        rules = (ScriptRule(ReceiverStage.RCPT, "u[5-9]@*", (say(reply), FRIENDLY)),)
        receiver = await far.receiver(Script(extensions=extensions(pipelining), rules=rules))
        attempt = await far.deliver(*MANY[:10])
        assert set(replies(attempt).values()) == {"250 2.0.0"}
        assert [len(receipt.recipients) for receipt in receiver.ledger.receipts] == [5, 5]
        assert receiver.ledger.connections == 1


async def test_what_the_receiver_has_shown_is_kept_to() -> None:
    async with far_end() as far:
        receiver = await far.receiver(Script(max_recipients=4))
        for _ in range(2):
            assert set(replies(await far.deliver(*MANY[:10])).values()) == {"250 2.0.0"}
        assert [len(receipt.recipients) for receipt in receiver.ledger.receipts] == [4, 4, 2] * 2
        refused = [line for _, line in receiver.ledger.commands if line.startswith("RCPT")]
        assert len(refused) == 10 + 6 + 10  # six too many, once


async def test_a_receiver_that_takes_nobody_is_not_asked_for_ever() -> None:
    async with far_end() as far:
        receiver = await far.receiver(Script(max_recipients=0))
        assert set(replies(await far.deliver(*MANY[:3])).values()) == {"452 4.5.3"}
        assert len(receiver.ledger.commands) == 1 + 5


async def test_our_own_limit_and_the_offered_one() -> None:
    async with far_end(shaping={"default": {"recipients_per_transaction": 10}}) as far:
        receiver = await far.receiver()
        await far.receiver(Script(extensions=("PIPELINING", "LIMITS RCPTMAX=7 MAILMAX=2 X=1")), "127.0.0.3")
        far.domain("limited.example", "127.0.0.3")
        await far.deliver(*MANY)
        assert [len(receipt.recipients) for receipt in receiver.ledger.receipts] == [10, 10, 5]
        attempt = await far.deliver(*[f"u{n}@limited.example" for n in range(25)])
        assert set(replies(attempt).values()) == {"250 2.0.0"}
        ledger = far.receivers[1].ledger
        assert [len(receipt.recipients) for receipt in ledger.receipts] == [7, 7, 7, 4]
        assert [receipt.connection for receipt in ledger.receipts] == [1, 1, 2, 2]


async def test_421_in_the_middle_is_the_answer_of_those_who_have_none() -> None:
    async with far_end() as far:
        rules = (*MANNERS, ScriptRule(ReceiverStage.RCPT, "u3@*", (say("421 4.7.0 too fast", end=AfterReply.CLOSE),)))
        receiver = await far.receiver(Script(rules=rules))
        attempt = await far.deliver("unknown@example.com", *MANY[:5])
        assert replies(attempt) == {"unknown": "550 5.1.1", **{f"u{n}": "421 4.7.0" for n in range(5)}}
        assert receiver.ledger.receipts == []


async def test_lost_in_the_middle_the_next_host_serves_who_has_no_answer() -> None:
    async with far_end() as far:
        far.domain("example.com", "127.0.0.2", "127.0.0.3")
        rules = (*MANNERS, ScriptRule(ReceiverStage.RCPT, "u3@*", (ScriptedReply(reply=b"", end=AfterReply.CLOSE),)))
        first, second = await far.receiver(Script(rules=rules)), await far.receiver(address="127.0.0.3")
        attempt = await far.deliver("unknown@example.com", *MANY[:5])
        assert replies(attempt) == {"unknown": "550 5.1.1", **{f"u{n}": "250 2.0.0" for n in range(5)}}
        assert first.ledger.receipts == []
        assert [mailbox.address for mailbox in second.ledger.receipts[0].recipients] == MANY[:5]


async def test_lost_after_the_first_of_two_transactions() -> None:
    """The first five are delivered and stay so; the others go to the next host."""
    async with far_end(shaping={"default": {"recipients_per_transaction": 5}}) as far:
        far.domain("example.com", "127.0.0.2", "127.0.0.3")
        rules = (ScriptRule(ReceiverStage.DATA, "u7@*", (ScriptedReply(reply=b"", end=AfterReply.CLOSE),)),)
        first, second = await far.receiver(Script(rules=rules)), await far.receiver(address="127.0.0.3")
        assert set(replies(await far.deliver(*MANY[:10])).values()) == {"250 2.0.0"}
        assert [mailbox.address for mailbox in first.ledger.receipts[0].recipients] == MANY[:5]
        assert [mailbox.address for mailbox in second.ledger.receipts[0].recipients] == MANY[5:10]


async def test_ambiguous_for_the_first_and_untried_for_the_rest() -> None:
    async with far_end(shaping={"default": {"recipients_per_transaction": 5}}) as far:
        far.domain("example.com", "127.0.0.2", "127.0.0.3")
        await far.receiver(
            Script(rules=(ScriptRule(ReceiverStage.END, "*", (ScriptedReply(reply=b"", end=AfterReply.CLOSE),)),))
        )
        second = await far.receiver(address="127.0.0.3")
        attempt = await far.deliver(*MANY[:8])
        assert [result.delivery_unknown for result in attempt.results] == [True] * 5 + [False] * 3
        assert {result.reply.code for result in attempt.results} == {451}
        assert second.ledger.connections == 0

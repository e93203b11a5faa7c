"""Connections are kept for the next message, as long as both sides want it, and no longer."""

import asyncio

import pytest

from mta.testing.script import FRIENDLY, AfterReply, ReceiverStage, Script, ScriptedReply, ScriptRule, say
from tests.flow.far_end import far_end, replies


async def test_one_connection_for_many_messages() -> None:
    async with far_end() as far:
        receiver = await far.receiver()
        for n in range(20):
            assert replies(await far.deliver(f"u{n}@example.com")) == {f"u{n}": "250 2.0.0"}
        assert receiver.ledger.connections == 1
        verbs = [line[:4] for _, line in receiver.ledger.commands]
        assert verbs == ["EHLO", *["MAIL", "RCPT", "DATA"] * 20]
        await far.courier.close()
        assert receiver.ledger.commands[-1] == (1, "QUIT")


async def test_a_new_one_after_so_many_messages() -> None:
    async with far_end(shaping={"default": {"messages_per_connection": 3}}) as far:
        receiver = await far.receiver()
        for n in range(7):
            await far.deliver(f"u{n}@example.com")
        assert [receipt.connection for receipt in receiver.ledger.receipts] == [1, 1, 1, 2, 2, 2, 3]
        await receiver.ledger.wait_until(lambda ledger: ledger.open == 1)
        assert [line for _, line in receiver.ledger.commands].count("QUIT") == 2


async def test_idle_ones_are_closed_politely() -> None:
    async with far_end(shaping={"default": {"idle": "50ms"}}) as far:
        receiver = await far.receiver()
        await asyncio.gather(*(far.deliver(f"u{n}@example.com") for n in range(5)))
        assert receiver.ledger.connections == 5
        await receiver.ledger.wait_until(lambda ledger: ledger.open == 0)
        assert [line for _, line in receiver.ledger.commands].count("QUIT") == 5
        assert len(far.courier._pool) == 0


async def test_one_that_is_used_again_begins_its_idle_time_anew() -> None:
    """It is looked at when the first one is over, and closed when the last one is."""
    async with far_end(shaping={"default": {"idle": "300ms"}}) as far:
        receiver = await far.receiver()
        ends = []
        for recipient in ("one@example.com", "two@example.com"):
            await far.deliver(recipient)
            [[session]] = far.courier._pool._sessions.values()
            ends.append(session.idle_until)
            await asyncio.sleep(0.002)
        assert receiver.ledger.connections == 1
        assert ends[0] < ends[1]
        await receiver.ledger.wait_until(lambda ledger: ledger.open == 0)
        assert asyncio.get_running_loop().time() >= ends[1]
        assert [line for _, line in receiver.ledger.commands].count("QUIT") == 1


@pytest.mark.parametrize(
    "act",
    [
        say("421 4.4.2 you have been idle", end=AfterReply.CLOSE),
        ScriptedReply(reply=b"", end=AfterReply.CLOSE),
        ScriptedReply(reply=b"", end=AfterReply.RESET),
    ],
)
async def test_a_dead_connection_costs_no_attempt(act: ScriptedReply) -> None:
    """Whether it says so or not: nothing was sent, and a new connection does."""
    async with far_end() as far:
        receiver = await far.receiver(Script(rules=(ScriptRule(ReceiverStage.MAIL, "*", (FRIENDLY, act, FRIENDLY)),)))
        await far.deliver("one@example.com")
        assert replies(await far.deliver("two@example.com")) == {"two": "250 2.0.0"}
        assert [receipt.connection for receipt in receiver.ledger.receipts] == [1, 2]


@pytest.mark.parametrize("farewell", [b"421 4.4.2 idle for too long\r\n", b""])
async def test_one_that_died_while_idle_is_not_used(farewell: bytes) -> None:
    async with far_end() as far:
        receiver = await far.receiver()
        await far.deliver("one@example.com")
        [session] = receiver._sessions
        assert session._transport is not None
        session._transport.write(farewell)
        session._transport.close()
        await receiver.ledger.wait_until(lambda ledger: ledger.open == 0)
        assert replies(await far.deliver("two@example.com")) == {"two": "250 2.0.0"}
        assert receiver.ledger.connections == 2
        assert [line[:4] for _, line in receiver.ledger.commands].count("MAIL") == 2


async def test_dead_at_once_on_the_new_one_too_is_trouble() -> None:
    async with far_end() as far:
        receiver = await far.receiver(
            Script(rules=(ScriptRule(ReceiverStage.MAIL, "*", (FRIENDLY, say("421 4.3.2 no", end=AfterReply.CLOSE))),))
        )
        await far.deliver("one@example.com")
        assert replies(await far.deliver("two@example.com")) == {"two": "421 4.3.2"}
        assert receiver.ledger.connections == 2


async def test_a_transaction_left_open_is_ended_first() -> None:
    async with far_end() as far:
        rules = (ScriptRule(ReceiverStage.RCPT, "no@*", (say("550 5.1.1 no"),)),)
        receiver = await far.receiver(Script(rules=rules))
        await far.deliver("no@example.com")
        await far.deliver("yes@example.com")
        await far.deliver("yes@example.com")
        verbs = [line[:4] for _, line in receiver.ledger.commands]
        assert verbs == ["EHLO", "MAIL", "RCPT", "DATA", "RSET", *["MAIL", "RCPT", "DATA"] * 2]


async def test_an_open_connection_is_preferred_to_a_better_host() -> None:
    """While the best host was away the second one was found; that is not done anew for each message."""
    async with far_end() as far:
        far.domain("example.com", "127.0.0.2", "127.0.0.3")
        second = await far.receiver(address="127.0.0.3")
        await far.deliver("one@example.com")
        first = await far.receiver(address="127.0.0.2")
        await far.deliver("two@example.com")
        assert (first.ledger.connections, second.ledger.connections) == (0, 1)
        await far.courier._pool.close()
        await far.deliver("three@example.com")
        assert first.ledger.connections == 1


async def test_domains_with_the_same_host_share_connections() -> None:
    async with far_end() as far:
        receiver = await far.receiver()
        far.zone["example.net"] = far.zone["example.com"]
        for domain in ("example.com", "example.net"):
            await far.deliver(f"bob@{domain}")
        assert receiver.ledger.connections == 1


async def test_hundreds_at_once_and_all_is_closed() -> None:
    async with far_end() as far:
        receiver = await far.receiver()
        await far.route()
        attempts = await asyncio.gather(*(far.deliver(f"u{n}@example.com") for n in range(300)))
        assert all(attempt.results[0].reply.code == 250 for attempt in attempts)
        assert len({receipt.recipients[0].address for receipt in receiver.ledger.receipts}) == 300
        await far.courier.close()
        await receiver.ledger.wait_until(lambda ledger: ledger.open == 0)

"""A path's connections: never more than its slots, and none left when the worker cannot rely on them any more."""

import asyncio

import pytest

from mta.delivery.egress.paths import EgressPath
from mta.delivery.egress.slots import ConnectionSlots
from mta.delivery.egress.sources import SYSTEM_SOURCE
from mta.delivery.route import Route, Target
from mta.delivery.shortage import Shortage
from mta.mail.delivery import Attempt, Stage
from mta.observe.labels import Resource
from mta.testing.script import AfterReply, ReceiverStage, Script, ScriptedReply, ScriptRule
from tests.flow.far_end import CONTENT, FarEnd, deliver_to, far_end, replies


def hanging(stage: ReceiverStage) -> Script:
    return Script(rules=(ScriptRule(stage, "*", (ScriptedReply(reply=b"", end=AfterReply.HANG),)),))


async def deliver(far: FarEnd, slots: ConnectionSlots, address: str = "127.0.0.2") -> Attempt:
    """Deliver to one host of a site."""
    route = await far.route()
    target = Target("mx.example.com", address, far.port)
    there = Route("site", route.shaping, (target,))
    path = EgressPath(SYSTEM_SOURCE, "site", route.shaping, slots)
    return await far.courier.deliver(deliver_to("bob@example.com"), there, path, CONTENT)


async def test_an_idle_connection_makes_room_for_one_to_another_host() -> None:
    async with far_end() as far:
        first, second = await far.receiver(), await far.receiver(address="127.0.0.3")
        slots = ConnectionSlots(1)
        for address in ("127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.2"):
            assert replies(await deliver(far, slots, address)) == {"bob": "250 2.0.0"}
            assert (slots.open, slots.peak) == (1, 1)
            assert first.ledger.open + second.ledger.open == 1
        assert (first.ledger.connections, second.ledger.connections) == (2, 1)
        await far.courier.close()
        await asyncio.sleep(0)
        assert slots.open == 0


async def test_a_connection_waits_for_another_one_to_close() -> None:
    async with far_end(shaping={"default": {"messages_per_connection": 1}}) as far:
        receiver = await far.receiver()
        slots = ConnectionSlots(2)
        await asyncio.gather(*(deliver(far, slots) for _ in range(6)))
        assert receiver.ledger.connections == 6
        assert slots.peak == 2


async def test_a_slot_is_free_again_when_no_connection_comes_about() -> None:
    async with far_end(egress={"timeouts": {"connect": "100ms"}}) as far:
        await far.receiver()
        slots = ConnectionSlots(1)
        for _ in range(3):
            attempt = await deliver(far, slots, "127.0.0.77")
            assert attempt.results[0].stage is Stage.CONNECT
            assert slots.open == 0


async def test_without_slots_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mta.delivery.courier.SLOT_PATIENCE", 0.05)
    async with far_end() as far:
        receiver = await far.receiver()
        with pytest.raises(Shortage) as raised:
            await deliver(far, ConnectionSlots(0))
        assert raised.value.resource is Resource.SHARE
        assert receiver.ledger.connections == 0


@pytest.mark.parametrize("stage", [ReceiverStage.CONNECT, ReceiverStage.HELLO, ReceiverStage.MAIL, ReceiverStage.DATA])
async def test_what_is_cut_before_the_final_dot_is_no_attempt(stage: ReceiverStage) -> None:
    async with far_end() as far:
        receiver = await far.receiver(hanging(stage))
        slots = ConnectionSlots(4)
        attempt = asyncio.create_task(deliver(far, slots))
        await receiver.ledger.wait_until(lambda _: receiver.hits(stage) > 0)
        far.courier.revoke(in_doubt=False)
        with pytest.raises(Shortage) as raised:
            await attempt
        assert raised.value.resource is Resource.LEASE
        await receiver.ledger.wait_until(lambda ledger: ledger.open == 0)
        assert receiver.ledger.receipts == []
        assert slots.open == 0


async def test_idle_connections_are_closed_at_once() -> None:
    async with far_end() as far:
        receiver = await far.receiver()
        slots = ConnectionSlots(4)
        await asyncio.gather(*(deliver(far, slots) for _ in range(4)))
        assert slots.open == 4
        far.courier.revoke(in_doubt=False)
        await receiver.ledger.wait_until(lambda ledger: ledger.open == 0)
        assert slots.open == 0


@pytest.mark.parametrize("lost", [False, True])
async def test_the_reply_to_a_final_dot_is_waited_for_until_the_lease_is_lost(lost: bool) -> None:
    late = ScriptedReply(wait=0.3)
    async with far_end() as far:
        receiver = await far.receiver(Script(rules=(ScriptRule(ReceiverStage.END, "*", (late,)),)))
        slots = ConnectionSlots(4)
        attempt = asyncio.create_task(deliver(far, slots))
        await receiver.ledger.wait_until(lambda ledger: len(ledger.receipts) == 1)
        far.courier.revoke(in_doubt=lost)
        (result,) = (await attempt).results
        assert result.delivery_unknown == lost
        assert (result.reply.code == 250) == (not lost)

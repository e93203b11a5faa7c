"""Ten recipients, of whom two do not exist and three have no room now: each gets their own end."""

from __future__ import annotations

from mta.testing.script import FRIENDLY, ReceiverStage, Script, ScriptRule, say
from tests.flow.harness import World

UNKNOWN = ScriptRule(ReceiverStage.RCPT, "unknown*@*", (say("550 5.1.1 no such user here"),))
FULL = ScriptRule(ReceiverStage.RCPT, "full*@*", (say("452 4.2.2 mailbox full"), FRIENDLY))


async def test_they_part_ways(world: World) -> None:
    world.receiver.script = Script(rules=(UNKNOWN, FULL))
    await world.start()
    fine = [f"ok{n}@example.com" for n in range(5)]
    unknown = [f"unknown{n}@example.com" for n in range(2)]
    full = [f"full{n}@example.com" for n in range(3)]
    everybody = [*fine, *unknown, *full]
    message_id = await world.accept(*everybody)
    [notice] = await world.received(1, world.home.ledger)
    events = await world.until_ended(message_id)

    copies = [recipient.address for receipt in world.taken for recipient in receipt.recipients]
    assert sorted(copies) == sorted([*fine, *full])  # once each
    ends = {everybody[event.recipient_index or 0]: event.kind for event in events if event.recipient_index is not None}
    assert {address for address, kind in ends.items() if kind == "delivered"} == {*fine, *full}
    assert {address for address, kind in ends.items() if kind == "failed"} == set(unknown)
    assert all(address in notice.content.decode() for address in unknown)
    assert not any(address in notice.content.decode() for address in fine)
    assert set(await world.suppressed()) == set(unknown)

"""A receiver that answers every recipient after an age must not hold up the others."""

from __future__ import annotations

from mta.testing.script import ReceiverStage, Script, ScriptedReply, ScriptRule
from tests.flow.harness import World, message


async def test_healthy_domains_go_on(world: World) -> None:
    tarpit = await world.add_receiver(
        "127.0.0.4", Script(rules=(ScriptRule(ReceiverStage.RCPT, "*", (ScriptedReply(wait=3600),)),))
    )
    world.domain("tarpit.example", "127.0.0.4")
    await world.start(
        server={"shutdown_grace": "200ms"}, egress={"timeouts": {"rcpt": "10m"}}, queue={"active_deliveries": 60}
    )
    for n in range(40):
        await world.accept(f"ann{n}@tarpit.example", content=message(f"Stuck {n}"))
    await tarpit.ledger.wait_until(lambda ledger: any(line.startswith("RCPT") for _, line in ledger.commands))
    for n in range(40):
        await world.accept(f"ben{n}@example.com", content=message(f"Free {n}"))
    await world.received(40)
    assert tarpit.ledger.receipts == []
    assert tarpit.ledger.open <= 20  # shaping.default.connections

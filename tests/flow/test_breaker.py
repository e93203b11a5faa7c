"""A breaker trips and holds mail: complaints stop a mailing, rejections stop an account's mail to one provider; both
continue when an operator cancels the breaker."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from mta.store.reputation import delivery_stats
from mta.store.store import Store
from mta.testing.script import FRIENDLY, ReceiverStage, Script, ScriptRule, say
from policy.reputation.breaker import ONE_COMPLAINT
from tests.flow.harness import World, kinds
from tests.flow.permission import READER, shop

PROFILE = """extends = "cleverreach"
[breakers]
complaints_floor = 5
complaints_warn = 0.2
complaints_stop = 0.4
rejections_floor = 4
rejections_stop = 0.5
"""
BLOCKED = ScriptRule(ReceiverStage.RCPT, "reader*", (say("550 5.7.1 your address is listed on a blocklist"),))
LATER = ScriptRule(ReceiverStage.RCPT, "later*", (say("451 4.3.2 come back later"), FRIENDLY))


def profile(world: World) -> Path:
    file = world.directory / "touchy.toml"
    file.write_text(PROFILE)
    return file


async def complain(store: Store, message_id: UUID | None) -> None:
    """As the intake of reports does it."""
    assert message_id
    async with store._database.session() as connection, connection.transaction():
        of = await delivery_stats.origin(connection, message_id)
        assert of is not None
        await delivery_stats.add(connection, of, ONE_COMPLAINT)


async def held(world: World) -> list[str]:
    return [
        row["hold"] for row in await world.db.fetch("select source || ' ' || ref || ': ' || text as hold from hold")
    ]


async def test_complaints_stop_a_mailing_until_somebody_cancels_the_breaker(world: World) -> None:
    world.receiver.script = Script(rules=(LATER,))
    async with shop(world, "touchy", [profile(world)], queue={"retry_schedule": ["1h"]}) as desk:
        mailing = await desk.announce("summer")
        readers = [f"reader{n}@example.com" for n in range(3)]
        others = [f"other{n}@example.com" for n in range(5)]
        await desk.agree(*readers, *others, "later@example.com")
        sent = [(await desk.send(reader, mailing="summer")).id for reader in readers]
        good = [
            (await desk.send(reader)).id for reader in others
        ]  # so that it is the mailing's trouble, not the account's
        for message_id in (*sent, *good):
            assert message_id
            await world.until_event(message_id, "delivered")
        waiting = await desk.send("later@example.com", mailing="summer")
        assert waiting.id
        await world.until_event(waiting.id, "deferred")
        for message_id in sent[:2]:
            await complain(desk.store, message_id)

        await world.until(lambda: held(world))
        name = f"complaints:mailing:{mailing}"
        (tripped,) = await desk.store.breakers.list()
        assert (tripped.name, tripped.cases, tripped.volume) == (name, 2, 3)
        refused = await desk.send(READER, mailing="summer")
        assert "was stopped (2 complaints of 3 recipients" in refused.reply.text
        assert (await desk.send(READER)).id  # another mailing of the account goes on
        await world.received(9)
        assert await world.db.fetchval("select count(*) from complaint_case where source = 'breaker'") == 1
        assert await world.suppressed() == {}

        assert (await desk.store.breakers.cancel(name, by="ann", reason="two of one family")).released == 1
        await world.until_event(waiting.id, "delivered")
        await desk.agree("another@example.com")
        assert (await desk.send("another@example.com", mailing="summer")).id  # not stopped again for the same counts
        await world.received(11)
        assert await desk.store.breakers.list() == []


async def test_rejections_hold_what_the_account_sends_there_and_suppress_nobody(world: World) -> None:
    world.receiver.script = Script(rules=(BLOCKED,))
    await world.add_receiver("127.0.0.4")
    world.domain("example.net", "127.0.0.4")
    providers = [{"name": "bigmail", "domains": ["example.com"]}]
    async with shop(world, "touchy", [profile(world)], shaping={"providers": providers}) as desk:
        for n in range(4):
            await world.until_event(await world.accept(f"reader{n}@example.com"), "failed")
        async with desk.store._database.session() as connection:  # without waiting for the minute to pass
            await connection.execute("select pg_notify($1, '')", delivery_stats.CHANNEL)
        name = f"rejections:account:{desk.id}:bigmail:transactional"

        async def tripped() -> bool:
            return [each.name for each in await desk.store.breakers.list()] == [name]

        await world.until(tripped)
        commands = len(world.receiver.ledger.commands)
        stopped = await world.accept("more@example.com")
        await world.until_event(stopped, "held")
        assert [reason.startswith(f"breaker {name}: 4 rejections") for reason in await held(world)] == [True]
        assert len(world.receiver.ledger.commands) == commands
        elsewhere = await world.accept("reader@example.net")
        assert kinds(await world.until_ended(elsewhere)) == ["delivered"]
        assert await world.suppressed() == {}

        assert (await desk.store.breakers.cancel(name, by="ann", reason="delisted")).released == 1
        assert kinds(await world.until_ended(stopped)) == ["held", "released", "delivered"]

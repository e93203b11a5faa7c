"""What automation rules and operators begin is in force in every worker, outlives a restart, and ends by a word."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from typer.testing import CliRunner

from mta.cli.main import build
from mta.mail.identity import format_id
from mta.testing.script import FRIENDLY, AfterReply, ReceiverStage, Script, ScriptRule, say
from tests.flow.harness import World, kinds

UNUSUAL_RATE = (
    "421-4.7.28 Gmail has detected an unusual rate of unsolicited mail originating\n"
    "421 4.7.28 from your IP address. a1-20020 - gsmtp"
)
BUSY = "451 4.7.500 Server busy. Please try again later from [192.0.2.7]. (S77714) [DB5.prod.protection.outlook.com]"
BLOCKED = "554 IP=192.0.2.7 - A problem occurred. (Ask your postmaster for help or to contact tosa@rx.t-online.de) (BL)"


def provider(name: str) -> dict[str, Any]:
    return {"name": name, "domains": [f"{name}.example"]}


async def cli(world: World, *words: str) -> str:
    """Run a command in this process, which saves its start."""
    command = [*words, "--config", str(world.service.config)]
    result = await asyncio.to_thread(CliRunner().invoke, build(words[0]), command)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


async def waiting(world: World, count: int) -> None:
    """Wait until so many recipients are put off by an action, and none is in a worker."""

    async def put_off() -> bool:
        return await world.db.fetchrow("select count(*) filter (where lease is null), count(waits_for) from queue") == (
            count,
            count,
        )

    await world.until(put_off)


async def actions(world: World, count: int) -> list[tuple[str, str]]:
    """Wait until there are so many actions; the rule and the effect of each."""

    async def begun() -> list[tuple[str, str]]:
        rows = [tuple(row) for row in await world.db.fetch("select rule, effect from shaping_action order by 1, 2")]
        return rows if len(rows) >= count else []

    return await world.until(begun)


async def test_a_rule_pauses_the_path_in_all_workers_until_it_is_cancelled(world: World) -> None:
    rule = ScriptRule(ReceiverStage.RCPT, "first@gmail.example", (say(UNUSUAL_RATE, end=AfterReply.CLOSE), FRIENDLY))
    gmail = await world.add_receiver("127.0.0.9", Script(rules=(rule,)))
    world.domain("gmail.example", "127.0.0.9")
    await world.start(server={"workers": 2}, shaping={"providers": [provider("gmail")]})
    first = await world.accept("first@gmail.example")
    assert await actions(world, 2) == [("gmail-unusual-rate", "close"), ("gmail-unusual-rate", "pause")]
    await waiting(world, 1)
    later = [await world.accept(f"r{n}@gmail.example") for n in range(6)]  # taken by both workers
    await waiting(world, 7)
    assert gmail.ledger.accepted == []
    other = await world.accept("ann@example.com")
    assert kinds(await world.until_ended(other))[-1] == "delivered"
    told = await cli(world, "explain", format_id(first))
    assert "waits for shaping action 1 (gmail-unusual-rate, by rule gmail-unusual-rate) until" in told

    await asyncio.to_thread(world.service.stop)
    await world.start()
    one_more = await world.accept("late@gmail.example")
    await waiting(world, 8)
    said = await cli(world, "shaping", "actions", "cancel", "1", "--reason", "solved", "--yes")
    assert "8 recipients due now" in said
    await world.received(8, gmail.ledger)
    for message in (first, *later, one_more):
        assert kinds(await world.until_ended(message))[-1] == "delivered"


@pytest.mark.nightly
async def test_rules_with_a_window_count_over_all_workers_and_others_fire_at_once(world: World) -> None:
    busy = ScriptRule(ReceiverStage.RCPT, "*@microsoft365.example", (say(BUSY),))
    blocked = ScriptRule(ReceiverStage.RCPT, "*@t-online.example", (say(BLOCKED),))
    world.receiver.script = Script(rules=(busy, blocked))
    for name in ("microsoft365", "t-online"):
        world.domain(f"{name}.example", "127.0.0.2")
    await world.start(
        server={"workers": 2},
        queue={"retry_schedule": ["1h"]},
        shaping={"providers": [provider("microsoft365"), provider("t-online")]},
    )
    for n in range(2):
        await world.until_event(await world.accept(f"r{n}@microsoft365.example"), "deferred")
    await world.until_ended(await world.accept("ann@t-online.example"))
    assert await actions(world, 3) == [("t-online-blocked", effect) for effect in ("alert", "close", "pause")]
    await world.until_event(await world.accept("r2@microsoft365.example"), "deferred")
    assert (await actions(world, 4))[0] == ("microsoft365-busy", "limit")
    settings = await world.db.fetchval("select settings from shaping_action where effect = 'limit'")
    assert '"connections": 1' in settings
    listed = await cli(world, "shaping", "actions", "list")
    assert "limit 1 connections, 30/m" in " ".join(listed.split())


@pytest.mark.nightly
async def test_operators_suspend_resume_and_reroute(world: World) -> None:
    world.domain("slow.example", "127.0.0.2")
    await world.start(
        server={"workers": 2},
        egress={
            "sources": [{"name": "one", "address": "127.0.1.1"}, {"name": "two", "address": "127.0.1.2"}],
            "pools": [
                {"name": "default", "members": [{"source": "one"}]},
                {"name": "reserve", "members": [{"source": "two"}]},
            ],
        },
    )
    said = await cli(world, "shaping", "suspend", "--domain", "slow.example", "--for", "1h", "--reason", "they asked")
    assert said.startswith("Action 1: domain slow.example suspended until")
    messages = [await world.accept(f"r{n}@slow.example") for n in range(4)]
    await waiting(world, 4)
    told = await cli(world, "shaping", "resume", "--domain", "slow.example", "--reason", "over", "--dry-run")
    assert told == "1 suspension would be ended; 4 recipients wait for it.\n"
    said = await cli(
        world, "queue", "reroute", "--destination", "slow.example", "--pool", "reserve", "--for", "1h", "--reason", "x",
        "--yes",
    )  # fmt: skip
    assert "4 queued recipients are concerned" in said
    told = await cli(world, "shaping", "resume", "--domain", "slow.example", "--reason", "over")
    assert told == "1 suspension ended; 4 recipients due now.\n"
    for message in messages:
        (event,) = await world.until_event(message, "delivered")
        assert event.data["source"] == "127.0.1.2"
    (event,) = await world.until_event(await world.accept("ann@example.com"), "delivered")
    assert event.data["source"] == "127.0.1.1"

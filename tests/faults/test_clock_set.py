"""The database's clock is set while mail waits in a running service: nothing expires, nothing waits for days."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from mta.testing.script import ReceiverStage, Script, ScriptRule, say
from tests.faults.clocks import set_clock
from tests.flow.harness import World, kinds, open_world

_RECONNECT = """
select pg_terminate_backend(pid, 5000) from pg_stat_activity
where datname = current_database() and application_name like 'imprimatur%'"""


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    async with open_world(tmp_path, database_url) as world:
        yield world


@pytest.mark.parametrize("days", [6, pytest.param(-2, marks=pytest.mark.nightly)])
async def test_waiting_mail_is_delivered(world: World, days: int) -> None:
    world.receiver.script = Script(rules=(ScriptRule(ReceiverStage.RCPT, "*", (say("451 4.7.1 come back later"),)),))
    await world.start(queue={"retry_schedule": ["15s"], "expire_after": "1d", "poll": "200ms"})
    message_id = await world.accept("ann@example.com")
    await world.until_event(message_id, "deferred")

    world.receiver.script = Script()
    await set_clock(world.database_url, timedelta(days=days))
    await world.db.execute(_RECONNECT)
    ends = kinds(await world.until_ended(message_id))
    assert ends[-1] == "delivered"
    assert "expired" not in ends
    assert len(await world.received(1)) == 1

"""Events over the real service: a receiver that is down gets every event once and in order, when it is back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import orjson
import pytest

from config.schema import DatabaseSettings
from mta.mail.identity import format_id
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from mta.testing.script import MANNERS, Script
from tests.flow.harness import World
from tests.unit.mta.web.hook import Hook

SETTINGS: dict[str, Any] = {"web": {"webhooks": {"timeout": "3s"}}, "testing": {"private_webhooks": True}}


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    hook = Hook()
    yield hook
    await hook.stop()


@pytest.fixture
async def store(world: World) -> AsyncIterator[Store]:
    """The operator's way into the database, with the service's own secret."""
    secrets = Secrets.load_or_create(world.service.data / "secret")
    store = await Store.open(world.database_url, DatabaseSettings(), secrets)
    yield store
    await store.close()


async def subscribe(world: World, store: Store, hook: Hook) -> int:
    account = await store.accounts.find("shop")
    number, _ = await store.webhooks.add(account.account.id, hook.url, by="test")
    await world.start(**SETTINGS)
    return number


async def told(world: World) -> list[int]:
    return [row["id"] for row in await world.db.fetch("select id from outbox order by id")]


def stories(events: list[dict[str, Any]]) -> dict[tuple[str, str], list[str]]:
    """What was told of each message and recipient, in the order in which it came."""
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for event in events:
        found[event["message"], event["recipient"]].append(event["kind"])
    return dict(found)


async def test_after_an_hour_down_every_event_comes_once_and_in_order(world: World, store: Store, hook: Hook) -> None:
    number = await subscribe(world, store, hook)
    world.receiver.script = Script(rules=MANNERS)
    ids: list[UUID] = [await world.accept(f"r{n}@example.com") for n in range(20)]
    ids.append(await world.accept("grey@example.com"))
    ids.append(await world.accept("unknown@example.com"))
    await world.until_event(ids[-2], "deferred")
    await world.until_event(ids[-1], "failed")

    async def has_failed() -> bool:
        return (await store.webhooks.find(number)).failures > 0

    await world.until(has_failed)
    assert hook.events == []
    for message_id in ids:
        await world.until_ended(message_id)
    # An hour later: the receiver is back, and the next try is due.
    await hook.start()
    await world.db.execute("update webhook set due_at = now(), failures = 11")
    everything = await told(world)
    events = await hook.until_events(len(everything))

    assert [event["id"] for event in events][: len(everything)] == everything  # a notice may have gone on since
    own = stories([event for event in events if event.get("message") in {format_id(each) for each in ids}])
    assert len(own) == 22
    assert own[format_id(ids[0]), "r0@example.com"] == ["accepted", "delivered"]
    late = own[format_id(ids[20]), "grey@example.com"]
    assert late[0] == "accepted"
    assert set(late[1:-1]) == {"deferred"}
    assert late[-1] == "delivered"
    assert own[format_id(ids[21]), "unknown@example.com"] == ["accepted", "failed"]
    failure = next(event for event in events if event["kind"] == "failed")
    (known,) = await world.until_event(ids[21], "failed")
    assert (failure["code"], failure["enhanced_code"]) == (550, "5.1.1")
    assert {name: failure[name] for name in ("category", "fault", "rule")} == {
        name: known.data[name] for name in ("category", "fault", "rule")
    }
    assert failure["reply"] == "no such user here"


async def test_if_the_process_dies_at_the_answer_the_same_events_come_again(
    world: World, store: Store, hook: Hook
) -> None:
    hook.gate = asyncio.Event()
    await hook.start()
    await subscribe(world, store, hook)
    await world.until_ended(await world.accept("ann@example.com"))
    before = await hook.until_events(1)
    state = orjson.loads((world.service.data / "run" / "state.json").read_bytes())
    (web,) = [child["pid"] for child in state["children"] if child["name"] == "web"]
    os.kill(web, signal.SIGKILL)
    hook.gate.set()
    everything = await told(world)
    await world.db.execute("update webhook set lease_until = now()")  # as it will be when its time is over
    events = await hook.until_events(len(before) + len(everything))
    assert [event["id"] for event in events[len(before) :]][: len(everything)] == everything
    assert events[: len(before)] == events[len(before) : 2 * len(before)]


async def test_an_operator_sends_everything_again(world: World, store: Store, hook: Hook) -> None:
    await hook.start()
    number = await subscribe(world, store, hook)
    await world.until_ended(await world.accept("ann@example.com"))
    first = list(await hook.until_events(2))

    async def taken() -> bool:
        return (await store.webhooks.find(number)).waiting == 0

    await world.until(taken)
    await store.webhooks.replay(number, first[0]["id"] - 1, by="test")
    events = await hook.until_events(4)
    assert events[2:] == first

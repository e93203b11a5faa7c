"""Outcomes are kept until they are committed, and written in batches."""

from __future__ import annotations

import asyncio

from mta.store.store import Store
from tests.unit.mta.queue.rig import outcome_recorder
from tests.unit.mta.store import make


async def test_a_caller_that_is_cancelled_changes_nothing(store: Store) -> None:
    recorder, delivery = outcome_recorder(store), await make.put(store)
    committing = asyncio.create_task(recorder.commit(make.result(delivery)))
    await asyncio.sleep(0)
    assert recorder.pending == 1
    committing.cancel()
    assert await recorder.drain(5)
    (event,) = await store.events.of_message(delivery.message_id)
    assert (event.recipient_index, event.kind) == (0, "delivered")


async def test_outcomes_of_many_attempts_are_few_commits(store: Store) -> None:
    recorder = outcome_recorder(store)
    deliveries = [await make.put(store, f"user{n}@example.net") for n in range(50)]
    await asyncio.gather(*(recorder.commit(make.result(each)) for each in deliveries))
    row = await make.row(store, "select count(distinct xmin::text) as commits from event where kind = 'delivered'")
    assert row["commits"] <= 3
    assert await make.count(store, "queue") == 0


async def test_an_outcome_that_is_refused_concerns_its_own_caller_only(store: Store) -> None:
    recorder = outcome_recorder(store)
    deliveries = [await make.put(store, f"user{n}@example.net") for n in range(8)]
    results = [make.result(each) for each in deliveries]
    object.__setattr__(results[2].attempt, "started_at", None)
    answers = await asyncio.gather(*(recorder.commit(each) for each in results), return_exceptions=True)
    assert [n for n, answer in enumerate(answers) if answer] == [2]
    assert await make.count(store, "queue") == 1

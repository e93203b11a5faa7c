"""Mailings: made and confirmed in the database, answered from memory; what waits goes when they let it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from config.schema import DatabaseSettings as DatabaseSettings
from mta.mail.hold import Hold, HoldSource
from mta.store.mailings import mailings
from mta.store.mailings.mailing_holds import QueueMoved
from mta.store.mailings.mailings import MailingError, Mailings
from mta.store.postgres.database import Database
from mta.store.postgres.errors import OutcomeUnknown, StoreUnavailable
from mta.store.postgres.secrets import Secrets
from mta.store.queue.queue import QueueFilter
from mta.store.store import Store
from policy.accounts.mailing import Mailing, MailingObstacle, mailing_hold
from tests.unit.mta.store import make

WAITS = mailing_hold(MailingObstacle.UNCONFIRMED, 'mailing "june" is not confirmed')
WAITS_FOR_LIST = mailing_hold(MailingObstacle.UNAPPROVED_LIST, 'list "customers" is not approved')
WAITS_FOR_ORIGIN = mailing_hold(MailingObstacle.UNKNOWN_LIST, 'the origin of list "customers" is not known')
SUSPENDED = make.hold("suspended", HoldSource.ACCOUNT_STATUS)
OPERATORS = make.hold("looking into it")
REVIEW = make.hold("it is marked", HoldSource.REVIEW, "content")


@pytest.fixture
async def account_id(store: Store) -> int:
    return (await store.accounts.add("shop")).id


@pytest.fixture
async def june(store: Store, account_id: int) -> Mailing:
    return await store.mailings.add(account_id, "june", topic="Offers", list="customers", by="ann")


async def queue(store: Store, mailing: Mailing, *holds: Hold | tuple[Hold, ...] | None) -> None:
    for n, hold in enumerate(holds):
        accepted = make.accepted(f"r{n}@example.net", account_id=mailing.account_id, mailing=mailing.id)
        several = hold if isinstance(hold, tuple) else (hold,) if hold else ()
        await store.messages.enqueue(replace(accepted, holds=several), leased=False)


async def waiting(store: Store) -> list[str]:
    """The holds of each recipient by source and ref, in the order in which they were queued."""
    await make.holds(store)
    entries = sorted(await store.queue.list(QueueFilter()), key=lambda entry: entry.expires_at)
    return [" ".join(f"{hold.source.value}:{hold.ref}" for hold in entry.holds) for entry in entries]


async def approve(store: Store, account_id: int) -> None:
    await make.execute(
        store,
        "insert into list_source (account_id, name, origin, approved_at, approved_by) values ($1, $2, $3, now(), 'ann')"
        " on conflict (account_id, name) do update set approved_at = now()",
        account_id, "customers", "orders of our shop",
    )  # fmt: skip


async def test_a_mailing_that_was_not_changed_lately_leaves_memory(
    store: Store, account_id: int, june: Mailing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailings, "LATELY", timedelta(0))
    await store.mailings._fresh.now()
    assert store.mailings.by_name(account_id, "june") is None
    assert store.mailings.by_name(account_id, june.id) is None
    assert await store.mailings.find(account_id, "june") == june


async def test_a_new_mailing_is_known_at_once_by_name_and_id_to_its_account_alone(
    store: Store, account_id: int, june: Mailing
) -> None:
    assert (june.name, june.topic, june.list, june.confirmation) == ("june", "offers", "customers", None)
    assert len(june.id) == 26
    assert store.mailings.by_name(account_id, "june") == june
    assert store.mailings.by_name(account_id, june.id) == june
    assert store.mailings.by_name(account_id + 1, "june") is None
    assert store.mailings.by_name(account_id + 1, june.id) is None
    assert await store.mailings.find(account_id, june.id) == june
    assert await store.mailings.find(account_id + 1, june.id) is None


@pytest.mark.parametrize(
    ("name", "topic", "list_name"),
    [
        ("", "a", "b"), (" a", "a", "b"), ("a\n", "a", "b"), ("a", "", "b"), ("a", "*", "b"), ("a", "a", 'b"'),
        ("x" * 101, "a", "b"),
    ],
)  # fmt: skip
async def test_odd_names_are_refused(store: Store, account_id: int, name: str, topic: str, list_name: str) -> None:
    with pytest.raises(MailingError):
        await store.mailings.add(account_id, name, topic=topic, list=list_name, by="ann")


async def test_a_dispatch_is_made_and_confirmed_once(store: Store, account_id: int, june: Mailing) -> None:
    with pytest.raises(MailingError, match="each dispatch is a new one"):
        await store.mailings.add(account_id, "june", topic="offers", list="customers", by="ann")
    with pytest.raises(MailingError, match="no account 999"):
        await store.mailings.add(999, "june", topic="offers", list="customers", by="ann")
    await store.mailings.confirm(june.id, by="bob", terms="2")
    known = store.mailings.by_name(account_id, "june")
    assert known
    assert known.confirmation
    assert (known.confirmation.by, known.confirmation.terms) == ("bob", "2")
    with pytest.raises(MailingError, match="confirmed before"):
        await store.mailings.confirm(june.id, by="eve", terms="2")
    with pytest.raises(MailingError, match="names who gives it"):
        await store.mailings.confirm(june.id, by=" ", terms="2")
    assert await make.count(store, "account_change where kind = 'mailing' and by = 'bob'") == 1


async def test_confirmation_releases_what_waited_for_it_and_nothing_else(store: Store, june: Mailing) -> None:
    await queue(store, june, WAITS, SUSPENDED, WAITS, OPERATORS, None)
    assert await store.mailings.confirm(june.id, by="bob", terms="1") == QueueMoved(released=2)
    assert await waiting(store) == ["", "account_status:", "", "operator:", ""]
    assert (
        await make.count(store, "event where kind = 'released' and data ->> 'reason' = 'mailing confirmed by bob'") == 2
    )


async def test_what_waits_for_a_list_waits_for_its_approval_too(store: Store, june: Mailing, account_id: int) -> None:
    await queue(store, june, WAITS_FOR_LIST, WAITS)
    assert await store.mailings.confirm(june.id, by="bob", terms="1") == QueueMoved(released=1)
    assert await store.mailings.sweep() == QueueMoved()
    await approve(store, account_id)
    assert await store.mailings.sweep() == QueueMoved(released=1)
    await store.mailings._read()
    known = store.mailings.by_name(account_id, "june")
    assert known
    assert (known.origin, known.approved) == ("orders of our shop", True)


async def test_what_waits_for_an_origin_goes_when_somebody_says_it(
    store: Store, june: Mailing, account_id: int
) -> None:
    await queue(store, june, WAITS_FOR_ORIGIN, WAITS_FOR_LIST)
    assert await store.mailings.confirm(june.id, by="bob", terms="1") == QueueMoved()
    await make.execute(
        store, "insert into list_source (account_id, name, origin) values ($1, 'customers', 'our shop')", account_id
    )
    assert await store.mailings.sweep() == QueueMoved(released=1)
    assert await waiting(store) == ["", "mailing:unapproved_list"]


async def test_the_sweep_finds_what_raced_with_a_confirmation(store: Store, june: Mailing) -> None:
    await store.mailings.confirm(june.id, by="bob", terms="1")
    await queue(store, june, WAITS, WAITS)
    assert await store.mailings.sweep() == QueueMoved(released=2)
    assert await store.mailings.sweep() == QueueMoved()


async def test_the_sweep_leaves_unconfirmed_mailings_and_foreign_names_alone(store: Store, june: Mailing) -> None:
    await queue(store, june, WAITS)
    other = await store.accounts.add("other")
    stranger = make.accepted("x@example.net", account_id=other.id, mailing=june.id, hold=WAITS)
    await store.messages.enqueue(stranger, leased=False)
    assert await store.mailings.sweep() == QueueMoved()
    assert await store.mailings.confirm(june.id, by="bob", terms="1") == QueueMoved(released=1)
    assert await make.count(store, f"queue where holds > 0 and account_id = {other.id}") == 1


async def test_a_sample_lets_the_first_ones_go_and_holds_the_rest(store: Store, account_id: int) -> None:
    mailing = await store.mailings.add(account_id, "first", topic="offers", list="new", by="ann", sample=3)
    await queue(store, mailing, WAITS, WAITS, WAITS, WAITS, WAITS)
    assert await store.mailings.confirm(mailing.id, by="bob", terms="1") == QueueMoved(released=3, held=2)
    assert sorted(await waiting(store)) == ["", "", "", "sampling:", "sampling:"]
    assert not await store.mailings.take_sample(mailing.id, 1)
    await store.mailings._read()
    known = store.mailings.by_name(account_id, "first")
    assert known
    assert known.sample
    assert known.sample.exhausted
    assert await store.mailings.release(mailing.id, by="bob") == QueueMoved(released=2)
    assert await store.mailings.take_sample(mailing.id, 1)


async def test_the_places_of_a_sample_are_given_out_once(store: Store, account_id: int) -> None:
    mailing = await store.mailings.add(account_id, "first", topic="offers", list="new", by="ann", sample=10)
    taken = await asyncio.gather(*(store.mailings.take_sample(mailing.id, 1) for _ in range(25)))
    assert sum(taken) == 10
    await make.until(lambda: store.mailings.by_name(account_id, "first").sample.exhausted)  # type: ignore[union-attr]


async def test_places_that_are_given_back_are_given_out_again(store: Store, account_id: int) -> None:
    mailing = await store.mailings.add(account_id, "first", topic="offers", list="new", by="ann", sample=10)
    assert await store.mailings.take_sample(mailing.id, 10)
    await make.until(lambda: store.mailings.by_name(account_id, "first").sample.exhausted)  # type: ignore[union-attr]
    store.mailings.give_back_sample(mailing.id, 1)
    store.mailings.give_back_sample(mailing.id, 2)
    await make.until(lambda: store.mailings.by_name(account_id, "first").sample.taken == 7)  # type: ignore[union-attr]
    assert [await store.mailings.take_sample(mailing.id, n) for n in (4, 3, 1)] == [False, True, False]


async def test_after_a_release_nothing_is_given_back(store: Store, account_id: int) -> None:
    mailing = await store.mailings.add(account_id, "first", topic="offers", list="new", by="ann", sample=10)
    assert await store.mailings.take_sample(mailing.id, 2)
    await store.mailings.release(mailing.id, by="bob")
    store.mailings.give_back_sample(mailing.id, 2)
    assert store.mailings._giving_back
    await store.mailings._giving_back
    assert await make.count(store, "mailing where sampled = 2") == 1


async def test_places_are_given_back_when_the_database_is_back_but_not_twice(
    store: Store, account_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailing = await store.mailings.add(account_id, "first", topic="offers", list="new", by="ann", sample=10)
    assert await store.mailings.take_sample(mailing.id, 5)
    retried, troubles = store._database.retried, [OutcomeUnknown("lost", 1), StoreUnavailable("away")]

    async def troubled(work: Any, **how: Any) -> Any:
        if troubles:
            raise troubles.pop()
        return await retried(work, **how)

    monkeypatch.setattr(store._database, "retried", troubled)
    store.mailings.give_back_sample(mailing.id, 2)
    store.mailings.give_back_sample("another", 1)
    assert store.mailings._giving_back
    await store.mailings._giving_back
    assert not troubles
    assert await make.count(store, "mailing where sampled = 3") == 1


async def test_a_list_is_new_until_a_mailing_to_it_went_out_in_full(store: Store, account_id: int) -> None:
    assert await store.mailings.is_new_list(account_id, "new")
    mailing = await store.mailings.add(account_id, "first", topic="offers", list="new", by="ann", sample=1)
    assert await store.mailings.is_new_list(account_id, "new")
    await store.mailings.release(mailing.id, by="bob")
    assert not await store.mailings.is_new_list(account_id, "new")


async def test_a_stop_holds_what_is_queued_and_release_ends_it(store: Store, june: Mailing) -> None:
    await store.mailings.confirm(june.id, by="bob", terms="1")
    await queue(store, june, None, None, SUSPENDED)
    assert await store.mailings.halt(june.id, by="eve", why="wrong price", bounce=False) == QueueMoved(held=3)
    assert await waiting(store) == ["mailing:stopped", "mailing:stopped", "account_status: mailing:stopped"]
    await queue(store, june, None)  # it was on its way
    assert await store.mailings.sweep() == QueueMoved(held=1)
    assert await store.mailings.release(june.id, by="bob") == QueueMoved(released=4, still_held=1)
    assert await waiting(store) == ["", "", "account_status:", ""]


async def test_a_stop_can_make_what_is_queued_fail(store: Store, june: Mailing) -> None:
    await queue(store, june, None, WAITS)
    assert await store.mailings.halt(june.id, by="eve", why="wrong price", bounce=True) == QueueMoved(bounced=2)
    assert await make.count(store, "queue where bounce = 'the mailing was stopped: wrong price'") == 2
    assert await make.holds(store) == []
    record = await store.mailings.show(june.id)
    assert record
    assert (record.mailing.stopped, record.stopped_by, record.stop_bounces) == ("wrong price", "eve", True)


async def test_workers_give_back_what_they_hold_of_a_stopped_mailing(store: Store, june: Mailing) -> None:
    told = asyncio.Event()
    await store.listen("queue", lambda payload: told.set() if payload is not None else None)
    await store.messages.enqueue(make.accepted(account_id=june.account_id, mailing=june.id), leased=True)
    await store.mailings.halt(june.id, by="eve", why="wrong price", bounce=False)
    async with asyncio.timeout(10):
        await told.wait()


async def test_looks_at_the_same_time_forget_nothing(store: Store, account_id: int) -> None:
    names = [f"mailing {n}" for n in range(20)]
    await asyncio.gather(
        *(store.mailings.add(account_id, name, topic="offers", list="customers", by="ann") for name in names),
        *(store.mailings._read() for _ in range(20)),
    )
    assert all(store.mailings.by_name(account_id, name) for name in names)


async def test_other_processes_see_a_confirmation(
    store: Store, account_id: int, june: Mailing,
    database_url: str, database_settings: DatabaseSettings, secrets: Secrets,
) -> None:  # fmt: skip
    other = await Store.open(database_url, database_settings, secrets)
    try:
        await store.mailings.confirm(june.id, by="bob", terms="1")
        await make.until(lambda: other.mailings.by_name(account_id, "june").confirmation)  # type: ignore[union-attr]
    finally:
        await other.close()


async def test_mailings_that_were_never_read_are_unavailable_not_unknown(database_settings: DatabaseSettings) -> None:
    mailings = Mailings(Database("postgresql://nobody@/none?host=/nowhere", database_settings))
    await mailings.start()
    with pytest.raises(StoreUnavailable):
        mailings.by_name(1, "june")
    await mailings.stop()


async def test_what_waits_for_a_person_besides_stays_when_the_mailing_goes(
    store: Store, account_id: int, june: Mailing
) -> None:
    await approve(store, account_id)
    await queue(store, june, WAITS, (WAITS, REVIEW), REVIEW)
    moved = await store.mailings.confirm(june.id, by="ann", terms="1")
    assert moved == QueueMoved(released=2, still_held=1)
    assert await waiting(store) == ["", "review:content", "review:content"]


async def test_a_sample_does_not_count_what_is_held_by_it_anyway(store: Store, account_id: int) -> None:
    """It was accepted when the sample was complete, before the mailing was confirmed."""
    mailing = await store.mailings.add(account_id, "first", topic="offers", list="new", by="ann", sample=2)
    beyond = make.hold("beyond the sample", HoldSource.SAMPLING)
    await queue(store, mailing, (WAITS, beyond), WAITS, WAITS, WAITS)
    assert await store.mailings.confirm(mailing.id, by="bob", terms="1") == QueueMoved(released=2, held=1)
    assert sorted(await waiting(store)) == ["", "", "sampling:", "sampling:"]
    assert await store.mailings.release(mailing.id, by="bob") == QueueMoved(released=2)
    assert await make.holds(store) == []


async def test_a_mailing_that_needs_no_confirmation_goes_on_after_a_stop(store: Store, june: Mailing) -> None:
    await queue(store, june, None, WAITS)
    assert await store.mailings.halt(june.id, by="eve", why="wrong price", bounce=False) == QueueMoved(held=2)
    assert await store.mailings.release(june.id, by="bob") == QueueMoved(released=2, still_held=1)
    assert await waiting(store) == ["", "mailing:unconfirmed"]

"""The queue for operators: counted, found, and changed without surprises."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from mta.mail.address import Address
from mta.mail.hold import HoldSource
from mta.observe.labels import QueueState
from mta.store.queue import queue
from mta.store.queue.holds import QueueChange
from mta.store.queue.queue import By, QueueFilter
from mta.store.store import Store
from policy.accounts.account import AccountStatus
from tests.unit.mta.store import make

REVIEW = make.hold("look", HoldSource.REVIEW, "content")


@pytest.fixture
async def filled(store: Store) -> Store:
    """Two accounts, three destinations; one recipient held, one deferred, one leased."""
    await store.accounts.add("acme", status=AccountStatus.ACTIVE)
    await store.accounts.add("other", status=AccountStatus.ACTIVE)
    await store.messages.enqueue(make.accepted("a@one.example", "b@two.example", mailing="news"), leased=False)
    await store.messages.enqueue(make.accepted("c@one.example", account_id=2), leased=False)
    await store.messages.enqueue(make.accepted("d@one.example", hold=REVIEW), leased=False)
    delivery = await make.put(store, "e@three.example")
    await make.write(store, make.result(delivery, [make.deferred(delivery.recipients[0])]))
    await make.put(store, "f@one.example")
    return store


async def addresses(store: Store, **which: object) -> list[str]:
    return sorted(each.address[0] for each in await store.queue.list(QueueFilter(**which)))  # type: ignore[arg-type]


async def test_summaries(filled: Store) -> None:
    groups = {group.key: group for group in await filled.queue.summary(By.DESTINATION)}
    one = groups["one.example"]
    assert (one.recipients, one.due, one.leased, one.held, one.attempted) == (4, 2, 1, 1, 0)
    assert groups["three.example"].attempted == 1
    assert groups["three.example"].next_due > make.now()  # type: ignore[operator]
    assert (await filled.queue.summary(By.DESTINATION))[0] == one
    assert {group.key: group.recipients for group in await filled.queue.summary(By.ACCOUNT)} == {"acme": 5, "other": 1}
    assert {group.key: group.recipients for group in await filled.queue.summary(By.MAILING)} == {"news": 2, "": 4}
    assert await filled.queue.count_states() == {"ready": 4, "delayed": 0, "held": 1, "leased": 1}
    (only,) = await filled.queue.summary(By.STATE, QueueFilter(mailing="news"))
    assert (only.key, only.recipients) == ("ready", 2)
    assert len(await filled.queue.summary(By.DESTINATION, limit=1)) == 1


async def test_a_long_queue_is_estimated(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "COUNTED", 3)
    await make.execute(filled, "update pg_class set reltuples = 1000 where oid = 'queue'::regclass")
    assert await filled.queue.count_states() == {"ready": 998, "delayed": 0, "held": 1, "leased": 1}


async def test_every_filter_finds_its_own(filled: Store) -> None:
    everything = await filled.queue.list(QueueFilter())
    assert [each.message_id for each in everything] == sorted(each.message_id for each in everything)
    assert await addresses(filled) == list("abcdef")
    assert await addresses(filled, destination="one.example") == list("acdf")
    assert await addresses(filled, account_id=2) == ["c"]
    assert await addresses(filled, mailing="news") == ["a", "b"]
    assert await addresses(filled, mailing="") == list("cdef")
    assert await addresses(filled, address="A@One.Example") == ["a"]
    assert await addresses(filled, state=QueueState.HELD) == ["d"]
    assert await addresses(filled, state=QueueState.LEASED) == ["f"]
    assert await addresses(filled, reply="GREYlisted") == ["e"]
    (first, _) = await filled.queue.list(QueueFilter(mailing="news"))
    assert await addresses(filled, messages=(first.message_id,)) == ["a", "b"]
    assert await addresses(filled, destination="one.example", mailing="news") == ["a"]
    assert len(await filled.queue.list(QueueFilter(), limit=2)) == 2


async def test_one_recipient_in_full(filled: Store) -> None:
    (leased,) = await filled.queue.list(QueueFilter(state=QueueState.LEASED))
    assert (leased.account, leased.sender, leased.recipient_index) == ("acme", "shop@acme.example", 0)
    assert leased.worker
    (held,) = await filled.queue.list(QueueFilter(state=QueueState.HELD))
    assert (held.holds, held.worker) == ((REVIEW,), None)


async def test_a_dry_run_counts_and_changes_nothing(filled: Store) -> None:
    queue, one = filled.queue, QueueFilter(destination="one.example")
    assert await queue.retry(QueueFilter(), dry_run=True) == QueueChange(4, 0)
    assert await queue.hold(one, "why", dry_run=True) == QueueChange(4, 1)
    assert await queue.release(QueueFilter(), dry_run=True) == QueueChange(1, 0)
    assert await queue.bounce(one, "why", dry_run=True) == QueueChange(4, 1)
    assert await queue.count_states() == {"ready": 4, "delayed": 0, "held": 1, "leased": 1}


async def test_retry_makes_due_now(filled: Store) -> None:
    assert await filled.queue.retry(QueueFilter(destination="three.example")) == QueueChange(1, 0)
    (queued,) = await filled.queue.list(QueueFilter(destination="three.example"))
    assert queued.due_at <= make.now()


async def test_hold_and_release(filled: Store) -> None:
    assert await filled.queue.hold(QueueFilter(mailing="news"), "complaints") == QueueChange(2, 0)
    taken = await filled.messages.claim(deliveries=10, octets=10**6)
    assert [str(each.recipients[0].address) for each in taken] == ["c@one.example"]
    assert await filled.queue.release(QueueFilter(mailing="news"), "all well") == QueueChange(2, 0)
    (first, _) = await filled.queue.list(QueueFilter(mailing="news"))
    story = await filled.explain.message(first.message_id)
    assert story
    assert [(event.kind, event.data) for event in story.events if event.recipient_index == 0] == [
        ("held", {"hold": {"source": "operator", "ref": "", "text": "complaints"}}),
        ("released", {"hold": {"source": "operator", "ref": ""}, "reason": "all well", "other_holds": 0}),
    ]
    assert len(await filled.messages.claim(deliveries=10, octets=10**6)) == 2


async def test_what_a_worker_holds_is_marked_and_it_is_told(filled: Store) -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    await filled.listen("queue", heard.put_nowait)
    while not heard.empty():
        heard.get_nowait()
    assert await filled.queue.hold(QueueFilter(address="f@one.example"), "why") == QueueChange(1, 1)
    async with asyncio.timeout(5):
        assert await heard.get() == ""
    assert [each.address[0] for each in await filled.queue.list(QueueFilter(state=QueueState.LEASED))] == ["f"]


async def test_what_was_held_while_it_was_delivered_stays_held_if_it_comes_back(store: Store) -> None:
    delivery = await make.put(store)
    await store.queue.hold(QueueFilter(), "why")
    await make.write(store, make.result(delivery, [make.deferred(delivery.recipients[0], minutes=0)]))
    assert await store.queue.count_states() == {"ready": 0, "delayed": 0, "held": 1, "leased": 0}
    assert await store.messages.claim(deliveries=10, octets=10**6) == []


async def test_a_bounce_is_left_to_a_worker_whatever_the_state(filled: Store) -> None:
    assert await filled.queue.bounce(QueueFilter(), "account closed") == QueueChange(6, 1)
    taken = await filled.messages.claim(deliveries=10, octets=10**6)
    assert [each.bounce for each in taken] == ["account closed"] * 5
    assert await filled.queue.count_states() == {"ready": 0, "delayed": 0, "held": 0, "leased": 6}


async def test_a_bounce_that_comes_during_an_attempt_is_due_right_after_it(store: Store) -> None:
    delivery = await make.put(store)
    await store.queue.bounce(QueueFilter(), "account closed")
    await make.write(store, make.result(delivery, [make.deferred(delivery.recipients[0])]))
    (again,) = await store.messages.claim(deliveries=10, octets=10**6)
    assert again.bounce == "account closed"


async def test_the_age_of_the_oldest_counts_only_what_can_still_be_delivered(store: Store) -> None:
    assert await store.queue.oldest_unexpired_age() == 0
    old = make.accepted(hours=-73)
    object.__setattr__(old.message.origin, "received_at", make.now() - timedelta(days=3))
    await store.messages.enqueue(old, leased=False)
    assert await store.queue.oldest_unexpired_age() == 0
    young = make.accepted()
    object.__setattr__(young.message.origin, "received_at", make.now() - timedelta(hours=1))
    await store.messages.enqueue(young, leased=False)
    assert 3600 <= await store.queue.oldest_unexpired_age() < 3700


@pytest.mark.parametrize("text", ["'; drop table queue; --", "%", "$1", "\\"])
async def test_filters_are_values_not_sql(filled: Store, text: str) -> None:
    for which in (
        QueueFilter(destination=text),
        QueueFilter(mailing=text),
        QueueFilter(address=text),
        QueueFilter(reply=text),
    ):
        assert await filled.queue.list(which) == []
        assert await filled.queue.bounce(which, text) == QueueChange(0, 0)
    assert await make.count(filled, "queue") == 6


async def test_the_whole_story_of_a_message(filled: Store) -> None:
    await filled.suppressions.add(1, Address.parse("b@two.example"), detail="unsubscribed")
    (queued,) = await filled.queue.list(QueueFilter(mailing="news"))
    story = await filled.explain.message(queued.message_id)
    assert story
    assert story.account == "acme"
    assert list(story.recipients) == ["a@one.example", "b@two.example"]
    assert story.summary == {"subject": "Hello", "from": "shop@acme.example", "message-id": "<1@acme.example>"}
    assert story.origin["protocol"] == "ESMTPSA"
    assert [finding.policy for finding in story.findings] == ["size"]
    assert [(event.recipient_index, event.kind) for event in story.events] == [(1, "dropped")]
    assert [each.recipient_index for each in story.queued] == [0]
    assert story.expires_at > story.received_at


async def test_of_an_unknown_message_there_is_no_story(store: Store) -> None:
    assert await store.explain.message(make.message().id) is None

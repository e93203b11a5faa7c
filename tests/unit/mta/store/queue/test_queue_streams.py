"""The queue by stream, topic and mailing."""

from __future__ import annotations

import pytest

from mta.mail.message import Stream
from mta.store.queue.holds import QueueChange
from mta.store.queue.queue import By, QueueFilter
from mta.store.store import Store
from policy.accounts.account import AccountStatus
from tests.unit.mta.store import make

SPRING = "01jqspring0000000000000000"


@pytest.fixture
async def filled(store: Store) -> Store:
    """Two receipts, three offers of a mailing that is known, one letter of one that is not."""
    await store.accounts.add("acme", status=AccountStatus.ACTIVE)
    await make.execute(
        store,
        "insert into mailing (id, account_id, name, topic, list) values ($1, 1, 'spring', 'offers', 'all')",
        SPRING,
    )
    await store.messages.enqueue(make.accepted("a@one.example", "b@one.example"), leased=False)
    for name in "cde":
        offer = make.accepted(f"{name}@one.example", stream=Stream.MARKETING, topic="offers", mailing=SPRING)
        await store.messages.enqueue(offer, leased=False)
    letter = make.accepted("f@one.example", stream=Stream.MARKETING, topic="news", mailing="letter")
    await store.messages.enqueue(letter, leased=False)
    return store


async def names(store: Store, **which: object) -> str:
    return "".join(sorted(each.address[0] for each in await store.queue.list(QueueFilter(**which))))  # type: ignore[arg-type]


async def test_what_waits_is_counted_by_stream_and_mailing(filled: Store) -> None:
    streams = {group.key: group.recipients for group in await filled.queue.summary(By.STREAM)}
    assert streams == {"marketing": 4, "transactional": 2}
    mailings = {group.key: group.recipients for group in await filled.queue.summary(By.MAILING)}
    assert mailings == {f"spring {SPRING}": 3, "letter": 1, "": 2}


async def test_and_found_by_them(filled: Store) -> None:
    assert await names(filled, stream=Stream.TRANSACTIONAL) == "ab"
    assert await names(filled, stream=Stream.MARKETING) == "cdef"
    assert await names(filled, topic="news") == "f"
    assert await names(filled, mailing="spring") == await names(filled, mailing=SPRING) == "cde"
    assert await names(filled, mailing="letter") == "f"
    assert await names(filled, mailing="") == "ab"
    assert await names(filled, stream=Stream.MARKETING, mailing="") == ""
    assert not QueueFilter(stream=Stream.MARKETING).is_everything
    (letter,) = await filled.queue.list(QueueFilter(mailing="letter"))
    assert (letter.stream, letter.topic) == (Stream.MARKETING, "news")


async def test_a_change_can_be_for_one_stream(filled: Store) -> None:
    assert await filled.queue.hold(QueueFilter(stream=Stream.MARKETING), "quiet hours") == QueueChange(4, 0)
    assert {each.holds for each in await filled.queue.list(QueueFilter(stream=Stream.TRANSACTIONAL))} == {()}
    assert [each.stream for each in await filled.messages.claim(deliveries=9, octets=10**9)] == [Stream.TRANSACTIONAL]
    assert await filled.messages.claim(deliveries=9, octets=10**9, stream=Stream.MARKETING) == []
    assert await filled.queue.release(QueueFilter(mailing="spring"), "") == QueueChange(3, 0)
    taken = await filled.messages.claim(deliveries=9, octets=10**9, stream=Stream.MARKETING)
    assert {(each.stream, each.topic, each.mailing) for each in taken} == {(Stream.MARKETING, "offers", SPRING)}


async def test_a_hundred_thousand_of_one_stream_do_not_keep_the_other_waiting(store: Store) -> None:
    await make.execute(
        store,
        """
        with made as (
            insert into message (id, account_id, sender, size, recipients, received_at, record)
            select gen_random_uuid(), 1, 'a@acme.example', 1000, 1, now() - interval '1 day',
                '{"envelope": {"body": "7BIT"}}'
            from generate_series(1, 100000) returning id
        )
        insert into queue (message_id, recipient_index, account_id, destination, address, address_key, stream, due_at,
            expires_at)
        select id, 0, 1, 'one.example', 'x@one.example', '\\x00', 'marketing', now() - interval '1 day',
            now() + interval '1 day' from made
        """,
    )
    await store.messages.enqueue(make.accepted("a@one.example"), leased=False)
    await make.execute(store, "analyze queue")
    (only,) = await store.messages.claim(deliveries=100, octets=10**9)
    assert only.stream is Stream.TRANSACTIONAL
    assert len(await store.messages.claim(deliveries=100, octets=10**9, stream=Stream.MARKETING)) == 100

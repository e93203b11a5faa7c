"""Queueing messages, reading them, giving them back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from mta.mail.address import Address
from mta.mail.message import Body, Notify, Recipient, Return, SenderTls
from mta.store.queue.content import PIECE, ContentMissing, whole
from mta.store.queue.enqueue import Held, Queued
from mta.store.store import Store
from tests.unit.mta.store import make


async def test_a_fresh_message_is_ours_at_once_and_gone_once_delivered(store: Store) -> None:
    accepted = make.accepted("ann@example.net")
    (delivery,) = make.leased(await store.messages.enqueue(accepted, leased=True))
    assert delivery.content == accepted.message.content
    assert delivery.whole
    assert await store.messages.claim(deliveries=10, octets=10**6) == []
    await make.write(store, make.result(delivery))
    assert [await make.count(store, each) for each in ("queue", "content", "message", "event")] == [0, 0, 1, 1]


async def test_one_delivery_for_each_destination_and_one_content_for_all(store: Store) -> None:
    accepted = make.accepted("ann@example.net", "bob@example.org", "cyd@example.net", size=20_000)
    deliveries = make.leased(await store.messages.enqueue(accepted, leased=True))
    assert {each.destination: [r.index for r in each.recipients] for each in deliveries} == {
        "example.net": [0, 2],
        "example.org": [1],
    }
    assert not any(each.whole for each in deliveries)
    assert await make.count(store, "content") == 3
    assert await make.count(store, "queue") == 3


async def test_everything_that_was_asked_for_comes_back_when_it_is_leased(store: Store) -> None:
    accepted = make.accepted(
        "ann@example.net", size=60_000, mailing="news-7", body=Body.EIGHT_BIT, smtputf8=True, ret=Return.HEADERS,
        envid="id-1", tls=SenderTls.REQUIRED,
    )  # fmt: skip
    recipient = Recipient(Address.parse('"odd,local"@example.net'), Notify.SUCCESS | Notify.DELAY, "rfc822;odd")
    message, envelope = accepted.message, accepted.message.envelope
    object.__setattr__(envelope, "recipients", (recipient,))
    assert await store.messages.enqueue(accepted, leased=False) == Queued()
    (delivery,) = await store.messages.claim(deliveries=10, octets=10**6)
    assert delivery.content is None
    assert await store.messages.content(delivery.message_id) == message.content
    assert (delivery.sender, delivery.mailing, delivery.size) == (envelope.sender, "news-7", len(message.content))
    assert (delivery.body, delivery.smtputf8, delivery.ret, delivery.envid, delivery.tls) == (
        Body.EIGHT_BIT, True, Return.HEADERS, "id-1", SenderTls.REQUIRED,
    )  # fmt: skip
    assert delivery.queued_at == message.origin.received_at
    assert abs(delivery.expires_at - accepted.expires_at) < timedelta(seconds=30)  # by the database's clock
    (queued,) = delivery.recipients
    assert (queued.address, queued.notify, queued.orcpt, queued.attempts) == (
        recipient.address, recipient.notify, "rfc822;odd", 0,
    )  # fmt: skip
    assert delivery.whole


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3_000_001])
async def test_content_of_every_size_comes_back_as_it_was(store: Store, size: int) -> None:
    accepted = make.accepted()
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    accepted = replace(accepted, message=replace(accepted.message, head=content[:100], body=content[100:]))
    await store.messages.enqueue(accepted, leased=False)
    assert await whole(await store.messages.content(accepted.message.id)) == content


async def test_content_that_is_not_whole_is_never_given_out(store: Store) -> None:
    accepted = make.accepted(size=60_000)
    await store.messages.enqueue(accepted, leased=False)
    await make.execute(store, "delete from content where part = 3")
    with pytest.raises(ContentMissing):
        await store.messages.content(accepted.message.id)
    await make.execute(store, "delete from content")
    with pytest.raises(ContentMissing):
        await store.messages.content(accepted.message.id)


async def test_many_at_once_are_few_commits(store: Store) -> None:
    messages = [make.accepted(f"user{n}@example.net") for n in range(50)]
    found = await asyncio.gather(*(store.messages.enqueue(each, leased=True) for each in messages))
    assert [make.leased(each)[0].message_id for each in found] == [each.message.id for each in messages]
    commits = await make.row(store, "select count(distinct xmin::text) as n from queue")
    assert commits["n"] <= 3
    assert await make.count(store, "queue") == 50


async def test_a_held_message_waits_for_its_release(store: Store) -> None:
    hold = make.hold("new account")
    assert await store.messages.enqueue(make.accepted(hold=hold), leased=True) == Held((hold,))
    assert await store.messages.claim(deliveries=10, octets=10**6) == []
    assert await make.count(store, "queue where lease is null") == 1
    assert await make.holds(store) == [("ann@example.net", "operator", "")]


async def test_a_message_that_has_expired_already_is_queued_to_be_failed(store: Store) -> None:
    await store.messages.enqueue(make.accepted(hours=-1), leased=False)
    assert len(await store.messages.claim(deliveries=10, octets=10**6)) == 1


async def test_without_a_valid_lease_rows_are_anybodys(store: Store) -> None:
    await store.lease.release()
    assert await store.messages.enqueue(make.accepted(), leased=True) == Queued()
    assert await make.count(store, "queue where lease is null") == 1


async def test_one_message_that_the_database_refuses_does_not_harm_the_others(store: Store) -> None:
    messages = [make.accepted(f"user{n}@example.net") for n in range(10)]
    object.__setattr__(messages[3], "mailing", "with \x00 nul")
    object.__setattr__(messages[7], "mailing", "lone \ud800 surrogate")
    answers = await asyncio.gather(
        *(store.messages.enqueue(each, leased=True) for each in messages), return_exceptions=True
    )
    assert [n for n, answer in enumerate(answers) if isinstance(answer, Exception)] == [3, 7]
    assert await make.count(store, "queue") == 8
    assert await make.count(store, "message") == 8


async def test_what_a_client_says_never_prevents_queueing(store: Store) -> None:
    accepted = make.accepted(subject="with \x01 and \u2028")
    object.__setattr__(accepted.message.origin, "hello", "a\x00b\ud800")
    await store.messages.enqueue(accepted, leased=False)
    story = await store.explain.message(accepted.message.id)
    assert story
    assert story.origin["hello"] == "a\ufffdb\ufffd"


async def test_a_client_that_goes_away_during_the_commit_leaves_nothing_behind(store: Store) -> None:
    blocker = await _lock_queue(store)
    putting = asyncio.create_task(store.messages.enqueue(make.accepted(), leased=True))
    await make.until(lambda: store.messages._enqueues._flying)
    putting.cancel()
    await asyncio.gather(putting, return_exceptions=True)
    staying = asyncio.create_task(store.messages.enqueue(make.accepted(), leased=True))
    await blocker.execute("commit")
    await blocker.close()
    (delivery,) = make.leased(await staying)
    await make.until(lambda: not store.messages._doubtful)
    assert await make.count(store, "queue") == 1
    assert await make.count(store, "content") == 1
    assert await make.count(store, "message") == 1
    await make.write(store, make.result(delivery))


async def _lock_queue(store: Store) -> asyncpg.Connection:
    blocker = await asyncpg.connect(store._database._dsn)
    await blocker.execute("begin; lock table queue in access exclusive mode")
    return blocker


async def test_giving_back_frees_rows_and_counts_no_attempt(store: Store) -> None:
    delivery = await make.put(store)
    await store.messages.requeue([delivery], timedelta(hours=1))
    assert await store.messages.claim(deliveries=10, octets=10**6) == []
    await make.execute(store, "update queue set due_at = now()")
    (again,) = await store.messages.claim(deliveries=10, octets=10**6)
    assert again.attempts == 0
    await store.messages.requeue([again])
    assert len(await store.messages.claim(deliveries=10, octets=10**6)) == 1


async def test_what_is_not_ours_any_more_cannot_be_given_back(store: Store) -> None:
    delivery = await make.put(store)
    await make.execute(store, "update queue set lease = lease + 1")
    await store.messages.requeue([delivery])
    assert await make.count(store, "queue where lease is null") == 0


async def test_nothing_is_due_after_it_has_expired(store: Store) -> None:
    delivery = await make.put(store, hours=1)
    await store.messages.requeue([delivery], timedelta(days=3))
    assert await make.count(store, "queue where due_at = expires_at") == 1

"""One copy of a mailing for each mailbox, over messages, batches and workers; and none is lost by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from config.schema import DatabaseSettings
from mta.mail.message import Stream
from mta.store.postgres.errors import StoreUnavailable
from mta.store.postgres.secrets import Secrets
from mta.store.queue import content
from mta.store.queue.enqueue import Leased, NewMessage
from mta.store.queue.messages import Placed
from mta.store.store import Store
from policy.permission.mailbox import Copies, mailbox_of
from tests.unit.mta.store import make

COPIES = "mailing_copy"


def copy(*to: str, mailing: str = "june", **more: Any) -> NewMessage:
    new = make.accepted(*to, mailing=mailing, stream=Stream.MARKETING, topic="offers", **more)
    boxes = tuple(mailbox_of(each.address, Copies(one=True)) for each in new.message.envelope.recipients)
    return replace(new, mailboxes=boxes)


@pytest.fixture
async def another_store(
    store: Store, database_url: str, database_settings: DatabaseSettings, secrets: Secrets
) -> AsyncIterator[Store]:
    opened = await Store.open(database_url, database_settings, secrets)
    yield opened
    await opened.close()


async def place(store: Store, *messages: NewMessage) -> Placed:
    return (await store.messages.enqueue_all(messages, leased=False))[1]


async def test_a_mailbox_gets_one_copy_of_each_mailing(store: Store) -> None:
    first, second = copy("ann@gmail.com", "ben@example.net"), copy("A.N.N+x@googlemail.com", "carl@example.net")
    assert (await place(store, first)).further == ()
    placed = await place(store, second)
    assert [(str(each.address), each.message_id) for each in placed.further] == [
        ("A.N.N+x@googlemail.com", first.message.id)
    ]
    assert (await place(store, copy("ann@gmail.com", mailing="july"))).further == ()
    assert await make.count(store, "queue") == 4


async def test_a_message_without_other_recipients_is_not_queued(store: Store) -> None:
    await place(store, copy("ann@example.net"))
    queued, placed = await store.messages.enqueue_all([copy("ANN@example.net")], leased=True)
    assert (placed.messages, len(placed.further)) == ((), 1)
    assert queued == Leased(())
    assert (await make.count(store, "message"), await make.count(store, "queue")) == (1, 1)


async def test_within_one_message_and_one_batch(store: Store) -> None:
    (both,) = (await place(store, copy("ann@example.net", '"ann"@example.net'))).messages
    assert len(both.message.envelope.recipients) == 1
    placed = await asyncio.gather(*(place(store, copy("ben@example.net")) for _ in range(20)))
    assert sum(len(each.messages) for each in placed) == 1
    assert {each.message_id for some in placed for each in some.further} == {
        new.message.id for some in placed for new in some.messages
    }


async def test_over_all_workers(store: Store, another_store: Store) -> None:
    to = [f"a{n}@example.net" for n in range(30)]
    sent = [place(each, copy(address)) for address in to for each in (store, another_store)]
    placed = await asyncio.gather(*sent)
    assert sum(len(each.messages) for each in placed) == len(to) == await make.count(store, "queue")


async def test_what_could_not_be_queued_has_claimed_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(*_: object) -> None:
        raise ConnectionError("no such luck")

    with monkeypatch.context() as patch:
        patch.setattr("mta.store.queue.enqueue.insert", failing)
        with pytest.raises((StoreUnavailable, ConnectionError)):
            await place(store, copy("ann@example.net"))
    await make.until(lambda: not store.messages._doubtful)
    assert await make.count(store, COPIES) == 0
    assert len((await place(store, copy("ann@example.net"))).messages) == 1


async def test_a_message_that_is_withdrawn_frees_its_claim(store: Store) -> None:
    first = copy("ann@example.net")
    await place(store, first)
    store.messages._doubt([([first], None)])
    await make.until(lambda: not store.messages._doubtful)
    assert (await make.count(store, "queue"), await make.count(store, COPIES)) == (0, 0)
    assert len((await place(store, copy("ann@example.net"))).messages) == 1


async def test_a_message_that_another_one_relies_on_is_not_withdrawn(store: Store, another_store: Store) -> None:
    """Its client lost the connection, submitted again elsewhere, and was told that the first one is queued."""
    first = copy("ann@example.net")
    await store.messages.enqueue_all([first], leased=True)
    assert (await place(another_store, copy("ann@example.net"))).messages == ()
    store.messages._doubt([([first], store.lease.id)])
    await make.until(lambda: not store.messages._doubtful)
    assert await make.count(store, "queue where lease is null") == 1
    assert await store.messages.content(first.message.id) == first.message.content


async def test_large_messages_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "write", make_nothing)
    await place(store, copy("ann@example.net"))
    placed = await store.messages._enqueue_large(([copy("Ann@example.net")], None))
    assert placed.messages == ()


async def make_nothing(*_: object) -> None:
    return None


async def test_old_mailings_are_forgotten(store: Store) -> None:
    insert = "insert into mailing (id, account_id, name, topic, list, created_at) values ($1, 1, $1, 'o', 'l', $2)"
    async with store._database.session() as connection:
        await connection.execute("insert into account (name, status) values ('shop', 'active')")
        for name, days in (("june", 100), ("july", 1)):
            await connection.execute(insert, name, datetime.now(UTC) - timedelta(days=days))
    await place(store, copy("ann@example.net"), copy("ann@example.net", mailing="july"))
    await store.messages.sweep(timedelta(days=30).total_seconds())
    assert await make.count(store, f"{COPIES} where mailing = 'july'") == await make.count(store, COPIES) == 1

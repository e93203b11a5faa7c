"""Who was mailed lately, and reached: written with the message and with its outcome."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mta.mail.address import Address
from mta.mail.message import Stream
from mta.store.journal import recipient_activity
from mta.store.store import Store
from tests.unit.mta.store import make

MARKETING: dict[str, Any] = {"stream": Stream.MARKETING, "topic": "offers"}


async def contact(store: Store, address: str, account_id: int = 1) -> Any:
    key = store.suppressions._secrets.address_key(Address.parse(address))
    async with store._database.session() as connection:
        return await connection.fetchrow(
            "select accepted, contacted_at from recipient_activity where address_key = $1 and account_id = $2",
            key,
            account_id,
        )


async def test_marketing_that_is_accepted_counts_for_its_account(store: Store) -> None:
    message = make.accepted("ann@example.net", **MARKETING)
    await store.messages.enqueue(message, leased=False)
    await store.messages.enqueue(make.accepted("ann@example.net", account_id=2, **MARKETING), leased=False)
    found = await contact(store, "ANN@example.net")
    assert found["accepted"] == [message.message.origin.received_at]
    assert found["contacted_at"] is None
    assert await make.count(store, "recipient_activity") == 2


async def test_transactional_mail_leaves_nothing(store: Store) -> None:
    delivery = await make.put(store, "ann@example.net")
    await make.write(store, make.result(delivery))
    assert await make.count(store, "recipient_activity") == 0


async def test_the_newest_are_kept_in_order(store: Store) -> None:
    sent = [make.accepted("ann@example.net", **MARKETING) for _ in range(recipient_activity.KEPT + 5)]
    await asyncio.gather(*(store.messages.enqueue(each, leased=False) for each in sent[:20]))
    for each in sent[20:]:
        await store.messages.enqueue(each, leased=False)
    found = await contact(store, "ann@example.net")
    assert found["accepted"] == [each.message.origin.received_at for each in sent[-recipient_activity.KEPT :]]


@pytest.mark.parametrize("others", [(), ("ben@example.net",)])
async def test_a_delivery_is_a_contact_a_failure_is_none(store: Store, others: tuple[str, ...]) -> None:
    """Whether the message ends with it, in one statement, or goes on with somebody else."""
    delivery = await make.put(store, "ann@example.net", *others, **MARKETING)
    ann, *rest = delivery.recipients
    done = make.result(delivery, [make.delivered(ann), *(make.deferred(each) for each in rest)])
    await make.write(store, done)
    assert (await contact(store, "ann@example.net"))["contacted_at"] == done.ended_at
    failing = await make.put(store, "carl@example.net", **MARKETING)
    await make.write(store, make.result(failing, [make.failed(failing.recipients[0])]))
    assert (await contact(store, "carl@example.net"))["contacted_at"] is None


async def test_it_is_written_once_a_day(store: Store) -> None:
    for _ in range(2):
        await make.write(store, make.result(await make.put(store, **MARKETING)))
    first = (await contact(store, "ann@example.net"))["contacted_at"]
    await make.execute(store, "update recipient_activity set contacted_at = contacted_at - interval '25 hours'")
    last = make.result(await make.put(store, **MARKETING))
    await make.write(store, last)
    assert first < last.ended_at == (await contact(store, "ann@example.net"))["contacted_at"]


async def test_an_outcome_that_does_not_count_is_no_contact(store: Store) -> None:
    delivery = await make.put(store, **MARKETING)
    await make.execute(store, "update queue set lease = 4711")
    await make.write(store, make.result(delivery))
    assert (await contact(store, "ann@example.net"))["contacted_at"] is None


async def test_many_at_once_to_the_same_people_in_any_order(store: Store) -> None:
    people = [f"u{n}@example.net" for n in range(20)]

    async def mail(n: int) -> None:
        order = people[n % 20 :] + people[: n % 20]
        deliveries = make.leased(await store.messages.enqueue(make.accepted(*order, **MARKETING), leased=True))
        for delivery in deliveries:
            await make.write(store, make.result(delivery))

    await asyncio.gather(*(mail(n) for n in range(25)))
    assert await make.count(store, "queue") == 0
    assert (
        await make.count(store, "recipient_activity where cardinality(accepted) = 25 and contacted_at is not null")
        == 20
    )

"""What was heard from a domain: among the newest messages, or among those that went there."""

from __future__ import annotations

import pytest

from mta.mail.reply import Reply
from mta.store.journal import events
from mta.store.store import Store
from tests.unit.mta.store.make import failed, put, result

NO = Reply(550, "5.1.1", "User unknown")


@pytest.mark.parametrize("newest", [events.HEARD, 1])
async def test_the_replies_of_a_domain_are_found_however_old(
    store: Store, newest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARD", newest)
    wanted = []
    for recipient in ("ann@first.example", "bob@first.example", "cleo@second.example", "dan@sub.first.example"):
        delivery = await put(store, recipient, account_id=1)
        await store.results.write([result(delivery, [failed(delivery.recipients[0], reply=NO)], provider="x")])
        wanted += [delivery.message_id] if recipient.endswith("@first.example") else []
    heard = await store.events.replies_of(["first.example"], 10)
    assert {each.message_id for each in heard} == set(wanted)
    assert [each.kind for each in heard] == ["failed", "failed"]
    assert len(await store.events.replies_of(["first.example", "second.example"], 10)) == 3
    assert await store.events.replies_of([], 10) == []


async def test_what_went_wrong_with_an_accounts_mail_is_found_behind_that_of_others(store: Store) -> None:
    for account_id, recipient in ((1, "ann@first.example"), (2, "bob@first.example")):
        delivery = await put(store, recipient, account_id=account_id)
        await store.results.write([result(delivery, [failed(delivery.recipients[0], reply=NO)], provider="x")])
    async with store._database.session() as connection:
        await connection.execute(
            "insert into event (message_id, recipient_index, kind, data)"
            " select $1, 0, 'deferred', '{}' from generate_series(1, 1001)",
            delivery.message_id,
        )
    assert [recipient for recipient, _ in await store.events.troubles(5, 1)] == ["ann@first.example"]
    assert [recipient for recipient, _ in await store.events.troubles(5)] == ["bob@first.example"] * 5

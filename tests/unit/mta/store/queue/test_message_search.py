"""Search messages: by what an address begins with through the index, by parts of texts from the newest back."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from mta.admin.messages import NEWEST
from mta.mail.reply import Reply
from mta.store.queue import message_search
from mta.store.queue.message_search import MessageQuery, MessagesFound
from mta.store.store import Store
from tests.unit.mta.store.make import execute, failed, put, result

PEOPLE = ("Ann@example.net", "ann@example.network", "anna@shop.example", "bob@example.net", "o'hara@sub.example.net")


@pytest.fixture
async def known(store: Store) -> Store:
    for person in PEOPLE:
        await put(store, person, account_id=1, subject=f"Order of {person}")
    return store


async def find(store: Store, limit: int = 50, **given: Any) -> list[str]:
    found = await store.message_search.find(MessageQuery(**given), NEWEST, limit=limit)
    return [each.first[0] for each in found.messages]


@pytest.fixture(params=["newest", "index"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Find messages among the newest, or all but the newest one by the index."""
    if request.param == "index":
        monkeypatch.setattr(message_search, "LOOKED_THROUGH", 1)


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("ann@example.net", PEOPLE[1::-1]),
        ("ANN@EXAMPLE.NET", PEOPLE[1::-1]),
        ("ann@example.netw", PEOPLE[1:2]),
        ("ann", PEOPLE[2::-1]),
        ("@example.net", [PEOPLE[3], *PEOPLE[1::-1]]),
        ("@sub.example.net", PEOPLE[4:]),
        ("example.net", [PEOPLE[3], *PEOPLE[1::-1]]),
        ("o'hara@sub", PEOPLE[4:]),
        ("nn@example.net", ()),
        ("ann@", PEOPLE[1::-1]),
        ("';--", ()),
        ("' | 'ann", ()),
        (":*", ()),
        ("\\", ()),
    ],
)
@pytest.mark.usefixtures("way")
async def test_by_what_a_recipient_begins_with(known: Store, typed: str, found: tuple[str, ...]) -> None:
    assert await find(known, recipient=typed) == list(found)


@pytest.mark.usefixtures("way")
async def test_by_several_things_at_once(store: Store) -> None:
    delivery = await put(store, "ann@example.net", "bob@example.net", account_id=1, subject="One")
    await put(store, "ann@example.net", account_id=2, subject="Two")
    reply = Reply(550, "5.7.1", "refused by policy")
    await store.results.write([result(delivery, [failed(delivery.recipients[0], reply=reply)], provider="x")])
    assert len(await find(store, recipient="ann@example.net")) == 2
    assert len(await find(store, recipient="bob@example.net")) == 1
    assert len(await find(store, recipient="ann@example.net", subject="TWO")) == 1
    assert len(await find(store, recipient="ann@example.net", reply="Refused")) == 1
    assert await find(store, recipient="ann@example.net", sender="nobody@") == []
    own = await store.message_search.find(MessageQuery(recipient="ann"), NEWEST, account_id=2)
    assert [each.subject for each in own.messages] == ["Two"]


async def test_parts_of_texts_are_looked_for_some_messages_at_a_time(
    known: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_search, "LOOKED_THROUGH", 2)
    seen, before, pages = list[str](), NEWEST, 0
    while True:
        page: MessagesFound = await known.message_search.find(MessageQuery(subject="example.net"), before)
        seen += [each.first[0] for each in page.messages]
        pages += 1
        if page.further is None:
            break
        before = page.further
    assert seen == [*PEOPLE[4:2:-1], *PEOPLE[1::-1]]
    assert pages == 3


async def test_the_index_is_used_whatever_the_tables_hold(store: Store) -> None:
    await execute(
        store,
        """insert into message (id, account_id, sender, size, recipients, received_at, record)
        select gen_random_uuid(), 1, 's@x.example', 1, 1, now(),
            jsonb_build_object('recipients', jsonb_build_array('user' || n || '@d.example'))
        from generate_series(1, 3000) n""",
    )
    await execute(store, "analyze message")
    question = message_search._SEARCH.format(looked=message_search._BY_TERMS)
    async with store._database.session() as connection:
        plan = await _plan(connection, question, MessageQuery(recipient="user17@d.example").terms)
    assert "Bitmap Index Scan on message_terms" in plan
    assert "Seq Scan on message" not in plan


async def _plan(connection: asyncpg.Connection, question: str, terms: str) -> str:
    rows = await connection.fetch(f"explain {question}", NEWEST, None, None, None, None, None, 50, terms)
    return "\n".join(row[0] for row in rows)

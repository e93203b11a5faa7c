"""The same text to many is told apart from many texts, whichever worker takes the messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from config.schema import DatabaseSettings as DatabaseSettings
from mta.store.postgres import periodic_flush
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from policy.text.same_text import sketch_of
from tests.unit.mta.store.make import count, until

NOW = datetime(2026, 11, 30, 12, 10, tzinfo=UTC)
TEXT = """Dear {name}, autumn is here. All coats are half price this week. Shoes too, in every size.
Come to our shop in the High Street: it is open until nine. Your voucher is {code}.
Only while stocks last! We look forward to seeing you. The Corner Shop team"""


async def test_names_and_numbers_make_no_other_text(store: Store) -> None:
    texts = store.repeated_texts
    for n in range(50):
        sketch = sketch_of([TEXT.format(name=f"Reader{chr(97 + n % 26)}", code=f"X{n * 7919}")])
        assert texts.seen(1, sketch, NOW) == n
        texts.count(1, sketch, 1, NOW)
    assert texts.seen(2, sketch, NOW) == 0
    assert texts.seen(1, sketch, NOW + timedelta(hours=1)) == 0


async def test_other_texts_are_others(store: Store) -> None:
    texts = store.repeated_texts
    texts.count(1, sketch_of([TEXT]), 400, NOW)
    order = "Your order is on its way. It arrives on Monday. Two books about trees. Thank you for your purchase."
    assert texts.seen(1, sketch_of([order]), NOW) == 0
    assert texts.seen(1, sketch_of([""]), NOW) == 0


@pytest.fixture
async def stores(
    database_url: str, database_settings: DatabaseSettings, secrets: Secrets
) -> AsyncIterator[list[Store]]:
    """Two workers on one database."""
    pair = [await Store.open(database_url, database_settings, secrets) for _ in range(2)]
    yield pair
    for store in pair:
        await store.close()


async def test_all_workers_count_together(stores: list[Store]) -> None:
    one, other = (store.repeated_texts for store in stores)
    sketch = sketch_of([TEXT])
    one.count(1, sketch, 300, NOW)
    other.count(1, sketch, 200, NOW)
    await one.flush()
    await other.flush()
    assert (one.seen(1, sketch, NOW), other.seen(1, sketch, NOW)) == (300, 500)
    one.count(1, sketch, 1, NOW)
    await one.flush()
    assert one.seen(1, sketch, NOW) == 501
    await one.flush()
    assert one.seen(1, sketch, NOW) == 501, "nothing is added twice"


async def test_few_recipients_make_no_rows_and_the_last_hour_none(stores: list[Store]) -> None:
    one, other = (store.repeated_texts for store in stores)
    sketch = sketch_of([TEXT])
    one.count(1, sketch, 7, NOW)
    await one.flush()
    assert await count(stores[0], "text_count") == 0
    one.count(1, sketch, 1, NOW)
    await one.flush()
    assert await count(stores[0], "text_count") == len(sketch)
    other.count(1, sketch, 8, NOW + timedelta(hours=2))
    await other.flush()
    assert await count(stores[0], "text_count") == len(sketch)
    assert other.seen(1, sketch, NOW + timedelta(hours=2)) == 8


async def test_what_was_counted_is_added_by_itself_and_at_the_end(
    stores: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(periodic_flush, "EVERY", 0.01)
    sketch = sketch_of([TEXT])
    texts = stores[0].repeated_texts
    texts.count(1, sketch, 50, NOW)
    await until(lambda: all(each.unsent == 0 for each in texts._counts.values()))
    assert await count(stores[1], "text_count where recipients = 50") == len(sketch)
    texts.count(1, sketch, 3, NOW)
    await texts.stop()
    assert await count(stores[1], "text_count where recipients = 53") == len(sketch)

"""What is remembered, and for how long."""

import asyncio
from types import SimpleNamespace

import pytest

from mta.delivery.dialer import QUIRK_LASTS, Quirk, Quirks
from mta.delivery.lookup_cache import Cache, CachedAnswer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=100.0)
    for module in ("lookup_cache", "dialer"):
        monkeypatch.setattr(f"mta.delivery.{module}.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


class Searches:
    """Counts searches; lets them end when it is told to."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.go = asyncio.Event()

    async def find(self, key: str) -> CachedAnswer[str]:
        self.keys.append(key)
        await self.go.wait()
        return CachedAnswer(key.upper(), 10.0)


async def test_one_search_for_all_who_ask(clock: SimpleNamespace) -> None:
    searches = Searches()
    cache = Cache(10, searches.find)
    asking = [asyncio.create_task(cache.get("a")) for _ in range(5)]
    await asyncio.sleep(0)
    asking[0].cancel()
    searches.go.set()
    assert await asyncio.gather(*asking[1:]) == ["A"] * 4
    assert searches.keys == ["a"]
    clock.now += 9.9
    assert cache.peek("a") == "A"
    clock.now += 0.1
    assert cache.peek("a") is None
    assert await cache.get("a") == "A"
    assert searches.keys == ["a", "a"]


async def test_the_oldest_makes_room(clock: SimpleNamespace) -> None:
    searches = Searches()
    searches.go.set()
    cache = Cache(2, searches.find)
    for key in "abac":
        clock.now += 20
        await cache.get(key)
    clock.now -= 20
    assert [cache.peek(key) for key in "abc"] == ["A", None, "C"]


def test_quirks(clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    quirks = Quirks()
    quirks.note("192.0.2.1", Quirk.BROKEN_TLS)
    assert quirks.has("192.0.2.1", Quirk.BROKEN_TLS)
    assert not quirks.has("192.0.2.1", Quirk.BROKEN_PIPELINING)
    assert not quirks.has("192.0.2.2", Quirk.BROKEN_TLS)
    clock.now += QUIRK_LASTS
    assert not quirks.has("192.0.2.1", Quirk.BROKEN_TLS)
    monkeypatch.setattr("mta.delivery.dialer.MAX_QUIRKS", 3)
    for n in range(5):
        quirks.note(f"192.0.2.{n}", Quirk.BROKEN_TLS)
    assert [quirks.has(f"192.0.2.{n}", Quirk.BROKEN_TLS) for n in range(5)] == [False, False, True, True, True]

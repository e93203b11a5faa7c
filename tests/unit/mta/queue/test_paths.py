"""Which path mail takes: by turns, and around sources that do not serve."""

from __future__ import annotations

from typing import Any

import pytest

from config.schema import EgressSettings, Shaping, ShapingSettings, StreamWeights
from mta.delivery.egress.paths import PathKey
from mta.delivery.egress.sources import SOURCE_BACKOFF, SourceHealth
from mta.delivery.route import Route, Target
from mta.delivery.shortage import Shortage
from mta.mail.message import Stream
from mta.mail.shaping_action import Place
from mta.observe.labels import Resource
from mta.queue import paths
from mta.queue.active_queue import ActiveQueue
from mta.queue.path_limits import Permits
from mta.queue.paths import NoSource, Paths
from mta.queue.ready_queue import UNKNOWN, ReadyQueue

MAIL = Place("default", "strict", "example.net", 1, Stream.MARKETING)
SHAPING = Shaping(backoff="1m", backoff_after=3, connections=8)


def egress(*addresses: str) -> EgressSettings:
    named = [{"name": f"s{n}", "address": address} for n, address in enumerate(addresses)]
    return EgressSettings.model_validate({"sources": named})


class NoAccounts:
    def by_id(self, _: int) -> None:
        """There is none."""


def made(*addresses: str, **shaping: Any) -> Paths:
    settings = ShapingSettings.model_validate(shaping)
    health, accounts = SourceHealth(), NoAccounts()
    return Paths(egress(*addresses), settings, StreamWeights(), health, accounts, Permits, lambda _: None)


def route(site: str = "strict", *addresses: str, shaping: Shaping = SHAPING) -> Route:
    hosts = tuple(Target(f"mx.{site}", address, 25) for address in addresses or ("198.51.100.1",))
    return Route(site, shaping, hosts)


def chosen(subject: Paths, to: Route, now: float = 0, count: int = 6) -> set[str]:
    return {subject.choose(subject.pools.default, to, now, MAIL).path.source.name for _ in range(count)}


def test_the_sources_of_the_receivers_family_by_turns() -> None:
    subject = made("192.0.2.1", "192.0.2.2", "2001:db8::1")
    assert chosen(subject, route()) == {"s0", "s1"}
    assert chosen(subject, route("six", "2001:db8:1::1")) == {"s2"}
    assert chosen(subject, route("both", "2001:db8:1::1", "198.51.100.1")) == {"s0", "s1", "s2"}
    with pytest.raises(NoSource, match="no source for the addresses of six"):
        chosen(made("192.0.2.1"), route("six", "2001:db8:1::1"))


def test_each_path_has_a_ready_queue_of_its_own() -> None:
    subject = made("192.0.2.1", "192.0.2.2")
    chosen(subject, route("a"))
    chosen(subject, route("b"))
    assert set(subject) == {PathKey(source, site) for source in ("s0", "s1") for site in ("a", "b")}


def test_a_source_that_fails_gives_its_mail_to_the_others() -> None:
    subject = made("192.0.2.1", "192.0.2.2")
    first, second = subject.pools.default.sources
    subject._health.failed(first, 0)
    assert chosen(subject, route(), 1) == {"s1"}
    subject._health.failed(second, 10)
    with pytest.raises(Shortage) as raised:
        chosen(subject, route(), 20)
    assert (raised.value.resource, raised.value.seconds) == (Resource.SOURCES, SOURCE_BACKOFF - 20)
    assert chosen(subject, route(), SOURCE_BACKOFF + 11) == {"s0", "s1"}


def test_a_source_that_a_site_turns_away_is_left_out_there_and_only_there() -> None:
    subject = made("192.0.2.1", "192.0.2.2")
    assert chosen(subject, route()) == {"s0", "s1"}
    away = subject[PathKey("s0", "strict")].throttle
    assert [away.failed(n) for n in range(3)] == [False, False, True]
    assert chosen(subject, route(), 3) == {"s1"}
    assert chosen(subject, route("other"), 3) == {"s0", "s1"}
    assert chosen(subject, route(), 63) == {"s0", "s1"}
    also = subject[PathKey("s1", "strict")].throttle
    for each in (away, also):
        while not each.failed(64):
            pass
    assert chosen(subject, route(), 65) == {"s0", "s1"}  # then the site is the trouble


def test_a_listed_source_is_used_if_there_is_no_other() -> None:
    subject = made("192.0.2.1", "192.0.2.2")
    subject._health.listed = frozenset({"192.0.2.1"})
    assert chosen(subject, route()) == {"s1"}
    subject._health.failed(subject.pools.default.sources[1], 0)
    assert chosen(subject, route(), 1) == {"s0"}


def test_there_is_use_for_mail_as_long_as_a_source_of_its_pool_serves() -> None:
    subject, roomy = made("192.0.2.1", "192.0.2.2"), ActiveQueue(100_000, 10**9)

    def use() -> int:
        return subject.claimable("strict", subject.pools.default, Stream.MARKETING, roomy, 1.0)

    assert use() == 2 * UNKNOWN
    away = subject._of(subject.pools.default.sources[0], route(), 0).throttle
    assert use() == 2 + UNKNOWN  # what two connections take, and what nobody knows
    while not away.failed(0):
        pass
    assert use() == UNKNOWN
    subject._health.failed(subject.pools.default.sources[1], 0)
    assert use() == 0


def test_what_a_path_may_carry_is_that_of_its_source_and_site() -> None:
    subject = made("192.0.2.1", "192.0.2.2", sources=[{"source": "s0", "message_rates": ["8/s", "2/m"]}])
    chosen(subject, route())
    first, second = (subject[PathKey(source, "strict")] for source in ("s0", "s1"))
    assert (first.permits.scope, first.connections.total, first.throttle.ceiling) == ("path:s0:strict", 8, 8)
    assert [(rate.total, rate.key.seconds) for rate in first.permits.rates] == [(8, 1), (2, 60)]
    assert list(second.permits.rates) == []


def test_new_settings_apply_to_what_is_there_and_gone_sources_are_told() -> None:
    subject = made("192.0.2.1", "192.0.2.2")
    chosen(subject, route())
    limits = ShapingSettings.model_validate({"sources": [{"source": "s0", "connections": 1}]})
    subject.configure(egress("192.0.2.1"), limits, StreamWeights())
    assert [queue.path.key for queue in subject.abandoned()] == [PathKey("s1", "strict")]
    assert chosen(subject, route()) == {"s0"}
    assert subject[PathKey("s0", "strict")].throttle.ceiling == 1
    assert subject.serves(subject[PathKey("s0", "strict")], route())
    assert not subject.serves(subject[PathKey("s1", "strict")], route())
    assert not subject.serves(subject[PathKey("s0", "strict")], route("elsewhere"))


def test_idle_queues_are_forgotten_those_in_backoff_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "IDLE_QUEUES", 3)
    subject = made("192.0.2.1")
    for site in ("a", "b", "c"):
        chosen(subject, route(site), count=1)
    while not subject[PathKey("s0", "b")].throttle.failed(0):
        pass
    chosen(subject, route("d"), 1, count=1)
    assert set(subject) == {PathKey("s0", "b"), PathKey("s0", "d")}


def test_a_crowd_of_busy_paths_is_not_searched_for_each_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def idle(queue: ReadyQueue) -> bool:
        asked.append(queue.path.site)
        return not busy

    busy = True
    monkeypatch.setattr(paths, "IDLE_QUEUES", 8)
    monkeypatch.setattr(ReadyQueue, "idle", property(idle))
    subject = made("192.0.2.1")
    for n in range(200):
        subject.choose(subject.pools.default, route(f"busy{n}"), 0, MAIL)
    assert len(subject) == 200
    assert len(asked) < 10 * 200
    busy = False
    for n in range(60):
        subject.choose(subject.pools.default, route(f"late{n}"), 0, MAIL)
    assert len(subject) < 100  # the idle ones are gone

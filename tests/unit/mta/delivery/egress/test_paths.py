"""The limits of a path: those of the provider, with what differs for the source laid over them."""

from __future__ import annotations

from typing import Any

from config.schema import EgressSettings, Shaping, ShapingSettings
from mta.delivery.egress.paths import PathShaping
from mta.delivery.egress.pools import SourcePools
from mta.delivery.egress.sources import EgressSource

EGRESS = EgressSettings.model_validate(
    {
        "sources": [{"name": name, "address": f"192.0.2.{n}"} for n, name in enumerate(("old", "new", "newer"), 1)],
        "pools": [{"name": "fresh", "members": [{"source": "new"}, {"source": "newer"}]}],
    }
)
OLD, NEW = EgressSource("old", "192.0.2.1"), EgressSource("new", "192.0.2.2")
GMAIL = Shaping(name="gmail", connections=20, initial_connections=5, message_rates=["10/s"])


def shaping(*sources: dict[str, Any]) -> PathShaping:
    return PathShaping(ShapingSettings.model_validate({"sources": list(sources)}), SourcePools(EGRESS))


def test_without_overrides_the_provider_says_it_all() -> None:
    assert shaping().limits(OLD, GMAIL) is GMAIL


def test_an_override_changes_its_own_keys_only() -> None:
    subject = shaping({"source": "new", "provider": "gmail", "message_rates": ["1/s", "500/d"]})
    limits = subject.limits(NEW, GMAIL)
    assert (limits.message_rates, limits.connections) == (["1/s", "500/d"], 20)
    assert subject.limits(OLD, GMAIL) is GMAIL
    assert subject.limits(NEW, Shaping(name="yahoo")).message_rates == []


def test_a_pool_means_each_of_its_sources_and_later_entries_count() -> None:
    subject = shaping({"pool": "fresh", "connections": 2}, {"source": "new", "connections": 3})
    assert subject.limits(NEW, GMAIL).connections == 3
    assert subject.limits(EgressSource("newer", "192.0.2.3"), GMAIL).connections == 2
    assert subject.limits(NEW, GMAIL).initial_connections == 3


def test_equal_questions_get_the_same_object_until_the_provider_changes() -> None:
    subject = shaping({"source": "new", "connections": 2})
    assert subject.limits(NEW, GMAIL) is subject.limits(NEW, GMAIL)
    changed = GMAIL.model_copy(update={"idle": 1.0})
    assert subject.limits(NEW, changed).idle == 1.0

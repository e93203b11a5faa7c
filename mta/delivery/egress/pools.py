"""Pools: which sources share a delivery's mail, by the rules of the configuration, and whose turn it is.

Turns are by smooth weighted round robin: with weights 5 and 1 the second source has every sixth turn, not a sixth of
the day. A pool of certified sources carries certified mail only; mail that may not use it takes the next pool that
fits, and never waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from config.egress import DEFAULT_POOL
from config.schema import EgressSettings, PoolRuleSettings
from mta.delivery.egress.mail_conditions import MailConditions, MailFacts
from mta.delivery.egress.sources import EgressSource, configured


@dataclass(slots=True, eq=False)
class SourcePool:
    """Sources that share mail. ``weights``: by name of the source."""

    name: str
    sources: tuple[EgressSource, ...]
    weights: dict[str, int]
    _credit: dict[str, int] = field(default_factory=dict)

    @property
    def is_certified(self) -> bool:
        return any(source.certified for source in self.sources)

    def turn(self, able: Sequence[EgressSource]) -> EgressSource:
        """Return the one of ``able`` whose turn it is."""
        if len(able) == 1:
            return able[0]
        total, best = 0, able[0]
        for source in able:
            weight = self.weights[source.name]
            total += weight
            self._credit[source.name] = self._credit.get(source.name, 0) + weight
            if self._credit[source.name] > self._credit[best.name]:
                best = source
        self._credit[best.name] -= total
        return best


@dataclass(frozen=True, slots=True)
class PoolQuery(MailFacts):
    """What a delivery's pool depends on. ``own``: the pool set for its account. ``certified``: its profile lets it use
    certified sources, and no rule found fault with it."""

    own: str | None = None
    certified: bool = False


class SourcePools:
    """The pools of the configuration and the rules that choose one."""

    def __init__(self, settings: EgressSettings) -> None:
        sources = {source.name: source for source in configured(settings)}
        self.sources = tuple(sources.values())
        self._pools = {pool.name: _pool(pool.name, {m.source: m.weight for m in pool.members}, sources)
                       for pool in settings.pools}  # fmt: skip
        open_to_all = {source.name: 1 for source in self.sources if not source.certified}
        if DEFAULT_POOL not in self._pools:
            self._pools[DEFAULT_POOL] = _pool(DEFAULT_POOL, open_to_all, sources)
        self._rules = [_Rule(rule) for rule in settings.rules]
        self._of_source = {
            source: frozenset(name for name, pool in self._pools.items() if source in pool.weights)
            for source in sources
        }

        self.has_choice = len(self._pools) > 1

    @property
    def names(self) -> Sequence[str]:
        return list(self._pools)

    @property
    def default(self) -> SourcePool:
        return self._pools[DEFAULT_POOL]

    def get(self, name: str) -> SourcePool | None:
        return self._pools.get(name)

    def __getitem__(self, name: str) -> SourcePool:
        return self._pools[name]

    def of_source(self, source: str) -> frozenset[str]:
        """Return the names of the pools that a source is in."""
        return self._of_source.get(source, frozenset())

    def of(self, query: PoolQuery) -> SourcePool:
        """Return the pool of a delivery; one that it may not use, or that is gone, is passed over."""
        for rule in self._rules:
            if rule.fits(query) and (pool := self.permitted(rule.pool, query)):
                return pool
        if query.own is not None and (pool := self.permitted(query.own, query)):
            return pool
        return self.default

    def permitted(self, name: str, query: PoolQuery) -> SourcePool | None:
        """Return the pool ``name``, if there is one and the delivery may use it."""
        pool = self._pools.get(name)
        return pool if pool and (query.certified or not pool.is_certified) else None


class _Rule:
    """A rule, arranged for asking."""

    def __init__(self, rule: PoolRuleSettings) -> None:
        self.pool = rule.pool
        self.fits = MailConditions(rule).fits


def _pool(name: str, weights: dict[str, int], sources: dict[str, EgressSource]) -> SourcePool:
    return SourcePool(name, tuple(sources[each] for each in weights), weights)

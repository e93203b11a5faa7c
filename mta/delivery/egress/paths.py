"""Egress paths: a source and a site, with the limits that the configuration sets for the two together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import NamedTuple

from config.schema import PathLimits, Shaping, ShapingSettings, SourceShaping
from mta.delivery.egress.pools import SourcePools
from mta.delivery.egress.slots import ConnectionSlots
from mta.delivery.egress.sources import EgressSource
from mta.mail.values import dataclass

MAX_KNOWN = 20_000  # combinations of a source and a shaping remembered


class PathKey(NamedTuple):
    """A path by names."""

    source: str
    site: str

    def __str__(self) -> str:
        return f"{self.source} -> {self.site}"


@dataclass(frozen=True, slots=True)
class EgressPath:
    """``limits``: what applies to this source at this site, all overrides included. ``slots``: its connections.
    ``provider``: name of the site's entry in the configuration."""

    source: EgressSource
    site: str
    limits: PathLimits
    slots: ConnectionSlots = field(default_factory=ConnectionSlots, compare=False)
    provider: str = "default"

    @property
    def key(self) -> PathKey:
        return PathKey(self.source.name, self.site)


class PathShaping:
    """The limits of each path. Equal arguments give the same object, so that a change is seen by identity."""

    def __init__(self, settings: ShapingSettings, pools: SourcePools) -> None:
        self._overrides = [(each, _names(each, pools)) for each in settings.sources]
        self._known: dict[tuple[str, str], tuple[Shaping, PathLimits]] = {}

    def limits(self, source: EgressSource, shaping: Shaping) -> PathLimits:
        """Return the limits of ``source`` at a site of this shaping."""
        if not self._overrides:
            return shaping
        key = source.name, shaping.name
        known = self._known.get(key)
        if known is None or known[0] is not shaping:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            known = self._known[key] = shaping, self._merge(source, shaping)
        return known[1]

    def _merge(self, source: EgressSource, shaping: Shaping) -> PathLimits:
        changed: dict[str, object] = {}
        for override, names in self._overrides:
            if source.name in names and override.provider in (None, shaping.name):
                changed |= {key: getattr(override, key) for key in override.model_fields_set & _LIMITS}
        if not changed:
            return shaping
        merged = shaping.model_copy(update=changed)
        if merged.initial_connections > merged.connections:
            merged = merged.model_copy(update={"initial_connections": merged.connections})
        return merged


_LIMITS = frozenset(PathLimits.model_fields)


def _names(override: SourceShaping, pools: SourcePools) -> Sequence[str]:
    if override.pool is not None:
        pool = pools.get(override.pool)
        return [source.name for source in pool.sources] if pool else []
    return [override.source] if override.source is not None else []

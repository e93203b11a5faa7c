"""Checks of ``[[shaping.warmup]]`` and ``[[shaping.curves]]`` that involve several keys."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from config.egress import DEFAULT_POOL
from config.egress_checks import known_name
from config.schema import Settings
from config.toml import Mistake
from config.toml_positions import KeyPath


def warmup_check(settings: Settings, providers: set[str], curves: set[str]) -> Iterator[Mistake]:
    """Yield all errors in them. ``providers``, ``curves``: those that come with the service."""
    shaping = settings.shaping
    known = providers | {"default", *(each.name for each in shaping.providers)}
    sources = [source.name for source in settings.egress.sources]
    pools = [DEFAULT_POOL, *(pool.name for pool in settings.egress.pools)]
    for n, warmup in enumerate(shaping.warmup):
        path: KeyPath = ("shaping", "warmup", n)
        if (warmup.source is None) == (warmup.pool is None):
            yield Mistake(path, "needs a source or a pool, one of them", ("source", "pool"))
        if warmup.source is not None:
            yield from known_name((*path, "source"), "source", warmup.source, sources)
        if warmup.pool is not None:
            yield from known_name((*path, "pool"), "pool", warmup.pool, pools)
        if warmup.provider is not None:
            yield from known_name((*path, "provider"), "provider", warmup.provider, known)
        own = {curve.name: curve for curve in shaping.curves}
        yield from known_name((*path, "curve"), "curve", warmup.curve, {*curves, *own})
        if warmup.curve in own and warmup.first_day > len(own[warmup.curve].daily):
            text = f"curve {warmup.curve} has {len(own[warmup.curve].daily)} days; a source beyond them is warm: "
            yield Mistake((*path, "first_day"), f"{text}take out the entry", ("curve",))
    yield from _curves(settings)


def _curves(settings: Settings) -> Iterator[Mistake]:
    seen: set[str] = set()
    for n, curve in enumerate(settings.shaping.curves):
        path: KeyPath = ("shaping", "curves", n)
        if curve.name in seen:
            yield Mistake((*path, "name"), f"second curve named {curve.name}; names must be unique")
        seen.add(curve.name)
        for m, (before, after) in enumerate(pairwise(curve.daily), 1):
            if after < before:
                text = f"day {m + 1} allows less ({after}) than the day before ({before}); volumes must not fall"
                yield Mistake((*path, "daily", m), text)

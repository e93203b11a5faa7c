"""What a reload would change: in words, and for the mail that is queued.

Limitations: where mail goes is looked up now, once for each of the largest destinations. Which pool a message takes
depends on its account and mailing: changes of rules are told in words only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from config.load import load_text
from config.schema import PathLimits, Settings
from config.types import rate_limit
from mta.admin.backoffs import MAX_DESTINATIONS
from mta.delivery.egress.paths import PathShaping
from mta.delivery.egress.pools import SourcePools
from mta.delivery.egress.warmup import WarmupPlans
from mta.delivery.mx import Resolver
from mta.delivery.route import Route
from mta.mail.spans import span
from mta.store.queue.queue import By, Group, QueueFilter
from mta.store.store import Store

_LIMITS = (
    "connections",
    "message_rates",
    "messages_per_connection",
    "recipients_per_transaction",
    "tls",
    "expire_after",
)


@dataclass(slots=True)
class _Move:
    """What is queued for a site now, and where it goes then. ``expired``: how much of it would be too old."""

    old: Route
    new: Route
    recipients: int = 0
    expired: int = 0


def settings_in_use(run_dir: Path) -> Settings | None:
    """Return the settings that the service on this directory uses, None if they are not known. Raises ConfigError."""

    try:
        kept = orjson.loads((run_dir / "config.json").read_bytes())
        return load_text(kept["text"], kept["name"], Path(kept["base"]))
    except (OSError, ValueError, KeyError):
        return None


async def effects(old: Settings, new: Settings, store: Store) -> list[str]:
    """Return what a reload means for queued mail, a line each. Raises StoreUnavailable."""

    groups = await store.queue.summary(By.DESTINATION)
    moves = await _moves(old, new, store, groups[:MAX_DESTINATIONS])
    lines = [*_sources(old, new)]
    for (_, _), move in sorted(moves.items(), key=lambda each: -each[1].recipients):
        lines += _of_site(old, new, move)
    return [*lines, *_not_counted(old, new, len(groups))]


def _not_counted(old: Settings, new: Settings, destinations: int) -> Iterator[str]:
    """Yield what this preview cannot say. ``destinations``: that have queued mail."""
    before, after = old.egress, new.egress
    if (before.rules, before.pools) != (after.rules, after.pools):
        yield "rules and pools: not counted; queued mail chooses its pool by the new ones when it is next due"
    if destinations > MAX_DESTINATIONS:
        others = destinations - MAX_DESTINATIONS
        yield f"only the {MAX_DESTINATIONS} largest destinations were looked up; {others} others were not"


async def _moves(
    old: Settings, new: Settings, store: Store, groups: Sequence[Group]
) -> Mapping[tuple[str, str], _Move]:

    before, after = Resolver(old), Resolver(new)
    routes = await asyncio.gather(
        *(asyncio.gather(before.route(group.key), after.route(group.key)) for group in groups)
    )
    moves: dict[tuple[str, str], _Move] = {}
    for group, (was, will) in zip(groups, routes, strict=True):
        if not (isinstance(was, Route) and isinstance(will, Route)):
            continue
        move = moves.setdefault((was.site, will.site), _Move(was, will))
        move.recipients += group.recipients
        expiry, previous = will.shaping.expire_after, was.shaping.expire_after
        if expiry is not None and (previous is None or expiry < previous):
            oldest = datetime.now(UTC) - timedelta(seconds=expiry)
            found = await store.queue.summary(By.STATE, QueueFilter(destination=group.key, before=oldest))
            move.expired += sum(each.recipients for each in found)
    return moves


def _sources(old: Settings, new: Settings) -> Iterator[str]:

    before, after = SourcePools(old.egress), SourcePools(new.egress)
    left = {source.name for source in after.sources}
    for source in before.sources:
        if source.name not in left:
            yield f"source {source.name} goes: mail that waits for it takes another source of its pool"
    warming = {(plan.source, plan.provider) for plan in WarmupPlans(old.shaping, before).all()}
    begins: dict[str, list[str]] = {}
    for plan in WarmupPlans(new.shaping, after).all():
        if (plan.source, plan.provider) not in warming:
            begins.setdefault(plan.source, []).append(plan.provider)
    for name, providers in begins.items():
        where = ", ".join(providers) if len(providers) <= 5 else f"{len(providers)} provider groups"
        yield f"source {name} begins to warm up at {where}: it sends no more there than its curve says"


def _of_site(old: Settings, new: Settings, move: _Move) -> Iterator[str]:
    """Yield what changes for the mail that waits for a site."""

    waits = f"{move.recipients} queued recipients"
    if move.old.site != move.new.site:
        yield f"{waits} move from site {move.old.site} to site {move.new.site}"
    before, after = SourcePools(old.egress), SourcePools(new.egress)
    was, will = PathShaping(old.shaping, before), PathShaping(new.shaping, after)
    known = {source.name: source for source in before.sources}
    for source in after.sources:
        if source.name in known:
            limits = was.limits(known[source.name], move.old.shaping), will.limits(source, move.new.shaping)
            for text in _changed(*limits, move.recipients):
                yield f"{move.new.site} from {source.name} ({waits}): {text}"
    if move.expired:
        yield f"{move.new.site}: {move.expired} queued recipients are older than the new expire_after, and fail"


def _changed(old: PathLimits, new: PathLimits, recipients: int) -> Iterator[str]:
    for key in _LIMITS:
        was, will = getattr(old, key), getattr(new, key)
        if was == will:
            continue
        text = f"{key} {_value(key, was)}, then {_value(key, will)}"
        if key == "message_rates" and (least := _seconds(will, recipients)) > 60:
            text += f": what is queued takes at least {span(least)}"
        yield text


def _value(key: str, value: object) -> str:
    if value is None or value == []:
        return "not set"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return span(value) if key == "expire_after" and isinstance(value, float) else str(value)


def _seconds(rates: Sequence[str], messages: int) -> float:
    """Return how long so many messages take at these rates, at least."""

    return max((messages / count * seconds for count, seconds in map(rate_limit, rates)), default=0.0)

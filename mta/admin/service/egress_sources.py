"""The addresses that mail is sent from: their pools, and what the last check, or one now, found.

Invariants: only operators see them. A check now changes nothing.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from config.schema import Settings
from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue
from mta.delivery.egress.pools import SourcePools
from mta.delivery.egress.source_checks import judge
from mta.delivery.egress.source_lookup import look_up
from mta.delivery.egress.sources import EgressSource
from mta.delivery.mx import Resolver
from mta.store.reputation.source_checks import SourceCheck


@dataclass(frozen=True, slots=True)
class CheckedSource:
    """A source, the pools that it is in, and its last check on each machine."""

    source: EgressSource
    pools: Sequence[str]
    checks: Sequence[SourceCheck]


async def list_all(context: AdminContext, name: str | None = None, *, check: bool = False) -> list[CheckedSource]:
    """Return all sources, or one. ``check``: look everything up now, from this machine. Raises Forbidden, InvalidValue,
    StoreUnavailable."""
    context.require_operator()
    found = named(context.settings, name)
    checks = await check_now(context.settings, found) if check else await context.store.source_checks.list()
    return with_checks(context.settings, found, checks)


def named(settings: Settings, name: str | None) -> list[EgressSource]:
    """Return all sources, or the one of this name. Raises InvalidValue."""
    known = SourcePools(settings.egress).sources
    found = [each for each in known if name in (None, each.name)]
    if not found:
        raise InvalidValue("source", f"there is no source {name!r}; there are {', '.join(each.name for each in known)}")
    return found


async def check_now(settings: Settings, found: Sequence[EgressSource]) -> Sequence[SourceCheck]:
    """Look sources up now, from this machine; needs no store."""
    resolver, host, checked_at = Resolver(settings), platform.node(), datetime.now(UTC)
    addressed = [each for each in found if each.address is not None]
    facts = await asyncio.gather(*(look_up(settings, resolver, each) for each in addressed))
    findings = [judge(each) for each in facts]
    return [
        SourceCheck(host, each.name, each.address or "", finding.faults, finding.unknown, checked_at)
        for each, finding in zip(addressed, findings, strict=True)
    ]


def with_checks(
    settings: Settings, found: Sequence[EgressSource], checks: Sequence[SourceCheck]
) -> list[CheckedSource]:
    """Put sources and what was found of them together."""
    pools = SourcePools(settings.egress)
    return [
        CheckedSource(
            each,
            sorted(pools.of_source(each.name)),
            [check for check in checks if (check.source, check.address) == (each.name, each.address)],
        )
        for each in found
    ]

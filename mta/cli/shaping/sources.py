"""``mta shaping sources``: the addresses that mail is sent from, what the last check found, and how to fix it."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import load_settings, with_store
from mta.cli.options import ConfigOption, JsonOption
from mta.cli.output import fail, print_json, print_lines, relative
from mta.cli.shaping.scope import SourceOption
from mta.mail.source_fault import SourceFaultKind

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.delivery.egress.sources import EgressSource
    from mta.store.reputation.source_checks import SourceCheck

NowOption = Annotated[
    bool, typer.Option("--check", help="Check now, from this machine, and change nothing; needs no running service.")
]


@dataclass(frozen=True, slots=True)
class _Shown:
    """A source, the pools that it is in, and its last check on each machine."""

    source: EgressSource
    pools: Sequence[str]
    checks: Sequence[SourceCheck]


def sources(
    source: SourceOption = None,
    now: NowOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show each source, what the last check found wrong with it, and how to fix that. Exit status 1 if there is
    anything."""
    from mta.delivery.egress.pools import SourcePools

    settings = load_settings(config)
    pools = SourcePools(settings.egress)
    found = [each for each in pools.sources if source in (None, each.name)]
    if not found:
        fail(f"there is no source {source!r}; there are {', '.join(each.name for each in pools.sources)}", status=2)
    if now:
        checks = asyncio.run(_check(settings, found))
    else:
        checks = with_store(settings, lambda store: store.source_checks.list())
    shown = [
        _Shown(each, sorted(pools.of_source(each.name)),
               [check for check in checks if (check.source, check.address) == (each.name, each.address)])
        for each in found
    ]  # fmt: skip
    if as_json:
        print_json([_fields(each) for each in shown])
    else:
        print_lines(line for each in shown for line in _lines(settings, each))
    if any(check.faults for each in shown for check in each.checks):
        raise typer.Exit(1)


async def _check(settings: Settings, found: Sequence[EgressSource]) -> Sequence[SourceCheck]:
    """Look everything up now."""
    from mta.delivery.egress.source_checks import judge
    from mta.delivery.egress.source_lookup import look_up
    from mta.delivery.mx import Resolver
    from mta.store.reputation.source_checks import SourceCheck

    resolver, host, checked_at = Resolver(settings), platform.node(), datetime.now(UTC)
    named = [each for each in found if each.address is not None]
    facts = await asyncio.gather(*(look_up(settings, resolver, each) for each in named))
    findings = [judge(each) for each in facts]
    return [
        SourceCheck(host, each.name, each.address or "", finding.faults, finding.unknown, checked_at)
        for each, finding in zip(named, findings, strict=True)
    ]


def _lines(settings: Settings, shown: _Shown) -> Iterator[tuple[str, str]]:
    source = shown.source
    if source.address is None:
        yield "No sources are configured: the system chooses the address, and nothing is checked.", ""
        return
    ehlo = source.ehlo or settings.egress.ehlo or settings.server.hostname
    more = [f"EHLO {ehlo}", f"pools {', '.join(shown.pools) or '(none)'}"]
    more += [f"through {source.proxy.protocol}://{source.proxy.host}:{source.proxy.port}"] if source.proxy else []
    more += ["certified"] if source.certified else []
    yield f"{source.name}  {source.address}  {', '.join(more)}", "bold"
    if not shown.checks:
        yield "  not checked yet", "dim"
    for check in shown.checks:
        yield from _check_lines(check)


def _check_lines(check: SourceCheck) -> Iterator[tuple[str, str]]:
    from mta.delivery.egress.source_checks import is_private

    when = relative(check.checked_at, datetime.now(UTC)) if check.checked_at else ""
    for fault in check.faults:
        effect = "not used" if fault.kind is SourceFaultKind.ABSENT else "passed over while its pool has others"
        yield f"  {fault.text}", "red"
        yield f"    to fix it: {fault.remedy}", ""
        yield f"    until then: {effect} (on {check.host}, checked {when})", "dim"
    for kind, why in check.unknown.items():
        yield f"  {kind.value}: not known, {why}", "yellow"
    if not check.faults:
        about = "in order; a private address: the DNS is not asked" if is_private(check.address) else "in order"
        yield f"  {about} (on {check.host}, checked {when})", "dim"


def _fields(shown: _Shown) -> dict[str, Any]:
    source = shown.source
    return {
        "name": source.name,
        "address": source.address,
        "ehlo": source.ehlo,
        "certified": source.certified,
        "pools": shown.pools,
        "checks": [
            {
                "host": check.host,
                "checked_at": check.checked_at,
                "faults": [{"kind": each.kind, "text": each.text, "remedy": each.remedy} for each in check.faults],
                "unknown": {kind.value: why for kind, why in check.unknown.items()},
            }
            for check in shown.checks
        ],
    }

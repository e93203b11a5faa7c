"""``mta shaping sources``: the addresses that mail is sent from, what the last check found, and how to fix it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import load_settings, with_admin
from mta.cli.options import ConfigOption, JsonOption
from mta.cli.output import errors_reported, print_json, print_lines, relative
from mta.cli.shaping.scope import SourceOption
from mta.mail.source_fault import SourceFaultKind

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.admin.service.egress_sources import CheckedSource
    from mta.store.reputation.source_checks import SourceCheck

NowOption = Annotated[
    bool, typer.Option("--check", help="Check now, from this machine, and change nothing; needs no running service.")
]


def sources(
    source: SourceOption = None,
    now: NowOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show each source, what the last check found wrong with it, and how to fix that. Exit status 1 if there is
    anything."""
    from mta.admin.service import egress_sources

    settings = load_settings(config)
    if now:
        with errors_reported():
            found = egress_sources.named(settings, source)
        shown = egress_sources.with_checks(settings, found, asyncio.run(egress_sources.check_now(settings, found)))
    else:
        shown = with_admin(settings, lambda context: egress_sources.list_all(context, source))
    if as_json:
        print_json([_fields(each) for each in shown])
    else:
        print_lines(line for each in shown for line in _lines(settings, each))
    if any(check.faults for each in shown for check in each.checks):
        raise typer.Exit(1)


def _lines(settings: Settings, shown: CheckedSource) -> Iterator[tuple[str, str]]:
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


def _fields(shown: CheckedSource) -> dict[str, Any]:
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

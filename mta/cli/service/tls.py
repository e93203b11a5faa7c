"""``mta tls``: which TLS policies apply to a domain and why, and what TLS reports will say of today."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import load_settings, open_store, with_store
from mta.cli.options import ConfigOption, JsonOption, LimitOption, group
from mta.cli.output import Column, fail, print_details, print_json, print_table

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.delivery.route import Route
    from mta.delivery.tls.sts_policies import StsFinding
    from mta.mail.tls_session import SessionCount


def register(app: typer.Typer) -> None:
    commands = group(
        "TLS towards receivers: policies of a domain, today's sessions.", ("show", show), ("report", report)
    )
    app.add_typer(commands, name="tls")


def show(
    domain: Annotated[str, typer.Argument(help="Recipient domain.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Look up what applies to mail for a domain, host by host: DANE, MTA-STS, our settings.

    A policy that is not known yet is fetched, and kept for the service.
    """
    settings = load_settings(config)
    found = asyncio.run(_look_up(settings, domain.lower().rstrip(".")))
    if as_json:
        print_json(found)
        return
    details = [(key, _words(value)) for key, value in found.items() if key not in ("domain", "hosts")]
    print_details(str(found["domain"]), details)
    rows = [(each["host"], each["demand"], each["by"], "; ".join(each["tlsa"])) for each in found["hosts"]]
    print_table(
        (Column("host", whole=True), "demanded", Column("by", whole=True), Column("TLSA", whole=True)),
        rows,
        empty="No host.",
    )


def report(
    domain: Annotated[str | None, typer.Argument(help="Only this recipient domain.")] = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show today's TLS sessions (UTC) by recipient domain and policy, as TLS reports will tell of them."""
    from datetime import UTC, datetime

    settings, today = load_settings(config), datetime.now(UTC).date()
    counts = with_store(settings, lambda store: store.tls_results.read(today, domain, limit))
    if as_json:
        print_json([_report_of(settings, each) for each in counts])
        return
    rows = [
        (each.domain, each.policy.kind.value, str(each.successful), str(each.failed), _failures(each))
        for each in counts
    ]
    print_table(
        (Column("domain", whole=True), "policy", "successful", "failed", Column("failures", whole=True)),
        rows,
        empty="No sessions today.",
    )


def _report_of(settings: Settings, count: SessionCount) -> dict[str, Any]:
    """Return what a report of this domain would hold."""
    from mta.delivery.tls.report import TlsReport
    from mta.service.jobs.tls_reports import reporter_address

    contact = str(reporter_address(settings))
    whole = TlsReport(count.domain, count.day, [count], settings.server.hostname, contact, "today").as_json()
    return {"domain": count.domain, "day": count.day, **whole["policies"][0]}


def _failures(count: SessionCount) -> str:
    return ", ".join(f"{failure.result.value} ({sessions})" for failure, sessions in count.failures.most_common())


async def _look_up(settings: Settings, domain: str) -> dict[str, Any]:
    from mta.delivery.mx import Resolver
    from mta.delivery.route import Route
    from mta.delivery.tls.demand import TlsPolicy

    async with open_store(settings) as store:
        resolver = Resolver(settings, sts_store=store.sts_policies)
        try:
            route = await resolver.route(domain)
            if not isinstance(route, Route):
                fail(f"{domain}: {route}")
            policies = resolver.sts_policies
            sts = await policies.find(domain) if policies and route.published else None
        finally:
            await resolver.close()
    ours = route.tls or TlsPolicy(route.shaping.tls)
    return {
        "domain": domain,
        "site": route.site,
        "settings": ours.value,
        "dane": _dane(settings, route),
        "mta_sts": _mta_sts(settings, sts),
        "hosts": [_host(name, route, ours) for name in dict.fromkeys(host.name for host in route.hosts)],
    }


def _dane(settings: Settings, route: Route) -> str:
    if route.published is None:
        return "not looked up: static route"
    if not settings.egress.dane:
        return "off (egress.dane)"
    if not settings.dns.validating:
        return "off: no validating resolver (dns.validating)"
    if not route.published.mx_secure:
        return "does not apply: the MX records are not DNSSEC-secure"
    return "applies to hosts with secure TLSA records"


def _mta_sts(settings: Settings, found: StsFinding | None) -> dict[str, Any] | str:
    if not settings.egress.mta_sts:
        return "off (egress.mta_sts)"
    if found is None:
        return "not looked up: static route"
    return {
        "record": found.record_id,
        "policy": list(found.policy.lines) if found.policy else None,
        "fault": found.fault.text if found.fault else None,
    }


def _host(name: str, route: Route, ours: Any) -> dict[str, Any]:
    from mta.delivery.tls.demand import Unfit, judge, judge_static
    from mta.mail.message import SenderTls

    published = route.published
    if published is None:
        found: Any = judge_static(name, ours, SenderTls.AS_POLICY)
    else:
        found = judge(name, published, ours, SenderTls.AS_POLICY)
    tlsa = published.tlsa.get(name) if published else None
    demand = f"no mail: {found.fault.text}" if isinstance(found, Unfit) else found.demand.policy.value
    testing = not isinstance(found, Unfit) and (found.otherwise is not None or found.fault is not None)
    return {
        "host": name,
        "demand": demand + (" (testing)" if testing else ""),
        "by": found.by or ("static route" if published is None else "settings"),
        "tlsa": [tlsa.error] if tlsa and tlsa.error else [str(each) for each in tlsa.records] if tlsa else [],
    }


def _words(value: dict[str, Any] | str) -> str:
    """Write nested values on one line."""
    if isinstance(value, str):
        return value
    if value["policy"] is None:
        return value["fault"] or ("no policy" if value["record"] is None else f"record {value['record']}, no policy")
    fault = f"; last fetch: {value['fault']}" if value["fault"] else ""
    return f"record {value['record'] or 'none'}: {', '.join(value['policy'])}{fault}"

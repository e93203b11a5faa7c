"""TLS towards receivers: which policies apply to a domain and why, and what TLS reports will say of today."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from config.schema import Settings
from mta.admin.context import AdminContext
from mta.admin.errors import Refused
from mta.delivery.mx import Resolver
from mta.delivery.route import Route
from mta.delivery.tls.demand import TlsPolicy, Unfit, judge, judge_static
from mta.delivery.tls.report import TlsReport
from mta.delivery.tls.sts_policies import StsFinding
from mta.mail.address import Address
from mta.mail.message import SenderTls
from mta.mail.tls_session import SessionCount


async def look_up(context: AdminContext, domain: str) -> dict[str, Any]:
    """Return what applies to mail for a domain, host by host. A policy that is not known yet is fetched, and kept for
    the service. Raises Forbidden, Refused if the domain takes no mail, StoreUnavailable."""
    context.require_operator()
    settings = context.settings
    resolver = Resolver(settings, sts_store=context.store.sts_policies)
    try:
        route = await resolver.route(domain)
        if not isinstance(route, Route):
            raise Refused(f"{domain}: {route}")
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


async def sessions_today(
    context: AdminContext, domain: str | None = None, *, limit: int = 100
) -> Sequence[SessionCount]:
    """Return today's sessions (UTC) by recipient domain and policy. Raises Forbidden, StoreUnavailable."""
    context.require_operator()
    return await context.store.tls_results.read(datetime.now(UTC).date(), domain, limit)


def reporter_address(settings: Settings) -> Address:
    """Return who our reports come from."""
    return Address.parse(settings.egress.tls_report_from or f"postmaster@{settings.server.hostname}")


def report_of(settings: Settings, count: SessionCount) -> dict[str, Any]:
    """Return what a report of this domain would hold."""
    contact = str(reporter_address(settings))
    whole = TlsReport(count.domain, count.day, [count], settings.server.hostname, contact, "today").as_json()
    report: dict[str, Any] = whole["policies"][0]
    return report

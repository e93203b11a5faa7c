"""Ask a destination's hosts, from a source, what they say up to RCPT. Nothing is sent.

Invariants: only operators ask. The connection and the MAIL count for the limits of their path like those of a worker.
Limitations: limits of shaping actions are not asked for, and a pause holds nobody up: to see whether it is over is what
this is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from config.schema import PathLimits
from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue, Refused
from mta.delivery.egress.paths import EgressPath, PathShaping
from mta.delivery.egress.pools import SourcePools
from mta.delivery.egress.sources import EgressSource, SourceFailed
from mta.delivery.mx import Resolver
from mta.delivery.probe import HostProbe, Prober
from mta.delivery.route import Route
from mta.delivery.shortage import Shortage
from mta.mail.address import Address, AddressError, parse_domain
from mta.queue.path_limits import units
from mta.store.queue.egress_limits import path_scope
from mta.store.queue.limit_shares import LimitKey

SECONDS = 60.0  # for the whole conversation; no longer than the lease of its connection lasts
PATIENCE = 5.0  # seconds to wait for a connection that the path's limits allow
SHOWN = 300  # characters of a reply in the audit


@dataclass(frozen=True, slots=True)
class DestinationProbe:
    """What the hosts of a site said, in the order in which they were asked."""

    domain: str
    path: EgressPath
    hosts: Sequence[HostProbe]


def sources(context: AdminContext) -> Sequence[str]:
    """Return the names of the sources. Raises Forbidden."""
    context.require_operator()
    return [each.name for each in SourcePools(context.settings.egress).sources]


async def ask(context: AdminContext, destination: str, source: str, sender: str = "") -> DestinationProbe:
    """Ask for a recipient, or with a domain only up to the beginning of a mail. ``sender``: empty for the null sender.

    Raises Forbidden, InvalidValue, Refused, StoreUnavailable.
    """
    context.require_operator()
    recipient, domain = _destination(destination)
    prober_source, null_or_sender = _source(context, source), _sender(sender)
    async with context.audited("destination.probe", domain, address=recipient) as entry:
        entry.after.update(source=source)
        route = await _route(context, domain)
        path = EgressPath(prober_source, route.site, _limits(context, prober_source, route))
        prober = Prober(context.settings, route, path, null_or_sender, recipient)
        hosts = await _within_limits(context, prober)
        entry.after.update(hosts=[each.target.name for each in hosts])
        if hosts and hosts[-1].reply:
            entry.after.update(stage=hosts[-1].stage.value, reply=str(hosts[-1].reply)[:SHOWN])
    return DestinationProbe(domain, path, hosts)


async def _within_limits(context: AdminContext, prober: Prober) -> Sequence[HostProbe]:
    path = prober.path
    scope = path_scope(path.source.name, path.site)
    totals = units(path.limits.connections, path.limits.message_rates)
    keys = {LimitKey(scope, seconds): total for seconds, total in totals.items()}
    async with context.store.egress_limits.one_of_each(keys, PATIENCE) as seconds:
        if not seconds:
            raise Refused(f"all that {path.source.name} may do at {path.site} now is taken by mail; try again")
        try:
            return await prober.run(min(SECONDS, seconds))
        except SourceFailed as error:
            raise Refused(str(error)) from None
        except Shortage as error:
            raise Refused(f"this machine runs short: {error}") from None


async def _route(context: AdminContext, domain: str) -> Route:
    resolver = Resolver(context.settings, sts_store=context.store.sts_policies)
    try:
        route = await resolver.route(domain)
    finally:
        await resolver.close()
    if not isinstance(route, Route):
        raise Refused(f"there is no host to ask: {route}")
    return route


def _limits(context: AdminContext, source: EgressSource, route: Route) -> PathLimits:
    settings = context.settings
    return PathShaping(settings.shaping, SourcePools(settings.egress)).limits(source, route.shaping)


def _destination(text: str) -> tuple[Address | None, str]:
    try:
        if "@" not in text:
            return None, parse_domain(text)
        recipient = Address.parse(text)
    except AddressError as error:
        raise InvalidValue("destination", str(error)) from None
    return recipient, recipient.domain


def _sender(text: str) -> Address | None:
    try:
        return Address.parse(text) if text else None
    except AddressError as error:
        raise InvalidValue("sender", str(error)) from None


def _source(context: AdminContext, name: str) -> EgressSource:
    known = {each.name: each for each in SourcePools(context.settings.egress).sources}
    if name not in known:
        raise InvalidValue("source", f"there is no source {name!r}; there are {', '.join(known)}")
    return known[name]

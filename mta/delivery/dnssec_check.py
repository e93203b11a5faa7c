"""Find out whether the resolver validates DNSSEC, as `dns.validating` says."""

from __future__ import annotations

import asyncio

from config.schema import DnsSettings
from mta.delivery.name_servers import Missing, NameServers, Records, Unknown

_ROOT = "."  # signed since 2010, and known to every resolver


async def validation_fault(settings: DnsSettings) -> str | None:
    """Return why answers of the resolver cannot be taken for secure; None if they can."""
    servers = NameServers(settings)
    if not servers.are_local:
        return "the resolvers are not on this machine, so that their AD flag is not believed"
    match await servers.ask(_ROOT, "SOA"):
        case Unknown(why):
            return f"whether the resolver validates could not be tested: {why}"
        case Records(secure=True) | Missing(secure=True):
            return None
        case _:
            return "the resolver does not validate: its answer about the root zone comes without the AD flag"


def check_validation(settings: DnsSettings) -> str | None:
    """Do the same, for callers without an event loop."""
    return asyncio.run(validation_fault(settings))

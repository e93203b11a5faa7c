"""What mail waits for: times, and backoffs of its sites; how to end these.

Limitations: the sites are those that this machine's DNS leads to now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from weakref import WeakKeyDictionary

from config.schema import Settings
from mta.delivery.mx import Resolver
from mta.delivery.route import Route
from mta.mail.delivery import DelayReason
from mta.store.queue.backoffs import PathBackoff
from mta.store.queue.queue import QueueFilter
from mta.store.store import Store

DELAYS = {
    DelayReason.RELEASE: "the time its sender asked for",
    DelayReason.SEND_WINDOW: "its send window (queue.send_windows)",
    DelayReason.WARMUP: "room: every source of its pool warms up there (mta warmup)",
}
MAX_DESTINATIONS = 500  # looked up; for more, all backoffs end


_resolvers: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Settings, Resolver]] = WeakKeyDictionary()


def _resolver(settings: Settings) -> Resolver:
    """Return the resolver of this process, which remembers its answers."""
    loop = asyncio.get_running_loop()
    kept = _resolvers.get(loop)
    if kept is None or kept[0] is not settings:
        kept = _resolvers[loop] = settings, Resolver(settings)
    return kept[1]


async def sites_of(settings: Settings, destinations: Collection[str]) -> dict[str, str]:
    """Return where the mail of each destination goes; without those that lead nowhere."""
    resolver, wanted = _resolver(settings), sorted(destinations)
    routes = await asyncio.gather(*(resolver.route(each) for each in wanted))
    return {each: route.site for each, route in zip(wanted, routes, strict=True) if isinstance(route, Route)}


async def waited_for(settings: Settings, store: Store, destinations: Collection[str]) -> Mapping[str, PathBackoff]:
    """Return the backoff that each destination waits for. Nothing is looked up if there is none."""
    backoffs = {each.site: each for each in await store.backoffs.list()} if destinations else {}
    if not backoffs:
        return {}
    sites = await sites_of(settings, destinations)
    return {each: backoffs[site] for each, site in sites.items() if site in backoffs}


async def end(settings: Settings, store: Store, which: QueueFilter) -> int:
    """End the backoffs that this mail waits for, in all workers; return how many."""
    if which.is_everything:
        return await store.backoffs.end(None)
    destinations = await store.queue.destinations(which, limit=MAX_DESTINATIONS + 1)
    if len(destinations) > MAX_DESTINATIONS:
        return await store.backoffs.end(None)
    sites = set((await sites_of(settings, destinations)).values())
    return await store.backoffs.end(sites) if sites else 0

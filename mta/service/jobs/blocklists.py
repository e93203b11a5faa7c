"""Watch blocklists: query them for our addresses and sender domains, and act on a listing that is seen twice.

    test entries of the list ▶ each subject that is due ▶ seen ▶ (a while) ▶ confirmed ▶ ended

A list that fails its own test entries is reported once and ignored until it passes them. A listing ends with the first
answer that says so; DNS errors change nothing.

Invariants: only configured lists are queried, and none again before its last answer has expired.

Limitations: one query at a time. With ten thousand domains and the default pause, a round takes half an hour.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import assert_never

from config.schema import Blocklist, Settings
from mta.admin.desk.blocklists import PAUSE, subjects
from mta.delivery.blocklist_query import ask, examine, reason
from mta.delivery.mx import Resolver
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.store.reputation.blocklist_listings import Listing
from mta.store.store import Store
from policy.reputation.blocklist import (
    Believed,
    Ignored,
    ListedAnswer,
    ListingChange,
    Said,
    Trust,
    Unanswered,
    move,
)

log = get_logger()

Key = tuple[str, str]  # list, subject


class BlocklistWatch:
    """The state of all lists between two calls of ``look``; one object a service."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._settings: Settings | None = None
        self._due: dict[Key, float] = {}  # monotonic time of the next query
        self._trust: dict[str, Trust] = {}
        self._domains: Sequence[str] | None = None
        self._watched: dict[str, Sequence[str]] = {}  # the subjects of each list, for ``_domains``

    async def look(self, settings: Settings, store: Store) -> None:
        """Send the queries that are due. Raises StoreUnavailable."""
        if self._settings is not settings:
            self._settings, self._resolver = settings, Resolver(settings)
            self._due, self._trust, self._domains = {}, {}, None
        elif not settings.blocklists.lists:
            return
        open_ = {(each.list, each.subject): each for each in await store.blocklist_listings.find()}
        await self._watch(settings, await store.blocklist_listings.domains() if settings.blocklists.lists else ())
        for name, subject in open_:
            if subject not in self._watched.get(name, ()):
                await store.blocklist_listings.end(name, subject, "not watched any more")
        for blocklist in settings.blocklists.lists:
            name = blocklist.name
            if await self._is_believed(blocklist, store):
                for subject in [each for each in self._watched[name] if self._is_due((name, each))]:
                    await self._look_for(blocklist, subject, open_.get((name, subject)), store)
            await asyncio.sleep(0)  # with many domains it takes milliseconds to see that nothing is due
        self._measure(settings, await store.blocklist_listings.find())

    async def _watch(self, settings: Settings, domains: Sequence[str]) -> None:
        """Note what each list is queried for. It is sorted out anew only when the domains change."""
        if domains == self._domains:
            return
        watched: dict[str, Sequence[str]] = {}
        for blocklist in settings.blocklists.lists:
            watched[blocklist.name] = subjects(settings, blocklist, domains)
            await asyncio.sleep(0)
        self._watched, self._domains = watched, domains

    async def _is_believed(self, blocklist: Blocklist, store: Store) -> bool:
        """Return whether the list is trusted. Its test entries are queried as often as everything else."""
        key = blocklist.name, ""
        if self._is_due(key):
            found, ttl = await examine(self._resolver, blocklist)
            self._put_off(key, ttl, unsure=isinstance(found, Unanswered))
            before = self._trust.get(blocklist.name)
            self._trust[blocklist.name] = found
            if isinstance(found, Ignored) and found != before:
                log.warning("a blocklist is not believed", blocklist=blocklist.name, why=found.why)
                await store.blocklist_listings.ignored(blocklist.name, found.why)
        return isinstance(self._trust.get(blocklist.name), Believed)

    async def _look_for(self, blocklist: Blocklist, subject: str, listing: Listing | None, store: Store) -> None:
        key = blocklist.name, subject
        assert self._settings is not None
        apart = timedelta(seconds=self._settings.blocklists.confirm_after)
        answer = await ask(self._resolver, blocklist, subject)
        what = move(listing.known if listing else None, answer.said, datetime.now(UTC), apart)
        match what:
            case ListingChange.SEEN:
                await store.blocklist_listings.seen(*key, await self._words(blocklist, subject, answer.said))
            case ListingChange.CONFIRM:
                words = await self._words(blocklist, subject, answer.said)
                if await store.blocklist_listings.confirm(*key, words):
                    log.error("blocklist listing confirmed", subject=subject, blocklist=blocklist.name, answer=words)
            case ListingChange.END:
                if await store.blocklist_listings.end(*key):
                    log.info("blocklist listing ended", subject=subject, blocklist=blocklist.name)
            case ListingChange.NOTHING:
                pass
            case _:
                assert_never(what)
        unsure = isinstance(answer.said, ListedAnswer) and (listing is None or listing.confirmed_at is None)
        self._put_off(key, answer.ttl, unsure=unsure)
        await asyncio.sleep(PAUSE)

    async def _words(self, blocklist: Blocklist, subject: str, said: Said) -> str:
        words = said.words if isinstance(said, ListedAnswer) else ""
        text = await reason(self._resolver, blocklist, subject)
        return f"{words}: {text}" if text else words

    def _is_due(self, key: Key) -> bool:
        return time.monotonic() >= self._due.get(key, 0.0)

    def _put_off(self, key: Key, ttl: float, *, unsure: bool = False) -> None:
        """Schedule the next query; soon if the last answer is ``unsure``."""
        assert self._settings is not None
        its = self._settings.blocklists
        self._due[key] = time.monotonic() + max(ttl, its.confirm_after if unsure else its.every)

    def _measure(self, settings: Settings, listings: Sequence[Listing]) -> None:
        confirmed = [each for each in listings if each.confirmed_at is not None]
        self._metrics.blocklist_listings.set(len(confirmed))
        self._metrics.blocklists_ignored.set(sum(isinstance(each, Ignored) for each in self._trust.values()))
        listed = {each.subject for each in confirmed if each.list in settings.blocklists.backoff_lists}
        self._metrics.sources_in_backoff.set(len(listed & {source.address for source in settings.egress.sources}))

"""What blocklists say about our addresses and sender domains.

Invariants: nothing that the service knows is changed. A list is asked only after it has passed its own test entries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from config.schema import Blocklist, Settings
from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue
from mta.delivery.blocklist_query import ask, examine, reason
from mta.delivery.mx import Resolver
from mta.store.reputation.blocklist_listings import Listing
from policy.reputation.blocklist import Believed, Clear, Ignored, ListedAnswer, Unanswered, fits

PAUSE = 0.2  # seconds between two queries to the same list


@dataclass(frozen=True, slots=True)
class BlocklistCheck:
    """One answer of a list. ``subject`` empty: whether the list passed its own test entries."""

    list: str
    subject: str
    said: str
    words: str

    @property
    def is_bad(self) -> bool:
        return self.said in ("listed", "ignored")


def subjects(settings: Settings, blocklist: Blocklist, domains: Sequence[str]) -> list[str]:
    """Return the addresses and domains that the list is queried for."""
    ours = (*(source.address for source in settings.egress.sources), *domains, *settings.blocklists.also)
    return [subject for subject in dict.fromkeys(ours) if fits(subject, blocklist)]


async def listings(context: AdminContext, *, ended: bool = False, limit: int = 100) -> Sequence[Listing]:
    """Return what the running service has found, the newest first. Raises Forbidden, StoreUnavailable."""
    context.require_operator()
    return await context.store.blocklist_listings.find(ended=ended, limit=limit)


async def check(context: AdminContext, wanted: Sequence[str] = (), *, most: int | None = None) -> list[BlocklistCheck]:
    """Ask all lists now about ``wanted``, or about everything that is watched. ``most``: questions that may be asked.

    Raises Forbidden, InvalidValue, StoreUnavailable.
    """
    context.require_operator()
    settings = context.settings
    lists, resolver = settings.blocklists.lists, Resolver(settings)
    if wanted:
        asked = {each.name: [subject for subject in wanted if fits(subject, each)] for each in lists}
    else:
        domains = await context.store.blocklist_listings.domains()
        asked = {each.name: subjects(settings, each, domains) for each in lists}
    if most is not None and (count := sum(map(len, asked.values()))) > most:
        raise InvalidValue("subjects", f"{count} questions are more than {most}: name some addresses or domains")
    try:
        parts = [await _ask_one(resolver, each, asked[each.name]) for each in lists]
    finally:
        await resolver.close()
    return [each for part in parts for each in part]


async def _ask_one(resolver: Resolver, blocklist: Blocklist, about: Sequence[str]) -> list[BlocklistCheck]:
    trust, _ = await examine(resolver, blocklist)
    match trust:
        case Believed():
            found = [BlocklistCheck(blocklist.name, "", "believed", "passes its own test entries")]
        case Ignored(why):
            return [BlocklistCheck(blocklist.name, "", "ignored", why)]
        case Unanswered(why):
            return [BlocklistCheck(blocklist.name, "", "no answer", why)]
        case _:
            assert_never(trust)
    for subject in about:
        found.append(await _ask_about(resolver, blocklist, subject))
        await asyncio.sleep(PAUSE)
    return found


async def _ask_about(resolver: Resolver, blocklist: Blocklist, subject: str) -> BlocklistCheck:
    said = (await ask(resolver, blocklist, subject)).said
    match said:
        case Clear():
            return BlocklistCheck(blocklist.name, subject, "clear", "")
        case Unanswered(why):
            return BlocklistCheck(blocklist.name, subject, "no answer", why)
        case ListedAnswer():
            text = await reason(resolver, blocklist, subject)
            return BlocklistCheck(blocklist.name, subject, "listed", f"{said.words}: {text}" if text else said.words)
        case _:
            assert_never(said)

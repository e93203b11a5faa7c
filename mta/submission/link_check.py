"""Look up where the links of a message lead: on the takedown list, in memory, and on URL blocklists, by DNS.

A list is asked for each host and its registered domain, within one time limit for the message. Answers are kept as
long as the list says, within bounds. A list that fails its test entries (RFC 5782 5) is not believed until it passes
them, as it might answer for everything.

Invariants: nothing is raised. No look-up takes longer than ``timeout``, and no message asks for more than
``max_names`` names; what is left unasked counts as a failure.

Limitations: each process keeps its own answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from config.schema import LinkBlocklist, LinkListSettings, Settings
from mta.delivery.blocklist_query import ask, examine
from mta.delivery.lookup_cache import Cache, CachedAnswer
from mta.delivery.mx import Resolver
from mta.delivery.route import StaticRoutes
from mta.observe.labels import LinkLookup
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.store.reputation.takedowns import Takedowns
from policy.base import LinkCheck, ListedLink
from policy.organisation import organisation
from policy.reputation.blocklist import Believed, Ignored, ListedAnswer, Said, Trust, Unanswered
from policy.text.link_targets import LinkTarget, targets_of
from policy.text.message_text import MessageText

KEPT = 50_000  # answers
LEAST, MOST_SECONDS = 60.0, 3600.0  # for which an answer is kept
AFTER_FAILURE = 10.0  # seconds until a list that did not answer is asked again

log = get_logger()


class LinkChecker:
    """Made from the settings in force; a reload makes a new one."""

    def __init__(self, settings: Settings, takedowns: Takedowns, metrics: Metrics | None = None) -> None:
        """``metrics``: where results are counted."""
        self._takedowns, self._metrics = takedowns, metrics
        self._settings: LinkListSettings = settings.content_scan.links
        self._lists = {each.name: each for each in self._settings.lists}
        if self._lists:
            self._resolver = Resolver(settings, routes=StaticRoutes([]))
        self._trust: Cache[Trust] = Cache(len(self._lists) + 1, self._examine)
        self._answers: Cache[Said] = Cache(KEPT, self._ask)

    async def check(self, reading: MessageText, *, in_thread: bool = False) -> LinkCheck:
        """Return what is known of the links of a message. ``in_thread``: it is large."""
        taken = self._takedowns.in_force
        if not taken and not self._lists:
            return LinkCheck(note="nothing to look up")
        links = await asyncio.to_thread(targets_of, reading) if in_thread else targets_of(reading)
        found = tuple(str(each.target) for target in links.targets if (each := taken.find(target)))
        if found:
            self._count(LinkLookup.TAKEN_DOWN)
            return LinkCheck(taken_down=tuple(dict.fromkeys(found)))
        names = _names(links.targets) if self._lists else []
        listed, faults = await self._look_up(names[: self._settings.max_names])
        if len(names) > self._settings.max_names or not links.complete:
            faults = [*faults, "there are too many links"]
        if listed or not faults:
            self._count(LinkLookup.LISTED if listed else LinkLookup.CLEAR)
            return LinkCheck(listed=tuple(listed))
        self._count(LinkLookup.UNANSWERED)
        log.warning("links not looked up", why=faults[0])
        if self._settings.on_failure == "closed":
            return LinkCheck(failed=faults[0])
        return LinkCheck(note=f'not looked up: {faults[0]}; passes, because on_failure = "open"')

    def _count(self, result: LinkLookup) -> None:
        if self._metrics:
            self._metrics.link_lookups[result].inc()

    async def _look_up(self, names: Sequence[str]) -> tuple[list[ListedLink], list[str]]:
        """Return the listed hosts, and why others are not known."""
        asked = [(each, name) for each in self._lists.values() for name in names]
        tasks = [asyncio.ensure_future(self._said(each, name)) for each, name in asked]
        if not tasks:
            return [], []
        _, late = await asyncio.wait(tasks, timeout=self._settings.timeout)
        for task in late:
            task.cancel()
        listed, faults = [], []
        for (blocklist, name), task in zip(asked, tasks, strict=True):
            said = Unanswered(f"no answer within {self._settings.timeout:g} s") if task in late else task.result()
            match said:
                case ListedAnswer():
                    listed.append(ListedLink(name, blocklist.name, said.words))
                case Unanswered(why):
                    faults.append(f"{blocklist.name}: {why}")
                case _:
                    pass
        return listed, faults

    async def _said(self, blocklist: LinkBlocklist, name: str) -> Said | None:
        """Return the answer of a list; None from one that is not believed."""
        trust = await self._trust.get(blocklist.name)
        if isinstance(trust, Believed):
            return await self._answers.get(f"{blocklist.name} {name}")
        return trust if isinstance(trust, Unanswered) else None

    async def _examine(self, name: str) -> CachedAnswer[Trust]:
        trust, ttl = await examine(self._resolver, self._lists[name])
        if isinstance(trust, Ignored):
            log.warning("a blocklist is not believed", blocklist=name, why=trust.why)
        return CachedAnswer(trust, _kept(trust, ttl))

    async def _ask(self, key: str) -> CachedAnswer[Said]:
        name, _, subject = key.partition(" ")
        answer = await ask(self._resolver, self._lists[name], subject)
        return CachedAnswer(answer.said, _kept(answer.said, answer.ttl))


def _kept(said: Said | Trust, ttl: float) -> float:
    return AFTER_FAILURE if isinstance(said, Unanswered) else min(max(ttl, LEAST), MOST_SECONDS)


def _names(targets: Sequence[LinkTarget]) -> list[str]:
    """Return the names to ask for: the hosts and their registered domains."""
    hosts = (name for target in targets for name in (target.host, organisation(target.host)))
    return list(dict.fromkeys(filter(None, hosts)))

"""Takedowns: hosts and addresses that no message may link to, because their owners or a court said so.

A host covers its subdomains; an address covers what is below it, and one with a query exactly itself.

Limitations: a link through a redirector is not seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from policy.organisation import is_known_suffix
from policy.text.link_targets import LinkTarget, host_of, target_of


@dataclass(frozen=True, slots=True)
class Takedown:
    """``removed_at``: None while it is in force."""

    target: LinkTarget
    reason: str
    added_by: str
    added_at: datetime
    removed_by: str | None = None
    removed_at: datetime | None = None


def parse_takedown(text: str) -> LinkTarget:
    """Return what ``text``, a host or an address, names. Raises ValueError."""
    text = text.strip()
    target = target_of(text) if "//" in text or "\\" in text else None
    if target is None and (host := host_of(text.partition("/")[0])):
        target = target_of(f"//{text}") if "/" in text else LinkTarget(host)
    if target is None:
        raise ValueError(f"{text[:100]!r} is neither a host such as pirate.example nor an https address")
    if is_known_suffix(target.host):
        raise ValueError(f"{target.host} is a public suffix: that would be every domain below it")
    return target


class TakedownList:
    """Those in force, to be looked up by target."""

    __slots__ = ("_by_host", "_newest")

    def __init__(self, takedowns: Iterable[Takedown] = ()) -> None:
        found: dict[str, list[Takedown]] = {}
        for each in takedowns:
            found.setdefault(each.target.host, []).append(each)
        self._by_host: Mapping[str, list[Takedown]] = found
        self._newest = max((each.added_at for of_host in found.values() for each in of_host), default=None)

    def __bool__(self) -> bool:
        return bool(self._by_host)

    def since(self, moment: datetime) -> TakedownList:
        """Return those that were added since ``moment``."""
        if self._newest is None or self._newest < moment:
            return NONE
        every = (each for of_host in self._by_host.values() for each in of_host)
        return TakedownList(each for each in every if each.added_at >= moment)

    def find(self, target: LinkTarget) -> Takedown | None:
        """Return the takedown that covers ``target``, None if there is none."""
        host = target.host
        while host:
            for each in self._by_host.get(host, ()):
                if not each.target.path and not each.target.query:
                    return each
                if host == target.host and _covers(each.target, target):
                    return each
            host = host.partition(".")[2]
        return None


NONE = TakedownList()


def _covers(taken: LinkTarget, target: LinkTarget) -> bool:
    if taken.query:
        return (taken.path, taken.query) == (target.path, target.query)
    return target.path == taken.path or target.path.startswith(f"{taken.path}/")

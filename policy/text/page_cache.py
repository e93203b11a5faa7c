"""Pages and plain texts that were read before: one mailing sends the same to many recipients.

What is read of a page depends on its text alone, as long as the budget suffices; so does what reading it takes of that.
A page is kept when it comes for the second time: most are written for one recipient.

Invariants: findings are the same with and without it. Bounded in octets.

Limitations: for one thread; trees are not shared between threads.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from policy.html.document import HtmlDocument
from policy.reading_budget import ReadingBudget

T = TypeVar("T")

TREE = 12  # octets that a page takes for each character, its tree included
SEEN = 4096  # pages that are known to have come once


@dataclass(frozen=True, slots=True)
class _Kept:
    page: HtmlDocument
    spent: ReadingBudget


class PageCache:
    """At most ``limit`` octets of pages, those that came last."""

    __slots__ = ("_kept",)

    def __init__(self, limit: int) -> None:
        self._kept: Recent[_Kept] = Recent(limit)

    @property
    def octets(self) -> int:
        return self._kept.octets

    def page(self, html: str, budget: ReadingBudget) -> HtmlDocument:
        """Return the page that ``html`` is, and take from ``budget`` what reading it takes."""
        kept = self._kept.find(html)
        if kept is not None and budget.covers(kept.spent):
            budget.take(kept.spent)
            return kept.page
        before = budget.copy()
        page = HtmlDocument(html, budget)
        if kept is None and not page.fault:
            self._kept.keep(html, _Kept(page, before.less(budget)), len(html) * TREE)
        return page


class Recent(Generic[T]):
    """What was made of texts that came at least twice: at most ``limit`` octets, those that came last."""

    __slots__ = ("_kept", "_limit", "_seen", "octets")

    def __init__(self, limit: int) -> None:
        self._kept: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._limit = limit
        self._seen: OrderedDict[int, None] = OrderedDict()
        self.octets = 0

    def find(self, text: Hashable) -> T | None:
        kept = self._kept.get(text)
        if kept is None:
            return None
        self._kept.move_to_end(text)
        return kept[0]

    def keep(self, text: Hashable, made: T, octets: int) -> None:
        """Keep what was made of ``text``, if it came before."""
        if not self._came_before(text) or octets > self._limit:
            return
        self._kept[text] = made, octets
        self.octets += octets
        while self.octets > self._limit:
            self.octets -= self._kept.popitem(last=False)[1][1]

    def _came_before(self, text: Hashable) -> bool:
        mark = hash(text)
        if mark in self._seen:
            return True
        self._seen[mark] = None
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        return False

"""Pages that were read before: one mailing sends the same page to many recipients.

What is read of a page depends on its text alone, as long as the budget suffices; so does what reading it takes of that.
A page is kept when it comes for the second time: most are written for one recipient.

Invariants: findings are the same with and without it. Bounded in octets.

Limitations: for one thread; trees are not shared between threads.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from policy.html.document import HtmlDocument
from policy.reading_budget import ReadingBudget

TREE = 12  # octets that a page takes for each character, its tree included
SEEN = 4096  # pages that are known to have come once


@dataclass(frozen=True, slots=True)
class _Kept:
    page: HtmlDocument
    spent: ReadingBudget
    octets: int


class PageCache:
    """At most ``limit`` octets of pages, those that came last."""

    __slots__ = ("_kept", "_limit", "_seen", "octets")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._seen: OrderedDict[int, None] = OrderedDict()
        self.octets = 0

    def page(self, html: str, budget: ReadingBudget) -> HtmlDocument:
        """Return the page that ``html`` is, and take from ``budget`` what reading it takes."""
        kept = self._kept.get(html)
        if kept is not None and budget.covers(kept.spent):
            self._kept.move_to_end(html)
            budget.take(kept.spent)
            return kept.page
        before = budget.copy()
        page = HtmlDocument(html, budget)
        if kept is None and not page.fault and self._came_before(html):
            self._keep(html, _Kept(page, before.less(budget), len(html) * TREE))
        return page

    def _came_before(self, html: str) -> bool:
        mark = hash(html)
        if mark in self._seen:
            return True
        self._seen[mark] = None
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        return False

    def _keep(self, html: str, kept: _Kept) -> None:
        if kept.octets > self._limit:
            return
        self._kept[html] = kept
        self.octets += kept.octets
        while self.octets > self._limit:
            self.octets -= self._kept.popitem(last=False)[1].octets

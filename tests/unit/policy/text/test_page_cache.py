"""Pages that come again: the same findings, within bounds."""

from __future__ import annotations

from policy.html.document import HtmlDocument
from policy.reading_budget import ReadingBudget
from policy.text.page_cache import TREE, PageCache
from tests.cases.newsletters import newsletters

PAGE = '<style>.x{display:none}</style><p class=x>hidden</p><p>shown <a href="https://shop.example/1">more</a></p>'


def said(page: HtmlDocument) -> tuple[object, ...]:
    links = [(link.url, link.words, link.around, link.is_blank) for link in page.links]
    return page.text, page.fault, page.hidden, page.unproven, page.images, links


def test_what_came_again_says_the_same_and_costs_the_same() -> None:
    cache = PageCache(1_000_000)
    fresh = ReadingBudget()
    expected = said(HtmlDocument(PAGE, fresh))
    for _ in range(4):
        budget = ReadingBudget()
        assert said(cache.page(PAGE, budget)) == expected
        assert budget == fresh
    assert cache.octets == len(PAGE) * TREE


def test_a_page_that_came_once_is_not_kept() -> None:
    cache = PageCache(1_000_000)
    cache.page(PAGE, ReadingBudget())
    assert cache.octets == 0


def test_a_budget_that_does_not_suffice_is_a_fault_as_without_it() -> None:
    cache = PageCache(1_000_000)
    for _ in range(3):
        cache.page(PAGE, ReadingBudget())
    assert cache.page(PAGE, ReadingBudget(tags=2)).fault == HtmlDocument(PAGE, ReadingBudget(tags=2)).fault != ""


def test_octets_are_bounded_and_the_last_are_kept() -> None:
    pages = [f"{PAGE}<p>{n}" for n in range(10)]
    cache = PageCache(3 * len(pages[0]) * TREE)
    for page in pages:
        first, second, third = (cache.page(page, ReadingBudget()) for _ in range(3))
        assert first is not second
        assert second is third
    assert cache.octets == 3 * len(pages[0]) * TREE
    assert cache.page(pages[-1], ReadingBudget()) is third
    assert cache.page("x" * 1000, ReadingBudget()) is not cache.page("x" * 1000, ReadingBudget())


def test_each_newsletter_has_the_same_findings_again() -> None:
    for newsletter in [*newsletters()][::7]:
        first, *again = (newsletter.verdict("cleverreach") for _ in range(3))
        assert again == [first, first]

"""Links at the end of newsletters, in five languages: those that unsubscribe, at once or not, and those that do not."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from html import escape

import pytest

from policy.permission.unsubscribe_links import UnsubscribeLinks, UnsubscribeOffer
from policy.text.message_text import MessageText
from policy.text.unsubscribe_grammar import UnsubscribeGrammar
from tests.cases.newsletters import FOLDER


def ends(kind: str, name: str = "links") -> list[str]:
    languages = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8")).values()
    return [end for language in languages for end in language[kind]]


@cache
def known() -> UnsubscribeLinks:
    return UnsubscribeLinks(UnsubscribeGrammar.shipped())


def offer(end: str) -> UnsubscribeOffer:
    before, words, behind = re.split(r"[\[\]]", end)
    link = f'{escape(before)}<a href="https://shop.example/m/8f3a77">{escape(words)}</a>{escape(behind)}'
    page = f'<p>Hello</p><p><a href="https://shop.example/n/1">More</a></p><p>{link}</p>'
    content = f"Content-Type: text/html; charset=utf-8\r\n\r\n{page}".encode()
    return known().find(MessageText(content).views[0]).offer


@pytest.mark.parametrize("end", ends("leaves"))
def test_a_link_that_unsubscribes_is_found(end: str) -> None:
    assert offer(end) is UnsubscribeOffer.OPEN


@pytest.mark.parametrize("end", ends("stays"))
def test_a_link_that_does_not_is_none(end: str) -> None:
    assert offer(end) is UnsubscribeOffer.NONE


@pytest.mark.parametrize("end", ends("barred", "obstacles"))
def test_a_link_with_an_obstacle_before_it_is_barred(end: str) -> None:
    assert offer(end) is UnsubscribeOffer.BARRED


@pytest.mark.parametrize("end", ends("free", "obstacles"))
def test_what_tells_of_something_else_bars_no_link(end: str) -> None:
    assert offer(end) is UnsubscribeOffer.OPEN

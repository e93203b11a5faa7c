"""The pages: complete in five languages, without anything that runs or is fetched, and nothing unescaped."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from mta.web.page import LANGUAGES, TEMPLATES, Leaf, Pages, PageWords

PAGES = Pages.load()


class Elements(HTMLParser):
    """Every element with its attributes, and whether all were closed in order."""

    VOID = ("meta",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def text_of(leaf: Leaf, language: str) -> str:
    response = PAGES.answer(leaf, language)
    assert isinstance(response.body, bytes)
    return response.body.decode()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("leaf", Leaf)
def test_whole_pages_in_the_language_they_say(leaf: Leaf, language: str) -> None:
    text = text_of(leaf, language)
    page = Elements(text)
    assert page.open == []
    assert page.all("html") == [{"lang": language}]
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1
    assert "$" not in text
    named = {name for _, attributes in page.found for name in attributes}
    assert not named & {"src", "href", "action", "style", "background"}, "nothing is fetched from anywhere"
    assert not [name for name in named if name.startswith("on")]
    assert not {"script", "img", "link", "iframe", "input"} & {tag for tag, _ in page.found}


@pytest.mark.parametrize("language", LANGUAGES)
def test_only_the_first_page_has_a_button_and_just_one(language: str) -> None:
    page = Elements(text_of(Leaf.ASK, language))
    assert page.all("form") == [{"method": "post"}]
    assert page.all("button") == [{"type": "submit", "name": "confirm", "value": "unsubscribe"}]
    for leaf in set(Leaf) - {Leaf.ASK}:
        assert Elements(text_of(leaf, language)).all("button") == []


def test_languages_differ_and_pages_differ() -> None:
    texts = {text_of(leaf, language) for leaf in Leaf for language in LANGUAGES}
    assert len(texts) == len(Leaf) * len(LANGUAGES)


def test_the_policy_allows_the_one_style_sheet_and_the_form_and_nothing_else() -> None:
    policy = PAGES.fields["Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", text_of(Leaf.ASK, "en"), re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    assert PAGES.fields["Cache-Control"] == "no-store"
    assert PAGES.fields["Referrer-Policy"] == "no-referrer"
    assert PAGES.fields["X-Robots-Tag"] == "noindex, nofollow"


def test_words_are_escaped() -> None:
    odd = PageWords(title="<b>", text="a & b", button='"><script>')
    template = (TEMPLATES / "page.html").read_text()
    body = Pages(template, {"en": {"ask": odd}}).answer(Leaf.ASK, "").body
    assert isinstance(body, bytes)
    text = body.decode()
    assert "&lt;b&gt;" in text
    assert "a &amp; b" in text
    assert "<script>" not in text


def test_languages_and_waits_are_in_the_header() -> None:
    response = PAGES.answer(Leaf.BUSY, "fr-BE", wait=0.2)
    assert response.status == 429
    assert response.headers["Content-Language"] == "fr"
    assert response.headers["Vary"] == "Accept-Language"
    assert response.headers["Retry-After"] == "1"

"""The pages: complete in five languages, no scripts, nothing fetched, everything escaped. Languages and forms."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.web.recipient_pages import LANGUAGES, TEMPLATES, LinkSubject, Page, Pages, choose_language
from policy.accounts.account import Account, Identity
from policy.languages import PageTexts, TextLanguage, load_texts

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


def text_of(kind: Page, language: str) -> str:
    response = PAGES.respond(kind, language)
    assert isinstance(response.body, bytes)
    return response.body.decode()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", Page)
def test_whole_pages_in_the_language_they_say(kind: Page, language: str) -> None:
    text = text_of(kind, language)
    page = Elements(text)
    assert page.open == []
    assert page.all("html") == [{"lang": language}]
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1
    assert "{{" not in text
    named = {name for _, attributes in page.found for name in attributes}
    assert not named & {"src", "href", "action", "style", "background"}, "nothing is fetched from anywhere"
    assert not [name for name in named if name.startswith("on")]
    assert not {"script", "img", "link", "iframe", "input"} & {tag for tag, _ in page.found}


@pytest.mark.parametrize("language", LANGUAGES)
def test_only_pages_that_ask_have_a_button_and_just_one(language: str) -> None:
    for kind, value in ((Page.CONFIRM, "unsubscribe"), (Page.SIGN_UP_CONFIRM, "sign_up")):
        page = Elements(text_of(kind, language))
        assert page.all("form") == [{"method": "post"}]
        assert page.all("button") == [{"type": "submit", "name": "confirm", "value": value}]
    for kind in set(Page) - {Page.CONFIRM, Page.SIGN_UP_CONFIRM}:
        assert Elements(text_of(kind, language)).all("button") == []


def test_languages_differ_and_pages_differ() -> None:
    texts = {text_of(kind, language) for kind in Page for language in LANGUAGES}
    assert len(texts) == len(Page) * len(LANGUAGES)


def test_the_policy_allows_the_one_style_sheet_and_the_form_and_nothing_else() -> None:
    policy = PAGES.headers["Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", text_of(Page.CONFIRM, "en"), re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    assert PAGES.headers["Cache-Control"] == "no-store"
    assert PAGES.headers["Referrer-Policy"] == "no-referrer"
    assert PAGES.headers["X-Robots-Tag"] == "noindex, nofollow"


def test_words_are_escaped() -> None:
    odd = PageTexts(title="<b>", text="a & b", button='"><script>')
    texts = load_texts()[TextLanguage.EN].model_copy(update={"pages": {"confirm": odd}})
    pages = Pages(TEMPLATES, {"en": texts})
    text = pages.respond(Page.CONFIRM, "", about=LinkSubject({"": "<script>x"}, "</dd><script>")).body.decode()
    assert text
    assert "&lt;b&gt;" in text
    assert "a &amp; b" in text
    assert "<script>" not in text


def test_the_sender_is_named_in_the_readers_language_and_the_topic_as_recorded() -> None:
    identities = (Identity("de", ("Möbel GmbH",)), Identity("fr", ("Meubles SA",)))
    about = LinkSubject.of(Account(1, "shop", frozenset(), identities=identities), "*")
    shown = {language: PAGES.respond(Page.CONFIRM, language, about=about).body.decode() for language in LANGUAGES}
    for language, text in shown.items():
        assert ("Meubles SA" if language == "fr" else "Möbel GmbH") in text
    assert "All newsletters and advertising" in shown["en"]
    long = PAGES.respond(Page.CONFIRM, "en", about=LinkSubject({"": "shop\u202e\x00"}, "x" * 5000)).body.decode()
    assert "shop\ufffd\ufffd" in long
    assert "x" * 201 not in long


def test_languages_and_waits_are_in_the_header() -> None:
    response = PAGES.respond(Page.BUSY, "fr-BE", wait=0.2)
    assert response.status_code == 429
    assert response.headers["Content-Language"] == "fr"
    assert response.headers["Vary"] == "Accept-Language"
    assert response.headers["Retry-After"] == "1"


# --- Accept-Language

AVAILABLE = ("en", "nl", "de", "fr", "es")


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT", "de"),
        ("DE-at;q=0.5", "de"),
        ("zh-Hant-TW, fr-CA;q=0.2", "fr"),
        ("nl;q=0.3, es;q=0.8, de;q=0.5", "es"),
        ("nl, es", "nl"),
        ("pl, *;q=0.1", "en"),
        ("en;q=0, *;q=0.1", "nl"),
        ("de;q=0, de-AT", "en"),
        ("fr;q=0, nl;q=0.1", "nl"),
        ("fr ; q = 0.9 , nl;q=1", "nl"),
        ("fr;q=2, nl;q=0.1", "nl"),
        ("fr;q=x", "en"),
        ("pl", "en"),
        (",,;q=1,", "en"),
        ("pl," * 40 + "de", "en"),
    ],
)
def test_the_best_of_ours(header: str, language: str) -> None:
    assert choose_language(header, AVAILABLE) == language


@given(st.text(max_size=200))
def test_whatever_is_sent_one_of_ours_is_found(header: str) -> None:
    assert choose_language(header, AVAILABLE) in AVAILABLE

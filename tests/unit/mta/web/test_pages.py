"""The pages: complete in five languages, no scripts, nothing fetched, everything escaped. Languages and forms."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.web.pages import LANGUAGES, TEMPLATES, Page, Pages, PageWords, choose_language, read_form

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
    assert "$" not in text
    named = {name for _, attributes in page.found for name in attributes}
    assert not named & {"src", "href", "action", "style", "background"}, "nothing is fetched from anywhere"
    assert not [name for name in named if name.startswith("on")]
    assert not {"script", "img", "link", "iframe", "input"} & {tag for tag, _ in page.found}


@pytest.mark.parametrize("language", LANGUAGES)
def test_only_the_first_page_has_a_button_and_just_one(language: str) -> None:
    page = Elements(text_of(Page.CONFIRM, language))
    assert page.all("form") == [{"method": "post"}]
    assert page.all("button") == [{"type": "submit", "name": "confirm", "value": "unsubscribe"}]
    for kind in set(Page) - {Page.CONFIRM}:
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
    odd = PageWords(title="<b>", text="a & b", button='"><script>')
    template = (TEMPLATES / "page.html").read_text()
    body = Pages(template, {"en": {"confirm": odd}}).respond(Page.CONFIRM, "").body
    assert isinstance(body, bytes)
    text = body.decode()
    assert "&lt;b&gt;" in text
    assert "a &amp; b" in text
    assert "<script>" not in text


def test_languages_and_waits_are_in_the_header() -> None:
    response = PAGES.respond(Page.BUSY, "fr-BE", wait=0.2)
    assert response.status == 429
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


# --- forms

URLENCODED = "application/x-www-form-urlencoded"
ONE_CLICK = (("List-Unsubscribe", "One-Click"),)
RFC_8058 = (  # section 8.2
    b"---FormBoundaryjWmhtjORrn\r\n"
    b'Content-Disposition: form-data; name="List-Unsubscribe"\r\n\r\n'
    b"One-Click\r\n"
    b"---FormBoundaryjWmhtjORrn--\r\n"
)


def multipart(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end


PART = b'Content-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click'


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (URLENCODED, b"List-Unsubscribe=One-Click"),
        (f"{URLENCODED}; charset=UTF-8", b"List-Unsubscribe=One-Click"),
        (URLENCODED.upper(), b"List%2DUnsubscribe=One%2dClick"),
        ("multipart/form-data; boundary=-FormBoundaryjWmhtjORrn", RFC_8058),
        ('multipart/form-data; boundary="b"', multipart(PART)),
        ("multipart/form-data; boundary=b", multipart(PART, end=b"--b--")),
        ("multipart/form-data; boundary=b", multipart(PART.replace(b'"', b""))),
        ("multipart/form-data; boundary=b", b"\r\n" + multipart(b"content-type: text/plain\r\n" + PART)),
    ],
)
def test_one_click(content_type: str, body: bytes) -> None:
    assert read_form(content_type, body) == ONE_CLICK


def test_fields_in_their_order() -> None:
    assert read_form(URLENCODED, b"b=2&a=1&b=") == (("b", "2"), ("a", "1"), ("b", ""))
    second = b'Content-Disposition: form-data; name="a"\r\n\r\n1'
    assert read_form("multipart/form-data; boundary=b", multipart(PART, second)) == (*ONE_CLICK, ("a", "1"))


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", b"List-Unsubscribe=One-Click"),
        ("text/plain", b"List-Unsubscribe=One-Click"),
        ("application/json", b'{"List-Unsubscribe": "One-Click"}'),
        (URLENCODED, b"List-Unsubscribe"),
        (URLENCODED, b"a=%ff"),
        (URLENCODED, b"a=\xc3\xa9"),
        (URLENCODED, b"&".join(b"a=1" for _ in range(11))),
        ("multipart/form-data", multipart(PART)),
        ("multipart/form-data; boundary=c", multipart(PART)),
        ("multipart/form-data; boundary=\u00e9", multipart(PART)),
        (f"multipart/form-data; boundary={'b' * 71}", multipart(PART)),
        ("multipart/form-data; boundary=b", multipart(PART, end=b"")),
        ("multipart/form-data; boundary=b", b"preamble\r\n" + multipart(PART)),
        ("multipart/form-data; boundary=b", multipart(*[PART] * 11)),
        ("multipart/form-data; boundary=b", multipart(PART.replace(b"name", b"filename"))),
        ("multipart/form-data; boundary=b", multipart(PART.replace(b"\r\n\r\n", b"; filename=x\r\n\r\n"))),
        ("multipart/form-data; boundary=b", multipart(b"Content-Transfer-Encoding: base64\r\n" + PART)),
        ("multipart/form-data; boundary=b", multipart(b"One-Click")),
    ],
)
def test_no_form(content_type: str, body: bytes) -> None:
    assert read_form(content_type, body) is None


@given(st.sampled_from([URLENCODED, "multipart/form-data; boundary=b"]) | st.text(max_size=80), st.binary(max_size=300))
def test_never_raises(content_type: str, body: bytes) -> None:
    for content in (body, multipart(body), multipart(PART, body)):
        form = read_form(content_type, content)
        assert form is None or all(len(field) == 2 for field in form)

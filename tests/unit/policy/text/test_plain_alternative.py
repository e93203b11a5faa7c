"""Plain texts beside a page: notes that lead to it, and words that were joined when it was made from the page."""

from __future__ import annotations

import pytest

from policy.text.message_text import MessageText
from policy.text.plain_alternative import FEW, only_points, opened

NOTES = [
    "View this email in your browser: https://news.shop.example/b/1",
    "Uw mailprogramma toont geen HTML. Bekijk de webversie: https://news.shop.example/b/1",
    "Newsletter im Browser ansehen:\nhttps://news.shop.example/b/1",
    "Voir la version en ligne : https://news.shop.example/b/1",
    "Ver este correo en el navegador: https://news.shop.example/b/1",
    "",
]
TEXTS = [
    "New in our shop: apples, https://shop.example/n/1",
    "View this email in your browser",
    f"View this email in your browser: https://news.shop.example/b/1 {'apple ' * FEW}",
]


@pytest.mark.parametrize("text", NOTES)
def test_a_note_leads_to_the_page(text: str) -> None:
    assert only_points(text)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_says_something(text: str) -> None:
    assert not only_points(text)


@pytest.mark.parametrize(
    ("joined", "apart"),
    [
        ("Friends of Marlow OttersThe Boathouse", "Otters\nThe"),
        ("Marlow, Bucks SL7 1QEUnited Kingdom", "1QE\nUnited"),
        ("Hoofdstraat 12Utrecht", "12\nUtrecht"),
    ],
)
def test_joined_words_are_opened(joined: str, apart: str) -> None:
    assert apart in opened(joined)
    assert joined in opened(joined)


def message(*parts: tuple[str, str]) -> MessageText:
    inside = "".join(f"--b\r\nContent-Type: {kind}; charset=utf-8\r\n\r\n{text}\r\n" for kind, text in parts)
    return MessageText(f"Content-Type: multipart/alternative; boundary=b\r\n\r\n{inside}--b--\r\n".encode())


def test_only_what_stands_beside_a_page() -> None:
    page = ("text/html", "<p>Apples</p>")
    (beside,) = message(("text/plain", TEXTS[0]), page).plain_alternatives
    assert beside.text == TEXTS[0]
    assert [link.url for link in beside.links] == ["https://shop.example/n/1"]
    assert not message(("text/plain", NOTES[0]), page).plain_alternatives
    assert not message(("text/plain", TEXTS[0])).plain_alternatives

"""The way out in the text: told by words, sentence or address in five languages; no login, no survey."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.mail.message import Stream
from policy.accounts.account import Account
from policy.base import Facts, Pass, Refuse, Verdict
from policy.permission.tokens import SampleTokens
from policy.rule_context import RuleContext
from policy.rules.content.unsubscribe import UnsubscribeLink
from policy.text.message_text import MessageText
from tests.unit.policy.rules.test_stamps import NOW, message

CONTEXT = RuleContext("mx.example.com", SampleTokens(), web_url="https://mail.example.com")


def check(body: str, kind: str = "text/html", **settings: Any) -> Verdict:
    content = f"MIME-Version: 1.0\r\nContent-Type: {kind}; charset=utf-8\r\n\r\n{body}\r\n".encode()
    facts = Facts(Account(7, "shop", frozenset()), stream=Stream.MARKETING, reading=MessageText(content))
    verdict, _ = UnsubscribeLink(UnsubscribeLink.Settings(**settings), CONTEXT).on_content(message(), facts, NOW)
    return verdict


def link(words: str, url: str = "https://t.example/c/8f2a") -> str:
    return f'<p>Offers!</p><p><a href="https://shop.example/">Shop</a> | <a href="{url}">{words}</a></p>'


WORDS = [
    "Afmelden", "Uitschrijven voor deze nieuwsbrief", "Meld je af", "Newsletter abmelden", "Abbestellen",
    "Hier können Sie sich abmelden", "Se désabonner", "SE DÉSINSCRIRE", "Ne plus recevoir ces messages",
    "Darse de baja", "Cancelar la suscripción", "CANCELAR LA SUSCRIPCION", "Unsubscribe", "Click here to unsubscribe",
    "Opt out", "Uns&#117;bscribe",
]  # fmt: skip


@pytest.mark.parametrize("words", WORDS)
def test_the_words_of_a_link_tell_it(words: str) -> None:
    assert check(link(words)) == Pass()


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example/afmelden/8f2a", "https://shop.example/newsletter/abmeldung?id=1",
        "https://shop.example/desabonnement/1", "https://shop.example/darse-de-baja/1",
        "https://shop.example/?action=unsubscribe&id=1", "https://shop.example/unsub/1",
        "mailto:list@shop.example?subject=unsubscribe", "https://mail.example.com/u/AQ8f2a",
    ],
)  # fmt: skip
def test_the_address_of_a_link_tells_it(url: str) -> None:
    assert check(link("&raquo;", url)) == Pass()
    assert check(f"Offers!\r\n\r\nBye: {url}", "text/plain") == Pass()


@pytest.mark.parametrize(
    "sentence",
    [
        "Wil je je afmelden? Klik dan <a href='https://t.example/1'>hier</a>.",
        "Wenn Sie den Newsletter abbestellen möchten, klicken Sie bitte <a href='https://t.example/1'>hier</a>.",
        "Pour vous désabonner, <a href='https://t.example/1'>cliquez ici</a>.",
        "Si quiere darse de baja, pulse <a href='https://t.example/1'>aquí</a>.",
        "To unsubscribe, click <a href='https://t.example/1'>here</a>.",
    ],
)
def test_the_sentence_around_a_link_that_says_nothing_tells_it(sentence: str) -> None:
    assert check(f"<p>Offers!</p><p>{sentence}</p>") == Pass()


def test_in_plain_text_the_line_before_the_address_tells_it() -> None:
    assert check("Offers!\r\n\r\nUitschrijven:\r\nhttps://t.example/c/8f2a", "text/plain") == Pass()
    far = "Unsubscribe is a word.\r\n" + "x " * 200 + "\r\nhttps://t.example/c/8f2a"
    assert isinstance(check(far, "text/plain"), Refuse)


@pytest.mark.parametrize(
    "body",
    [
        "<p>Offers!</p>",
        link("Shop now"),
        "<p>You can unsubscribe by writing us a letter.</p>",
        link("here") + "<p>" + "x " * 200 + "</p><p>unsubscribe</p>",
        '<p>Offers!</p><p style="display:none"><a href="https://shop.example/unsubscribe">Unsubscribe</a></p>',
        '<a href="javascript:unsubscribe()">Unsubscribe</a>',
        '<a href="#unsubscribe">Unsubscribe</a>',
        '<img src="https://shop.example/unsubscribe.png" alt="Unsubscribe">',
    ],
)
def test_what_is_no_way_out_is_refused_unless_none_is_asked_for(body: str) -> None:
    verdict = check(body)
    assert isinstance(verdict, Refuse)
    assert verdict.reply.text.startswith("unsubscribe: none of the ")
    assert check(body, link="optional") == Pass()


@pytest.mark.parametrize(
    ("words", "url"),
    [
        ("Unsubscribe", "https://shop.example/login?next=unsubscribe"),
        ("Log in to unsubscribe", "https://t.example/1"),
        ("Inloggen om je af te melden", "https://shop.example/afmelden"),
        ("Einloggen und abmelden", "https://t.example/1"),
        ("Connectez-vous pour vous désabonner", "https://t.example/1"),
        ("Inicia sesión para darte de baja", "https://shop.example/baja"),
        ("Unsubscribe after a short survey", "https://t.example/1"),
        ("Abmelden", "https://shop.example/umfrage/abmelden"),
    ],
)
def test_a_login_or_a_survey_bars_the_way(words: str, url: str) -> None:
    verdict = check(link(words, url))
    assert isinstance(verdict, Refuse)
    assert "login or a survey" in verdict.reply.text
    assert check(link(words, url), obstacles="allow") == Pass()
    assert check(link(words, url) + link("Unsubscribe")) == Pass()  # there is an open one too


def test_a_login_link_beside_the_way_out_bars_nothing() -> None:
    assert check('<a href="https://shop.example/login">Log in</a> | ' + link("Unsubscribe")) == Pass()


@given(st.text(max_size=300))
def test_nothing_in_a_message_raises(text: str) -> None:
    assert isinstance(check(text), Pass | Refuse)
    assert isinstance(check(link("here", text.replace('"', ""))), Pass | Refuse)

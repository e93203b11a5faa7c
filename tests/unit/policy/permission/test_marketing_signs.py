"""Disguised mailings show a mark; honest transactional mail shows none."""

from __future__ import annotations

import base64
import quopri

import pytest

from mta.mail.headers import Headers
from policy.permission.marketing_signs import MailingMarks, MailingSign, header_marks
from policy.text.message_text import MessageText

SIGNS = [
    ("List-Id: Offers <offers.shop.example>", MailingSign.LIST_ID),
    ("LIST-UNSUBSCRIBE: <https://shop.example/u>", MailingSign.LIST_UNSUBSCRIBE),
    ("List-Unsubscribe-Post: List-Unsubscribe=One-Click", MailingSign.LIST_UNSUBSCRIBE),
    ("List-Help: <mailto:help@shop.example>", MailingSign.LIST_FIELDS),
    ("List-Post: NO", MailingSign.LIST_FIELDS),
    ("List-Owner: <mailto:o@shop.example>", MailingSign.LIST_FIELDS),
    ("List-Archive: <https://shop.example/archive>", MailingSign.LIST_FIELDS),
    ("List-Subscribe: <https://shop.example/join>", MailingSign.LIST_FIELDS),
    ("Precedence: bulk", MailingSign.PRECEDENCE),
    ("Precedence:\r\n  LIST", MailingSign.PRECEDENCE),
    ("Precedence: junk", MailingSign.PRECEDENCE),
    ("Feedback-ID: spring:shop:news:mta", MailingSign.CAMPAIGN),
    ("X-Campaign-ID: 17", MailingSign.CAMPAIGN),
    ("X-CSA-Complaints: csa@shop.example", MailingSign.CAMPAIGN),
    ("X-MTA-Mailing: spring", MailingSign.MAILING),
    ("X-MTA-Topic: offers", MailingSign.MAILING),
]

MAILINGS = {
    "nl, word": '<p>Aanbiedingen!</p><a href="https://shop.example/x/1">Afmelden</a>',
    "nl, two parts": '<a href="https://shop.example/x/1">Meld u hier af</a>',
    "nl, here": '<p>Wilt u geen mail? <a href="https://shop.example/x">Hier</a> uitschrijven.</p>',
    "de, infinitive": '<p>Um sich vom Newsletter abzumelden, klicken Sie <a href="https://s.example/x">hier</a>.</p>',
    "de, soft hyphen": '<a href="https://shop.example/x/1">Ab&shy;melden</a>',
    "de, verb and object": '<a href="https://shop.example/x/1">Newsletter kündigen</a>',
    "fr": '<a href="https://shop.example/x/1">Se d&eacute;sabonner</a>',
    "fr, no more": '<a href="https://shop.example/x/1">Je ne souhaite plus recevoir ces messages</a>',
    "fr, here": '<p>Pour vous désinscrire, cliquez <a href="https://shop.example/x">ici</a>.</p>',
    "es": '<a href="https://shop.example/x/1">Darse de baja</a>',
    "es, no more": '<a href="https://shop.example/x/1">Ya no quiero recibir correos</a>',
    "en": '<a href="https://shop.example/x/1">Unsubscribe</a>',
    "en, capitals": '<a href="https://shop.example/x/1">UNSUBSCRIBE FROM THIS LIST</a>',
    "en, split by elements": '<a href="https://shop.example/x/1">Un<b>sub</b>scr<i></i>ibe</a>',
    "en, split by a comment": '<a href="https://shop.example/x/1">Unsub<!-- x -->scribe</a>',
    "en, zero-width": '<a href="https://shop.example/x/1">Un\u200bsub\u200bscribe</a>',
    "en, entities": '<a href="https://shop.example/x/1">&#85;nsubscrib&#101;</a>',
    "en, opt out": '<a href="https://shop.example/x/1">Opt\nout</a>',
    "en, no longer": '<a href="https://shop.example/x/1">I no longer wish to receive these offers</a>',
    "en, stop the newsletter": '<a href="https://shop.example/x/1">Stop this newsletter</a>',
    "address only": '<a href="https://shop.example/unsubscribe?u=1">Settings</a>',
    "address by mail": '<a href="mailto:unsubscribe@shop.example">Write to us</a>',
    "picture": '<a href="https://shop.example/x"><img src="https://shop.example/u.png" alt="Unsubscribe"></a>',
}
PLAIN = {
    "nl": "Aanbiedingen.\r\n\r\nAfmelden: https://shop.example/x/1\r\n",
    "en": "Offers.\r\n\r\nTo unsubscribe visit https://shop.example/x/1\r\n",
    "de": "Angebote.\r\n\r\nAbbestellen: https://shop.example/x/1\r\n",
    "fr": "Offres.\r\n\r\nPour vous d\u00e9sabonner : https://shop.example/x/1\r\n",
}
HONEST = {
    "order": '<h1>Your order 1234 is on its way</h1><a href="https://shop.example/orders/1234">Track your order</a>',
    "manage notifications": '<p>Paid.</p><a href="https://shop.example/settings">Manage notifications</a>',
    "preferences": '<p>Paid.</p><a href="https://shop.example/settings">E-mail preferences</a>',
    "password": '<p>You asked for a new password. <a href="https://shop.example/reset/x8">Choose one</a>.</p>',
    "not you": '<p>If you did not request this, <a href="https://shop.example/security">let us know</a>.</p>',
    "cancel order": '<a href="https://shop.example/orders/1/cancel">Cancel this order</a>',
    "cancel contract": '<p>You can <a href="https://shop.example/plan">cancel your subscription</a> at any time.</p>',
    "change address": '<a href="https://shop.example/me">Wijzig uw e-mailadres</a>',
    "stop order by mail": '<p>Stop de levering? <a href="mailto:service@shop.example">Mail ons</a></p>',
    "privacy": '<a href="https://shop.example/privacy">Privacy</a> <a href="https://shop.example/terms">Terms</a>',
    "log out everywhere": '<a href="https://shop.example/s">Von allen Geräten abmelden</a>',
    "ticket": '<p>Re: printer. <a href="https://desk.example/t/17">Open ticket 17</a> or answer this mail.</p>',
    "build": '<p>Build 9 passed. <a href="https://ci.example/9">Show the log</a></p>',
    "invoice": "<p>Rechnung 2026-17, fällig am 1. Dezember. <a href='https://shop.example/r/17'>Herunterladen</a></p>",
    "delivery fr": '<p>Votre colis arrive. <a href="https://shop.example/c/1">Suivre mon colis</a></p>',
    "receipt es": '<p>Gracias por su compra. <a href="https://shop.example/f/1">Ver la factura</a></p>',
    "code": "<p>Your code is 123456. Do not share it.</p>",
    "no reply": '<p>Do not reply: nobody reads this mailbox. <a href="https://shop.example/help">Help</a></p>',
    "confirm": '<p>Please confirm your address. <a href="https://shop.example/c/8f3a">Confirm</a></p>',
    "appointment": '<p>Tomorrow at 10. <a href="https://shop.example/a/1">Change the appointment</a></p>',
    "return": '<p>You may return it within 14 days. <a href="https://shop.example/returns">Return an item</a></p>',
    "review of a document": '<p>Ann shared "Plan". <a href="https://docs.example/d/1">Open</a></p>',
    "alert": '<p>CPU above 90 %. <a href="https://mon.example/a/1">Silence this alert</a></p>',
}


def content(body: str, kind: str = "text/html", encoding: str = "8bit") -> bytes:
    encoders = {"8bit": bytes, "base64": base64.encodebytes, "quoted-printable": quopri.encodestring}
    raw = encoders[encoding](body.encode())
    head = f"Subject: Hello\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return head.encode() + raw


def marks(raw: bytes) -> list[MailingSign]:
    headers = Headers.split(raw)
    return [mark.sign for mark in MailingMarks(header_marks(headers), MessageText(raw)).all]


@pytest.mark.parametrize(("field", "sign"), SIGNS)
def test_a_field_that_only_mailings_have(field: str, sign: MailingSign) -> None:
    raw = f"Subject: s\r\n{field}\r\n".encode() + b"\r\ntext\r\n"
    assert marks(raw) == [sign]


@pytest.mark.parametrize(
    "field", ["Precedence: first-class", "List: of things", "X-Feedback: good", "Reply-To: a@b.example"]
)
def test_a_field_that_others_have_too(field: str) -> None:
    assert marks(f"{field}\r\n\r\ntext\r\n".encode()) == []


@pytest.mark.parametrize("encoding", ["8bit", "base64", "quoted-printable"])
@pytest.mark.parametrize("body", MAILINGS.values(), ids=MAILINGS)
def test_a_link_that_unsubscribes(body: str, encoding: str) -> None:
    assert marks(content(f"<html><body>{body}</body></html>", encoding=encoding)) == [MailingSign.UNSUBSCRIBE_LINK]


@pytest.mark.parametrize("body", PLAIN.values(), ids=PLAIN)
def test_a_link_in_plain_text(body: str) -> None:
    assert marks(content(body, "text/plain")) == [MailingSign.UNSUBSCRIBE_LINK]


@pytest.mark.parametrize("body", HONEST.values(), ids=HONEST)
def test_honest_transactional_mail_shows_nothing(body: str) -> None:
    assert marks(content(f"<html><body>{body}</body></html>")) == []


def test_a_link_in_one_alternative_counts() -> None:
    parts = [content("No link.", "text/plain"), content(MAILINGS["en"]), content("No link.", "text/x-amp-html")]
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
    assert marks(b"Content-Type: multipart/alternative; boundary=b\r\n\r\n" + body) == [MailingSign.UNSUBSCRIBE_LINK]

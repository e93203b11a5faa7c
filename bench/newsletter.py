"""A newsletter as applications send them, with all facts about it: the input of the marketing chain.

``newsletter(size)`` is multipart/alternative, quoted-printable: text, and HTML of nested tables with styles in each
cell, a picture and a link for each offer, an imprint and an unsubscribe link. It passes every shipped profile.
"""

from __future__ import annotations

import quopri
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from mta.mail.address import Address
from mta.mail.identity import format_id, new_message_id
from mta.mail.message import Envelope, Message, Origin, Recipient, Stream
from policy.accounts.account import Acceptance, Account, Identity
from policy.accounts.mailing import Confirmation, Mailing
from policy.base import Facts, RecipientFacts, Scan
from policy.mailing.reference import BeingConfirmed
from policy.permission.consent import Basis, Consent
from policy.permission.tokens import Tokens
from policy.rule_context import RuleContext
from policy.text.message_text import MessageText

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
READER = Address("ann.example", "reader.example")
CONTEXT = RuleContext("mail.imprimatur.example", Tokens(bytes(32)), web_url="https://mail.imprimatur.example",
              returns="returns.imprimatur.example")  # fmt: skip

_IMPRINT = (
    "Voorbeeldwinkel B.V.",
    "Keizersgracht 123",
    "1015 CJ Amsterdam",
    "Nederland",
    "Telefoon: +31 20 123 4567",
    "E-mail: service@shop.example",
    "KvK-nummer: 68750110",
    "Btw-nummer: NL004495445B01",
    "Vertegenwoordigd door: J. de Vries",
)
_IDENTITY = Identity(
    "nl",
    ("Voorbeeldwinkel B.V.",),
    street="Keizersgracht 123",
    postcode="1015 CJ",
    city="Amsterdam",
    country="NL",
    phone="+31 20 123 4567",
    email="service@shop.example",
    register="KvK",
    number="68750110",
    vat="NL004495445B01",
    representative="J. de Vries",
)
_CELL = "font-family: Arial, Helvetica, sans-serif; font-size: 14px; line-height: 21px; color: #333333;"
_HEAD = """\
<!DOCTYPE html><html lang="nl"><head><meta charset="utf-8"><title>Aanbiedingen van deze week</title>
<style>a {{ color: #0a5a8a; }} .offer {{ padding: 12px; }}
@media (max-width: 600px) {{ .wide {{ width: 100%; }} }}</style>
</head><body style="margin: 0; background: #f4f4f4;"><table role="presentation" width="600" class="wide">
"""
_OFFER = """\
<tr><td class="offer" style="{cell}"><a href="https://shop.example/aanbieding/{n}?bron=nieuwsbrief">\
<img src="https://static.shop.example/beeld/{n}.jpg" width="560" height="240" alt="Aanbieding {n}"></a>
<h2 style="{cell} font-size: 20px;">Aanbieding {n}: één betalen, twee krijgen</h2>
<p style="{cell}">Alleen deze week in de winkel én op het web. Vóór vrijdag besteld, vóór het weekeinde in huis; wat
niet bevalt, neemt u binnen dertig dagen kosteloos terug.</p>
<a href="https://shop.example/aanbieding/{n}?bron=knop" style="{cell} background: #0a5a8a; color: #ffffff;">Bekijk</a>
</td></tr>
"""
_FOOT = """\
<tr><td style="{cell} font-size: 11px;"><p>{imprint}</p>
<p>U krijgt dit bericht omdat u zich hebt aangemeld. <a href="https://shop.example/afmelden/8f3a">Afmelden</a></p>
</td></tr></table></body></html>
"""


def newsletter(size: int) -> Message:
    """Return a newsletter of at most ``size`` bytes, submitted by the account of ``facts``."""
    offers = 0
    while len(_content(offers + 1)) <= size:
        offers += 1
    content = _content(offers)
    envelope = Envelope(Address("bounces", "shop.example"), (Recipient(READER),))
    origin = Origin(7, "shop", "shop-1", ip_address("192.0.2.7"), "app.shop.example", "s1", "ESMTPSA", NOW)
    return Message.of(new_message_id(), envelope, origin, content)


def facts(message: Message) -> Facts:
    """Return all facts about ``message``, which is not yet read."""
    consent = Consent(
        basis=Basis.DOUBLE_OPT_IN,
        topics=frozenset({"aanbiedingen"}),
        given_at=NOW - timedelta(days=200),
        confirmed_at=NOW - timedelta(days=200),
        entry=4711,
        contacted_at=NOW - timedelta(days=7),
        facts={"source_host": "shop.example"},
    )
    accepted = tuple(NOW - timedelta(days=7 * n) for n in range(8, 0, -1))
    mailing = Mailing(
        id=format_id(message.id),
        account_id=7,
        name="2026-47",
        topic="aanbiedingen",
        list="klanten",
        confirmation=Confirmation(NOW - timedelta(hours=1), "j.devries", "1"),
        origin="webshop",
        approved=True,
    )
    account = Account(
        7,
        "shop",
        frozenset({"shop.example"}),
        profile="cleverreach",
        contact="postmaster@shop.example",
        identities=(_IDENTITY,),
        terms=Acceptance("1", NOW - timedelta(days=300), "j.devries"),
        lists=frozenset({"klanten"}),
    )
    return Facts(
        account,
        Stream.MARKETING,
        mailing_name="2026-47",
        mailing=mailing,
        reference=BeingConfirmed(),
        topic="aanbiedingen",
        recipients=(
            RecipientFacts(READER, consents=(consent,), accepted=accepted, everywhere=accepted, key=bytes(16)),
        ),
        reading=MessageText(message.content),
        scans=(Scan("rspamd", evidence="no action, 0.1 of 15"), Scan("clamav", evidence="OK")),
        quota_left=100_000,
    )


def _content(offers: int) -> bytes:
    head = (
        "From: Voorbeeldwinkel <nieuws@shop.example>\r\nTo: Ann Example <ann.example@reader.example>\r\n"
        "Reply-To: service@shop.example\r\nSubject: Aanbiedingen van deze week\r\n"
        "Date: Fri, 20 Nov 2026 10:29:00 +0100\r\nMessage-ID: <20261120.4711@app.shop.example>\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/alternative; boundary="=_deel"\r\n\r\n'
    )
    parts = _part("text/plain", _text(offers)), _part("text/html", _html(offers))
    return head.encode() + b"".join(parts) + b"--=_deel--\r\n"


def _part(kind: str, text: str) -> bytes:
    body = quopri.encodestring(text.encode()).replace(b"\n", b"\r\n")
    head = f"--=_deel\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    return head.encode() + body + b"\r\n"


def _text(offers: int) -> str:
    offer = "Aanbieding {n}: één betalen, twee krijgen\nAlleen deze week.\nhttps://shop.example/aanbieding/{n}\n\n"
    return _repeated(offer, offers) + "\n".join(_IMPRINT) + "\n\nAfmelden: https://shop.example/afmelden/8f3a\n"


def _html(offers: int) -> str:
    body = _repeated(_OFFER.replace("{cell}", _CELL), offers)
    return _HEAD.format() + body + _FOOT.format(cell=_CELL, imprint="<br>\n".join(_IMPRINT))


def _repeated(template: str, times: int) -> str:
    fill: Callable[..., str] = template.format
    return "".join(fill(n=n) for n in range(1, times + 1))

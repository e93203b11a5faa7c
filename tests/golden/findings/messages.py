"""Messages by number: newsletters of the cases, altered in ways that matter to the rules, and what is known of them.

The same number and seed always give the same message. Every tenth is as it was written; to the others one to six
alterations are made to the page, the text, the parts, their encodings, the header and the facts.
"""

from __future__ import annotations

import base64
import quopri
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from functools import cache
from random import Random
from uuid import UUID

from bench.newsletter import NOW, READER, facts, newsletter
from mta.mail.message import Message, Stream
from policy.accounts.account import AccountStatus
from policy.base import Facts, Scan, Suppression
from policy.permission.marketing_signs import MailingMarks, header_marks
from policy.permission.suppression import Reason
from policy.text.message_text import MessageText
from tests.cases.newsletters import Newsletter, newsletters

SEED = 20261130
SIZES = (1_500, 4_000, 10_000, 25_000, 60_000)
LONGEST = 90_000  # characters of a page after it was made longer

Alteration = Callable[[Random, str], str]


@dataclass(frozen=True, slots=True)
class Case:
    """One message with all that is known of it."""

    number: int
    message: Message
    facts: Facts


@dataclass(slots=True)
class _Bodies:
    """A message taken apart: raw header fields without those of MIME, its text and its page, "" for none."""

    fields: list[bytes]
    text: str
    page: str
    odd: str = ""  # how the parts are put together, if not as usual


def case(number: int, seed: int = SEED) -> Case:
    """Return the message ``number``."""
    random = Random(f"{seed} {number}")
    source = _SOURCES()[random.randrange(len(_SOURCES()))]
    content = source.content
    if number % 10:
        content = _altered(random, content)
    known = facts(newsletter(2_000))
    message = replace(newsletter(2_000), id=UUID(int=number)).with_content(content)
    account = replace(
        known.account, identities=(source.identity,), domains=known.account.domains | {source.domain}
    )  # fmt: skip
    mailing = replace(known.mailing, id="01jd0000000000000000000000") if known.mailing else None
    known = replace(known, account=account, mailing=mailing, reading=MessageText(content))
    return Case(number, message, _other_facts(random, message, known) if number % 4 == 0 else known)


@cache
def _SOURCES() -> tuple[Newsletter, ...]:
    (identity,) = facts(newsletter(2_000)).account.identities
    own = (Newsletter("nl", f"{size}", identity, "pass", newsletter(size).content) for size in SIZES * 8)
    return (*newsletters(blind=False), *own)


# --- facts


def _other_facts(random: Random, message: Message, known: Facts) -> Facts:
    """Return the facts with one or two things otherwise."""
    (reader,) = known.recipients
    account = known.account
    old = tuple(replace(one, given_at=NOW - timedelta(days=1500), contacted_at=None, confirmed_at=None)
                for one in reader.consents)  # fmt: skip
    suppressed = (Suppression(READER, None, Reason.HARD_BOUNCE, "r", NOW),)
    others: list[Callable[[Facts], Facts]] = [
        lambda f: replace(f, recipients=(replace(reader, consents=()),)),
        lambda f: replace(f, recipients=(replace(reader, consents=old),)),
        lambda f: replace(f, recipients=(replace(reader, suppressions=suppressed),)),
        lambda f: replace(f, account=replace(f.account, terms=None)),
        lambda f: replace(f, account=replace(f.account, identities=())),
        lambda f: replace(f, account=replace(f.account, status=AccountStatus.SUSPENDED, reason="complaints")),
        lambda f: replace(f, quota_left=0),
        lambda f: replace(f, mailing=None, mailing_name=None, topic=None),
        lambda f: replace(f, scans=(Scan("rspamd", later="greylisted"), Scan("clamav", refused="a worm"))),
        lambda f: replace(f, repeats=random.choice((1, 100, 100_000))),
        lambda f: replace(f, account=replace(account, domains=frozenset({"other.example"}))),
    ]
    for change in random.sample(others, random.choice((1, 1, 2))):
        known = change(known)
    if random.random() < 0.4:
        marks = header_marks(message.headers, automatic=False)
        reading = known.reading
        known = replace(known, stream=Stream.TRANSACTIONAL, marks=MailingMarks(marks, reading), mailing=None)
    return known


# --- the message


def _altered(random: Random, content: bytes) -> bytes:
    bodies = _apart(content)
    for _ in range(random.choice((1, 1, 2, 2, 3, 6))):
        kind = random.random()
        if kind < 0.6 and bodies.page:
            bodies.page = random.choice(_PAGE)(random, bodies.page)[: LONGEST * 2]
        elif kind < 0.75 and bodies.text:
            bodies.text = random.choice(_TEXT)(random, bodies.text)[: LONGEST * 2]
        elif kind < 0.9:
            bodies.fields = random.choice(_HEADER)(random, bodies.fields)
        else:
            bodies.odd = random.choice(("swapped", "twice", "mixed", "attached", "related", "nested", "named"))
    return _together(random, bodies)


def _apart(content: bytes) -> _Bodies:
    head = content.partition(b"\r\n\r\n")[0] + b"\r\n"
    fields = [raw for raw in _raw_fields(head) if not raw.lower().startswith((b"content-", b"mime-version"))]
    parsed = message_from_bytes(content, policy=SMTP)
    assert isinstance(parsed, EmailMessage)
    said = {"plain": "", "html": ""}
    for part in parsed.walk():
        if part.get_content_maintype() == "text" and not said.get(part.get_content_subtype(), " "):
            octets = part.get_payload(decode=True)
            assert isinstance(octets, bytes)
            said[part.get_content_subtype()] = octets.decode("utf-8", "replace")
    return _Bodies(fields, said["plain"], said["html"])


def _raw_fields(head: bytes) -> list[bytes]:
    fields: list[bytes] = []
    for line in head.splitlines(keepends=True):
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1] += line
        else:
            fields.append(line)
    return fields


def _together(random: Random, bodies: _Bodies) -> bytes:
    text, page = (_part(random, kind, body) for kind, body in (("plain", bodies.text), ("html", bodies.page)))
    parts = [part for part, body in ((text, bodies.text), (page, bodies.page)) if body] or [text]
    picture = b"Content-Type: image/png\r\nContent-ID: <p>\r\nContent-Transfer-Encoding: base64\r\n\r\naGFsbG8=\r\n"
    match bodies.odd:
        case "swapped":
            body = _multipart("alternative", parts[::-1])
        case "twice":
            body = _multipart("alternative", [*parts, parts[-1].replace(b"fmelden", b"fdoen")])
        case "mixed":
            body = _multipart("mixed", parts)
        case "attached":
            name = random.choice((b"rooster.pdf", b"factuur.exe", b"foto.jpg.scr"))
            attached = b'Content-Disposition: attachment; filename="%s"\r\n\r\nhallo\r\n' % name
            attached = b"Content-Type: application/octet-stream\r\n" + attached
            body = _multipart("mixed", [_multipart("alternative", parts), attached])
        case "related":
            body = _multipart("related", [parts[-1], picture])
        case "nested":
            body = _multipart(
                "mixed", [_multipart("alternative", [parts[0], _multipart("related", [parts[-1], picture])])]
            )
        case "named":
            body = _multipart("mixed", [parts[0], parts[-1].replace(b"\r\n", b'; name="bijlage.html"\r\n', 1)])
        case _:
            body = parts[0] if len(parts) == 1 else _multipart("alternative", parts)
    return b"".join(bodies.fields) + b"MIME-Version: 1.0\r\n" + body


def _part(random: Random, kind: str, body: str) -> bytes:
    charset = random.choice(("utf-8", "utf-8", "utf-8", "iso-8859-1", "windows-1252", "us-ascii"))
    octets = body.encode("utf-8" if charset == "us-ascii" else charset, "replace")
    encoding = random.choice(("quoted-printable", "quoted-printable", "base64", "8bit"))
    if encoding == "quoted-printable":
        octets = quopri.encodestring(octets.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    elif encoding == "base64":
        octets = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    head = f"Content-Type: text/{kind}; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return head.encode() + octets + b"\r\n"


def _multipart(kind: str, parts: list[bytes]) -> bytes:
    mark = b"=_%d" % sum(map(len, parts))
    head = b"Content-Type: multipart/" + kind.encode() + b'; boundary="' + mark + b'"\r\n\r\n'
    return head + b"".join(b"--" + mark + b"\r\n" + part for part in parts) + b"--" + mark + b"--\r\n"


# --- alterations

_SAID = (
    "Afmelden", "Unsubscribe here", "Klicken Sie hier, um sich abzumelden", "Se désinscrire", "Darse de baja", "hier",
    "U krijgt dit bericht omdat u klant bent.", "You need your password to unsubscribe.", "Log in to change this.",
    "Keizersgracht 123, 1015 CJ Amsterdam", "KvK-nummer: 68750110", "Geschäftsführer: J. de Vries", "€ 12,50", "",
    "Ab&shy;melden", "A&#8203;fmelden", "p&#1072;ypal.com", "&lt;b&gt;", "&nbsp;&zwnj;&nbsp;&zwnj;", "100 % korting!!!",
    "Colofon", "Impressum", "Mentions légales", "Aviso legal", "Privacy", "Not you?",
    "Manage preferences", "View online",
)  # fmt: skip
_URLS = (
    "https://shop.example/afmelden/8f3a", "https://shop.example/u/1?login=1", "http://shop.example/u/2",
    "mailto:stop@shop.example?subject=unsubscribe", "https://shop.example/", "https://other.example/a",
    "https://xn--pypal-4ve.com/", "https://192.0.2.1/u", "#top", "javascript:void(0)", "{{unsubscribe_url}}",
    "https://paypal.com/", "https://shop.example/privacy", "https://shop.example/impressum", "tel:+31201234567",
)  # fmt: skip
_STYLES = (
    "display:none", "visibility:hidden", "font-size:0", "font-size:1px;line-height:1px", "color:#fff", "opacity:0",
    "color:#ffffff;background:#fefefe", "position:absolute;left:-9999px", "height:0;overflow:hidden",
    "text-indent:-999em",
    "max-height:0px;overflow:hidden;mso-hide:all", "color:rgb(51,51,51)", "font-size:11px;color:#999", "float:left",
    "display:none !important", "background:url(x.png)", "clip-path:inset(100%)", "transform:scale(0)", "width:1px",
    "color:red;background:red", "mso-line-height-rule:exactly", "margin:0 auto", "filter:opacity(0)", "zoom:0.01",
)  # fmt: skip
_SHEETS = (
    "<style>.x { display: none } p { color: #333 }</style>",
    "<style>@media (max-width: 480px) { .x { display: none } }</style>",
    "<style>@media (prefers-color-scheme: dark) { body { background: #000; color: #000 } }</style>",
    "<style>a[href*=shop] { font-size: 0 }</style>", "<style>td > p:last-child { visibility: hidden }</style>",
    "<style>@import url(https://fonts.googleapis.com/css?family=Lato);</style>", "<style>@import 'x.css';</style>",
    "<style>h2 { font-size: 20px } .offer { opacity: .5 }</style>", "<style>p::before { content: 'x' }</style>",
    '<link rel="stylesheet" href="https://shop.example/a.css">', "<style>.x, .y { color: #f4f4f4 !important }</style>",
)  # fmt: skip
_SPECIAL = (
    "<!-- Afmelden -->", "<!--[if mso]><p>Alleen in Outlook</p><![endif]-->",
    "<![if !mso]><p>Niet in Outlook</p><![endif]>",
    "<svg><text>Afmelden</text></svg>", "<noscript>Afmelden</noscript>",
    "<details><summary>Meer</summary>Impressum</details>",
    "<table><tr><td>1<tr><td>2</table>", "<b><i>a</b>c</i>", "<marquee>Afmelden</marquee>", "<p", "</div></div>",
    "<br>" * 5,
    '<img src="https://t.example/p.gif" width="1" height="1" alt="">', '<img src="a.png" alt="Afmelden" width="400">',
    '<map name="m"><area href="https://shop.example/u/3" alt="Afmelden"></map><img src="m.png" usemap="#m" alt="">',
    "<form action=https://shop.example/u><input type=submit value=Afmelden></form>", "<template><p>x</p></template>",
    "<font color=#ffffff size=1>klein</font>", "<center><big>groot</big></center>", "<custom-tag>eigen</custom-tag>",
    "<span hidden>weg</span>", '<body bgcolor="#333333">', "<base href='https://other.example/'>",
    "<plaintext>", "\0\x01",
)  # fmt: skip


def _anywhere(random: Random, page: str, piece: str) -> str:
    """Return the page with ``piece`` put before some tag of it."""
    places = [n for n, letter in enumerate(page) if letter == "<"] or [0]
    at = random.choice(places)
    return page[:at] + piece + page[at:]


def _styled(random: Random, page: str) -> str:
    tag, style = random.choice(("span", "div", "p", "td", "a")), random.choice(_STYLES)
    kind = random.choice((f'style="{style}"', 'class="x"', f'class="x y" style="{style}"'))
    return _anywhere(random, page, f"<{tag} {kind}>{random.choice(_SAID)}</{tag}>")


def _linked(random: Random, page: str) -> str:
    before, words, behind = (random.choice(_SAID) for _ in range(3))
    return _anywhere(random, page, f'<p>{before} <a href="{random.choice(_URLS)}">{words}</a> {behind}</p>')


def _restyled(random: Random, page: str) -> str:
    """Return the page with a style put onto one of its own tags."""
    tag = random.choice(("<td", "<p", "<a ", "<div", "<table", "<body", "<tr", "<span"))
    parts = page.split(tag)
    if len(parts) < 2:
        return page
    n = random.randrange(1, len(parts))
    parts[n] = f' style="{random.choice(_STYLES)}" {parts[n].lstrip()}' if parts[n][:1] in " >" else parts[n]
    return tag.join(parts)


def _without(random: Random, page: str) -> str:
    """Return the page without a piece of it."""
    at = random.randrange(len(page))
    return page[:at] + page[at + random.randrange(1, 400) :]


def _longer(random: Random, page: str) -> str:
    """Return the page with one of its pieces many times over."""
    places = [n for n, letter in enumerate(page) if letter == "<"]
    if len(places) < 4:
        return page
    first, last = sorted(random.sample(places, 2))
    times = min(random.choice((2, 5, 30)), max(1, LONGEST // max(1, last - first)))
    return page[:first] + page[first:last] * times + page[last:]


_SWAPS = (("melden", "m\u0435lden"), ("</td>", ""), ("'", '"'), ("\n", "\r\n"))
_PAGE: tuple[Alteration, ...] = (
    _styled, _styled, _styled, _linked, _linked, _linked, _restyled, _restyled, _without, _longer,
    lambda random, page: _anywhere(random, page, random.choice(_SHEETS)),
    lambda random, page: _anywhere(random, page, random.choice(_SHEETS)),
    lambda random, page: _anywhere(random, page, random.choice(_SPECIAL)),
    lambda random, page: _anywhere(random, page, random.choice(_SPECIAL)),
    lambda random, page: page.upper() if random.random() < 0.3 else page.replace("https://", "HTTPS://"),
    lambda random, page: page.replace(*random.choice(_SWAPS)),
)  # fmt: skip
_TEXT: tuple[Alteration, ...] = (
    lambda random, text: f"{text}\r\n{random.choice(_SAID)}: {random.choice(_URLS)}\r\n",
    lambda random, text: f"{random.choice(_SAID)}\r\n\r\n{text}",
    _without,
    lambda random, text: text * random.choice((2, 9)),
    lambda random, text: text.replace(*random.choice((("KvK", "K.v.K."), (" ", "\N{NO-BREAK SPACE}"), ("123", "132")))),
)  # fmt: skip
_NEW_FIELDS = (
    b"List-Unsubscribe: <https://shop.example/afmelden/8f3a>\r\n", b"List-Unsubscribe: <mailto:stop@shop.example>\r\n",
    b"List-Unsubscribe: <https://shop.example/u/1>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
    b"Subject: =?utf-8?q?Re=3A_aanbieding?=\r\n", b"X-CSA-Complaints: x@y.example\r\n",
    b"Reply-To: a@gmail.com\r\n",
    b"From: \"service@paypal.com\" <nieuws@shop.example>\r\n", b"List-Id: <klanten.shop.example>\r\n",
    b"Bcc: x@y.example\r\n",
    b"Feedback-ID: a:b:c:d\r\n", b"Precedence: bulk\r\n", b"Sender: b@other.example\r\n", b"Subject: tweemaal\r\n",
)  # fmt: skip
_HEADER: tuple[Callable[[Random, list[bytes]], list[bytes]], ...] = (
    lambda random, fields: [*fields, random.choice(_NEW_FIELDS)],
    lambda random, fields: [random.choice(_NEW_FIELDS), *fields],
    lambda random, fields: [raw for raw in fields if not raw.startswith(random.choice((b"Date", b"From", b"Subject")))],
    lambda random, fields: [raw.replace(b"@shop", random.choice((b"@gmail", b"@x"))) for raw in fields],
)  # fmt: skip

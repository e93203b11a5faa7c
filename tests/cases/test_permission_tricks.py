"""Ways around the imprint and the unsubscribe link, each in a newsletter that passes without it; and templates as
honest senders use them, which pass."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.newsletter import CONTEXT, NOW, facts, newsletter
from mta.mail.message import Stream
from policy.chain import personalise, screen
from policy.profile import Profiles
from policy.text.message_text import MessageText

FOLDER = Path(__file__).parent / "permission"
CHAIN = Profiles.shipped(CONTEXT).chain("cleverreach", Stream.MARKETING)
BASE = newsletter(4000)
LINK = '<a href="https://shop.example/afmelden/8f3a">Afmelden</a>'
IMPRINT = (
    "Voorbeeldwinkel B.V., Keizersgracht 123, 1015 CJ Amsterdam, Nederland, Telefoon: +31 20 123 4567, "
    "E-mail: service@shop.example, KvK-nummer: 68750110, Btw-nummer: NL004495445B01, J. de Vries"
)
FOOT = f"{IMPRINT} {LINK}"
SPAM = "<h1>Aanbiedingen</h1><p>Nu in de winkel.</p>"


def page(foot: str = f"<div class='foot'>{FOOT}</div>", css: str = "", more: str = "") -> str:
    logo = '<img src="https://static.shop.example/logo.png" alt="Voorbeeldwinkel" width="120" height="40">'
    return f"<!doctype html><html><head><style>{css}</style></head><body>{logo}{SPAM}{foot}{more}</body></html>"


def verdict(body: str, content_type: str = "text/html; charset=utf-8", sender: str | None = None) -> str:
    """Return the refusal of a newsletter with this body, "" if it passes."""
    head = "".join(
        f"{field}\r\n"
        for field in BASE.content.split(b"\r\n\r\n")[0].decode().split("\r\n")
        if not field.lower().startswith(("content-type", "mime-version", "from" if sender else "\0", "\t", " "))
    )
    head += f"From: {sender}\r\n" if sender else ""
    content = f"{head}MIME-Version: 1.0\r\nContent-Type: {content_type}\r\n\r\n{body}".encode()
    message = BASE.with_content(content)
    known = replace(facts(BASE), reading=MessageText(content))
    assert CHAIN
    shared = screen(CHAIN, message, known, NOW)
    refusal = shared.refusal or personalise(CHAIN, shared.message, known, NOW).refusal
    assert not shared.errors
    return refusal.text if refusal else ""


def parts(kind: str, *bodies: str, more: str = "") -> tuple[str, str]:
    inside = "".join(f"--b\r\n{body}\r\n" for body in bodies)
    return f"{inside}--b--\r\n", f"multipart/{kind}; boundary=b{more}"


HTML = "Content-Type: text/html; charset=utf-8\r\n\r\n"
PLAIN = "Content-Type: text/plain; charset=utf-8\r\n\r\n"
TEXT_FOOT = f"{IMPRINT}\r\nAfmelden: https://shop.example/afmelden/8f3a"
BAD = f"{HTML}{page('')}"
GOOD = f"{HTML}{page()}"
AMP = "Content-Type: text/x-amp-html; charset=utf-8\r\n\r\n"

ELEMENTS = {
    "col in colgroup": f"<table><colgroup><col style='visibility:collapse'></colgroup><tr><td>{FOOT}</td></tr></table>",
    "covered by overlay": f"<div>{FOOT}</div><div style='position:relative;top:-300px;background:#fff'>Nu!</div>",
    "downlevel-revealed": f"<![if mso]>{FOOT}<![endif]>",
    "link rel=stylesheet data:": f"<link rel=stylesheet href='data:text/css,.f{{display:none}}'><p class=f>{FOOT}</p>",
    "map": f"<map>{FOOT}</map>",
    "meter": f"<meter value=1>{FOOT}</meter>",
    "nested font .3em": "<div style='font-size:.3em'>" * 3 + FOOT + "</div>" * 3,
    "nested opacity .2^3": "<div style='opacity:.2'>" * 3 + FOOT + "</div>" * 3,
    "option label": f"<select><option label='x'>{FOOT}</option></select>",
    "popover": f"<div popover>{FOOT}</div>",
    "select/option": f"<select><option>{FOOT}</option></select>",
    "table 0": f"<table width=0 height=0 style='overflow:hidden'><tr><td>{FOOT}</td></tr></table>",
}
LINKS = {
    "1px link": "<a style='font-size:1px' href='https://shop.example/afmelden'>Afmelden</a>",
    "a disabled by CSS": "<a style='pointer-events:none' href='https://shop.example/afmelden'>Afmelden</a>",
    "area in unused map": "<map name=m><area href='https://shop.example/afmelden' alt=Afmelden></map>",
    "empty words": "<a href='https://shop.example/afmelden'></a>",
    "http://0/": "<a href='http://0/'>Afmelden</a>",
    "http://10.0.0.1": "<a href='http://10.0.0.1'>Afmelden</a>",
    "http://localhost": "<a href='http://localhost'>Afmelden</a>",
    "mailto no address": "<a href='mailto:'>Afmelden</a>",
    "no unsubscribe word": "<a href='https://shop.example/x'>Winkel</a>",
}
MIME: dict[str, Callable[[], tuple[str, str]]] = {
    "201st style rule hides": lambda: (
        page(css=".x{color:#333}" * 200 + ".foot{display:none}"),
        "text/html; charset=utf-8",
    ),
    "alternative: html good, text/x-amp-html spam (Gmail shows AMP)": lambda: parts(
        "alternative", GOOD, f"{AMP}{SPAM}"
    ),
    "boundary*=utf-8''b and boundary=a": lambda: parts("mixed", GOOD, more="; boundary*=utf-8''a"),
    "message/rfc822 inline holds the spam; body is only imprint (shown inline by clients)": lambda: parts(
        "mixed", GOOD, f"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n{HTML}{SPAM}"
    ),
    "mixed: html spam + text/plain imprint Content-Disposition: inline; filename=imprint.txt": lambda: parts(
        "mixed", BAD, f"Content-Disposition: inline; filename=imprint.txt\r\n{PLAIN}{TEXT_FOOT}"
    ),
    "mixed: html spam + text/plain, Content-Disposition: x-unknown (RFC 2183: as attachment)": lambda: parts(
        "mixed", BAD, f"Content-Disposition: x-unknown\r\n{PLAIN}{TEXT_FOOT}"
    ),
    "multipart/alternative: html spam first, text/plain imprint last": lambda: parts(
        "alternative", BAD, f"{PLAIN}{TEXT_FOOT}"
    ),
    "related start=<spam>: first part good, root is spam": lambda: parts(
        "related", GOOD, f"Content-ID: <spam>\r\n{BAD}", more='; start="<spam>"'
    ),
    "two Content-Disposition: inline then attachment on the imprint": lambda: parts(
        "mixed", BAD, f"Content-Disposition: inline\r\nContent-Disposition: attachment\r\n{PLAIN}{TEXT_FOOT}"
    ),
    "two Content-Type in a part: text/plain then text/html": lambda: parts(
        "mixed", f"Content-Type: text/plain\r\n{GOOD}"
    ),
}


def tricks() -> list[tuple[str, str]]:
    """Kind and trick. Streams are judged where the message is assigned to one, not by the chain."""
    with (FOLDER / "tricks.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert {row["right"] for row in rows} == {"refuse"}
    return [(row["kind"], row["trick"]) for row in rows if row["kind"] != "stream"]


@pytest.mark.parametrize(("kind", "trick"), tricks())
def test_a_trick_is_refused(kind: str, trick: str) -> None:
    if kind == "MIME structure":
        said = verdict(*MIME[trick]())
    elif kind == "element around imprint and link":
        said = verdict(page(ELEMENTS[trick]))
    elif kind == "link to unsubscribe":
        said = verdict(page(f"<div class='foot'>{IMPRINT} {LINKS[trick]}</div>"))
    elif kind == "from":
        found = re.search(r"From: '(.*)'", trick)
        assert found
        said = verdict(page(), sender=found[1])
    else:
        said = verdict(page(css=trick))
    assert said


def test_without_a_trick_it_passes() -> None:
    assert verdict(page()) == ""
    assert verdict(*parts("alternative", f"{PLAIN}{TEXT_FOOT}", GOOD)) == ""
    assert verdict(*parts("related", GOOD, "Content-Type: image/png; name=a.png\r\nContent-ID: <a>\r\n\r\nPNG")) == ""


@pytest.mark.parametrize("path", sorted((FOLDER / "templates").glob("*.html")), ids=lambda path: path.stem)
def test_an_honest_template_passes(path: Path) -> None:
    assert verdict(path.read_text(encoding="utf-8").replace("{foot}", FOOT)) == ""

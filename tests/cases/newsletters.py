"""Newsletters as data: their ends, in five languages, put into the layouts that senders use.

Each file of ``newsletters/`` has senders (what is registered for the account) and what stands at the end of each
newsletter: ``html``, ``text`` or both; ``{u}`` is where one unsubscribes, ``{p}`` the preferences, ``{b}`` the page in
a browser, ``{i}`` the sender's ``notice``. ``right`` is "pass" or the rules that must refuse it; ``open`` says why it
is still judged wrong.

``newsletters/everyday/`` has more of them, with the ends that the programs of senders write, from writers who had not
seen the code and the word lists. ``newsletters/messages/`` has whole messages, as the programs of senders write them:
a file each, and a list for each language of who is registered and what is right. ``newsletters/blind/`` has rounds of
ends in all languages, most of them bad: each was written before the code saw it, and says how many were judged wrong.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from email.header import Header
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from bench.newsletter import CONTEXT, NOW, facts
from bench.newsletter import newsletter as sample
from mta.mail.message import Stream
from policy.accounts.account import Identity
from policy.chain import Chain, personalise, screen
from policy.profile import Profiles
from policy.text.message_text import MessageText

FOLDER = Path(__file__).parent / "newsletters"
PROFILES = ("gmail_yahoo_2024", "cleverreach", "spotler")

_WORDS = {
    "nl": ("Nieuws van deze maand", "Nieuw binnen: bekijk wat er deze week te zien is.", "Lees meer"),
    "de": ("Neues aus diesem Monat", "Neu eingetroffen: Schauen Sie, was es diese Woche gibt.", "Weiterlesen"),
    "fr": ("Les nouvelles du mois", "Nouveautés : découvrez ce qui arrive cette semaine.", "Lire la suite"),
    "es": ("Novedades de este mes", "Recién llegado: mira lo que hay esta semana.", "Leer más"),
    "en": ("This month's news", "Just in: have a look at what there is this week.", "Read more"),
}
_LINKS = {f"{{{page}}}": f"https://news.shop.example/{page}/8f3a-77c1" for page in "upb"}
_LOGO = '<img src="https://static.shop.example/logo.png" alt="Logo" width="120" height="40">'
_LAYOUTS = {path.stem: path.read_text(encoding="utf-8") for path in (FOLDER / "layouts").glob("*.html")}
_TEXT = "{title}\r\n\r\n{intro}\r\n{more}: https://shop.example/n/1\r\n\r\n{end}\r\n"


@dataclass(frozen=True, slots=True)
class Newsletter:
    """One newsletter, its registered sender and the verdict that is right."""

    language: str
    name: str
    identity: Identity
    right: str
    content: bytes
    domain: str = "shop.example"
    open: str = ""

    def verdict(self, profile: str) -> dict[str, str]:
        """Return the rules of ``profile`` that stop it, with their evidence."""
        message = sample(4000).with_content(self.content)
        known = facts(message)
        domains = known.account.domains | {self.domain}
        account = replace(known.account, identities=(self.identity,), domains=domains)
        known = replace(known, reading=MessageText(self.content), account=account)
        chain = _chain(profile)
        shared = screen(chain, message, known, NOW)
        findings = [*shared.findings]
        if not shared.refusal:
            findings += personalise(chain, shared.message, known, NOW).findings
        return {
            finding.policy: finding.evidence for finding in findings if finding.verdict in ("refuse", "hold", "error")
        }


def newsletters(*, blind: bool = True) -> Iterator[Newsletter]:
    """Yield the ends in their layouts, then the whole messages, then the ``blind`` rounds."""
    for folder, language in product((FOLDER, FOLDER / "everyday"), _WORDS):
        yield from ends_of(folder / f"{language}.toml", language)
    for language in _WORDS:
        yield from _messages(language)
    for path in sorted((FOLDER / "blind").glob("*.toml")) if blind else ():
        yield from ends_of(path)


def ends_of(path: Path, language: str = "") -> Iterator[Newsletter]:
    """Yield the ends of a file in their layouts. ``language``: that of all senders; "" if each says its own."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    for entry in data["newsletters"]:
        registered = dict(data["senders"][entry["of"]])
        notice, spoken = registered.pop("notice", ""), registered.pop("language", language)
        sender = _identity(spoken, registered)
        html = _filled(_LAYOUTS[entry["layout"]], spoken, entry["html"], notice) if "html" in entry else ""
        plain_notice = notice.replace("<br>", "\r\n")
        text = _filled(_TEXT, spoken, entry["text"].replace("\n", "\r\n"), plain_notice) if "text" in entry else ""
        content = _composed(spoken, sender, html, text)
        yield Newsletter(spoken, entry["name"], sender, entry["right"], content, open=entry.get("open", ""))


def _messages(language: str) -> Iterator[Newsletter]:
    data = tomllib.loads((FOLDER / "messages" / f"{language}.toml").read_text(encoding="utf-8"))
    for entry in data["messages"]:
        sender = dict(data["senders"][entry["of"]])
        domain = sender.pop("domain")
        content = (FOLDER / "messages" / language / f"{entry['file']}.eml").read_bytes()
        yield Newsletter(language, entry["file"], _identity(language, sender), entry["right"], content, domain)


def _identity(language: str, registered: dict[str, Any]) -> Identity:
    return Identity(language, **{**registered, "names": tuple(registered["names"])})


def _composed(language: str, identity: Identity, html: str, text: str) -> bytes:
    parts = [("plain", text)] * bool(text) + [("html", html)] * bool(html)
    sender, subject = (
        Header(said, "utf-8", maxlinelen=900).encode() for said in (identity.names[0], _WORDS[language][0])
    )
    head = (
        f"From: {sender} <news@shop.example>\r\nTo: ann.example@reader.example\r\nSubject: {subject}\r\n"
        "Date: Fri, 20 Nov 2026 10:29:00 +0100\r\nMessage-ID: <20261120.4711@app.shop.example>\r\n"
        "Reply-To: service@shop.example\r\nMIME-Version: 1.0\r\n"
    )
    bodies = [
        f"Content-Type: text/{kind}; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{body}\r\n"
        for kind, body in parts
    ]
    if len(bodies) == 1:
        return (head + bodies[0]).encode()
    inside = "".join(f"--=_part\r\n{body}" for body in bodies)
    return f'{head}Content-Type: multipart/alternative; boundary="=_part"\r\n\r\n{inside}--=_part--\r\n'.encode()


def _filled(layout: str, language: str, end: str, notice: str) -> str:
    title, intro, more = _WORDS[language]
    for place, link in (_LINKS | {"{i}": notice}).items():
        end = end.replace(place, link)
    return layout.format(lang=language, title=title, intro=intro, more=more, logo=_LOGO, end=end)


@cache
def _chain(profile: str) -> Chain:
    chain = Profiles.shipped(CONTEXT).chain(profile, Stream.MARKETING)
    assert chain
    return chain

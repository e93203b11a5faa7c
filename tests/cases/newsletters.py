"""Newsletters as data: their ends, in five languages, put into the layouts that senders use.

Each file of ``newsletters/`` has senders (what is registered for the account) and what stands at the end of each
newsletter: ``html``, ``text`` or both; ``{u}`` is where one unsubscribes, ``{p}`` the preferences. ``right`` is "pass"
or the rules that must refuse it. ``newsletters/everyday/`` has more of them, with the ends that the programs of senders
write, from writers who had not seen the code and the word lists.

``newsletters/messages/`` has whole messages, as the programs of senders write them: a file each, and a list for each
language of who is registered and what is right.
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
from mta.mail.headers import Headers
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
_LINKS = {"{u}": "https://news.shop.example/u/8f3a-77c1", "{p}": "https://news.shop.example/p/8f3a-77c1"}
_LOGO = '<img src="https://static.shop.example/logo.png" alt="Logo" width="120" height="40">'
_SIMPLE = """\
<!doctype html><html lang="{lang}"><head><meta charset="utf-8"><title>{title}</title></head><body>{logo}<h1>{title}</h1>
<p>{intro}</p><p><a href="https://shop.example/n/1">{more}</a></p><hr><div>{end}</div></body></html>
"""
_TOP = """\
<!doctype html><html lang="{lang}"><head><meta charset="utf-8"><title>{title}</title></head><body><div>{end}</div>{logo}
<h1>{title}</h1><p>{intro}</p><p><a href="https://shop.example/n/1">{more}</a></p></body></html>
"""
_TABLES = """\
<html><head><meta http-equiv="Content-Type" content="text/html; charset=utf-8"><style type="text/css">
body {{ margin: 0; padding: 0; }} td {{ font-family: Arial, sans-serif; }} .foot {{ font-size: 11px; color: #666666; }}
@media only screen and (max-width: 480px) {{ .wide {{ width: 100% !important; }} }}</style></head>
<body bgcolor="#eeeeee"><table width="100%" cellpadding="0" cellspacing="0" border="0"><tr><td align="center">
<table class="wide" width="600" cellpadding="0" cellspacing="0" bgcolor="#ffffff"><tr><td>{logo}</td></tr>
<tr><td style="padding: 20px;"><h1>{title}</h1>{intro}<br><a href="https://shop.example/n/1">{more}</a></td></tr>
<tr><td class="foot" style="padding: 20px;">{end}</td></tr></table></td></tr></table></body></html>
"""
_MJML = """\
<!doctype html><html xmlns="http://www.w3.org/1999/xhtml" xmlns:v="urn:schemas-microsoft-com:vml"><head>
<title>{title}</title><meta name="viewport" content="width=device-width, initial-scale=1">
<style type="text/css">#outlook a {{ padding:0; }} body {{ margin:0;padding:0; }}
p {{ display:block;margin:13px 0; }}</style>
<!--[if mso]><noscript><xml><o:OfficeDocumentSettings><o:PixelsPerInch>96</o:PixelsPerInch></o:OfficeDocumentSettings>
</xml></noscript><![endif]--><style type="text/css">@media only screen and (min-width:480px) {{
.mj-column-per-100 {{ width:100% !important; max-width: 100%; }} }}</style></head>
<body style="word-spacing:normal;background-color:#ffffff;">
<div style="display:none;font-size:1px;color:#ffffff;max-height:0px;overflow:hidden;">{intro}</div>
<div style="background-color:#ffffff;"><!--[if mso | IE]><table align="center" width="600"><tr><td><![endif]-->
<div style="margin:0px auto;max-width:600px;"><table align="center" border="0" cellpadding="0" role="presentation"
style="width:100%;"><tbody><tr><td style="direction:ltr;font-size:0px;padding:20px 0;text-align:center;">
<div class="mj-column-per-100" style="font-size:0px;
text-align:left;display:inline-block;vertical-align:top;width:100%;">
<table border="0" role="presentation" width="100%"><tbody>
<tr><td style="font-size:0px;padding:10px 25px;word-break:break-word;">{logo}<div
style="font-family:Arial;font-size:20px;line-height:1;text-align:left;color:#333333;">{title}</div></td></tr>
<tr><td style="font-size:0px;padding:10px 25px;word-break:break-word;"><div
style="font-family:Arial;font-size:13px;line-height:1.5;text-align:left;color:#333333;">{intro}
<a href="https://shop.example/n/1">{more}</a></div></td></tr>
<tr><td style="font-size:0px;padding:10px 25px;word-break:break-word;"><div
style="font-family:Arial;font-size:12px;line-height:1.5;text-align:left;color:#555555;">{end}</div></td></tr>
</tbody></table></div></td></tr></tbody></table></div><!--[if mso | IE]></td></tr></table><![endif]--></div>
</body></html>
"""
_LAYOUTS = {"simple": _SIMPLE, "top": _TOP, "tables": _TABLES, "mjml": _MJML}
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

    def verdict(self, profile: str) -> dict[str, str]:
        """Return the rules of ``profile`` that stop it, with their evidence."""
        message = replace(sample(4000), content=self.content, headers=Headers.split(self.content))
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


def newsletters() -> Iterator[Newsletter]:
    """Yield the ends in their layouts, then the whole messages."""
    for folder, language in product((FOLDER, FOLDER / "everyday"), _WORDS):
        data = tomllib.loads((folder / f"{language}.toml").read_text(encoding="utf-8"))
        senders = {name: _identity(language, entry) for name, entry in data["senders"].items()}
        for entry in data["newsletters"]:
            sender = senders[entry["of"]]
            html = _filled(_LAYOUTS[entry["layout"]], language, entry["html"]) if "html" in entry else ""
            text = _filled(_TEXT, language, entry["text"].replace("\n", "\r\n")) if "text" in entry else ""
            yield Newsletter(language, entry["name"], sender, entry["right"], _composed(language, sender, html, text))
    for language in _WORDS:
        yield from _messages(language)


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


def _filled(layout: str, language: str, end: str) -> str:
    title, intro, more = _WORDS[language]
    for place, link in _LINKS.items():
        end = end.replace(place, link)
    return layout.format(lang=language, title=title, intro=intro, more=more, logo=_LOGO, end=end)


@cache
def _chain(profile: str) -> Chain:
    chain = Profiles.shipped(CONTEXT).chain(profile, Stream.MARKETING)
    assert chain
    return chain

"""Imprint: every mail shows who stands behind it, as registered for the account: its legal notice.

The identity registered in one language must be there as a whole, in text that shows. Hidden text and the alternative
text of pictures prove nothing. The answer names what is missing, what was expected, and what stands there instead.

It must never pass for a heading ("Impressum") alone, nor for somebody else's notice.

*Limits.* The page behind a linked notice is not fetched: where the profile accepts a link, it must lead to a verified
domain of the account, and the name must show all the same. Text in a picture cannot be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field as Setting

from config.notation import Section
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.account import Account, Identity
from policy.base import Facts, Pass, Refuse, Verdict
from policy.house import House
from policy.imprint import Field, Unregistered, Want, either, missing, registered, wants
from policy.lists import bare, shipped
from policy.notice import fold, phrases, together
from policy.reading import Image, Link, Reading
from policy.registers import shown_in
from policy.words import shown

Named = Literal["name", "address", "phone", "email", "register", "vat", "representative", "logo"]

LANGUAGES = {"nl": "Dutch", "de": "German", "fr": "French", "es": "Spanish", "en": "English"}
LOGO = 16  # pixels: smaller pictures are spacers, and count who opens a mail


@dataclass(frozen=True, slots=True)
class _Judged:
    """What is missing of one identity; ``linked``: a link stands for it."""

    identity: Identity
    lacking: tuple[Want, ...]


class Imprint:
    name = "imprint"

    class Settings(Section):
        """What the legal notice must show."""

        fields: list[Named] = Setting(["name", "address"], min_length=1)
        """Fields that must all show; register, vat and representative only if the account has registered them."""
        any_of: list[Literal["phone", "email"]] = Setting(["phone", "email"])
        """One of these must show; empty: none need."""
        linked: Literal["refuse", "accept"] = "refuse"
        """Whether a link to the notice on the account's own site may stand for all but its name and logo."""
        plain_text: Literal["ignore", "require"] = "ignore"
        """Whether plain text beside HTML must carry the notice too."""
        po_box: Literal["refuse", "accept"] = "refuse"
        """Whether a post-office box is a postal address."""

    def __init__(self, settings: Settings, house: House) -> None:
        self._settings = settings
        self._fields = tuple(Field(name) for name in settings.fields)
        self._any_of = tuple(Field(name) for name in settings.any_of)
        groups = shipped("imprint")
        self._headings = phrases(bare(name) for language in LANGUAGES for name in groups[language])
        self._po_box = phrases(map(bare, groups["po_box"]))

    def check(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        account, reading = facts.account, facts.reading
        if not account.identities:
            return _refuse(f"no identity is registered for account {account.name}; register who stands behind it")
        if Field.LOGO in self._fields and not any(map(_is_logo, reading.images)):
            return _refuse("no logo shows; put a picture of it into the HTML (<img src=...>)")
        texts = [fold(reading.visible)]
        if self._settings.plain_text == "require" and reading.text and reading.html_text:
            texts.append(fold(reading.text))
        judged, faults = [], []
        for identity in account.identities:
            try:
                judged.append(self._judge(identity, texts))
            except Unregistered as error:
                faults.append(f"the identity registered for account {account.name} {error}; correct it")
        if not judged:
            return _refuse(faults[0])
        best = min(judged, key=lambda one: len(one.lacking))
        language = LANGUAGES.get(best.identity.language, best.identity.language)
        if not best.lacking:
            return Pass(), f"the legal notice of {best.identity.names[0]} shows in {language}"
        link = self._link(reading.links, account) if self._settings.linked == "accept" else None
        if link and all(want.field is not Field.NAME for want in best.lacking):
            return Pass(), f"the legal notice of {best.identity.names[0]} is linked ({shown(link.url)})"
        return _refuse(self._explain(best, account, reading))

    def _judge(self, identity: Identity, texts: Sequence[str]) -> _Judged:
        """What ``identity`` lacks in any of ``texts``."""
        if self._settings.po_box == "refuse" and self._po_box.search(bare(identity.street)):
            raise Unregistered(f"has a post-office box for an address ({identity.street})")
        wanted = wants(identity, self._fields)
        if self._any_of:
            wanted += (either(registered(identity, self._any_of)),)
        lacking = [want for text in texts for want in missing(text, wanted)]
        return _Judged(identity, tuple(dict.fromkeys(lacking)))

    def _link(self, links: Sequence[Link], account: Account) -> Link | None:
        """A link that is called like a notice and leads to the account's own site."""
        for link in links:
            if self._headings.search(bare(link.words)) and _host(link.url) in account.domains:
                return link
        return None

    def _explain(self, judged: _Judged, account: Account, reading: Reading) -> str:
        language = LANGUAGES.get(judged.identity.language, judged.identity.language)
        lacking = together(
            f"the {want.title} ({want.expected}{_instead(want, judged, reading)})" for want in judged.lacking
        )
        unread = f"; part of the message could not be read: {reading.fault}" if reading.fault else ""
        return (
            f"the legal notice does not show {lacking}; write it into text that shows, "
            f"as registered in {language} for account {account.name}{unread}"
        )


def _instead(want: Want, judged: _Judged, reading: Reading) -> str:
    """What stands in the message in place of what is missing, as the end of an explanation."""
    for hidden in reading.hidden:
        if not missing(fold(hidden.text), (want,)):
            return f", which is there but does not show: {hidden.how.value}"
    if not missing(fold("\n".join(image.alt for image in reading.images)), (want,)):
        return ", which stands in the alternative text of a picture only"
    identity = judged.identity
    if want.field is Field.REGISTER:
        others = shown_in(reading.visible, identity.register, identity.country)
        if others:
            return f"; the message shows {', '.join(map(shown, others))}"
    return ""


def _is_logo(image: Image) -> bool:
    sizes = [size for size in (image.width, image.height) if size is not None]
    return all(size >= LOGO for size in sizes)


def _host(url: str) -> str:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    return host.removeprefix("www.")


def _refuse(fact: str) -> tuple[Verdict, str]:
    return Refuse(Reply(550, "5.7.1", f"imprint: {fact}")), ""

"""Imprint: every message shows the legal notice of the sender, as registered for the account.

The identity registered in one language must appear completely, in visible text. Hidden text and the alternative
text of images prove nothing. The rejection names what is missing, what was expected, and what was found instead.

With ``footer = "append"`` the service writes the notice itself (``policy.footer``), in the language of each text: all
that is registered. What has to be registered is the same.

Invariants: a heading ("Impressum") alone never passes, nor does another company's notice.

If the profile takes a linked notice, the link must lead to a verified domain of the account, and the name must be
visible all the same. With ``linked = "fetch"`` its page is looked at when the mailing is confirmed with a message, and
must show all that is required.

Limitations: with ``linked = "accept"`` nobody looks at the page. Text in images cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache, lru_cache
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field as Setting

from config.types import Section
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.accounts.account import Account, Identity
from policy.base import Amend, Facts, PageVerdict, Pass, Refuse, Verdict
from policy.footer.wording import imprint_notice
from policy.footer.writable import writing_fault
from policy.html.web_page import WebPage
from policy.imprint.gaps import LANGUAGES, Gaps, explain
from policy.imprint.legal_notice import Field, Shown, Unregistered, Want, either, registered, wants
from policy.rule_context import RuleContext
from policy.text.header_text import shown
from policy.text.message_text import Image, Link, MessageText, View
from policy.text.text_match import phrases, together
from policy.wordlists import bare, shipped

Named = Literal["name", "address", "phone", "email", "register", "vat", "representative", "logo"]

LOGO = 16  # pixels: smaller pictures are spacers, and count who opens a mail


class Imprint:
    name = "imprint"
    content_only = True

    class Settings(Section):
        """What the legal notice must contain."""

        fields: list[Named] = Setting(["name", "address"], min_length=1)
        """Required fields; register, vat and representative only if registered for the account."""
        any_of: list[Literal["phone", "email"]] = Setting(["phone", "email"])
        """At least one of these is required; empty: none."""
        linked: Literal["refuse", "accept", "fetch"] = "refuse"
        """Whether a link to the notice on the account's own site may replace everything except name and logo: never,
        unseen, or if its page showed the notice when the mailing was confirmed with a message."""
        plain_text: Literal["ignore", "require"] = "require"
        """Whether the plain text alternative of an HTML message must contain the notice too, unless it is a note that
        only leads to the page."""
        po_box: Literal["refuse", "accept"] = "refuse"
        """Whether a post-office box counts as a postal address."""
        footer: Literal["require", "append"] = "require"
        """`require` the notice in the message, or `append` it: the service writes what is registered at the end of each
        text, or where it says `{{imprint}}`."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._settings = settings
        self.personal = settings.footer == "append"  # so that all that is written is written at once
        self._fields = tuple(Field(name) for name in settings.fields)
        self._any_of = tuple(Field(name) for name in settings.any_of)
        self._headings, self._po_box = _headings(), _po_box()

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        account, reading = facts.account, facts.reading
        if not account.identities:
            return _refuse(
                f"no identity is registered for account {account.name}; register who stands behind it "
                "(mta account identity set)"
            )
        if Field.LOGO in self._fields and not any(map(_is_logo, reading.images)):
            return _refuse("no logo shows; put a picture of it into the HTML (<img src=...>)")
        texts = [] if self._settings.footer == "append" else reading.views
        judged, faults = self._judge(account, texts)
        if not judged:
            return _refuse(faults[0])
        if self._settings.footer == "append":
            return self._append(message, facts, [one.identity for one in judged])
        best = min(judged, key=lambda one: len(one.lacking))
        if not best.lacking:
            fault = self._lacking_in_plain_text(account, reading)
            said = f"the legal notice of {best.identity.names[0]} shows in {best.language}"
            return _refuse(fault) if fault else (Pass(), said)
        if all(want.field is not Field.NAME for want in best.lacking) and (link := self._link(reading.links, account)):
            fault, seen = self._linked(link, facts)
            if not fault:
                return Pass(), f"the legal notice of {best.identity.names[0]} is linked ({shown(link.url)}{seen})"
            return _refuse(f"{explain(best, account.name, reading)}; {fault}")
        return _refuse(explain(best, account.name, reading))

    def pages(self, message: Message, facts: Facts) -> Sequence[str]:
        link = self._link(facts.reading.links, facts.account) if self._settings.linked == "fetch" else None
        return [link.url] if link else ()

    def on_page(self, page: WebPage, facts: Facts) -> PageVerdict:
        if page.fault:
            return PageVerdict(f"cannot be read: {page.fault}", "")
        judged, faults = self._judge(facts.account, [View(f"{page.title}\n{page.text}")])
        if not judged:
            return PageVerdict(faults[0] if faults else "no identity is registered for the account", "")
        best = min(judged, key=lambda one: len(one.lacking))
        if best.lacking:
            lacking = together(f"the {want.title} ({want.expected})" for want in best.lacking)
            return PageVerdict(f"does not show {lacking}, as registered in {best.language}", "")
        return PageVerdict("", f"it shows the legal notice of {best.identity.names[0]} in {best.language}")

    def _judge(self, account: Account, texts: Sequence[View]) -> tuple[list[Gaps], list[str]]:
        """Return what each identity lacks in ``texts``, and why identities could not be judged."""
        judged, faults = [], []
        for identity in account.identities:
            try:
                judged.append(Gaps(identity, self._lacking(identity, texts)))
            except Unregistered as error:
                faults.append(
                    f"the identity registered for account {account.name} {error}; correct it (mta account identity set)"
                )
        return judged, faults

    def _lacking_in_plain_text(self, account: Account, reading: MessageText) -> str:
        """Return what the plain text beside a page lacks, or ""."""
        texts = reading.plain_alternatives if self._settings.plain_text == "require" else ()
        for text in texts:
            best = text.kept((self, account.identities), lambda: self._best(account, text))  # noqa: B023
            if best.lacking:
                return f"in the plain text beside the page, {explain(best, account.name, reading)}"
        return ""

    def _best(self, account: Account, text: View) -> Gaps:
        """Return what the identity lacks of which ``text`` shows most; one of them can be judged."""
        judged, _ = self._judge(account, [text])
        return min(judged, key=lambda one: len(one.lacking))

    def _linked(self, link: Link, facts: Facts) -> tuple[str, str]:
        """Return why a linked notice does not count, or "", and what is known of its page."""
        if self._settings.linked == "accept":
            return "", ""
        known = facts.mailing.pages.find(self.name, link.url) if facts.mailing else None
        if known is None:
            return (
                f"the page of {shown(link.url, 100)} was not looked at: confirm the mailing with a message that links "
                "to it (mta mailing confirm --message)",
                "",
            )
        if known.fault:
            return f"the page of {shown(link.url, 100)}: {known.fault} (looked at {known.at:%Y-%m-%d})", ""
        return "", f", looked at {known.at:%Y-%m-%d}"

    def _append(self, message: Message, facts: Facts, identities: Sequence[Identity]) -> tuple[Verdict, str]:
        writer, notice = facts.reading.writer, imprint_notice(identities)
        if fault := writing_fault(message, facts):
            return _refuse(fault)
        written = dict.fromkeys(map(notice.language, writer.languages))
        named = " and ".join(f"{notice.wordings[each][0].text} ({each})" for each in written)
        return Amend((), f"the registered imprint was written into the message: {named}", notices=(notice,)), ""

    def _lacking(self, identity: Identity, texts: Sequence[View]) -> tuple[Want, ...]:
        """What of ``identity`` does not show in each of ``texts``. Raises Unregistered."""
        if self._settings.po_box == "refuse" and _has_box(self._po_box, identity.street):
            raise Unregistered(f"has a post-office box for an address ({identity.street})")
        wanted = wants(identity, self._fields)
        if self._any_of:
            wanted += (either(registered(identity, self._any_of)),)

        def missing(view: View) -> list[Want]:
            return view.kept((self, identity), lambda: Shown(view.text).missing(wanted))

        return tuple(dict.fromkeys(want for view in texts for want in missing(view)))

    def _link(self, links: Sequence[Link], account: Account) -> Link | None:
        """A link that is called like a notice and leads to the account's own site, if one may count."""
        if self._settings.linked == "refuse":
            return None
        for link in links:
            if self._headings.search(bare(link.words)) and _host(link.url) in account.domains:
                return link
        return None


@lru_cache(1024)
def _has_box(boxes: re.Pattern[str], street: str) -> bool:
    return boxes.search(bare(street)) is not None


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


@cache
def _headings() -> re.Pattern[str]:
    groups = shipped("imprint")
    return phrases(bare(name) for language in LANGUAGES for name in groups[language])


@cache
def _po_box() -> re.Pattern[str]:
    return phrases(map(bare, shipped("imprint")["po_box"]))

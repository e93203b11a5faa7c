"""Unsubscribe: the text of a marketing message shows an unsubscribe link, at once: no
login, survey, letter, fee or delay before it.

What mail clients display from the header is checked by the rule ``list_unsubscribe``.

With ``footer = "append"`` the service writes its own link (``policy.footer``), one for each recipient, which nobody can
leave out.

When a mailing is confirmed with a message, the page behind its link is looked at (``page``). Links of the same shape
are judged by what was seen then: no message waits for a page.

Invariants: a link that is not visible never counts. A link whose page was found to have an obstacle never passes.

Limitations: without a confirmation by message a link's text, the surrounding sentence and its address are all that is
judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from pydantic import Field as Setting

from config.types import Section
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Amend, Facts, PageVerdict, Pass, Refuse, Verdict
from policy.footer.wording import unsubscribe_notice
from policy.footer.writable import writing_fault
from policy.html.web_page import WebPage
from policy.permission.recipient_claim import claim
from policy.permission.unsubscribe_links import Found, UnsubscribeLinks, UnsubscribeOffer, offer_of
from policy.permission.unsubscribe_page import UnsubscribePages, page_fault
from policy.rule_context import RuleContext
from policy.text.header_text import shown
from policy.text.message_text import Link, MessageText, View
from policy.text.obstacle_grammar import AT_ONCE, Bar, Obstacle
from policy.text.unsubscribe_grammar import UnsubscribeGrammar

_REMEDIES = {
    Bar.FIRST: "let the link unsubscribe at once, with nothing to do or to show before",
    Bar.COST: "let it cost nothing",
    Bar.ANOTHER_WAY: "let the link be enough",
    Bar.IMPOSSIBLE: "let readers unsubscribe at any time",
    Bar.CONDITION: "let the link unsubscribe at once and from all of it, and tie it to nothing",
    Bar.ADDRESS: "link to a page that unsubscribes at once",
}


class UnsubscribeLink:
    name = "unsubscribe"
    content_only = True

    class Settings(Section):
        """What the text must contain."""

        link: Literal["required", "optional"] = "required"
        """Whether the text must contain an unsubscribe link."""
        obstacles: Literal["refuse", "allow"] = "refuse"
        """What to do with a message that tells of an obstacle before its link (a login, a survey, a fee, a letter, a
        delay): `refuse` it, or `allow` it."""
        plain_text: Literal["ignore", "require"] = "require"
        """Whether the plain text alternative of an HTML message must contain a link too, unless it is a note that only
        leads to the page."""
        delay_days: int = Setting(AT_ONCE, ge=0, le=60)
        """How many days unsubscribing may take, by what the message says."""
        footer: Literal["require", "append"] = "require"
        """`require` a link in the message, or `append` ours: at the end of each text, or where it says
        `{{unsubscribe}}`."""
        page: Literal["ignore", "check", "require"] = "check"
        """`check` the page behind the link when the mailing is confirmed with a message; `require` that the link of
        each message was checked; or `ignore` pages."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._settings, self._context = settings, context
        self.personal = settings.footer == "append"  # a link for each recipient
        ours = f"{context.web_url}/u/" if context.web_url else None
        self._ours = ours
        self._links = UnsubscribeLinks(UnsubscribeGrammar.shipped(), ours, settings.delay_days)

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        append = self._settings.footer == "append"
        url = ""
        for view, announced in zip(self._views(facts.reading), self.beside(message, facts.reading), strict=True):
            found = view.kept((self, announced), lambda: self._links.find(view, announced))  # noqa: B023
            if found.obstacle and self._settings.obstacles == "refuse":
                barred = f'the link {shown(found.url, 100)} is barred by "{shown(found.obstacle.quoted, 120)}"'
                return _refuse(f"{barred} ({found.obstacle.bar.value}); {self._remedy(found.obstacle)}")
            if not append and found.offer is UnsubscribeOffer.NONE and self._settings.link == "required":
                where = "" if view in facts.reading.views else "in the plain text beside the page, "
                return _refuse(where + self._missing(facts, found, len(view.links)))
            if (
                found.url != url
                and self._is_checked(found.url)
                and (fault := page_fault(facts, self.name, found.url, self._settings.page))
            ):
                return _refuse(fault)
            url = url or found.url
        if append:
            return self._append(message, facts)
        return Pass(), f"shows {url[:200]}" if url else "shows no link, and needs none"

    def pages(self, message: Message, facts: Facts) -> Iterator[str]:
        for view in self._views(facts.reading):
            found = self._links.find(view)
            if found.offer is UnsubscribeOffer.OPEN and self._is_checked(found.url):
                yield found.url

    def beside(self, message: Message, reading: MessageText) -> tuple[tuple[str, ...], ...]:
        """Return, for each view, its links that the header offers."""
        offer = offer_of(message.headers)
        return tuple(
            tuple(url for url in offer.https if url in view.urls) if offer else () for view in self._views(reading)
        )

    def _views(self, reading: MessageText) -> tuple[View, ...]:
        """Return what each reader sees."""
        return reading.views if self._settings.plain_text == "ignore" else reading.views + reading.plain_alternatives

    def on_page(self, page: WebPage, facts: Facts) -> PageVerdict:
        return UnsubscribePages.shipped().judge(page).verdict

    def _is_checked(self, url: str) -> bool:
        """Whether a page is looked at: not ours, and not if ours is written into each message anyway."""
        if self._settings.page == "ignore" or self._settings.footer == "append":
            return False
        return url[:8].lower() == "https://" and not (self._ours and url.startswith(self._ours))

    def _append(self, message: Message, facts: Facts) -> tuple[Verdict, str]:
        if self._context.web_url is None:
            text = "unsubscribe: this service has no address for unsubscribe links yet; its operator sets one"
            return Refuse(Reply(451, "4.3.5", f"{text} (web.public.url)")), ""
        if fault := writing_fault(message, facts):
            return _refuse(fault)
        token = self._context.tokens.make(claim("u", message, facts))
        registered = next((identity.language for identity in facts.account.identities), "")
        notice = unsubscribe_notice(f"{self._context.web_url}/u/{token}", registered)
        languages = ", ".join(dict.fromkeys(map(notice.language, facts.reading.writer.languages)))
        return Amend((), f"our own link was written into the message: {languages}", notices=(notice,)), ""

    def _remedy(self, obstacle: Obstacle) -> str:
        if obstacle.bar is Bar.DELAY:
            return f"let it take effect within {self._settings.delay_days} days"
        return _REMEDIES[obstacle.bar]

    def _missing(self, facts: Facts, found: Found, links: int) -> str:
        """Return what the message has in place of a link that works."""
        if found.url:
            return f"the link {shown(found.url, 100)} cannot be used: {found.fault}; link to an https address of yours"
        for piece in facts.reading.unproven:
            hidden = self._links.find(View("", tuple(Link(url, words) for url, words in piece.links)))
            if hidden.offer is not UnsubscribeOffer.NONE:
                return (
                    f"the link {shown(hidden.url, 100)} is there, but it is not proved that it shows: "
                    f"{shown(piece.why, 80)}; take that out, or write the link elsewhere"
                )
        return (
            f"none of the {links} links in the text is for unsubscribing; "
            "add one that shows, such as <a href=...>Unsubscribe</a>"
        )


def _refuse(fact: str) -> tuple[Verdict, str]:
    return Refuse(Reply(550, "5.7.1", f"unsubscribe: {fact}")), ""

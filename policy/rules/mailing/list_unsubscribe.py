"""List-Unsubscribe: mail clients can unsubscribe with one click (RFC 8058), by a link of ours that identifies the
recipient.

An application's own header is kept if it does all of that; a lesser one is completed with our link, or rejected.

Invariants: the header never has two https links, never promises one click for a link that is not ours or not declared
to
support it, and never shows an address.

When a mailing is confirmed with a message, the page that an application's link shows to a browser is looked at
(``page``). The one click itself is never tried: that would unsubscribe a person.

Limitations: an application's link may show an honest page and ignore the POST of a mail program.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from config.types import Section
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Amend, Facts, PageVerdict, Pass, Refuse, Verdict
from policy.header_fields import fold
from policy.html.web_page import WebPage
from policy.permission.recipient_claim import claim
from policy.permission.unsubscribe_links import ONE_CLICK, Offer, offer_of
from policy.permission.unsubscribe_page import UnsubscribePages, page_fault
from policy.rule_context import RuleContext


class ListUnsubscribe:
    name = "list_unsubscribe"
    personal = True

    class Settings(Section):
        """What to do with fields set by the application."""

        own: Literal["keep", "replace", "refuse"] = "keep"
        """`List-Unsubscribe` set by the application that supports one click (RFC 8058): `keep` it, `replace` it by
        ours,
        or `refuse` the message."""
        incomplete: Literal["complete", "refuse"] = "complete"
        """One that does not: `complete` it with our link (its mail address stays), or `refuse` the message."""
        page: Literal["ignore", "check", "require"] = "check"
        """`check` the page behind an application's link when the mailing is confirmed with a message; `require` that
        the link of each message was checked; or `ignore` pages."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._settings, self._context = settings, context

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        offer, settings = offer_of(message.headers), self._settings
        if offer and settings.own == "refuse":
            return _refuse("List-Unsubscribe is written by this service; leave it out")
        if offer and self._keeps(offer):
            if self._is_checked(offer) and (fault := page_fault(facts, self.name, offer.https[0], settings.page)):
                return _refuse(fault)
            return Pass(), f"the application's own: {offer.https[0][:200]}"
        if offer and offer.fault and settings.incomplete == "refuse":
            return _refuse(
                f"one click (RFC 8058) cannot work: {offer.fault}; send exactly one https link and "
                f"`List-Unsubscribe-Post: {ONE_CLICK}`, or leave both fields out"
            )
        if self._context.web_url is None:
            text = "list_unsubscribe: this service has no address for unsubscribe links yet; its operator sets one"
            return Refuse(Reply(451, "4.3.5", f"{text} (web.public.url)")), ""
        uris = self._uris(message, facts, offer)
        fields = (
            fold("List-Unsubscribe", [f"{uri}," for uri in uris[:-1]] + uris[-1:]),
            fold("List-Unsubscribe-Post", [ONE_CLICK]),
        )
        what = "our own link" if offer is None else "our link in place of the application's"
        why = f"; {offer.fault}" if offer and offer.fault else ""
        return Amend(fields, f"List-Unsubscribe: {what}, {len(uris)} addresses{why}"), ""

    def pages(self, message: Message, facts: Facts) -> Sequence[str]:
        offer = offer_of(message.headers)
        return offer.https if offer and self._keeps(offer) and self._is_checked(offer) else ()

    def on_page(self, page: WebPage, facts: Facts) -> PageVerdict:
        return UnsubscribePages.shipped().judge(page).verdict

    def _keeps(self, offer: Offer) -> bool:
        return not offer.fault and self._settings.own == "keep"

    def _is_checked(self, offer: Offer) -> bool:
        ours = self._context.web_url
        return self._settings.page != "ignore" and not (ours and offer.https[0].startswith(f"{ours}/u/"))

    def _uris(self, message: Message, facts: Facts, offer: Offer | None) -> list[str]:
        """Ours first, for receivers use the first that they can (RFC 2369 2); then an application's mail address."""
        token = self._context.tokens.make(claim("u", message, facts))
        uris = [f"<{self._context.web_url}/u/{token}>"]
        if self._context.returns:
            uris.append(f"<mailto:unsubscribe@{self._context.returns}?subject={token}>")
        if offer and self._settings.own == "keep":
            uris += [f"<{uri}>" for uri in offer.mailto[:1] if uri.isascii() and uri.isprintable()]
        return uris


def _refuse(fact: str) -> tuple[Verdict, str]:
    return Refuse(Reply(550, "5.7.1", f"list_unsubscribe: {fact}")), ""

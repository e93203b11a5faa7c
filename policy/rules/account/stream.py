"""Stream: a credential sends only what it was granted, marketing mail has an envelope sender, and transactional mail
does not look like a mailing.

A password leaked from a shop's order system must not be usable for a newsletter, nor the reverse. What bounces from
MAIL FROM:<> reaches no one and cleans no list; such mail should be delivery reports and automatic replies (RFC 5321
4.5.5). A header field is quickly written: what a message shows counts, not what it calls itself. A profile or a
credential may allow signs by name, for a ticket system that writes List-Id.

Limitations: an operator who observes this rule or a sign, or allows one, lets such mail pass; whoever unsubscribed does
not get it even then (rule ``suppressed``). Advertising without any mark is told only by the samples that the credential
was granted for.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from pydantic import Field

from config.types import Section
from mta.mail.message import Message, Stream
from mta.mail.reply import Reply
from policy.base import Facts, Observe, Pass, Refuse, Verdict
from policy.permission.marketing_signs import MailingMark, MailingSign
from policy.rule_context import RuleContext
from policy.text.header_text import decoded, shown

SignName = Literal[
    "list_id", "list_unsubscribe", "list_fields", "precedence", "campaign", "mailing", "unsubscribe_link", "recipients",
    "repeated_text",
]  # fmt: skip


class StreamAllowed:
    name = "stream"

    class Settings(Section):
        """What transactional mail may look like; the streams themselves belong to the credential."""

        allow: list[SignName] = Field(default_factory=list)
        """Marks of a mailing that it may show, such as `list_id`; a credential may be allowed more."""
        observe: list[SignName] = Field(default_factory=list)
        """Marks that are recorded only, as what would have been refused."""
        recipients: int = Field(100, ge=1)
        """Most recipients of one message; more of them make it a mailing."""
        repeats: int = Field(0, ge=0)
        """Most recipients of one text within an hour, over all workers; 0: not counted."""
        purpose: Literal["required", "optional"] = "optional"
        """Whether a credential needs a reviewed purpose. If it has any, its subjects must fit a sample of one."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._settings = settings
        self.counts_texts = settings.repeats > 0
        self._allowed, self._observed = frozenset(settings.allow), frozenset(settings.observe)

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        stream, allowed = facts.stream, facts.grant.streams
        if stream is Stream.MARKETING and message.envelope.sender is None:
            return _refuse(
                "marketing mail needs an envelope sender, for bounces reach no one without; "
                "send MAIL FROM:<address> instead of MAIL FROM:<>"
            )
        if allowed is not None and stream not in allowed:  # None: what the profile is for, and it has this chain
            return _refuse(_not_granted(message, stream, allowed))
        if stream is Stream.MARKETING:
            return Pass(), "marketing allowed"
        return self._on_transactional(message, facts)

    def _on_transactional(self, message: Message, facts: Facts) -> tuple[Verdict, str]:
        allowed = self._allowed | facts.grant.signs
        seen, observed = [], None
        for mark in self._marks(message, facts):
            if mark.sign.value in allowed:
                seen.append(mark.where)
            elif mark.sign.value in self._observed:
                observed = observed or mark
            else:
                return Refuse(_looks_like_mailing(mark)), ""
        purposes = facts.grant.purposes
        evidence = ["transactional allowed", *([f"although it shows {', '.join(seen)}"] if seen else [])]
        if purposes or self._settings.purpose == "required":
            subject = decoded(message.headers.value(b"subject") or "")
            fitting = next((purpose for purpose in purposes if purpose.fits(subject)), None)
            if fitting is None:
                granted = "; ".join(map(str, purposes[:5])) or "nothing"
                return _refuse(
                    f'the subject "{shown(subject, 60)}" fits no sample of what the credential was granted for '
                    f"({granted}); send it with `X-MTA-Stream: marketing` to people who agreed, or have it reviewed "
                    '(mta account credential scope, --purpose "what: a subject")'
                )
            evidence.append(f"fits {fitting}")
        if observed:
            return Observe(Refuse(_looks_like_mailing(observed))), ""
        return Pass(), ", ".join(evidence)

    def _marks(self, message: Message, facts: Facts) -> Iterator[MailingMark]:
        """Yield the marks that count."""
        yield from facts.marks.all
        if (recipients := len(message.envelope.recipients)) > self._settings.recipients:
            yield MailingMark(
                MailingSign.RECIPIENTS, f"{recipients} recipients at once (limit {self._settings.recipients})"
            )
        if self.counts_texts and facts.repeats > self._settings.repeats:
            text = f"the same text to {facts.repeats} recipients within an hour (limit {self._settings.repeats})"
            yield MailingMark(MailingSign.REPEATED_TEXT, text)


def _looks_like_mailing(mark: MailingMark) -> Reply:
    return _reply(
        f"the message is sent as transactional, but shows {mark.where}, which makes it marketing; send it with "
        "`X-MTA-Stream: marketing` to people who agreed, or have the sign allowed for the credential "
        f"(mta account credential scope, --allow-sign {mark.sign.value})"
    )


def _not_granted(message: Message, stream: Stream, allowed: frozenset[Stream]) -> str:
    credential = message.origin.credential
    who = f'credential "{credential}"' if credential else "this client"
    others = " and ".join(sorted(f"{other.value} mail" for other in allowed)) or "nothing"
    way_out = "" if stream is Stream.MARKETING else ", which is granted after a review (ask the postmaster)"
    return f"{who} may send {others}, this message is {stream.value}; use a credential for {stream.value} mail{way_out}"


def _refuse(fact: str) -> tuple[Verdict, str]:
    return Refuse(_reply(fact)), ""


def _reply(fact: str) -> Reply:
    return Reply(550, "5.7.1", f"stream: {fact}")

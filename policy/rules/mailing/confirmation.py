"""Confirmation: marketing mail belongs to a confirmed mailing, to a list whose origin is known.

The account confirms every send: who declares that this mailing follows the rules, when, and under which version of the
terms. Unconfirmed mail is rejected or held, as the profile says.

What was confirmed is a message (``policy.mailing.reference``): each message of the mailing is the same as one of those
that were confirmed, but for names, numbers and tokens; another one waits until it is confirmed too, or is rejected.

Invariants: a confirmation counts for its own mailing only, and not for ever.

Limitations: a mailing that was confirmed without a message may say anything, unless ``reference`` is ``required``.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Literal

from config.types import Duration, Section, default
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.accounts.mailing import (
    Confirmation,
    Mailing,
    MailingObstacle,
    mailing_hold,
    unmatched_hold,
    unmatched_text,
)
from policy.base import Facts, Pass, Refuse, Verdict
from policy.mailing.reference import Compared, Matched, Unmatched
from policy.rule_context import RuleContext

MESSAGE = " --message FILE.eml"


class Confirmed:
    name = "confirmation"

    class Settings(Section):
        """What to do with unconfirmed mail."""

        unconfirmed: Literal["refuse", "hold"] = "refuse"
        """Mail of an unconfirmed mailing: `refuse` it, or `hold` it until confirmed."""
        list_origin: Literal["approved", "known", "any"] = "approved"
        """What must be recorded about the origin of the mailing's list: a reviewer `approved` it, it is `known`, or
        nothing (`any`)."""
        unapproved: Literal["refuse", "hold"] = "refuse"
        """Mail to a list that fails `list_origin`: `refuse` it, or `hold` it until a reviewer approves."""
        reference: Literal["required", "optional"] = "optional"
        """Whether a mailing has to be confirmed with its message."""
        unmatched: Literal["refuse", "hold", "observe"] = "hold"
        """What to do with a message that differs from those that were confirmed: `refuse` it, `hold` it until it is
        confirmed too, or only `observe` (the finding says how it differs)."""
        lasts: Duration = default("30d")
        """How long a confirmation is valid; a later send needs a new mailing."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._settings = settings
        self._lasts = timedelta(seconds=settings.lasts)
        self._terms = context.terms
        self._terms_since = datetime.combine(context.terms_since, time(), UTC)
        self._terms_until = self._terms_since + context.terms_grace

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        mailing, name = facts.mailing, facts.mailing_name
        if name is None:
            return _refuse("marketing mail names its mailing; give it in X-MTA-Mailing (mta mailing add makes one)")
        if mailing is None:
            return _refuse(f'there is no mailing "{name}" of account "{facts.account.name}"; mta mailing add makes one')
        if mailing.stopped is not None:
            return _refuse(f'mailing "{mailing.name}" was stopped ({mailing.stopped}); send no more of it')
        if facts.topic is not None and facts.topic != mailing.topic:
            return _refuse(
                f'the message is about "{facts.topic}", its mailing "{mailing.name}" about "{mailing.topic}"; '
                "make a mailing of its own for it"
            )
        return self._origin(mailing) or self._word(mailing, facts.reference, now)

    def _origin(self, mailing: Mailing) -> tuple[Verdict, str] | None:
        """What keeps the mailing from its list, if anything does."""
        asked = self._settings.list_origin
        if asked == "any" or mailing.approved or (asked == "known" and mailing.origin is not None):
            return None
        if asked == "known":
            obstacle = MailingObstacle.UNKNOWN_LIST
            fact = (
                f'the origin of list "{mailing.list}" is not known; '
                "say where its addresses come from (mta account source add)"
            )
        else:
            obstacle = MailingObstacle.UNAPPROVED_LIST
            fact = f'list "{mailing.list}" waits for a reviewer to approve of its origin (mta account source)'
            if mailing.origin is None:
                fact += ", which has not been recorded yet"
        return (mailing_hold(obstacle, fact), "") if self._settings.unapproved == "hold" else _refuse(fact)

    def _word(self, mailing: Mailing, compared: Compared | None, now: datetime) -> tuple[Verdict, str]:
        """Return whether the confirmation of this send counts."""
        given, required = mailing.confirmation, self._settings.reference == "required"
        if given is None:
            how = f"mta mailing confirm {mailing.id}{MESSAGE if required else ''}"
            fact = f'mailing "{mailing.name}" is not confirmed; confirm it ({how})'
            if self._settings.unconfirmed == "hold":
                obstacle = MailingObstacle.UNMATCHED if required else MailingObstacle.UNCONFIRMED
                return mailing_hold(obstacle, fact), ""
            return _refuse(fact)
        word = f"by {given.by} at {given.at:%Y-%m-%d %H:%M} under version {given.terms} of the terms"
        if now - given.at > self._lasts:
            return _refuse(
                f'mailing "{mailing.name}" was confirmed {word}, which is too long ago; make a new mailing for a new '
                "dispatch, and confirm that"
            )
        if not self._under_terms(given, now):
            return _refuse(
                f'mailing "{mailing.name}" was confirmed {word}, but version {self._terms} is in force; '
                "make a new mailing, and confirm that"
            )
        return self._content(mailing, compared, f'mailing "{mailing.name}" confirmed {word}')

    def _content(self, mailing: Mailing, compared: Compared | None, word: str) -> tuple[Verdict, str]:
        """Return whether this is what was confirmed."""
        if isinstance(compared, Matched):
            return Pass(), f"{word}; the message is that of reference {compared.reference.number}"
        if isinstance(compared, Unmatched):
            fact = unmatched_text(mailing.id, mailing.name, compared.text)
        elif compared is None and self._settings.reference == "required":
            fact = (
                f'mailing "{mailing.name}" was confirmed without its message; '
                f"confirm that too (mta mailing confirm {mailing.id}{MESSAGE})"
            )
        else:
            return Pass(), word
        match self._settings.unmatched:
            case "observe":
                return Pass(), f"{word}; {fact}"
            case "hold":
                return unmatched_hold(fact), ""
            case "refuse":
                return _refuse(fact)

    def _under_terms(self, given: Confirmation, now: datetime) -> bool:
        """A version from before counts while the grace of the new one lasts."""
        return given.terms == self._terms or (given.at < self._terms_since and now < self._terms_until)


def _refuse(fact: str) -> tuple[Verdict, str]:
    return Refuse(Reply(550, "5.7.1", f"confirmation: {fact}")), ""

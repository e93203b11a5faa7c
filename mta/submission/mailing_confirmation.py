"""Confirm a mailing: judge the messages that it consists of, keep them as they show, release what waited for it.

``confirm_mailing`` is the one way to do it, whoever asks: each step is a function of its own, and what one of them
refuses is never recorded.

Invariants: nothing is confirmed that the account's policy would reject. What is kept is what was judged.

Limitations: the content is judged, not the recipients: each message of the mailing is judged for those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mta.mail.message import Message
from mta.store.mailings.mailing_holds import QueueMoved
from mta.store.mailings.references import NewReference
from mta.store.store import Store
from mta.submission.lint import Linted, lint
from mta.submission.prepare import Preparer, Submitter
from mta.submission.rate_limit import RateLimit
from policy.accounts.account import Account
from policy.accounts.mailing import Confirmation, Mailing
from policy.base import Finding
from policy.text.message_text import MessageText


class ConfirmationRefused(ValueError):
    """Why a mailing is not confirmed: a line for each rejection of one of its messages."""


@dataclass(frozen=True, slots=True)
class ConfirmationContext:
    """What a mailing is confirmed with: the store, the policy in force, and the version of the terms."""

    store: Store
    preparer: Preparer
    rate_limit: RateLimit
    terms: str


@dataclass(frozen=True, slots=True)
class Handed:
    """A message as the confirmer hands it over. ``name``: what it is called in a refusal, such as its file."""

    name: str
    message: Message


@dataclass(frozen=True, slots=True)
class Judged:
    """A message that the policy accepts, and what was found. ``reading``: what it says as it would leave."""

    handed: Handed
    linted: Linted
    reading: MessageText


async def confirm_mailing(
    context: ConfirmationContext,
    account: Account,
    mailing: Mailing,
    messages: Sequence[Handed],
    *,
    by: str,
    at: datetime,
) -> QueueMoved:
    """Confirm that ``mailing`` keeps to the rules and consists of ``messages``; what waited for that is released.

    Raises ConfirmationRefused, MailingError, StoreUnavailable, UnknownProfile.
    """
    word = Confirmation(at, by, context.terms)
    judged = [await _judge(context, account, mailing, word, handed) for handed in messages]
    references = [_reference(each) for each in judged]
    return await context.store.mailings.confirm(mailing.id, by=by, terms=context.terms, messages=references)


async def _judge(
    context: ConfirmationContext, account: Account, mailing: Mailing, word: Confirmation, handed: Handed
) -> Judged:
    """Judge a message by the account's whole chain, as if the mailing were confirmed and its list approved."""
    meant = replace(mailing, confirmation=word, origin=mailing.origin or "", approved=True, sample=None, references=())
    linted = await lint(context.preparer, context.rate_limit, Submitter(account), handed.message, content_of=meant)
    if linted.refusal:
        rejections = [finding.evidence for finding in linted.findings if finding.verdict in ("refuse", "error")]
        raise ConfirmationRefused("\n".join(f"{handed.name}: {text}" for text in rejections or [linted.refusal.text]))
    return Judged(handed, linted, MessageText(linted.outgoing))


def _reference(judged: Judged) -> NewReference:
    """Return what is kept of a message."""
    linted = judged.linted
    evidence = {"profile": f"{linted.profile} {linted.digest}", "findings": _plain(linted.findings)}
    return NewReference(
        content=judged.handed.message.content,
        outgoing=linted.outgoing,
        preview=judged.reading.visible,
        evidence=evidence,
    )


def _plain(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [finding._asdict() for finding in findings]

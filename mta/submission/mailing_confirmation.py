"""Confirm a mailing: judge the messages that it consists of, keep them as they show, release what waited for it.

``confirm_mailing`` is the one way to do it, whoever asks: each step is a function of its own, and what one of them
refuses is never recorded.

Invariants: nothing is confirmed that the account's policy would reject. What is kept is what was judged.

Limitations: the content is judged, not the recipients: each message of the mailing is judged for those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mta.mail.message import Message
from mta.store.mailings.mailing_holds import QueueMoved
from mta.store.mailings.references import NewReference, ReferenceContent
from mta.store.store import Store
from mta.submission.lint import Linted, lint
from mta.submission.page_check import PageLookup
from mta.submission.prepare import Preparer, Submitter
from mta.submission.preview_picture import draw
from mta.submission.rate_limit import RateLimit
from policy.accounts.account import Account
from policy.accounts.checked_pages import CheckedPages
from policy.accounts.mailing import Confirmation, Mailing
from policy.base import Finding
from policy.mailing.reference import (
    MAX_REFERENCES,
    ReadMessage,
    Reference,
    UnfitReference,
    compile_reference,
    compile_references,
    source_of,
)
from policy.text.message_text import MessageText

REMEDY = (
    "Correct the page, or the link, and confirm again. If the page is right and cannot be reached from here, an "
    "operator may accept it unseen (--skip-link-check --reason)."
)


class ConfirmationRefused(ValueError):
    """Why a mailing is not confirmed: a line for each rejection of one of its messages."""


@dataclass(frozen=True, slots=True)
class ConfirmationContext:
    """What a mailing is confirmed with: the store, the policy in force, what looks at its pages, and the version of
    the terms. ``needs_message``: the account's profile asks for a message. ``browser``: Chromium, if there is one."""

    store: Store
    preparer: Preparer
    pages: PageLookup
    rate_limit: RateLimit
    terms: str
    needs_message: bool = False
    browser: Path | None = None


@dataclass(frozen=True, slots=True)
class Handed:
    """A message as the confirmer hands it over. ``name``: what it is called in a refusal, such as its file.
    ``is_sample``: it is another copy of one that is confirmed; what differs may vary. ``was_queued``: it is one that
    was submitted before, as it would leave."""

    name: str
    message: Message
    is_sample: bool = False
    was_queued: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """A message that the policy accepts, and what was found, behind its links too. ``reading``: what it says as it
    would leave."""

    handed: Handed
    pages: CheckedPages
    linted: Linted
    reading: MessageText


@dataclass(frozen=True, slots=True)
class MailingConfirmed:
    """``references``: those that the mailing has now; ``added``: the numbers of what was confirmed now."""

    moved: QueueMoved
    references: tuple[Reference, ...]
    added: tuple[int, ...] = ()


async def confirm_mailing(
    context: ConfirmationContext,
    account: Account,
    mailing: Mailing,
    messages: Sequence[Handed],
    *,
    by: str,
    at: datetime,
) -> MailingConfirmed:
    """Confirm that ``mailing`` keeps to the rules and consists of ``messages``; what waited for that is released.

    Raises ConfirmationRefused, MailingError, StoreUnavailable, UnknownProfile.
    """
    if finding := await context.store.address_lists.holding(account.id):
        number, text = finding
        raise ConfirmationRefused(f"finding {number} about a list: {text} (mta consent findings, dismiss-finding)")
    if context.needs_message and not messages:
        raise ConfirmationRefused(
            f"profile {account.profile} asks for the message that is confirmed; hand it over (--message FILE.eml), or "
            "name one that is held (--queued ID)"
        )
    word = Confirmation(at, by, context.terms)
    judged = [await _judge(context, account, mailing, word, handed) for handed in messages]
    kept = await context.store.mailings.reference_contents(mailing.id)
    numbered, compiled = await asyncio.to_thread(_compiled, kept, judged)
    pictures = [await _picture(context, each) for each in judged]
    new = [
        _reference(each, number, sample_of, picture)
        for each, (number, sample_of), picture in zip(judged, numbered, pictures, strict=True)
    ]
    moved = await context.store.mailings.confirm(mailing.id, by=by, terms=context.terms, messages=new)
    return MailingConfirmed(moved, compiled, tuple(number for number, _ in numbered))


async def _judge(
    context: ConfirmationContext, account: Account, mailing: Mailing, word: Confirmation, handed: Handed
) -> Judged:
    """Judge a message by the account's whole chain, as if the mailing were confirmed and its list approved."""
    pages = await _look(context, account, handed)
    meant = replace(
        mailing,
        confirmation=word,
        origin=mailing.origin or "",
        approved=True,
        sample=None,
        references=(),
        pages=pages,
    )
    linted = await lint(context.preparer, context.rate_limit, Submitter(account), handed.message, content_of=meant)
    if linted.refusal:
        rejections = [finding.evidence for finding in linted.findings if finding.verdict in ("refuse", "error")]
        raise ConfirmationRefused("\n".join(f"{handed.name}: {text}" for text in rejections or [linted.refusal.text]))
    if handed.was_queued and _body(linted.outgoing) != _body(handed.message.content):
        raise ConfirmationRefused(
            f"{handed.name}: the service has written into it; hand over the message as the application submits it "
            "(--message FILE.eml)"
        )
    return Judged(handed, pages, linted, MessageText(linted.outgoing))


async def _look(context: ConfirmationContext, account: Account, handed: Handed) -> CheckedPages:
    """Return what is behind the links of a message, if the rules accept that."""
    pages = await context.pages.check(account, handed.message)
    if pages.faults:
        lines = [f"{handed.name}: {page.rule}: the page of {page.url}: {page.fault}" for page in pages.faults]
        raise ConfirmationRefused("\n".join((*lines, REMEDY)))
    return pages


def _compiled(
    kept: Sequence[ReferenceContent], judged: Sequence[Judged]
) -> tuple[list[tuple[int, int | None]], tuple[Reference, ...]]:
    """Return the number that each message gets, with that of the reference it is a sample of; and all references with
    them. Raises ConfirmationRefused."""
    counting = [each for each in kept if each.counts]
    earlier = compile_references([(each.number, each.sample_of, each.content) for each in counting])
    references = {each.number: each for each in earlier.all}
    number = max((each.number for each in kept), default=0)
    if len(counting) + len(judged) > MAX_REFERENCES:
        raise ConfirmationRefused(f"a mailing has at most {MAX_REFERENCES} references; send the others as another one")
    numbered: list[tuple[int, int | None]] = []
    for each in judged:
        number, source = number + 1, source_of(each.handed.message.content)
        try:
            if each.handed.is_sample:
                taught = _taught(references.values(), source)
                references[taught.number] = taught
                numbered.append((number, taught.number))
            else:
                references[number] = compile_reference(number, source)
                numbered.append((number, None))
        except UnfitReference as error:
            raise ConfirmationRefused(f"{each.handed.name}: {error}") from None
    return numbered, tuple(references.values())


def _taught(references: Iterable[Reference], sample: ReadMessage) -> Reference:
    """Return the reference that this is a sample of, with what the sample shows. Raises UnfitReference."""
    why = "there is no reference that it could be a sample of"
    for reference in references:
        try:
            return reference.taught(sample)
        except UnfitReference as error:
            why = f"it is no sample of reference {reference.number}: {error}"
    raise UnfitReference(why)


def _body(content: bytes) -> bytes:
    return content.partition(b"\r\n\r\n")[2]


async def _picture(context: ConfirmationContext, judged: Judged) -> bytes | None:
    """Return how the page of a message looks, None without a browser or a page."""
    page = judged.reading.page
    return await draw(page, context.browser) if context.browser and page else None


def _reference(judged: Judged, number: int, sample_of: int | None, picture: bytes | None) -> NewReference:
    """Return what is kept of a message."""
    linted = judged.linted
    evidence = {
        "profile": f"{linted.profile} {linted.digest}",
        "findings": _plain(linted.findings),
        "pages": [asdict(page) for page in judged.pages.pages],
    }
    return NewReference(
        number=number,
        sample_of=sample_of,
        content=judged.handed.message.content,
        outgoing=linted.outgoing,
        preview=judged.reading.visible,
        picture=picture,
        evidence=evidence,
    )


def _plain(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [finding._asdict() for finding in findings]

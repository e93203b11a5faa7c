"""Mailings: create, confirm, release, stop; their figures and confirmed messages.

Invariants: an account acts on its own mailings only, and does not release what waits for an operator's look.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from mta.admin.context import AdminContext
from mta.admin.errors import Forbidden, InvalidValue, NotFound, Refused
from mta.admin.files.message_file import message_of, open_preparer, submitted
from mta.admin.messages import read_content
from mta.mail.identity import MessageId, format_id
from mta.observe.labels import QueueState
from mta.store.mailings.mailing_holds import QueueMoved
from mta.store.mailings.mailing_records import MailingRecord, MailingStory
from mta.store.mailings.references import ReferenceRecord
from mta.store.queue.content import ContentMissing, whole
from mta.store.queue.queue import QueueFilter
from mta.submission.mailing_confirmation import (
    ConfirmationContext,
    ConfirmationRefused,
    Handed,
    MailingConfirmed,
    confirm_mailing,
)
from mta.submission.page_check import PageCheck, PageLookup, SkippedPageCheck
from mta.submission.preview_picture import find_browser
from mta.submission.rate_limit import RateLimit
from policy.accounts.account import Account
from policy.accounts.mailing import Mailing
from policy.mailing.profile_questions import needs_reference, sample_size

MOST_CANDIDATES = 3


@dataclass(frozen=True, slots=True)
class MailingCandidate:
    """A message of a mailing that waits for its confirmation, as ``recipient`` would get it."""

    message_id: MessageId
    recipient: str
    subject: str
    content: bytes


async def list_page(
    context: AdminContext,
    *,
    account: str | None = None,
    before: tuple[datetime, str] | None = None,
    limit: int = 100,
) -> Sequence[MailingRecord]:
    """Return the newest mailings first. Raises NotFound, StoreUnavailable."""
    return await context.store.mailings.list(await context.account_filter(account), before=before, limit=limit)


async def find(context: AdminContext, mailing_id: str) -> Mailing:
    """Return a mailing by its id, or by its name if the actor is of an account. Raises NotFound, StoreUnavailable."""
    record = await context.store.mailings.show(mailing_id.lower())
    own = context.actor.account_id
    if record is None and own is not None and (named := await context.store.mailings.find(own, mailing_id)):
        return named
    if record is None or own not in (None, record.mailing.account_id):
        raise NotFound(f"there is no mailing {mailing_id[:100]!r}")
    return record.mailing


async def story(context: AdminContext, mailing_id: str) -> MailingStory:
    """Return all that is known of a mailing. Raises NotFound, StoreUnavailable."""
    mailing = await find(context, mailing_id)
    found = await context.store.mailings.story(mailing.id)
    if found is None:
        raise NotFound(f"there is no mailing {mailing_id[:100]!r}")
    return found


async def references(context: AdminContext, mailing_id: str) -> Sequence[ReferenceRecord]:
    """Return the messages that were confirmed. Raises NotFound, StoreUnavailable."""
    return await context.store.mailings.references((await find(context, mailing_id)).id)


async def reference(context: AdminContext, mailing_id: str, number: int) -> ReferenceRecord:
    """Return one of them. Raises NotFound, StoreUnavailable."""
    for each in await references(context, mailing_id):
        if each.number == number:
            return each
    raise NotFound(f"the mailing has no confirmed message {number}")


async def candidates(context: AdminContext, mailing_id: str) -> Sequence[MailingCandidate]:
    """Return some held messages of a mailing, which could be confirmed; an operator's reading is in the audit.

    Raises NotFound, StoreUnavailable.
    """
    mailing, found = await find(context, mailing_id), []
    held = QueueFilter(account_id=mailing.account_id, mailing=mailing.id, state=QueueState.HELD)
    for entry in await context.store.queue.list(held, limit=MOST_CANDIDATES):
        story, content = await read_content(context, entry.message_id)
        if content is None:
            continue
        try:
            octets = await whole(content)
        except ContentMissing:
            continue
        found.append(MailingCandidate(entry.message_id, entry.address, story.summary.get("subject", ""), octets))
    return found


async def add(
    context: AdminContext,
    account: str,
    name: str,
    *,
    topic: str,
    list_name: str,
    category: str = "",
    sample: int | None = None,
    by: str | None = None,
) -> Mailing:
    """Make a mailing, not confirmed. ``sample``: so many messages are sent before the others are released, 0: all;
    None: as the profile says for a new list. Raises NotFound, MailingError, UnknownProfile, StoreUnavailable."""
    owner, size, who = (await context.account(account)).account, sample, by or context.actor.name
    if context.actor.account_id is not None:
        size = None  # whether a first mailing is sampled is not the account's to decide
    if size is None and await context.store.mailings.is_new_list(owner.id, list_name):
        size = sample_size(context.profiles(), owner.profile)
    async with context.audited("mailing.add", name, account_id=owner.id) as entry:
        entry.after.update(topic=topic, list=list_name, category=category, sample=size or None)
        mailing = await context.store.mailings.add(
            owner.id, name, topic=topic, list=list_name, by=who, sample=size or None, category=category.strip()
        )
        entry.after.update(id=mailing.id)
    return mailing


async def confirm(
    context: AdminContext,
    mailing_id: str,
    *,
    messages: Sequence[tuple[str, bytes, bool]] = (),
    queued: Sequence[MessageId] = (),
    skip_pages: str | None = None,
    by: str | None = None,
) -> MailingConfirmed:
    """Confirm that a mailing keeps to the rules and the current terms; what is held for that is released.

    ``messages``: of the mailing, as submitted: a name, the text, and whether it is a further sample of the one before;
    ``queued``: the same, by ids. ``skip_pages``: why the pages behind its links are accepted unseen, None: they are
    looked at.

    Raises InvalidValue, Forbidden, NotFound, Refused, MailingError, StoreUnavailable.
    """
    if skip_pages is not None:
        context.require_operator()
    mailing, store, who = await find(context, mailing_id), context.store, by or context.actor.name
    owner = store.accounts.by_id(mailing.account_id)
    if owner is None:
        raise NotFound("the account of the mailing is gone")
    handed = [await _queued(context, owner, mailing, each) for each in queued]
    for name, content, is_sample in messages:
        file = message_of(name, content, [], None)
        handed.append(Handed(file.name, submitted(file, owner), is_sample))
    async with AsyncExitStack() as stack:
        pages: PageLookup
        profiles = context.profiles()
        if skip_pages is not None:
            pages = SkippedPageCheck(profiles, who, skip_pages)
        else:
            allow_private = context.settings.testing.private_webhooks
            pages = await stack.enter_async_context(PageCheck(profiles, context.metrics, allow_private=allow_private))
        tools = await _confirmation(context, owner, pages)
        async with context.audited(
            "mailing.confirm", mailing.id, account_id=owner.id, reason=skip_pages or ""
        ) as entry:
            try:
                confirmed = await confirm_mailing(tools, owner, mailing, handed, by=who, at=datetime.now(UTC))
            except ConfirmationRefused as error:
                raise Refused(f'mailing "{mailing.name}" is not confirmed:\n{error}') from None
            entry.after.update(terms=tools.terms, released=confirmed.moved.released, messages=len(handed))
    return confirmed


async def release(context: AdminContext, mailing_id: str, *, reason: str = "", by: str | None = None) -> QueueMoved:
    """Send the remaining messages, after a look at the sample or after a stop. Raises Forbidden, NotFound,
    MailingError, StoreUnavailable."""
    if context.actor.account_id is not None:
        raise Forbidden("only an operator can release a mailing")
    mailing = await find(context, mailing_id)
    async with context.audited("mailing.release", mailing.id, account_id=mailing.account_id, reason=reason) as entry:
        entry.before.update(stopped=mailing.stopped)
        moved = await context.store.mailings.release(mailing.id, by=by or context.actor.name)
        entry.after.update(released=moved.released, still_held=moved.still_held)
    return moved


async def stop(
    context: AdminContext,
    mailing_id: str,
    *,
    reason: str,
    bounce: bool = False,
    dry_run: bool = False,
    by: str | None = None,
) -> QueueMoved:
    """Accept no more messages of a mailing, and hold or bounce what is queued. Raises InvalidValue, NotFound,
    MailingError, StoreUnavailable."""
    if not reason.strip():
        raise InvalidValue("reason", "why it is stopped must be said; clients that submit more are told")
    mailing = await find(context, mailing_id)
    if dry_run:
        queued = QueueFilter(account_id=mailing.account_id, mailing=mailing.id)
        count = (await context.store.queue.bounce(queued, reason, dry_run=True)).recipients
        return QueueMoved(bounced=count) if bounce else QueueMoved(held=count)
    async with context.audited("mailing.stop", mailing.id, account_id=mailing.account_id, reason=reason) as entry:
        moved = await context.store.mailings.halt(
            mailing.id, by=by or context.actor.name, why=reason.strip(), bounce=bounce
        )
        entry.after.update(held=moved.held, bounced=moved.bounced)
    return moved


async def remove_reference(
    context: AdminContext, mailing_id: str, number: int, *, reason: str, by: str | None = None
) -> None:
    """Withdraw a confirmed message. Raises NotFound, MailingError, StoreUnavailable."""
    mailing = await find(context, mailing_id)
    subject = f"{mailing.id} reference {number}"
    async with context.audited("mailing.reference.remove", subject, account_id=mailing.account_id, reason=reason):
        await context.store.mailings.remove_reference(mailing.id, number, by=by or context.actor.name, why=reason)


async def _confirmation(context: AdminContext, account: Account, pages: PageLookup) -> ConfirmationContext:
    settings, profiles = context.settings, context.profiles()
    preparer = await open_preparer(context.store, settings, profiles)
    rate_limit, terms = RateLimit(context.store.quotas, settings.rate_limits), settings.policy.terms.version
    needed = needs_reference(profiles, account.profile)
    browser = find_browser(settings.policy.preview_browser)
    return ConfirmationContext(context.store, preparer, pages, rate_limit, terms, needed, browser)


async def _queued(context: AdminContext, account: Account, mailing: Mailing, message_id: MessageId) -> Handed:
    """Return a message that was submitted to the mailing, as it would leave. Raises InvalidValue."""
    name = format_id(message_id)
    found = await context.store.explain.message(message_id)
    if found is None or found.account_id != account.id or found.mailing != mailing.id:
        raise NotFound(f'message {name} is not one of mailing "{mailing.name}"')
    try:
        octets = await whole(await context.store.messages.content(message_id))
    except ContentMissing:
        raise NotFound(f"message {name} is no longer queued; hand over its text") from None
    file = message_of(name, octets, found.recipients[:1], found.sender)
    return Handed(name, submitted(file, account), was_queued=True)

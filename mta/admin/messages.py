"""Messages: search them, and everything known of one.

Invariants: an account finds its own messages only; those of others look as if there were none. Whose mail an operator
has read is in the audit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from mta.admin.backoffs import waited_for
from mta.admin.context import AdminContext
from mta.admin.errors import NotFound
from mta.admin.files.message_file import MessageFile, open_preparer, submitted
from mta.mail.address import Address
from mta.mail.identity import MessageId, format_id
from mta.mail.shaping_action import OPERATOR, ShapingAction
from mta.observe.labels import QueueState
from mta.store.journal.screening_history import Rejection
from mta.store.queue.backoffs import PathBackoff
from mta.store.queue.content import ContentMissing, StoredContent, whole
from mta.store.queue.explain import Story
from mta.store.queue.message_search import MessageQuery, MessagesFound
from mta.submission.lint import Linted
from mta.submission.lint import lint as lint_message
from mta.submission.prepare import Submitter
from mta.submission.rate_limit import RateLimit
from policy.base import Suppression

NEWEST = UUID(int=2**128 - 1)
CONTENT = 256 * 1024  # octets that are shown


@dataclass(frozen=True, slots=True)
class MessageStory:
    """A message, the suppressions that hold now for its recipients, and what queued ones wait for: backoffs by
    destination, actions by id, to an account without what operators say to each other."""

    story: Story
    suppressions: Sequence[Suppression]
    backoffs: Mapping[str, PathBackoff]
    actions: Mapping[int, ShapingAction]


@dataclass(frozen=True, slots=True)
class ShownContent:
    """The beginning of a message as it is sent."""

    octets: bytes
    size: int


async def explain(context: AdminContext, message_id: MessageId) -> MessageStory:
    """Return everything known of a message. Raises NotFound, StoreUnavailable."""
    store = context.store
    story = await store.explain.message(message_id)
    if story is None or context.actor.account_id not in (None, story.account_id):
        raise NotFound(f"there is no record of {format_id(message_id)}; records are kept for retention.messages")
    addresses = [Address(*recipient.rsplit("@", 1)) for recipient in story.recipients]
    ready = {entry.destination for entry in story.queued if entry.state is QueueState.READY}
    waited = {entry.waits_for for entry in story.queued}
    return MessageStory(
        story,
        await store.suppressions.find(story.account_id, addresses),
        await waited_for(context.settings, store, ready),
        {each.id: _shown(context, each) for each in store.shaping_actions.known if each.id in waited},
    )


def _shown(context: AdminContext, action: ShapingAction) -> ShapingAction:
    """Return an action that the actor's mail waits for. Its sample may answer mail of any account; what an operator
    writes is for operators, what a rule says is for all."""
    if context.actor.account_id is None:
        return action
    reason = "" if action.rule == OPERATOR else action.reason
    return replace(action, author="", sample="", reason=reason, cancelled_by=None, cancel_reason=None)


async def read_content(context: AdminContext, message_id: MessageId) -> tuple[Story, bytes | StoredContent | None]:
    """Return what is known of a message and its content, None once it is not queued; an operator's reading is in the
    audit. Raises NotFound, StoreUnavailable."""
    name, store = format_id(message_id), context.store
    story = await store.explain.message(message_id)
    if story is None or context.actor.account_id not in (None, story.account_id):
        raise NotFound(f"there is no record of {name}")
    if not story.queued:
        return story, None
    try:
        found = await store.messages.content(message_id)
    except ContentMissing:
        return story, None
    if context.actor.account_id is None:
        async with context.audited("message.read", name, account_id=story.account_id):
            pass
    return story, found


async def content(context: AdminContext, message_id: MessageId) -> ShownContent | None:
    """Return the beginning of a queued message, None once it is not queued. Raises NotFound, StoreUnavailable."""
    _, found = await read_content(context, message_id)
    if found is None:
        return None
    if isinstance(found, bytes):
        return ShownContent(found[:CONTENT], len(found))
    begun = b""
    async for piece in found.pieces():
        begun += piece
        if len(begun) >= CONTENT:
            break
    return ShownContent(begun[:CONTENT], found.size)


async def search(
    context: AdminContext, query: MessageQuery, *, before: MessageId | None = None, limit: int = 50
) -> MessagesFound:
    """Return the newest messages that fit. Raises StoreUnavailable."""
    return await context.store.message_search.find(
        query, before or NEWEST, account_id=context.actor.account_id, limit=limit
    )


async def rejections(context: AdminContext, *, limit: int = 100) -> Sequence[Rejection]:
    """Return the newest messages that were not accepted. Raises StoreUnavailable."""
    return await context.store.rejections.last(limit, context.actor.account_id)


async def whole_content(context: AdminContext, message_id: MessageId) -> bytes:
    """Return a queued message as it goes over the wire. Raises NotFound, StoreUnavailable."""
    _, found = await read_content(context, message_id)
    try:
        if found is not None:
            return await whole(found)
    except ContentMissing:
        pass
    raise NotFound(f"the content of {format_id(message_id)} is no longer kept")


async def lint(context: AdminContext, account: str, file: MessageFile) -> Linted:
    """Say what would become of a message if the account submitted it. Raises NotFound, UnknownProfile,
    StoreUnavailable."""
    owner = (await context.account(account)).account
    preparer = await open_preparer(context.store, context.settings, context.profiles())
    rate_limit = RateLimit(context.store.quotas, context.settings.rate_limits)
    return await lint_message(preparer, rate_limit, Submitter(owner), submitted(file, owner))

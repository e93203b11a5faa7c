"""``/v1/mailings``: create, confirm, release, stop; figures and confirmed messages."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Annotated, Any

from fastapi import Path, Response
from pydantic import AwareDatetime, Field

from mta.admin import mailings
from mta.admin.errors import InvalidValue
from mta.admin.files.message_file import with_crlf
from mta.admin.json_values import plain
from mta.mail.identity import parse_id
from mta.store.mailings.mailing_holds import QueueMoved
from mta.store.mailings.mailing_records import MailingRecord, MailingStory
from mta.store.mailings.references import ReferenceRecord
from mta.web.api.credentials import own_account
from mta.web.api.fields import AccountFilter, Base64, Because, BecauseOf, Line, Model
from mta.web.api.listing import Cursor, ListPage, PagingParameters, listed
from mta.web.api.routing import ApiRouter, Context
from policy.accounts.mailing import Mailing

router = ApiRouter("mailings")

READ, WRITE = "mailings:read", "mailings:write"
_Key = tuple[AwareDatetime, Line]
_CURSOR: Cursor[_Key] = Cursor(_Key)

MailingInPath = Annotated[Line, Path(max_length=100, description="Id of the mailing; an account may use its own name.")]
ReferenceNumber = Annotated[int, Path(ge=1, lt=2**31, description="Number of the confirmed message.")]


class MailingState(Enum):
    STOPPED = "stopped"
    NOT_CONFIRMED = "not_confirmed"
    SAMPLE_SENT = "sample_sent"  # the others wait until it is released
    CONFIRMED = "confirmed"


class MailingItem(Model):
    """``sample``: so many messages are sent before the others are released; null: all."""

    id: str
    account: str
    name: str
    topic: str
    category: str
    list: str
    list_approved: bool
    state: MailingState
    confirmed_by: str | None
    stopped: str | None
    sample: int | None
    created_at: datetime
    created_by: str


class NewMailing(Model):
    account: Line | None = Field(None, max_length=64, description="Null: the token's own.")
    name: Line = Field(min_length=1, max_length=100, description="Messages carry the name or the id.")
    topic: Line = Field(min_length=1, max_length=100)
    list: Line = Field(min_length=1, max_length=100)
    category: Line = Field("", max_length=100)
    sample: int | None = Field(
        None, ge=0, lt=2**31, description="0: hold none; null: as the profile says. Operators only."
    )


class MailingFigures(Model):
    """``outcomes``: how many recipients by kind and category; ``queued``: by state; ``refused``: messages by rule."""

    mailing: MailingItem
    messages: int
    recipients: int
    first: datetime | None
    last: datetime | None
    outcomes: Sequence[dict[str, Any]]
    queued: Sequence[dict[str, Any]]
    holds: Sequence[dict[str, Any]]
    refused: Sequence[dict[str, Any]]
    consents: Sequence[dict[str, Any]]
    history: Sequence[dict[str, Any]]
    events: Sequence[dict[str, Any]]


class ConfirmedMessage(Model):
    """A message of the mailing as the application submits it (RFC 5322). ``is_sample``: another copy of the one before
    it, for another recipient: what differs may vary."""

    content: Base64
    is_sample: bool = False


class ConfirmBody(Model):
    messages: Sequence[ConfirmedMessage] = Field([], max_length=20)
    queued: Sequence[Line] = Field([], max_length=20, description="Ids of queued messages of the mailing.")
    skip_link_check: Line | None = Field(
        None, min_length=1, max_length=500, description="Why the pages behind the links are accepted unseen; operators."
    )


class Moved(Model):
    """What became of queued recipients."""

    released: int
    held: int
    bounced: int
    still_held: int


class ReferenceItem(Model):
    """A message that was confirmed."""

    number: int
    at: datetime
    by: str
    terms: str
    sample_of: int | None
    digest: str
    size: int
    removed_at: datetime | None
    removed_by: str | None
    redacted_at: datetime | None = Field(description="When an address was erased from it, which ended it.")


class ReferencePreview(ReferenceItem):
    """``preview``: what readers see, as text; ``picture``: the same as a PNG, in base64."""

    preview: str
    picture: str | None


class StopBody(BecauseOf):
    bounce: bool = Field(False, description="Bounce what is queued; else it is held until the mailing is released.")
    dry_run: bool = False


def _state(mailing: Mailing) -> MailingState:
    if mailing.stopped is not None:
        return MailingState.STOPPED
    if mailing.confirmation is None:
        return MailingState.NOT_CONFIRMED
    if mailing.sample and mailing.sample.exhausted:
        return MailingState.SAMPLE_SENT
    return MailingState.CONFIRMED


def _item(record: MailingRecord, account: str) -> MailingItem:
    mailing = record.mailing
    return MailingItem(
        id=mailing.id,
        account=account,
        name=mailing.name,
        topic=mailing.topic,
        category=mailing.category,
        list=mailing.list,
        list_approved=mailing.approved,
        state=_state(mailing),
        confirmed_by=mailing.confirmation.by if mailing.confirmation else None,
        stopped=mailing.stopped,
        sample=mailing.sample.size if mailing.sample else None,
        created_at=record.created_at,
        created_by=record.created_by,
    )


def _figures(story: MailingStory) -> MailingFigures:
    return MailingFigures(
        mailing=_item(story.record, story.account),
        messages=story.messages,
        recipients=story.recipients,
        first=story.first,
        last=story.last,
        outcomes=[{"kind": kind, "category": what, "count": count} for kind, what, count in story.outcomes],
        queued=[{"state": state, "recipients": count} for state, count in story.waiting],
        holds=[{**plain(hold), "recipients": count} for hold, count in story.holds],
        refused=[{"rule": rule, "messages": count, "example": text} for rule, count, text in story.refused],
        consents=[plain(each) for each in story.consents],
        history=[{**plain(dict(act.data)), "at": act.at, "by": act.by} for act in story.history],
        events=[plain(each) for each in story.latest],
    )


def _moved(moved: QueueMoved) -> Moved:
    return Moved.model_validate(moved)


def _reference(record: ReferenceRecord) -> ReferenceItem:
    return ReferenceItem.model_validate(record)


@router.operation("GET", "", READ, response_model=ListPage[MailingItem])
async def list_(context: Context, paging: PagingParameters, account: AccountFilter = None) -> Response:
    """List mailings, the newest first."""
    names = await context.account_names()

    async def fetch(before: _Key | None, limit: int) -> Sequence[tuple[_Key, MailingItem]]:
        found = await mailings.list_page(context, account=account, before=before, limit=limit)
        return [
            ((each.created_at, each.mailing.id), _item(each, names.get(each.mailing.account_id, ""))) for each in found
        ]

    return await listed(paging, MailingItem, _CURSOR, fetch)


@router.operation("POST", "", WRITE, status_code=201)
async def add(context: Context, body: NewMailing) -> MailingItem:
    """Make a mailing. It is sent once it is confirmed."""
    made = await mailings.add(
        context,
        own_account(context, body.account),
        body.name,
        topic=body.topic,
        list_name=body.list,
        category=body.category,
        sample=body.sample,
    )
    return (await _shown(context, made.id)).mailing


@router.operation("GET", "/{mailing}", READ)
async def show(context: Context, mailing: MailingInPath) -> MailingFigures:
    """Return a mailing with its figures: what was sent, refused, queued and held, and what became of it."""
    return await _shown(context, mailing)


async def _shown(context: Context, mailing: str) -> MailingFigures:
    return _figures(await mailings.story(context, mailing))


@router.operation("POST", "/{mailing}/confirm", WRITE)
async def confirm(context: Context, mailing: MailingInPath, body: ConfirmBody) -> Moved:
    """Confirm that a mailing keeps to the rules and the current terms; what is held for that is released.

    The pages behind the unsubscribe links of its messages are looked at.
    """
    try:
        queued = [parse_id(each) for each in body.queued]
    except ValueError as error:
        raise InvalidValue("queued", str(error)) from None
    confirmed = await mailings.confirm(
        context,
        mailing,
        messages=[(f"message {n}", with_crlf(each.content), each.is_sample) for n, each in enumerate(body.messages, 1)],
        queued=queued,
        skip_pages=body.skip_link_check,
    )
    return _moved(confirmed.moved)


@router.operation("POST", "/{mailing}/release", WRITE, operators_only=True)
async def release(context: Context, mailing: MailingInPath, body: Because) -> Moved:
    """Send the remaining messages, after a look at the sample or after a stop. What is not confirmed stays held."""
    return _moved(await mailings.release(context, mailing, reason=body.reason))


@router.operation("POST", "/{mailing}/stop", WRITE)
async def stop(context: Context, mailing: MailingInPath, body: StopBody) -> Moved:
    """Accept no more messages of a mailing, and hold what is queued. Clients that submit more get the reason."""
    moved = await mailings.stop(context, mailing, reason=body.reason, bounce=body.bounce, dry_run=body.dry_run)
    return _moved(moved)


@router.operation("GET", "/{mailing}/references", READ)
async def references(context: Context, mailing: MailingInPath) -> Sequence[ReferenceItem]:
    """List the messages that a mailing was confirmed with."""
    return [_reference(each) for each in await mailings.references(context, mailing)]


@router.operation("GET", "/{mailing}/references/{number}", READ)
async def reference(context: Context, mailing: MailingInPath, number: ReferenceNumber) -> ReferencePreview:
    """Return a confirmed message as its readers see it."""
    found = await mailings.reference(context, mailing, number)
    picture = base64.b64encode(found.picture).decode() if found.picture else None
    return ReferencePreview(**dict(_reference(found)), preview=found.preview, picture=picture)


@router.operation("POST", "/{mailing}/references/{number}/remove", WRITE, status_code=204)
async def remove_reference(context: Context, mailing: MailingInPath, number: ReferenceNumber, body: BecauseOf) -> None:
    """Withdraw a confirmed message."""
    await mailings.remove_reference(context, mailing, number, reason=body.reason)

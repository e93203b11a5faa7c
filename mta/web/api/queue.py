"""``/v1/queue``: queued recipients; search them, count them, change them, which is tried first with ``dry_run``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Path, Query, Response
from pydantic import AwareDatetime, Field

from mta.admin import queue
from mta.admin.errors import InvalidValue
from mta.admin.queue import QueueAction
from mta.mail.hold import HoldSource
from mta.mail.identity import MessageId, format_id, parse_id
from mta.mail.message import Stream
from mta.observe.labels import QueueState
from mta.store.queue.holds import QueueChange
from mta.store.queue.queue import By, QueueEntry, QueueFilter
from mta.web.api.fields import AccountFilter, Line, MessageIdField, Model
from mta.web.api.listing import Cursor, ListPage, PagingParameters, listed
from mta.web.api.routing import ApiRouter, Context

router = ApiRouter("queue")

READ, WRITE = "queue:read", "queue:write"
_Key = tuple[MessageId, Annotated[int, Field(ge=0, lt=2**31)]]
_CURSOR: Cursor[_Key] = Cursor(_Key)


class QueueWhich(Model):
    """Which recipients are meant: those that fit everything given."""

    account: Line | None = Field(None, max_length=64)
    destination: Line | None = Field(None, max_length=400, description="Only recipients in this domain.")
    stream: Stream | None = None
    topic: Line | None = Field(None, max_length=100)
    mailing: Line | None = Field(None, max_length=100, description="Id or name; empty: of none.")
    recipient: Line | None = Field(None, max_length=400)
    sender: Line | None = Field(None, max_length=400, description="Envelope sender; `<>` for DSNs.")
    state: QueueState | None = None
    reply: Line | None = Field(None, max_length=200, description="Part of the last reply.")
    before: AwareDatetime | None = Field(None, description="Only mail accepted before.")
    held_by: HoldSource | None = None

    @property
    def typed(self) -> QueueFilter:
        return QueueFilter(
            destination=self.destination,
            stream=self.stream,
            topic=self.topic,
            mailing=self.mailing,
            address=self.recipient,
            state=self.state,
            reply=self.reply,
            sender=self.sender,
            before=self.before,
            held_by=self.held_by,
        )


class HoldItem(Model):
    """Why a recipient waits."""

    source: HoldSource
    ref: str
    text: str


class QueueItem(Model):
    """A queued recipient."""

    message: MessageIdField
    recipient_index: int
    account: str | None
    stream: Stream
    topic: str | None
    mailing: str | None
    sender: str | None
    recipient: str
    destination: str
    state: QueueState
    holds: list[HoldItem]
    attempts: int
    queued_at: datetime
    due_at: datetime
    expires_at: datetime
    last_reply: str | None


class GroupItem(Model):
    """``oldest``: when its oldest message was accepted."""

    key: str
    recipients: int
    due: int
    leased: int
    held: int
    attempted: int
    oldest: datetime
    next_due: datetime | None


class QueueChangeBody(Model):
    """``ids``: only these messages. ``dry_run`` must be given: try first."""

    which: QueueWhich = QueueWhich()
    ids: list[Line] = Field([], max_length=1000)
    all: bool = Field(False, description="The whole queue.")
    reason: Line = Field("", max_length=500)
    dry_run: bool


class PutOffBody(Model):
    which: QueueWhich = QueueWhich()
    ids: list[Line] = Field([], max_length=1000)
    until: AwareDatetime
    reason: Line = Field(min_length=1, max_length=500)
    dry_run: bool


class QueueChangedItem(Model):
    """``leased``: of them, an attempt in progress is not stopped; ``still_held``: of them, they have other holds."""

    dry_run: bool
    recipients: int
    leased: int
    still_held: int
    backoffs_ended: int | None = None


async def _which(
    account: AccountFilter = None,
    destination: Annotated[Line | None, Query(max_length=400)] = None,
    stream: Stream | None = None,
    topic: Annotated[Line | None, Query(max_length=100)] = None,
    mailing: Annotated[Line | None, Query(max_length=100)] = None,
    recipient: Annotated[Line | None, Query(max_length=400)] = None,
    sender: Annotated[Line | None, Query(max_length=400)] = None,
    state: QueueState | None = None,
    reply: Annotated[Line | None, Query(max_length=200)] = None,
    before: AwareDatetime | None = None,
    held_by: HoldSource | None = None,
) -> QueueWhich:
    return QueueWhich(
        account=account, destination=destination, stream=stream, topic=topic, mailing=mailing, recipient=recipient,
        sender=sender, state=state, reply=reply, before=before, held_by=held_by,
    )  # fmt: skip


WhichParameters = Annotated[QueueWhich, Depends(_which)]


async def confined_filter(context: Context, which: QueueWhich) -> QueueFilter:
    """Return the filter, for the account that it names or the actor is of. Raises InvalidValue, NotFound."""
    return await queue.read_filter(context, which.typed, which.account)


def _item(entry: QueueEntry) -> QueueItem:
    return QueueItem(
        message=format_id(entry.message_id),
        recipient_index=entry.recipient_index,
        account=entry.account,
        stream=entry.stream,
        topic=entry.topic,
        mailing=entry.mailing,
        sender=entry.sender,
        recipient=entry.address,
        destination=entry.destination,
        state=entry.state,
        holds=[HoldItem.model_validate(each) for each in entry.holds],
        attempts=entry.attempts,
        queued_at=entry.queued_at,
        due_at=entry.due_at,
        expires_at=entry.expires_at,
        last_reply=entry.last_reply,
    )


@router.operation("GET", "", READ, response_model=ListPage[QueueItem])
async def list_(context: Context, paging: PagingParameters, which: WhichParameters) -> Response:
    """List queued recipients, the oldest message first."""
    confined = await confined_filter(context, which)

    async def fetch(after: _Key | None, limit: int) -> Sequence[tuple[_Key, QueueItem]]:
        found = await queue.entries(context, confined, after=after, limit=limit)
        return [((each.message_id, each.recipient_index), _item(each)) for each in found]

    return await listed(paging, QueueItem, _CURSOR, fetch)


@router.operation("GET", "/summary", READ)
async def summary(
    context: Context, which: WhichParameters, by: By = By.DESTINATION, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[GroupItem]:
    """Count queued recipients by destination, account, stream, mailing or state, the largest group first."""
    confined = await confined_filter(context, which)
    return [GroupItem.model_validate(each) for each in await queue.summary(context, by, confined, limit)]


def _changed(changed: QueueChange, *, dry_run: bool, ended: int | None = None) -> QueueChangedItem:
    return QueueChangedItem(
        dry_run=dry_run,
        recipients=changed.recipients,
        leased=changed.leased,
        still_held=changed.still_held,
        backoffs_ended=ended,
    )


def _ids(texts: Sequence[str]) -> tuple[MessageId, ...]:
    try:
        return tuple(parse_id(text) for text in texts)
    except ValueError as error:
        raise InvalidValue("ids", str(error)) from None


@router.operation("POST", "/put-off", WRITE, operators_only=True)
async def put_off(context: Context, body: PutOffBody) -> QueueChangedItem:
    """Let queued mail wait until a time."""
    which = replace(await confined_filter(context, body.which), messages=_ids(body.ids))
    changed = await queue.put_off(context, which, body.until, reason=body.reason, dry_run=body.dry_run)
    return _changed(changed, dry_run=body.dry_run)


@router.operation("POST", "/{action}", WRITE)
async def change(context: Context, action: Annotated[QueueAction, Path()], body: QueueChangeBody) -> QueueChangedItem:
    """Retry, hold, release or bounce queued recipients."""
    which = replace(await confined_filter(context, body.which), messages=_ids(body.ids))
    done = await queue.change(context, action, which, everything=body.all, reason=body.reason, dry_run=body.dry_run)
    return _changed(done.change, dry_run=body.dry_run, ended=done.backoffs)

"""``POST /v1/messages``: send a message, written whole (RFC 5322) or given in parts, one or several.

Invariants: 201 means committed, as 250 does over SMTP. A refusal is a problem with the reply that SMTP would give.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Query, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from mta.admin import messages
from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue
from mta.admin.files.message_file import message_of, with_crlf
from mta.admin.json_values import plain
from mta.admin.sending import MessageSender, RecipientStatus, Sent
from mta.mail.address import Address, AddressError
from mta.mail.identity import format_id
from mta.mail.mailbox import read_mailbox
from mta.mail.message import Stream
from mta.mail.reply import Reply, ReplyKind
from mta.smtp_server.body import COPIES
from mta.smtp_server.replies import INTERNAL, NO_MEMORY
from mta.store.postgres.errors import StoreUnavailable
from mta.submission.compose import ComposeError, GivenFile, MessageDraft, NamedAddress, compose
from mta.web.api.credentials import own_account
from mta.web.api.fields import AddressField, Base64, Line, MessageIdInPath, Model
from mta.web.api.problems import problem
from mta.web.api.routing import ApiRouter, Context

router = ApiRouter("messages")

REFUSED = "urn:imprimatur:problem:refused"
MAX_BATCH = 100
JSON_MARGIN = 256 * 1024  # octets of a body of JSON beyond its texts and attachments
PIECE = 64 * 1024
RETRY_AFTER = 60  # seconds, for a message that is put off for a time that nobody knows
RAW, JSON = "message/rfc822", "application/json"


# --- requests


def _mailbox(value: object) -> object:
    """Read ``Ann <ann@example.net>``."""
    if not isinstance(value, str):
        return value
    try:
        found = read_mailbox(value)
    except AddressError as error:
        raise ValueError(f"{value[:100]!r} {error}") from None
    return {"address": str(found.address), "name": found.name.strip('" ')}


class MailboxObject(Model):
    """An address with the name that is shown beside it; a string `Ann <ann@example.net>` means the same."""

    address: AddressField
    name: Line = Field("", max_length=200)


MailboxField = Annotated[
    MailboxObject,
    BeforeValidator(_mailbox, json_schema_input_type=str | MailboxObject),
]


class AttachmentObject(Model):
    """``content_id``: for an image that the HTML shows as `cid:...`."""

    filename: Line = Field(min_length=1, max_length=200)
    content: Base64
    content_type: Line = Field("application/octet-stream", max_length=160)
    content_id: Line = Field("", max_length=100)


class SendOptions(Model):
    """The options of a submission: over SMTP the header fields X-MTA-*."""

    stream: Stream | None = Field(None, description="Default: what the header shows.")
    mailing: Line | None = Field(None, min_length=1, max_length=100, description="Name or id of the mailing.")
    topic: Line | None = Field(None, min_length=1, max_length=100)
    expire: str | None = Field(None, pattern=r"^\d{1,6}[mhd]$", description="Give up after: `30m`, `6h`, `2d`.")


class MessageObject(Model):
    """A message in parts. All recipients get the same message; for personal ones send several messages."""

    author: MailboxField = Field(alias="from")
    to: list[MailboxField] = Field(min_length=1, max_length=1000)
    cc: list[MailboxField] = Field([], max_length=1000)
    bcc: list[MailboxField] = Field([], max_length=1000)
    reply_to: list[MailboxField] = Field([], max_length=10)
    subject: Line = Field(max_length=2000)
    text: str | None = None
    html: str | None = None
    attachments: list[AttachmentObject] = Field([], max_length=100)
    headers: dict[str, Line] = Field({}, max_length=100, description="Further header fields.")
    options: SendOptions = SendOptions()
    sender: AddressField | None = Field(None, description="The return path; default: the address in `from`.")


class MessageBatch(Model):
    """Several messages; each has its own result, and an error in one is that one's."""

    messages: list[MessageObject] = Field(min_length=1, max_length=MAX_BATCH)


_BATCH = re.compile(rb'\s*\{\s*"messages"')
_ONE: TypeAdapter[MessageObject] = TypeAdapter(MessageObject)
_SEVERAL: TypeAdapter[MessageBatch] = TypeAdapter(MessageBatch)


# --- responses


class ReplyObject(Model):
    """An SMTP reply."""

    code: int
    status: str
    text: str


class RecipientObject(Model):
    """``message``: the id of its message. ``reply``: why it is refused. ``holds``: why it waits."""

    address: str
    status: RecipientStatus
    message: str | None = None
    reply: ReplyObject | None = None
    holds: list[str] = Field(default_factory=list)


class MessageResult(Model):
    """``id``: of the first message queued; recipients with a copy of their own have ids of their own."""

    id: str | None
    reply: ReplyObject
    recipients: list[RecipientObject]


class BatchResult(MessageResult):
    """``http_status``: what this message would have been answered alone."""

    http_status: int


class BatchResults(Model):
    results: list[BatchResult]


def _reply(reply: Reply) -> ReplyObject:
    return ReplyObject(code=reply.code, status=reply.status, text=reply.text)


def _sent(sent: Sent) -> MessageResult:
    recipients = [
        RecipientObject(
            address=str(each.address),
            status=each.status,
            message=format_id(each.message) if each.message else None,
            reply=_reply(each.reply) if each.reply else None,
            holds=list(each.holds),
        )
        for each in sent.recipients
    ]
    first = next((each.message for each in recipients if each.message), None)
    return MessageResult(id=first, reply=_reply(sent.reply), recipients=recipients)


def http_status(reply: Reply) -> int:
    """Return the status of HTTP that says what ``reply`` does."""
    match reply.kind:
        case ReplyKind.POSITIVE:
            return 201
        case ReplyKind.PERMANENT:
            return 413 if (reply.code, reply.status) == (552, "5.3.4") else 422
        case ReplyKind.TRANSIENT:
            return 429 if reply.code == 450 else 503


def _json(body: BaseModel, status: int) -> Response:
    return Response(body.model_dump_json(), status, media_type=JSON)


def _answer(sent: Sent) -> Response:
    body, status = _sent(sent), http_status(sent.reply)
    if sent.is_accepted:
        return _json(body, status)
    seconds = sent.reply.retry_after or RETRY_AFTER
    headers = {"Retry-After": str(seconds)} if sent.reply.kind is ReplyKind.TRANSIENT else None
    further = body.model_dump(mode="json", exclude_none=True)
    return problem(
        status, str(sent.reply), kind=REFUSED, title="The message was refused", headers=headers, further=further
    )


# --- the operation

_REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        JSON: {
            "schema": {
                "oneOf": [
                    {"$ref": "#/components/schemas/MessageObject"},
                    {"$ref": "#/components/schemas/MessageBatch"},
                ]
            }
        },
        RAW: {"schema": {"type": "string", "format": "binary"}},
    },
}
SCHEMAS = (MessageObject, MessageBatch)  # of bodies that the handler reads itself


class SendQuery(BaseModel):
    """The query of a request to send: whose message it is, and the envelope of a raw one."""

    account: Line | None = Field(None, max_length=64, description="Only this account.")
    sender: str | None = Field(None, alias="from", max_length=400, description="Return path of a raw message.")
    to: list[str] = Field([], max_length=1000, description="A recipient of a raw message; may be repeated.")


@router.operation(
    "POST",
    "",
    "messages:write",
    query=SendQuery,
    status_code=201,
    response_model=MessageResult,
    responses={200: {"model": BatchResults, "description": "The results of a batch."}},
    openapi_extra={"requestBody": _REQUEST_BODY},
)
async def send(request: Request, context: Context, query: Annotated[SendQuery, Query()]) -> Response:
    """Send a message: raw, with its envelope in the query, or as JSON; or a batch, whose results stand in its order.

    It passes the same rules as over SMTP, and 201 means that it is committed. A batch is answered 200; each of its
    messages has a result with the status that it would have been answered alone. Repeated with the same
    Idempotency-Key, a batch with a 429 or 503 among them sends what is missing.
    """
    transport: MessageSender = request.app.state.sender
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    account = query.account
    if earlier := await _earlier(request, context, account, [_session(request)]):
        return _json(earlier[_session(request)], 201)
    if kind == RAW:
        request.state.body.limit = transport.limits.message_size + 1
        return _answer(await _send_raw(request, context, transport, query))
    if kind != JSON:
        return problem(415, f"the body is {JSON} or {RAW}", headers={"Accept-Post": f"{JSON}, {RAW}"})
    request.state.body.limit = transport.limits.message_size * 4 // 3 + JSON_MARGIN
    reserved = 0
    try:
        announced = _announced(request) or 0
        if not transport.budget.reserve(COPIES * announced, small=announced <= PIECE):
            return _answer(Sent(NO_MEMORY))
        reserved = COPIES * announced
        body = bytearray()
        async for piece in request.stream():
            more = COPIES * max(0, len(body) + len(piece)) - reserved
            if more > 0:
                if not transport.budget.reserve(more):
                    return _answer(Sent(NO_MEMORY))
                reserved += more
            body += piece
        given = _read(bytes(body))
        if isinstance(given, MessageObject):
            return _answer(await _send_object(request, context, transport, account, given, _session(request)))
        return _json(await _send_batch(request, context, transport, account, given.messages), 200)
    finally:
        transport.budget.release(reserved)


# --- one message


class LintBody(Model):
    """``content``: the message as an application would submit it. ``recipients``: default: the one of its To field."""

    account: Line | None = Field(None, max_length=64, description="Null: the token's own.")
    content: Base64
    recipients: list[AddressField] = Field([], max_length=100)
    sender: AddressField | None = None


class FindingItem(Model):
    rule: str
    verdict: str
    evidence: str


class LintResult(Model):
    """``refusal`` null: it would be accepted; ``holds``: why it would wait then."""

    accepted: bool
    refusal: ReplyObject | None
    profile: str
    stream: Stream | None
    mailing: str | None
    topic: str | None
    findings: list[FindingItem]
    holds: list[str]


@router.operation("GET", "/{message}", "messages:read")
async def explain(context: Context, message: MessageIdInPath) -> dict[str, Any]:
    """Return everything known about one message: origin, findings, events, what is still queued."""
    known = await messages.explain(context, message)
    found: dict[str, Any] = plain(known.story)
    found["id"] = found.pop("message_id")
    found["suppressions"] = plain(known.suppressions)
    found["backoffs"], found["actions"] = plain(known.backoffs), plain(known.actions)
    told: dict[str, Any] = jsonable_encoder(found)
    return told


@router.operation(
    "GET",
    "/{message}/content",
    "messages:read",
    response_class=Response,
    responses={200: {"content": {RAW: {}}, "description": "The message as it goes over the wire."}},
)
async def content(context: Context, message: MessageIdInPath) -> Response:
    """Return a message as it goes over the wire, while it is queued. An operator's reading is in the audit."""
    octets = await messages.whole_content(context, message)
    return Response(octets, media_type=RAW, headers={"Content-Disposition": "attachment"})


@router.operation("POST", "/lint", "messages:write")
async def lint(context: Context, body: LintBody) -> LintResult:
    """Say what would become of a message, without sending it."""
    recipients = [str(each) for each in body.recipients]
    file = message_of("message", with_crlf(body.content), recipients, str(body.sender) if body.sender else None)
    linted = await messages.lint(context, own_account(context, body.account), file)
    return LintResult(
        accepted=linted.refusal is None,
        refusal=_reply(linted.refusal) if linted.refusal else None,
        profile=linted.profile,
        stream=linted.stream,
        mailing=linted.mailing,
        topic=linted.topic,
        findings=[
            FindingItem(rule=each.policy, verdict=each.verdict, evidence=each.evidence) for each in linted.findings
        ],
        holds=[each.text for each in linted.holds],
    )


def _announced(request: Request) -> int | None:
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _session(request: Request) -> str | None:
    """Return the session that a request with an Idempotency-Key gives its messages."""
    return getattr(request.state, "session", None)


async def _earlier(
    request: Request, context: AdminContext, account: str | None, sessions: Sequence[str | None]
) -> Mapping[str | None, MessageResult]:
    """Return what the same request had sent before, by session. Raises StoreUnavailable."""
    first_at: datetime | None = getattr(request.state, "first_at", None)
    if first_at is None:
        return {}
    owner = (await context.account(own_account(context, account))).account
    names = [each for each in sessions if each is not None]
    found = await context.store.idempotency.messages_of(owner.id, names, first_at)
    return {session: _sent_before(format_id(message)) for session, message in found.items()}


def _sent_before(message: str) -> MessageResult:
    reply = Reply(250, "2.0.0", f"OK: queued as {message}, by the same request before")
    return MessageResult(id=message, reply=_reply(reply), recipients=[])


def _read(body: bytes) -> MessageObject | MessageBatch:
    """Raises RequestValidationError."""
    adapter: TypeAdapter[Any] = _SEVERAL if _BATCH.match(body) else _ONE
    try:
        found: MessageObject | MessageBatch = adapter.validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in errors]) from None
    return found


async def _send_raw(
    request: Request,
    context: AdminContext,
    transport: MessageSender,
    query: SendQuery,
) -> Sent:
    sender = query.sender
    if sender is None:
        raise InvalidValue("from", "from: the query must name the return path; empty: the null return path")
    return await transport.send(
        context,
        query.account,
        _parsed("from", sender) if sender else None,
        [_parsed("to", each) for each in query.to],
        request.stream(),
        size=_announced(request),
        scheme=request.url.scheme,
        session=_session(request),
    )


def _parsed(name: Literal["from", "to"], text: str) -> Address:
    try:
        return Address.parse(text)
    except AddressError as error:
        raise InvalidValue(name, f"{name}: {text[:100]!r}: {error}") from None


async def _send_batch(
    request: Request,
    context: AdminContext,
    transport: MessageSender,
    account: str | None,
    messages: Sequence[MessageObject],
) -> BatchResults:
    """Send what was not sent before; the request is ``unfinished`` if some of it may be tried again."""
    await context.account(own_account(context, account))  # of all, before any is sent
    whole = _session(request)
    sessions = [whole and f"{whole}-{number}" for number in range(1, len(messages) + 1)]
    earlier = await _earlier(request, context, account, sessions)
    results: list[BatchResult] = []
    for session, each in zip(sessions, messages, strict=True):
        if session in earlier:
            results.append(BatchResult(**dict(earlier[session]), http_status=201))
            continue
        sent = await _send_one_of_many(request, context, transport, account, each, session)
        results.append(BatchResult(**dict(_sent(sent)), http_status=http_status(sent.reply)))
        if sent.reply.kind is ReplyKind.TRANSIENT:
            request.state.unfinished = True
    return BatchResults(results=results)


async def _send_one_of_many(
    request: Request,
    context: AdminContext,
    transport: MessageSender,
    account: str | None,
    given: MessageObject,
    session: str | None,
) -> Sent:
    """Return what becomes of one message, whatever is wrong with it: those before it are committed."""
    try:
        return await _send_object(request, context, transport, account, given, session)
    except InvalidValue as error:
        return Sent(Reply(501, "5.5.4", str(error)))
    except StoreUnavailable:
        return Sent(INTERNAL)


async def _send_object(
    request: Request,
    context: AdminContext,
    transport: MessageSender,
    account: str | None,
    given: MessageObject,
    session: str | None,
) -> Sent:
    recipients = [each.address for each in (*given.to, *given.cc, *given.bcc)]
    try:
        content = compose(_draft(given), datetime.now(UTC))
    except ComposeError as error:
        raise InvalidValue(error.part, str(error)) from None
    return await transport.send(
        context,
        account,
        given.sender or given.author.address,
        recipients,
        _pieces(content),
        size=len(content),
        scheme=request.url.scheme,
        session=session,
    )


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), PIECE):
        yield content[start : start + PIECE]


def _draft(given: MessageObject) -> MessageDraft:
    options = given.options.model_dump(mode="json", exclude_none=True)
    return MessageDraft(
        author=_named(given.author),
        to=[_named(each) for each in given.to],
        cc=[_named(each) for each in given.cc],
        reply_to=[_named(each) for each in given.reply_to],
        subject=given.subject,
        text=given.text,
        html=given.html,
        attachments=[
            GivenFile(each.filename, each.content, each.content_type, each.content_id) for each in given.attachments
        ],
        headers=list(given.headers.items()),
        options=list(options.items()),
    )


def _named(given: MailboxObject) -> NamedAddress:
    return NamedAddress(given.address, given.name)

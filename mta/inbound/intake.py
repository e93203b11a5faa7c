"""Stage 1 and 2 in one story: from a client's message to "250 queued as ID".

``Intake.accept`` is the way every message takes: look at it, screen it, sign it, commit it, and only then say 250.

It must never say 250 before the commit, never answer 5xx for trouble of our own, and never let an ``X-MTA-*`` field
out of the house.

*Limits.* The suppressions are looked up as each recipient is named; the time of the first look-up in a transaction
travels with the deliveries, so that the dispatcher knows how fresh it is.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import lru_cache
from typing import Protocol

from config.schema import Settings
from mta.inbound.client import Client
from mta.mail.address import Address
from mta.mail.delivery import Delivery
from mta.mail.headers import HeaderError, Headers
from mta.mail.identity import format_id, new_message_id
from mta.mail.mailbox import parse_mailbox
from mta.mail.message import Envelope, Message, Origin, Recipient
from mta.mail.reply import Reply
from mta.observe.events import EventLog
from mta.observe.metrics import Metrics
from mta.signing import Signer
from mta.store.messages import Accepted
from mta.store.store import Store
from policy.base import Facts, Finding, RecipientFacts
from policy.chain import Chain, screen
from policy.house import House
from policy.rules.headers import RequiredHeaders
from policy.rules.loops import Loops
from policy.rules.sender_identity import SenderIdentity, foreign
from policy.rules.size import Size
from policy.rules.suppressed import Suppressed, refusal
from policy.tokens import Tokens

UNAUTHENTICATED = Reply(530, "5.7.0", "authentication required: no relaying without an account")
UNSIGNED = Reply(451, "4.7.5", "no active DKIM key for the sender's domain; make one with `mta dkim new`")
BAD_EXPIRY = Reply(550, "5.6.0", "X-MTA-Expire is a whole number with a unit: 30m, 6h or 2d")
OURS = b"x-mta-"  # fields for the service, read and removed
_SPAN = re.compile(r"(\d{1,6})\s*([mhd])\Z")
_SPAN_SECONDS = {"m": 60, "h": 3600, "d": 86400}


class Room(Protocol):
    """The dispatcher's window: may this many octets stay in memory?"""

    def reserve(self, octets: int, deliveries: int = 1) -> bool: ...

    def release(self, octets: int, deliveries: int = 1) -> None: ...


def chain(settings: Settings) -> Chain:
    """The rules every message passes, in order."""
    limits = settings.submission.limits
    house = House(
        settings.server.hostname,
        Tokens(os.urandom(32)),
        message_size=limits.message_size,
        received_count=limits.received_count,
    )
    return Chain(
        (
            Size(Size.Settings(), house),
            Loops(Loops.Settings(), house),
            RequiredHeaders(RequiredHeaders.Settings(), house),
            SenderIdentity(SenderIdentity.Settings(), house),
            Suppressed(Suppressed.Settings(), house),
        )
    )


class Intake:
    """``dispatch`` takes the deliveries that stay in memory; ``room`` says whether they may."""

    def __init__(
        self,
        *,
        settings: Settings,
        store: Store,
        signer: Signer,
        room: Room,
        dispatch: Callable[[Sequence[Delivery]], None],
        events: EventLog,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._room = room
        self._dispatch = dispatch
        self._events = events
        self._metrics = metrics
        self.configure(settings, signer)

    def configure(self, settings: Settings, signer: Signer) -> None:
        """Take over (re)loaded settings."""
        self._hostname = settings.server.hostname
        self._expire_after = settings.queue.expire_after
        self._require_signature = settings.signing.require
        self._chain = chain(settings)
        self._signer = signer

    async def sender(self, client: Client, envelope: Envelope, size: int | None) -> Reply | None:
        """The answer to MAIL, None to go on."""
        if client.account is None:
            return self._refuse(client, envelope, UNAUTHENTICATED, verb="MAIL")
        if envelope.sender and (reply := foreign(client.account, "envelope sender", envelope.sender)):
            return self._refuse(client, envelope, reply, verb="MAIL")
        client.checked_at = time.monotonic()
        return None

    async def recipient(self, client: Client, envelope: Envelope, recipient: Recipient) -> Reply | None:
        """The answer to RCPT, None to go on."""
        if client.account is None:
            return self._refuse(client, envelope, UNAUTHENTICATED, verb="RCPT")
        found = await self._store.suppressions.find(client.account.id, [recipient.address])
        if not found:
            return None
        return self._refuse(client, envelope, refusal(found[0]), verb="RCPT", recipient=recipient.address)

    async def accept(self, client: Client, envelope: Envelope, content: bytes) -> Reply:
        """Screen, sign, commit; the answer to the final dot."""
        started = time.perf_counter()
        if client.account is None:
            return self._refuse(client, envelope, UNAUTHENTICATED)
        try:
            message = self._read(client, envelope, content)
        except HeaderError as error:
            return self._refuse(client, envelope, Reply(554, "5.6.0", f"headers: {error}"))
        wishes, message = _take_wishes(message)
        if not _SPAN.match(wishes.get("expire", "1d")):
            return self._refuse(client, envelope, BAD_EXPIRY)
        recipients = tuple(RecipientFacts(recipient.address) for recipient in envelope.recipients)
        facts = Facts(client.account, recipients=recipients)
        screened = screen(self._chain, message, facts, message.origin.received_at)
        if screened.refusal:
            return self._refuse(client, envelope, screened.refusal)
        signed = self._sign(screened.message)
        if signed is None:
            return self._refuse(client, envelope, UNSIGNED)
        outgoing, finding = signed
        accepted = Accepted(
            outgoing,
            client.account.id,
            expires_at=message.origin.received_at + self._lifetime(wishes),
            findings=(*screened.findings, finding),
            mailing=wishes.get("mailing"),
        )
        await self._commit(accepted, client.checked_at)
        self._note(accepted, time.perf_counter() - started)
        return Reply(250, "2.0.0", f"queued as {format_id(outgoing.id)}")

    def _read(self, client: Client, envelope: Envelope, content: bytes) -> Message:
        assert client.account is not None
        origin = Origin(
            account_id=client.account.id,
            account=client.account.name,
            credential=client.credential,
            client=client.address,
            hello=client.hello,
            session=client.session,
            protocol=client.protocol_of(envelope),
            received_at=datetime.now(UTC),
            tls=client.tls,
        )
        return Message(new_message_id(), envelope, origin, Headers.split(content), content)

    def _sign(self, message: Message) -> tuple[Message, Finding] | None:
        """The message as it leaves, with our Received field and signatures on top; None if there is no key for it."""
        author = parse_mailbox(message.headers.value(b"from") or "")
        signature = self._signer.sign(message.content, message.headers, author.domain)
        if self._require_signature and not signature:
            return None
        keys = ", ".join(self._signer.records(author.domain))
        evidence = f"signed with {keys}" if signature else f"not signed: no active key for {author.domain}"
        outgoing = replace(message, content=b"".join((signature, self._received(message), message.content)))
        return outgoing, Finding("dkim", "pass", evidence)

    def _received(self, message: Message) -> bytes:
        """RFC 5321 4.4; `for` only with a single recipient, so that no other recipient is disclosed."""
        origin, recipients = message.origin, message.envelope.recipients
        only = f"\r\n\tfor <{recipients[0].address}>" if len(recipients) == 1 else ""
        tls = f"\r\n\t({origin.tls})" if origin.tls else ""
        return (
            f"Received: from {origin.hello or 'unknown'} ([{_literal(origin)}])\r\n"
            f"\tby {self._hostname} with {origin.protocol} id {format_id(message.id)}{tls}{only};\r\n"
            f"\t{_date(int(origin.received_at.timestamp()))}\r\n"
        ).encode()

    def _lifetime(self, wishes: dict[str, str]) -> timedelta:
        wanted = _SPAN.match(wishes.get("expire", ""))
        seconds = int(wanted[1]) * _SPAN_SECONDS[wanted[2]] if wanted else self._expire_after
        return timedelta(seconds=min(seconds, self._expire_after))

    async def _commit(self, accepted: Accepted, checked_at: float) -> None:
        destinations = len({recipient.address.domain for recipient in accepted.message.envelope.recipients})
        size = len(accepted.message.content) * destinations  # each reserves it: any of them may be the last
        stays = self._room.reserve(size, destinations)
        try:
            deliveries = await self._store.messages.put(accepted, leased=stays)
        except BaseException:
            if stays:
                self._room.release(size, destinations)
            raise
        if not deliveries:  # whoever looks for due deliveries next takes them
            if stays:
                self._room.release(size, destinations)
            return
        for delivery in deliveries:
            delivery.checked_at, delivery.reserved = checked_at, delivery.size
        self._dispatch(deliveries)

    def _note(self, accepted: Accepted, seconds: float) -> None:
        self._events.accepted(accepted.message, seconds=seconds, mailing=accepted.mailing, hold=accepted.hold)
        self._metrics.accepted(accepted.message, seconds)

    def _refuse(
        self, client: Client, envelope: Envelope, reply: Reply, *, verb: str = ".", recipient: Address | None = None
    ) -> Reply:
        self._events.refused(
            reply,
            session=client.session,
            client=client.address,
            verb=verb,
            account=client.account.name if client.account else None,
            sender=envelope.sender,
            recipient=recipient,
        )
        self._metrics.refused(reply)
        return reply


@lru_cache(16)
def _date(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


def _literal(origin: Origin) -> str:
    return f"IPv6:{origin.client}" if origin.client.version == 6 else str(origin.client)


def _take_wishes(message: Message) -> tuple[dict[str, str], Message]:
    """The ``X-MTA-*`` fields as {"mailing": ...}, and the message without them."""
    wishes: dict[str, str] = {}
    kept: list[bytes] = []
    for name, raw in message.headers.fields:
        if name.startswith(OURS):
            value = raw.partition(b":")[2].replace(b"\r\n", b"").strip()
            wishes[name.removeprefix(OURS).decode()] = value.decode("utf-8", "replace")[:200]
        else:
            kept.append(raw)
    if not wishes:
        return wishes, message
    body = message.content[message.headers.size :]
    content = b"".join(raw + b"\r\n" for raw in kept) + b"\r\n" + body
    return wishes, replace(message, content=content, headers=Headers.split(content))

"""Accept a submitted message or reject it: from MAIL to "250 2.0.0 OK: queued as ID".

``SubmissionTransaction.on_message`` is what every message goes through: options, facts, rules and signature
(``mta.submission.prepare``), then the commit, and only then 250.

Invariants: 250 means committed. An internal error is never answered 5xx.

Limitations: the facts about recipients are looked up as each one is named; the time of the first look-up in a
transaction goes with the deliveries, so that the dispatcher knows how fresh it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache

from config.schema import Settings
from mta.dkim import Signer
from mta.mail.address import Address
from mta.mail.delivery import Delivery
from mta.mail.headers import HeaderError
from mta.mail.identity import format_id, new_message_id
from mta.mail.large_body import LARGE, LargeBody
from mta.mail.message import Envelope, Message, Origin, Recipient, Stream
from mta.mail.reply import Reply
from mta.mail.values import dataclass
from mta.observe.disk import DiskWatch
from mta.observe.events import EventLog
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.queue.active_queue import ActiveQueue, Job
from mta.queue.send_windows import SendWindows
from mta.smtp_server.handler import Client
from mta.smtp_server.replies import AUTH_REQUIRED, NO_STORAGE
from mta.store.postgres.errors import OutcomeUnknown, StoreUnavailable
from mta.store.queue.copies import FurtherCopy
from mta.store.queue.enqueue import Leased, NewMessage, record
from mta.store.queue.messages import Placed
from mta.store.store import Store
from mta.submission.prepare import MessageRejected, Prepared, Preparer, Submitter, early_facts, unknown_profile
from mta.submission.rate_limit import RateLimit
from mta.submission.references import CompiledReferences
from policy.accounts.mailing import sampling_hold
from policy.base import Facts, RecipientFacts
from policy.chain import screen_recipient, screen_sender
from policy.permission.traps import TrapAddresses
from policy.profile import Profiles, UnknownProfile

log = get_logger()


class Submission:
    """The handler of the submission listeners. ``dispatch`` takes the deliveries that stay in memory;
    ``active_queue`` says whether they may; None: this process delivers nothing, and workers claim what is queued.
    ``disk``: where mail is kept, if it is on this machine."""

    def __init__(
        self,
        *,
        settings: Settings,
        store: Store,
        signer: Signer,
        profiles: Profiles,
        traps: TrapAddresses,
        active_queue: ActiveQueue | None = None,
        dispatch: Callable[[Sequence[Job]], None] = lambda _: None,
        events: EventLog,
        metrics: Metrics,
        disk: DiskWatch | None = None,
    ) -> None:
        self.store = store
        self._references = CompiledReferences(store)
        self._disk = disk
        self.events = events
        self.metrics = metrics
        self._active_queue = active_queue
        self._dispatch = dispatch
        self._accounts = store.accounts
        self.configure(settings, signer, profiles, traps)

    def configure(self, settings: Settings, signer: Signer, profiles: Profiles, traps: TrapAddresses) -> None:
        """Take over (re)loaded settings."""
        self.profiles, self.traps = profiles, traps
        self._send_windows = SendWindows(settings.queue.send_windows, self._accounts)
        self.preparer = Preparer(settings, self.store, signer, profiles, self._references, self.metrics)
        self.rate_limit = RateLimit(self.store.quotas, settings.rate_limits)

    async def on_sender(self, client: Client, envelope: Envelope, size: int | None) -> SubmissionTransaction | Reply:
        """Begin a transaction, unless a disk is full, or every stream that the client may use refuses the sender, or it
        is too fast."""
        if client.account is None:
            return AUTH_REQUIRED
        if self.store.is_full or (self._disk is not None and self._disk.short()):
            return NO_STORAGE
        grant = self.profiles.settled(client.account.profile, client.grant)
        transaction = SubmissionTransaction(self, client, Submitter(client.account, grant), envelope)
        if reply := transaction.sender_refusal() or await self.rate_limit.on_sender(client.credential, client.grant):
            return reply
        return transaction

    async def enqueue_within_sample(self, prepared: Prepared, checked_at: float) -> Placed:
        """As ``enqueue``, but held if the sample of the mailing is complete with others. Places in it that are not used
        are given back."""
        mailing, messages = prepared.facts.mailing, prepared.messages
        if mailing is None or mailing.sample is None or mailing.sample.released_at or messages[0].holds:
            return await self.enqueue(messages, checked_at)
        places = _recipients(messages)
        if not await self.store.mailings.take_sample(mailing.id, places):
            hold = sampling_hold(mailing.id, mailing.name, mailing.list, mailing.sample.size)
            return await self.enqueue([replace(copy, holds=(hold,)) for copy in messages], checked_at)
        try:
            placed = await self.enqueue(messages, checked_at)
        except OutcomeUnknown:  # it may be queued
            raise
        except Exception:
            self.store.mailings.give_back_sample(mailing.id, places)
            raise
        if unused := places - _recipients(placed.messages):
            self.store.mailings.give_back_sample(mailing.id, unused)
        return placed

    async def enqueue(self, messages: list[NewMessage], checked_at: float) -> Placed:
        """Commit the copies of a message; hand their deliveries to the dispatcher if these may stay in memory.

        Return what was queued. Raises StoreUnavailable: then nothing was committed.
        """
        if self._active_queue is None:
            return (await self.store.messages.enqueue_all(messages, leased=False))[1]
        # Each delivery reserves what it will have in memory: any of them may be the last.
        sizes = [
            min(copy.message.size, LARGE)
            for copy in messages
            for _ in {each.address.domain for each in copy.message.envelope.recipients}
        ]
        reservations = self._active_queue.reserve_all(sizes, messages[0].stream) or ()
        deliveries: Sequence[Delivery] = ()
        try:
            now = messages[0].message.origin.received_at
            messages = [self._send_windows.delayed(copy, now) for copy in messages]
            queued, placed = await self.store.messages.enqueue_all(messages, leased=bool(reservations))
            if isinstance(queued, Leased):
                deliveries = queued.deliveries
        finally:
            for reservation in reservations[len(deliveries) :]:
                reservation.release()
        if deliveries:
            leased = zip(deliveries, reservations, strict=False)
            self._dispatch([Job(delivery, reservation, checked_at) for delivery, reservation in leased])
        return placed

    async def count_traps(self, messages: Sequence[NewMessage]) -> None:
        """Count what was queued for trap addresses; the breakers of mailings and accounts judge it."""
        for copy in messages:
            if any(recipient.address in self.traps for recipient in copy.message.envelope.recipients):
                try:
                    await self.store.breakers.trap(copy.message.id)
                except StoreUnavailable as error:  # the message is committed, and its answer must not depend on this
                    log.warning("trap hit not counted", message=format_id(copy.message.id), reason=str(error))


@dataclass(frozen=True, slots=True)
class SubmissionResult:
    """What became of a message: the answer to its final dot, what was queued, and the answers for recipients that are
    left out of it."""

    reply: Reply
    messages: tuple[NewMessage, ...] = ()
    left_out: tuple[tuple[Address, Reply], ...] = ()


class SubmissionTransaction:
    """One message on its way in. ``known``: what was looked up of each recipient; ``checked_at``: since when, on the
    monotonic clock."""

    __slots__ = (
        "_ahead", "_client", "_envelope", "_facts", "_streams", "_submission", "_submitter", "checked_at", "known"
    )  # fmt: skip

    def __init__(self, submission: Submission, client: Client, submitter: Submitter, envelope: Envelope) -> None:
        self._submission, self._client, self._submitter, self._envelope = submission, client, submitter, envelope
        self._streams = _in_order(frozenset(Stream) if submitter.grant.streams is None else submitter.grant.streams)
        self._facts: dict[Stream, Facts] = {}
        self.checked_at = time.monotonic()
        self.known: dict[Address, RecipientFacts] = {}
        self._ahead: dict[Address, RecipientFacts] = {}

    def sender_refusal(self) -> Reply | None:
        """Return why the sender is refused, None if any stream that the client may use accepts it."""
        reply, now = None, datetime.now(UTC)
        profile = self._submitter.account.profile
        for stream in self._streams or tuple(Stream):
            chain = self._submission.profiles.enforced(profile, stream)
            reply = screen_sender(chain, self._envelope.sender, self._early_facts(stream), now)
            if reply is None:
                return None
        return reply

    async def on_recipient(self, recipient: Recipient, ahead: Sequence[Address] = ()) -> Reply | None:
        """Return why the recipient is refused, None if any stream that the client may use accepts it."""
        address, account, profiles = recipient.address, self._submitter.account, self._submission.profiles
        known = self._ahead.pop(address, None) or self.known.get(address)
        if known is None:
            wanted = dict.fromkeys((address, *ahead))
            known, *others = await self._submission.store.recipients.find(account.id, list(wanted))
            self._ahead = {facts.address: facts for facts in others}
        refused, now = None, datetime.now(UTC)
        try:
            for stream in self._streams:
                if chain := profiles.chain(account.profile, stream):
                    refused = screen_recipient(chain, known, self._early_facts(stream), now)
                    if refused is None:
                        break
        except UnknownProfile as error:
            return unknown_profile(error)
        if refused is None:  # without any chain, the message itself is told so
            self.known[address] = known
            return None
        finding, reply = refused
        message = self._message(replace(self._envelope, recipients=(recipient,)), b"")
        return self._recorded(MessageRejected(reply, message, findings=(finding,)))

    async def on_message(self, envelope: Envelope, content: bytes, large: LargeBody | None = None) -> Reply:
        """Prepare and commit the message; return the answer to its final dot."""
        return (await self.submit(envelope, content, large)).reply

    async def submit(self, envelope: Envelope, content: bytes, large: LargeBody | None = None) -> SubmissionResult:
        """Prepare and commit the message; return what became of it and of each recipient."""
        started = time.perf_counter()
        submission, submitter = self._submission, self._submitter
        try:
            message = self._message(envelope, content, large)
        except HeaderError as error:
            return SubmissionResult(Reply(554, "5.6.0", f"headers: {error}"))
        reservation = await submission.rate_limit.reserve(submitter.account, len(envelope.recipients))
        try:
            prepared = await submission.preparer.prepare(
                submitter, message, known=self.known, quota_left=reservation.left
            )
            placed = await submission.enqueue_within_sample(prepared, self.checked_at)
            recipients = _recipients(placed.messages)
            reservation.use(recipients)
            submission.store.repeated_texts.count(
                submitter.account.id, prepared.sketch, recipients, message.origin.received_at
            )
        except HeaderError as error:
            return SubmissionResult(self._recorded(MessageRejected(Reply(554, "5.6.0", f"headers: {error}"), message)))
        except MessageRejected as rejected:
            return SubmissionResult(self._recorded(rejected))
        finally:
            reservation.release()
        if len(submission.traps):
            await submission.count_traps(placed.messages)
        further = [(each.address, _further_copy(each)) for each in placed.further]
        left_out = (*prepared.dropped, *further)
        self._log_accepted(placed.messages, left_out, time.perf_counter() - started)
        if not placed.messages:
            return SubmissionResult(further[0][1], (), left_out)
        more = f" ({len(placed.messages)} copies, one per recipient)" if len(placed.messages) > 1 else ""
        reply = Reply(250, "2.0.0", f"OK: queued as {format_id(placed.messages[0].message.id)}{more}")
        return SubmissionResult(reply, placed.messages, left_out)

    def _early_facts(self, stream: Stream) -> Facts:
        facts = self._facts.get(stream)
        if facts is None:
            facts = self._facts[stream] = early_facts(self._submitter, stream)
        return facts

    def _message(self, envelope: Envelope, content: bytes, large: LargeBody | None = None) -> Message:
        """Return the message as it was received. Raises HeaderError."""
        client, account = self._client, self._submitter.account
        origin = Origin(
            account_id=account.id,
            account=account.name,
            credential=client.credential,
            client=client.address,
            hello=client.hello,
            session=client.session,
            protocol=client.protocol_of(envelope),
            received_at=datetime.now(UTC),
            tls=client.tls,
        )
        return Message.of(new_message_id(), envelope, origin, content, large)

    def _log_accepted(
        self, messages: Sequence[NewMessage], dropped: Sequence[tuple[Address, Reply]], seconds: float
    ) -> None:
        events, metrics, client = self._submission.events, self._submission.metrics, self._client
        for copy in messages:
            events.accepted(copy.message, seconds=seconds, mailing=copy.mailing, holds=copy.holds)
            metrics.accepted(copy.message, seconds)
        for recipient, reply in dropped:
            events.rejected(
                reply,
                session=client.session,
                client=client.address,
                verb=".",
                account=self._submitter.account.name,
                sender=self._envelope.sender,
                recipient=recipient,
            )
            metrics.rejected(reply)

    def _recorded(self, rejected: MessageRejected) -> Reply:
        """Record a rejection with everything that was found; return the reply with the id it is recorded under."""
        message, facts = rejected.message, rejected.facts
        for name, error in rejected.errors:
            log.error("rule failed", rule=name, message=format_id(message.id), exc_info=error)
            self._submission.metrics.rule_errors.inc()
        reply = replace(rejected.reply, text=f"{rejected.reply.text} [{format_id(message.id)}]")
        sender = message.envelope.sender
        details = record(message, rejected.findings) | {
            "stream": facts.stream.value if facts else None,
            "mailing": facts.mailing_name if facts else None,
            "topic": facts.topic if facts else None,
            "sender": str(sender) if sender else None,
            "size": message.size,
            "profile": self._submitter.account.profile,
        }
        origin = message.origin
        self._submission.store.rejections.note(message.id, origin.account_id, origin.received_at, reply, details)
        return reply


def _recipients(messages: Sequence[NewMessage]) -> int:
    return sum(len(copy.message.envelope.recipients) for copy in messages)


def _further_copy(copy: FurtherCopy) -> Reply:
    """Return the answer for a recipient who has a copy: 250, so that a client that submits again takes it for sent."""
    text = f"OK: <{copy.address}> has its copy of this mailing, queued as {format_id(copy.message_id)}"
    return Reply(250, "2.0.0", text)


@lru_cache(8)
def _in_order(streams: frozenset[Stream]) -> tuple[Stream, ...]:
    return tuple(sorted(streams, key=lambda stream: stream.value))

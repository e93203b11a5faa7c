"""Stage 1 and 2 in one story: from a client's message to "250 queued as ID".

``Submission.accept`` is the way every message takes: read what is asked of us, gather the facts, run the rules, sign,
commit, and only then say 250.

It must never say 250 before the commit, never answer 5xx for trouble of our own, and never let an ``X-MTA-*`` field
out of the house.

*Limits.* The facts about recipients are looked up as each one is named; the time of the first look-up in a transaction
travels with the deliveries, so that the dispatcher knows how fresh it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import lru_cache

from config.schema import Settings
from mta.dkim import Signer
from mta.mail.address import Address
from mta.mail.delivery import Delivery
from mta.mail.headers import HeaderError, Headers
from mta.mail.identity import format_id, new_message_id
from mta.mail.mailbox import parse_mailbox
from mta.mail.message import Envelope, Message, Origin, Recipient, Stream
from mta.mail.reply import Reply
from mta.observe.events import EventLog
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.queue.active_queue import ActiveQueue, Job
from mta.smtp_server.client import Client
from mta.store.queue.enqueue import NewMessage, record
from mta.store.store import Store
from mta.submission.content_scan.scanners import Scanners
from mta.submission.control_headers import OptionError, SubmissionOptions, read_options, stream_of
from mta.submission.facts import SubmittingClient, facts_so_far, gather
from mta.submission.rate_limit import QuotaReservation, RateLimit
from policy.accounts.account import Account
from policy.accounts.mailing import held_by_sampling
from policy.base import Facts, Finding
from policy.chain import Chain, Screened, personalise, screen, screen_recipient, screen_sender
from policy.profile import Profiles, UnknownProfile

UNAUTHENTICATED = Reply(530, "5.7.0", "authentication required: no relaying without an account")
UNSIGNED = Reply(451, "4.7.5", "no active DKIM key for the sender's domain; make one with `mta dkim new`")
COPIES_OCTETS = 64 * 1024 * 1024  # of one message's personal copies together
BREATH = 8  # copies signed before others get a turn

log = get_logger()


class _Refused(Exception):
    """The message is turned away as a whole."""

    def __init__(
        self, reply: Reply, message: Message, facts: Facts | None = None, findings: tuple[Finding, ...] = ()
    ) -> None:
        super().__init__(str(reply))
        self.reply, self.message, self.facts, self.findings = reply, message, facts, findings


class Submission:
    """``dispatch`` takes the deliveries that stay in memory; ``active_queue`` says whether they may."""

    def __init__(
        self,
        *,
        settings: Settings,
        store: Store,
        signer: Signer,
        profiles: Profiles,
        active_queue: ActiveQueue,
        dispatch: Callable[[Sequence[Job]], None],
        events: EventLog,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._active_queue = active_queue
        self._dispatch = dispatch
        self._events = events
        self._metrics = metrics
        self.configure(settings, signer, profiles)

    def configure(self, settings: Settings, signer: Signer, profiles: Profiles) -> None:
        """Take over (re)loaded settings."""
        self._hostname = settings.server.hostname
        self._expire_after = timedelta(seconds=settings.queue.expire_after)
        self._require_signature = settings.signing.require
        self._profiles = profiles
        self._scanners = Scanners(settings.content_scan)
        self._fair_use = RateLimit(self._store.quotas, settings.rate_limits)
        self._signer = signer

    async def sender(self, client: Client, envelope: Envelope, size: int | None) -> Reply | None:
        """The answer to MAIL, None to go on."""
        account = client.account
        if account is None:
            return self._refuse(client, envelope, UNAUTHENTICATED, verb="MAIL")
        reply = self._sender_refusal(SubmittingClient(account, client.grant), envelope.sender)
        if reply is None:
            reply = await self._fair_use.pace(client)
        if reply:
            return self._refuse(client, envelope, reply, verb="MAIL")
        client.checked_at, client.known = time.monotonic(), {}
        return None

    def _sender_refusal(self, submitter: SubmittingClient, sender: Address | None) -> Reply | None:
        """Return the refusal if every stream that the client may use refuses the sender."""
        reply, now = None, datetime.now(UTC)
        for stream in sorted(submitter.grant.streams, key=lambda stream: stream.value):
            chain = self._profiles.enforced(submitter.account.profile, stream)
            reply = screen_sender(chain, sender, facts_so_far(submitter, stream), now)
            if reply is None:
                return None
        return reply

    async def recipient(self, client: Client, envelope: Envelope, recipient: Recipient) -> Reply | None:
        """The answer to RCPT, None to go on. Refused only if every stream that the client may use would refuse."""
        if client.account is None:
            return self._refuse(client, envelope, UNAUTHENTICATED, verb="RCPT")
        sender, address = SubmittingClient(client.account, client.grant), recipient.address
        (known,) = await self._store.recipients.find(sender.account.id, [address])
        refusals: list[tuple[Stream, Finding, Reply]] = []
        for stream in sorted(sender.grant.streams, key=lambda stream: stream.value):
            try:
                chain = self._profiles.chain(sender.account.profile, stream)
            except UnknownProfile as error:
                return self._refuse(client, envelope, _unknown_profile(error), verb="RCPT")
            if chain is None:
                continue
            found = screen_recipient(chain, known, facts_so_far(sender, stream), datetime.now(UTC))
            if found is None:
                client.known[address] = known
                return None
            refusals.append((stream, *found))
        if not refusals:
            return None  # no chain at all: the message itself is told so
        _, finding, reply = refusals[-1]
        message = self._read(client, replace(envelope, recipients=(recipient,)), b"")
        return self._turn_away(client, _Refused(reply, message, None, (finding,)), verb="RCPT", recipient=address)

    async def accept(self, client: Client, envelope: Envelope, content: bytes) -> Reply:
        """Gather, screen, sign, commit; the answer to the final dot."""
        started = time.perf_counter()
        if client.account is None:
            return self._refuse(client, envelope, UNAUTHENTICATED)
        try:
            message = self._read(client, envelope, content)
            wishes, message = read_options(message)
        except HeaderError as error:
            return self._refuse(client, envelope, Reply(554, "5.6.0", f"headers: {error}"))
        except OptionError as error:
            return self._refuse(client, envelope, Reply(550, "5.6.0", str(error)))
        fare = await self._fair_use.fare(client.account, len(envelope.recipients))
        try:
            copies = await self._prepare(client, message, wishes, fare)
            await self._commit(copies, client.checked_at)
            fare.use(sum(len(copy.message.envelope.recipients) for copy in copies))
        except _Refused as refused:
            return self._turn_away(client, refused)
        finally:
            fare.close()
        self._note(copies, time.perf_counter() - started)
        more = f" ({len(copies)} copies, one for each recipient)" if len(copies) > 1 else ""
        return Reply(250, "2.0.0", f"queued as {format_id(copies[0].message.id)}{more}")

    async def _prepare(
        self, client: Client, message: Message, wishes: SubmissionOptions, fare: QuotaReservation
    ) -> list[NewMessage]:
        """What is to be queued of a message: itself, or a copy for each recipient. Raises _Refused."""
        assert client.account is not None
        sender = SubmittingClient(client.account, client.grant)
        stream = stream_of(wishes, sender.grant, message.headers)
        chain = self._chain(sender, stream, message)
        facts = await gather(self._store, self._scanners, sender, message, wishes, stream, chain, client.known)
        facts = replace(facts, quota_left=fare.left)
        screened = self._judge(screen(chain, message, facts, message.origin.received_at), facts)
        for address, reply in screened.dropped:
            self._refuse(client, message.envelope, reply, recipient=address)
        copies = await self._copies(chain, screened, facts)
        hold = await self._sampled(screened, facts)
        return [await self._accepted(copy, facts, hold, wishes, n) for n, copy in enumerate(copies)]

    def _chain(self, sender: SubmittingClient, stream: Stream, message: Message) -> Chain:
        try:
            chain = self._profiles.chain(sender.account.profile, stream)
        except UnknownProfile as error:
            raise _Refused(_unknown_profile(error), message) from None
        if chain is None:
            text = f"profile {sender.account.profile} sends no {stream.value} mail; ask for another profile"
            raise _Refused(Reply(550, "5.7.1", f"stream: {text}"), message, facts_so_far(sender, stream))
        return chain

    def _profile_of(self, account: Account) -> str:
        """The profile's name and what it said at this moment."""
        return f"{account.profile} {self._profiles.digest(account.profile)}"

    def _judge(self, screened: Screened, facts: Facts) -> Screened:
        """``screened``, unless it is a refusal, which is raised."""
        for name, error in screened.errors:
            log.error("a rule failed", rule=name, message=format_id(screened.message.id), exc_info=error)
            self._metrics.rule_errors.inc()
        if screened.refusal:
            raise _Refused(screened.refusal, screened.message, facts, screened.findings)
        return screened

    async def _copies(self, chain: Chain, screened: Screened, facts: Facts) -> list[Screened]:
        """One for each recipient if the chain makes messages personal, each with the findings that concern it."""
        message = screened.message
        if not chain.personal:
            return [screened]
        recipients = message.envelope.recipients
        if len(message.content) * len(recipients) > COPIES_OCTETS:
            most = max(1, COPIES_OCTETS // len(message.content))
            reply = Reply(452, "4.5.3", f"each recipient gets a copy of his own; send this to at most {most} at once")
            raise _Refused(reply, message, facts, screened.findings)
        copies = []
        for n, recipient in enumerate(recipients):
            envelope = replace(message.envelope, recipients=(recipient,))
            own = replace(message, id=message.id if n == 0 else new_message_id(), envelope=envelope)
            known = tuple(each for each in facts.recipients if each.address == recipient.address)
            made = personalise(chain, own, replace(facts, recipients=known), message.origin.received_at)
            made = self._judge(made, facts)
            shared = tuple(each for each in screened.findings if each.recipient in (None, str(recipient.address)))
            copies.append(
                replace(
                    made,
                    findings=shared + made.findings,
                    hold="\n".join(filter(None, (screened.hold, made.hold))) or None,
                )
            )
        return copies

    async def _sampled(self, screened: Screened, facts: Facts) -> str | None:
        """Why the message waits, if the sample of its mailing is complete with others."""
        mailing = facts.mailing
        if screened.hold or mailing is None or mailing.sample is None or mailing.sample.released_at:
            return screened.hold
        if await self._store.mailings.take_sample(mailing.id, len(screened.message.envelope.recipients)):
            return None
        return held_by_sampling(mailing.id, mailing.name, mailing.list, mailing.sample.size)

    async def _accepted(
        self, copy: Screened, facts: Facts, hold: str | None, wishes: SubmissionOptions, n: int
    ) -> NewMessage:
        if n % BREATH == BREATH - 1:
            await asyncio.sleep(0)
        outgoing, finding = self._sign(copy, facts)
        received_at = copy.message.origin.received_at
        return NewMessage(
            outgoing,
            facts.account.id,
            expires_at=received_at + min(wishes.expire or self._expire_after, self._expire_after),
            findings=(*copy.findings, finding),
            mailing=facts.mailing.id if facts.mailing else wishes.mailing,
            hold=hold or copy.hold,
            stream=facts.stream,
            topic=facts.topic if facts.stream is Stream.MARKETING else None,
            profile=self._profile_of(facts.account),
        )

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

    def _sign(self, copy: Screened, facts: Facts) -> tuple[Message, Finding]:
        """The message as it leaves, with our Received field and signatures on top. Raises _Refused if it needs a key
        and there is none."""
        message = copy.message
        author = parse_mailbox(message.headers.value(b"from") or "")
        others = copy.signers
        signature = self._signer.sign(message.content, message.headers, author.domain, *others)
        if self._require_signature and not signature:
            raise _Refused(UNSIGNED, message, facts)
        keys = ", ".join(record for domain in (author.domain, *others) for record in self._signer.records(domain))
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

    async def _commit(self, copies: Sequence[NewMessage], checked_at: float) -> None:
        # Each delivery reserves its message's size: any of them may be the last.
        sizes = [
            len(copy.message.content)
            for copy in copies
            for _ in {each.address.domain for each in copy.message.envelope.recipients}
        ]
        reservations = self._active_queue.reserve_all(sizes, copies[0].stream) or ()
        deliveries: Sequence[Delivery] = ()
        try:
            deliveries = await self._store.messages.enqueue_all(copies, leased=bool(reservations))
        finally:
            if not deliveries:  # not queued, or for any worker to claim
                for reservation in reservations:
                    reservation.release()
        if deliveries:
            self._dispatch(
                [
                    Job(delivery, reservation, checked_at)
                    for delivery, reservation in zip(deliveries, reservations, strict=True)
                ]
            )

    def _note(self, copies: Sequence[NewMessage], seconds: float) -> None:
        for accepted in copies:
            self._events.accepted(accepted.message, seconds=seconds, mailing=accepted.mailing, hold=accepted.hold)
            self._metrics.accepted(accepted.message, seconds)

    def _turn_away(
        self, client: Client, refused: _Refused, *, verb: str = ".", recipient: Address | None = None
    ) -> Reply:
        """Answer with the id under which the refusal is kept with everything that was found."""
        message, facts = refused.message, refused.facts
        reply = replace(refused.reply, text=f"{refused.reply.text} [{format_id(message.id)}]")
        kept = record(message, refused.findings) | {
            "stream": facts.stream.value if facts else None,
            "mailing": facts.mailing_name if facts else None,
            "topic": facts.topic if facts else None,
            "sender": str(message.envelope.sender) if message.envelope.sender else None,
            "size": len(message.content),
            "profile": client.account.profile if client.account else None,
        }
        origin = message.origin
        self._store.rejections.note(message.id, origin.account_id, origin.received_at, reply, kept)
        return self._refuse(client, message.envelope, reply, verb=verb, recipient=recipient)

    def _refuse(
        self, client: Client, envelope: Envelope, reply: Reply, *, verb: str = ".", recipient: Address | None = None
    ) -> Reply:
        self._events.rejected(
            reply,
            session=client.session,
            client=client.address,
            verb=verb,
            account=client.account.name if client.account else None,
            sender=envelope.sender,
            recipient=recipient,
        )
        self._metrics.rejected(reply)
        return reply


def _unknown_profile(error: UnknownProfile) -> Reply:
    return Reply(451, "4.3.5", f"{error}; the postmaster must mend the account or the configuration")


@lru_cache(16)
def _date(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


def _literal(origin: Origin) -> str:
    return f"IPv6:{origin.client}" if origin.client.version == 6 else str(origin.client)

"""Prepare a submitted message for the queue: options, facts, policy chain, copies, signature. All but the commit.

``Preparer.prepare`` is what every message goes through, whether a client submits it or ``mta lint`` asks what would
become of it.

Invariants: nothing is written, counted or taken. What it returns has the header that leaves. A fact that cannot be
looked up is never left out: StoreUnavailable is raised.

Limitations: the scanners are asked, and may count what they see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import lru_cache

from config.schema import Settings
from mta.dkim import BodyHash, Signer
from mta.mail.address import Address, AddressError
from mta.mail.encoded_words import NotEncodable
from mta.mail.identity import format_id, new_message_id
from mta.mail.large_body import LargeBody, whole_lines
from mta.mail.mailbox import parse_mailbox
from mta.mail.message import Body, Message, Origin, SenderTls, Stream
from mta.mail.reply import Reply
from mta.mail.values import dataclass, replace
from mta.observe.metrics import Metrics
from mta.store.queue.enqueue import NewMessage
from mta.store.store import Store
from mta.submission.content_scan import Scanners
from mta.submission.control_headers import OptionError, SubmissionOptions, read_options, stream_of
from mta.submission.header_cleanup import UnfitFieldError, clean_header
from mta.submission.link_check import LinkChecker
from mta.submission.references import CompiledReferences
from mta.submission.seven_bit import to_seven_bit
from mta.submission.timing import expires_at, with_release
from policy.accounts.account import Account, Grant
from policy.accounts.mailing import Mailing
from policy.base import Facts, Finding, RecipientFacts
from policy.chain import Chain, Screened, personalise, screen
from policy.mailing.reference import BeingConfirmed, Unmatched
from policy.permission.mailbox import mailbox_of
from policy.permission.marketing_signs import MailingMark, MailingMarks, header_marks
from policy.profile import Profiles, UnknownProfile
from policy.text.known_texts import read_text
from policy.text.message_text import MessageText
from policy.text.same_text import sketch_of

COPIES_OCTETS = 64 * 1024 * 1024  # of one message's personal copies together
HEAVY = 256 * 1024  # octets of the largest message that is judged at once; larger ones are judged in a thread
YIELD_EVERY = 8  # copies that are signed before other tasks run

_AT_ONCE = nullcontext()
_CLEAN = frozenset({"pass", "amend"})  # verdicts of a message without fault

UNSIGNED = Reply(451, "4.7.5", "No active DKIM key for the sender's domain; create one with `mta dkim new`")


@dataclass(frozen=True, slots=True)
class Submitter:
    """Who submits: the account, and what its credential may do."""

    account: Account
    grant: Grant = field(default_factory=Grant)


class MessageRejected(Exception):
    """The message is rejected as a whole with ``reply``. ``errors``: rules that raised."""

    def __init__(
        self,
        reply: Reply,
        message: Message,
        facts: Facts | None = None,
        findings: tuple[Finding, ...] = (),
        errors: tuple[tuple[str, Exception], ...] = (),
    ) -> None:
        super().__init__(str(reply))
        self.reply, self.message, self.facts = reply, message, facts
        self.findings, self.errors = findings, errors


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is to be queued: the message, or a copy for each recipient. ``dropped``: recipients that it is not sent to,
    and why. ``facts``: those that it was judged by."""

    messages: list[NewMessage]
    dropped: tuple[tuple[Address, Reply], ...]
    facts: Facts
    sketch: tuple[int, ...] = ()


class Preparer:
    """Made from the settings in force; a reload makes a new one."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        signer: Signer,
        profiles: Profiles,
        references: CompiledReferences | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._references = references or CompiledReferences(store)
        self._store, self._signer, self._profiles = store, signer, profiles
        self._scanners = Scanners(settings.content_scan)
        self._links = LinkChecker(settings, store.takedowns, metrics)
        self._hostname = settings.server.hostname
        self._host_names = frozenset(filter(None, (self._hostname, settings.return_path.domain)))
        self._encode = settings.submission.eightbit == "encode"
        self._expire_after = timedelta(seconds=settings.queue.expire_after)
        self._send_delay = settings.submission.limits.send_delay
        self._require_signature = settings.signing.require
        self._one_heavy = asyncio.Semaphore(1)

    async def prepare(
        self,
        submitter: Submitter,
        message: Message,
        *,
        known: Mapping[Address, RecipientFacts],
        quota_left: int | None,
        content_of: Mailing | None = None,
    ) -> Prepared:
        """Judge, complete and sign ``message``. ``known``: recipients that were looked up already; ``quota_left``: how
        many the account's quotas still allow, None without quotas. ``content_of``: judge what it says, not its
        recipients, as a message of this mailing.

        Raises MessageRejected, StoreUnavailable.
        """
        submitter = Submitter(submitter.account, self._profiles.settled(submitter.account.profile, submitter.grant))
        options, message = self._options(message, content_of)
        marks = header_marks(message.headers, automatic=message.envelope.sender is None)
        message, cleaned = self._cleaned(_with_tls_wish(message))
        stream = stream_of(options, submitter.grant, marks)
        chain = self._chain(submitter, stream, options, message, marks)
        if content_of:
            chain = chain.of_content()
        heavy = message.size > HEAVY
        async with self._one_heavy if heavy else _AT_ONCE:
            facts = await gather(self._store, self._scanners, submitter, message, options, stream, chain, known, marks)
            facts, sketch = await self._further_facts(facts, chain, message, quota_left, content_of, heavy=heavy)
            if heavy:
                copies = await asyncio.to_thread(screen_copies, chain, message, facts)
            else:
                copies = screen_copies(chain, message, facts)
        mark, tag = facts.marks.first, None
        if message.large:
            # Here, not in what is called: these hold the whole message for as long as anybody refers to them.
            facts = replace(facts, reading=MessageText(b""), marks=MailingMarks())
            tag = await _body_hash(message.large)
        messages = await self._signed(copies, cleaned, facts, options, mark, tag)
        return Prepared(messages, copies[0].dropped, facts, sketch)

    def _options(self, message: Message, content_of: Mailing | None) -> tuple[SubmissionOptions, Message]:
        """Return the options in the header, and the message to be released when they say. Raises MessageRejected."""
        try:
            options = read_options(message.headers)
            message = with_release(message, options.send_at, self._send_delay)
            if content_of is None:
                return options, message
            if options.mailing not in (None, content_of.id, content_of.name):
                raise OptionError(f'X-MTA-Mailing names another mailing, "{options.mailing}"')
            return replace(options, stream=Stream.MARKETING, mailing=content_of.id), message
        except OptionError as error:
            finding = Finding("headers", "refuse", str(error))
            raise MessageRejected(Reply(550, "5.6.0", str(error)), message, findings=(finding,)) from None

    async def _further_facts(
        self,
        facts: Facts,
        chain: Chain,
        message: Message,
        quota_left: int | None,
        content_of: Mailing | None,
        *,
        heavy: bool,
    ) -> tuple[Facts, tuple[int, ...]]:
        """Return the facts with what is left of quotas, what the message is compared with, where its links lead and how
        often its text came; and the sketch of that. Raises StoreUnavailable."""
        if quota_left is not None:
            facts = replace(facts, quota_left=quota_left)
        if content_of:
            topic = facts.topic or content_of.topic
            facts = replace(facts, mailing=content_of, topic=topic, reference=BeingConfirmed())
        elif facts.mailing and facts.mailing.references and facts.mailing.confirmation:
            facts = await self._compared(facts, facts.mailing, message, heavy=heavy)
        if chain.needs_links:
            facts = replace(facts, links=await self._links.check(facts.reading, in_thread=heavy))
        sketch = sketch_of(facts.reading.bodies) if chain.counts_texts else ()
        if sketch:
            seen = self._store.repeated_texts.seen(facts.account.id, sketch, message.origin.received_at)
            facts = replace(facts, repeats=seen + len(message.envelope.recipients))
        return facts, sketch

    async def _signed(
        self,
        copies: Sequence[Screened],
        cleaned: tuple[Finding, ...],
        facts: Facts,
        options: SubmissionOptions,
        mark: tuple[str, str] | None,
        tag: bytes | None,
    ) -> list[NewMessage]:
        """Return the copies as they leave, signed. Raises MessageRejected."""
        messages = []
        for n, copy in enumerate(copies, 1):
            judged = replace(copy, findings=(*cleaned, *copy.findings)) if cleaned else copy
            messages.append(self._new_message(judged, facts, options, tag, mark))
            if n % YIELD_EVERY == 0:
                await asyncio.sleep(0)
        return messages

    async def _compared(self, facts: Facts, mailing: Mailing, message: Message, *, heavy: bool) -> Facts:
        """Return the facts with whether the message is one that was confirmed; before it is not, the mailing is looked
        up again. Raises StoreUnavailable."""
        compared = await self._references.compare(mailing, message, facts.reading, in_thread=heavy)
        if isinstance(compared, Unmatched):
            now = await self._store.mailings.find(mailing.account_id, mailing.id)
            if now is not None and (now.references, now.redacted) != (mailing.references, mailing.redacted):
                facts = replace(facts, mailing=now)
                compared = await self._references.compare(now, message, facts.reading, in_thread=heavy)
        return replace(facts, reference=compared)

    def digest(self, profile: str) -> str:
        """Return what changes when the rules of ``profile`` do. Raises UnknownProfile."""
        return self._profiles.digest(profile)

    def _cleaned(self, message: Message) -> tuple[Message, tuple[Finding, ...]]:
        """Return ``message`` as it may leave, and what was changed. Raises MessageRejected."""
        try:
            message, changed = clean_header(message, self._host_names)
        except UnfitFieldError as error:
            finding = Finding("header_fields", "refuse", str(error))
            raise MessageRejected(Reply(550, "5.6.0", f"headers: {error}"), message, findings=(finding,)) from None
        findings = [Finding("header_fields", "amend", changed)] if changed else []
        if self._encode and message.large is None and not (message.head.isascii() and message.body.isascii()):
            message, finding = _in_seven_bits(message)
            findings.append(finding)
        return message, tuple(findings)

    def _chain(
        self,
        submitter: Submitter,
        stream: Stream,
        options: SubmissionOptions,
        message: Message,
        marks: Sequence[MailingMark],
    ) -> Chain:
        profile = submitter.account.profile
        try:
            chain = self._profiles.chain(profile, stream)
        except UnknownProfile as error:
            raise MessageRejected(unknown_profile(error), message) from None
        if chain is None:
            facts = replace(early_facts(submitter, stream), mailing_name=options.mailing, topic=options.topic)
            shows = f", and the message shows {marks[0].where}, which makes it marketing" if marks else ""
            text = f"profile {profile} sends no {stream.value} mail{shows}; ask for another profile"
            finding = Finding("stream", "refuse", text)
            raise MessageRejected(Reply(550, "5.7.1", f"stream: {text}"), message, facts, (finding,))
        return chain

    def _new_message(
        self,
        copy: Screened,
        facts: Facts,
        options: SubmissionOptions,
        tag: bytes | None,
        mark: tuple[str, str] | None,
    ) -> NewMessage:
        message, account = copy.message, facts.account
        outgoing, finding = self._sign(copy, facts, tag)
        return NewMessage(
            outgoing,
            account.id,
            expires_at=expires_at(message.envelope, message.origin.received_at, options.expire, self._expire_after),
            findings=(*copy.findings, finding),
            mailing=facts.mailing.id if facts.mailing else options.mailing,
            holds=copy.holds,
            stream=facts.stream,
            topic=facts.topic if facts.stream is Stream.MARKETING else None,
            profile=f"{account.profile} {self.digest(account.profile)}",
            mailboxes=self._mailboxes(outgoing, facts),
            certified=self._profiles.get(account.profile).certified
            and not copy.holds
            and {each.verdict for each in copy.findings} <= _CLEAN,
            mark=mark,
        )

    def _mailboxes(self, message: Message, facts: Facts) -> tuple[str, ...]:
        """Return the mailboxes of a message whose mailing each of them gets one copy of."""
        copies = self._profiles.get(facts.account.profile).copies
        if not copies.one or facts.mailing is None or facts.stream is not Stream.MARKETING:
            return ()
        return tuple(mailbox_of(recipient.address, copies) for recipient in message.envelope.recipients)

    def _sign(self, copy: Screened, facts: Facts, tag: bytes | None) -> tuple[Message, Finding]:
        """Return the message as it leaves, with our Received field and signatures on top. ``tag``: the ``bh=`` tag of a
        large body."""
        message = copy.message
        try:
            author = parse_mailbox(message.headers.value(b"from") or "").domain
        except AddressError as error:  # no rule of this profile looks at it
            finding = Finding("dkim", "refuse", f"the From field {error}")
            reply = Reply(550, "5.6.0", f"headers: the From field {error}")
            raise MessageRejected(reply, message, facts, (*copy.findings, finding)) from None
        signature = self._signer.sign(message.headers, message.body, author, *copy.signers, tag=tag)
        if self._require_signature and not signature:
            finding = Finding("dkim", "refuse", f"no active key for {author}")
            raise MessageRejected(UNSIGNED, message, facts, (*copy.findings, finding))
        keys = ", ".join(record for domain in (author, *copy.signers) for record in self._signer.records(domain))
        evidence = f"signed with {keys}" if signature else f"not signed: no active key for {author}"
        outgoing = replace(message, head=b"".join((signature, self._received(message), message.head)))
        return outgoing, Finding("dkim", "pass", evidence)

    def _received(self, message: Message) -> bytes:
        """RFC 5321 4.4; `for` only with a single recipient, so that no other recipient is disclosed."""
        origin, recipients = message.origin, message.envelope.recipients
        only = f"\r\n\tfor <{recipients[0].address}>" if len(recipients) == 1 else ""
        if priority := message.envelope.priority:  # RFC 6710 4.5
            only += f"\r\n\tPRIORITY {priority}"
        tls = f"\r\n\t({origin.tls})" if origin.tls else ""
        return (
            f"Received: from {origin.hello or 'unknown'} ([{_literal(origin)}])\r\n"
            f"\tby {self._hostname} with {origin.protocol} id {format_id(message.id)}{tls}{only};\r\n"
            f"\t{_date(int(origin.received_at.timestamp()))}\r\n"
        ).encode()


def _with_tls_wish(message: Message) -> Message:
    """Note ``TLS-Required: No`` in the envelope, unless MAIL had REQUIRETLS, which counts more (RFC 8689 3 and 4.1)."""
    said = (message.headers.value(b"tls-required") or "").lower()
    if said != "no" or message.envelope.tls is SenderTls.REQUIRED:
        return message
    return replace(message, envelope=replace(message.envelope, tls=SenderTls.OPTIONAL))


def _in_seven_bits(message: Message) -> tuple[Message, Finding]:
    """Return ``message`` in ASCII, if it can be written so without harm."""
    try:
        content = to_seven_bit(message.content)
    except NotEncodable as error:
        return message, Finding("eightbit", "pass", f"left in eight bits: {error}")
    envelope = replace(message.envelope, body=Body.SEVEN_BIT)
    finding = Finding("eightbit", "amend", "written in seven bits (submission.eightbit)")
    return replace(message.with_content(content), envelope=envelope), finding


# --- facts


def early_facts(submitter: Submitter, stream: Stream) -> Facts:
    """Return what is known at MAIL and RCPT, before the message has come."""
    return Facts(submitter.account, stream=stream, grant=submitter.grant)


async def gather(
    store: Store,
    scanners: Scanners,
    submitter: Submitter,
    message: Message,
    options: SubmissionOptions,
    stream: Stream,
    chain: Chain,
    known: Mapping[Address, RecipientFacts],
    marks: tuple[MailingMark, ...] | None = None,
) -> Facts:
    """Return all that the rules of ``chain`` may know. ``marks``: those in the header, None if marks do not count.
    Raises StoreUnavailable."""
    mailing = await _mailing(store, submitter.account, options.mailing) if options.mailing else None
    reading = MessageText(await message.large.whole()) if message.large else read_text(message)
    return Facts(
        submitter.account,
        stream=stream,
        grant=submitter.grant,
        mailing_name=options.mailing,
        mailing=mailing,
        topic=options.topic or (mailing.topic if mailing else None),
        recipients=await _recipients(store, submitter.account, message, known),
        marks=MailingMarks() if marks is None or stream is Stream.MARKETING else MailingMarks(marks, reading),
        reading=reading,
        scans=await scanners.scan(message) if chain.needs_scans else (),
    )


async def _mailing(store: Store, account: Account, name: str) -> Mailing | None:
    """Return the mailing from memory; one that is unknown there, or would stop the message, is looked up again."""
    mailing = store.mailings.by_name(account.id, name)
    if mailing is None or mailing.confirmation is None or not mailing.approved:
        mailing = await store.mailings.find(account.id, name)
    return mailing


async def _recipients(
    store: Store, account: Account, message: Message, known: Mapping[Address, RecipientFacts]
) -> tuple[RecipientFacts, ...]:
    addresses = dict.fromkeys(recipient.address for recipient in message.envelope.recipients)
    found = dict(known)
    if missing := [address for address in addresses if address not in found]:
        found.update((facts.address, facts) for facts in await store.recipients.find(account.id, missing))
    return tuple(found[address] for address in addresses)


async def _body_hash(large: LargeBody) -> bytes:
    """Return the ``bh=`` tag of a large body, hashed in steps of about a millisecond."""
    body = BodyHash()
    async for lines in whole_lines(large.pieces()):
        body.feed(lines)
    return body.tag()


# --- screening


def screen_copies(chain: Chain, message: Message, facts: Facts) -> list[Screened]:
    """Judge ``message`` by the shared rules, then by the personal ones a copy for each recipient that is left.

    Each copy has all findings that concern it. The first one keeps the message's id, and has the findings about dropped
    recipients. Raises MessageRejected.
    """
    now = message.origin.received_at
    shared = screen(chain, message, facts, now)
    _require_accepted(shared, shared.findings, facts)
    if not chain.personal:
        return [shared]
    message, recipients = shared.message, shared.message.envelope.recipients
    if message.size * len(recipients) > COPIES_OCTETS:
        most = max(1, COPIES_OCTETS // message.size)
        reply = Reply(452, "4.5.3", f"Too many recipients: each one gets a copy; send this to at most {most} at once")
        raise MessageRejected(reply, message, facts, shared.findings)
    known = {each.address: each for each in facts.recipients}
    dropped = frozenset(str(address) for address, _ in shared.dropped)
    copies = []
    for n, recipient in enumerate(recipients):
        envelope = replace(message.envelope, recipients=(recipient,))
        own = replace(message, id=message.id if n == 0 else new_message_id(), envelope=envelope)
        made = personalise(chain, own, replace(facts, recipients=(known[recipient.address],)), now)
        concerned = {None, str(recipient.address)} | (dropped if n == 0 else frozenset())
        findings = (*[each for each in shared.findings if each.recipient in concerned], *made.findings)
        _require_accepted(made, findings, facts)
        holds = (*shared.holds, *made.holds)
        signers = (*shared.signers, *made.signers)
        copies.append(replace(made, findings=findings, holds=holds, signers=signers, dropped=shared.dropped))
    return copies


def _require_accepted(screened: Screened, findings: tuple[Finding, ...], facts: Facts) -> None:
    if screened.refusal:
        raise MessageRejected(screened.refusal, screened.message, facts, findings, screened.errors)


def merged_findings(messages: Sequence[Screened] | Sequence[NewMessage]) -> tuple[Finding, ...]:
    """Return the findings of all copies of a message, each of them once."""
    return tuple(dict.fromkeys(finding for message in messages for finding in message.findings))


def unknown_profile(error: UnknownProfile) -> Reply:
    return Reply(451, "4.3.5", f"{error}; the postmaster must fix the account or the configuration")


@lru_cache(16)
def _date(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


def _literal(origin: Origin) -> str:
    return f"IPv6:{origin.client}" if origin.client.version == 6 else str(origin.client)

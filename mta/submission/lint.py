"""The whole chain on one message that nobody sends: what would become of it, and why.

The facts are gathered by the same code as for a submitted message, and the same rules run; then nothing happens.

It must never change anything: what it takes from a quota to see how much is left it gives back; no sample is taken,
nothing queued or recorded.

*Limits.* Scanners are asked, and may count what they see. What depends on the connection (its rate, its TLS) is not
judged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mta.dkim import Signer
from mta.mail.address import Address, AddressError
from mta.mail.mailbox import parse_mailbox
from mta.mail.message import Message, Stream
from mta.mail.reply import Reply
from mta.store.store import Store
from mta.submission.accept import UNSIGNED
from mta.submission.content_scan.scanners import Scanners
from mta.submission.control_headers import OptionError, read_options, stream_of
from mta.submission.facts import SubmittingClient, gather
from policy.accounts.mailing import held_by_sampling
from policy.accounts.quotas import quotas_of
from policy.base import Facts, Finding
from policy.chain import Chain, Screened, personalise, screen
from policy.profile import Profiles


@dataclass(frozen=True, slots=True)
class Linted:
    """``refusal`` None: it would be accepted; ``hold``: then why it would wait. ``stream`` None: it was not known yet
    when the message was refused."""

    profile: str
    digest: str
    findings: tuple[Finding, ...]
    refusal: Reply | None = None
    hold: str | None = None
    dropped: tuple[tuple[Address, Reply], ...] = ()
    stream: Stream | None = None
    mailing: str | None = None
    topic: str | None = None


class Linter:
    """``require_signature``: as in ``signing.require``."""

    def __init__(
        self, store: Store, scanners: Scanners, signer: Signer, profiles: Profiles, *, require_signature: bool
    ) -> None:
        self._store, self._scanners, self._signer, self._profiles = store, scanners, signer, profiles
        self._require_signature = require_signature

    async def lint(self, sender: SubmittingClient, message: Message, profile: str) -> Linted:
        """What would become of ``message`` under ``profile``. Raises StoreUnavailable, UnknownProfile."""
        empty = Linted(profile, self._profiles.digest(profile), ())
        try:
            wishes, message = read_options(message)
        except OptionError as error:
            return _refused(empty, Finding("headers", "refuse", str(error)), Reply(550, "5.6.0", str(error)))
        stream = stream_of(wishes, sender.grant, message.headers)
        empty = replace(empty, stream=stream, mailing=wishes.mailing, topic=wishes.topic)
        chain = self._profiles.chain(profile, stream)
        if chain is None:
            text = f"profile {profile} sends no {stream.value} mail; ask for another profile"
            return _refused(empty, Finding("stream", "refuse", text), Reply(550, "5.7.1", f"stream: {text}"))
        facts = await gather(self._store, self._scanners, sender, message, wishes, stream, chain, {})
        facts = replace(facts, quota_left=await self._quota_left(sender, message))
        screened = judge(chain, message, facts)
        linted = replace(
            empty,
            findings=screened.findings,
            refusal=screened.refusal,
            hold=screened.hold or _sampled(facts),
            dropped=screened.dropped,
            topic=facts.topic,
        )
        return linted if linted.refusal else self._signed(linted, screened.message)

    async def _quota_left(self, sender: SubmittingClient, message: Message) -> int | None:
        quotas = quotas_of(sender.account, message.origin.received_at)
        if not quotas:
            return None
        wanted = len(message.envelope.recipients)
        left = await self._store.quotas.take(quotas, wanted)
        if left is not None and left >= wanted:
            self._store.quotas.give_back(quotas, wanted)
        return left

    def _signed(self, linted: Linted, message: Message) -> Linted:
        try:
            domain = parse_mailbox(message.headers.value(b"from") or "").domain
        except AddressError as error:  # no rule of this profile minds
            text = f"the From field {error}"
            return _refused(linted, Finding("dkim", "refuse", text), Reply(550, "5.6.0", text))
        if records := self._signer.records(domain):
            return replace(
                linted, findings=(*linted.findings, Finding("dkim", "pass", f"{', '.join(records)} would sign"))
            )
        finding = Finding("dkim", "refuse" if self._require_signature else "pass", f"no active key for {domain}")
        if self._require_signature:
            return _refused(linted, finding, UNSIGNED)
        return replace(linted, findings=(*linted.findings, finding))


def judge(chain: Chain, message: Message, facts: Facts) -> Screened:
    """The shared rules, then the personal ones for each recipient that is left."""
    now = message.origin.received_at
    screened = screen(chain, message, facts, now)
    if screened.refusal or not chain.personal:
        return screened
    findings, hold = list(screened.findings), screened.hold
    for recipient in screened.message.envelope.recipients:
        envelope = replace(screened.message.envelope, recipients=(recipient,))
        known = tuple(each for each in facts.recipients if each.address == recipient.address)
        own = personalise(chain, replace(screened.message, envelope=envelope), replace(facts, recipients=known), now)
        findings += [each._replace(recipient=each.recipient or str(recipient.address)) for each in own.findings]
        hold = hold or own.hold
        if own.refusal:
            return replace(screened, findings=tuple(findings), refusal=own.refusal, errors=own.errors)
    return replace(screened, findings=tuple(findings), hold=hold)


def _sampled(facts: Facts) -> str | None:
    """Why the message would wait, if the sample of its mailing is complete."""
    mailing = facts.mailing
    if mailing is None or mailing.sample is None or not mailing.sample.exhausted:
        return None
    return held_by_sampling(mailing.id, mailing.name, mailing.list, mailing.sample.size)


def _refused(linted: Linted, finding: Finding, reply: Reply) -> Linted:
    return replace(linted, findings=(*linted.findings, finding), refusal=reply)

"""What ``mta lint --replay`` does: takes what was judged lately, and judges it by a changed profile.

It must never change or send anything, nor read the content of a message that the change does not touch.

*Limits.* A message that is still queued is judged as it will leave: with what the chain has added to it. Facts are
looked up anew for it, as they are now.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

from config.schema import Settings
from mta.cli.lint_steps import Chosen
from mta.cli.output import fail
from mta.mail.address import Address
from mta.mail.headers import HeaderError, Headers
from mta.mail.identity import MessageId
from mta.mail.message import Envelope, Message, Origin, Recipient, Stream
from mta.store.accounts.accounts import AccountError
from mta.store.journal.screening_history import Judgement
from mta.store.queue.messages import ContentMissing
from mta.store.store import Store
from mta.submission.content_scan import Scanners
from mta.submission.control_headers import SubmissionOptions
from mta.submission.prepare import MessageRejected, Submitter, gather, merged_findings, screen_copies
from policy.accounts.account import Account
from policy.base import Finding
from policy.profile import Profiles, StreamRules, UnknownProfile
from policy.replay import ReplayEnd, ReplayVerdict, ScreenedMessage, after, before


@dataclass(frozen=True, slots=True)
class Replayed:
    """One message under the profile it was judged by, and under the changed one. ``again``: judged again, from its
    content. ``earlier``: it was judged by an earlier version of the profile than is loaded now."""

    message_id: MessageId
    received_at: datetime
    account: str
    sender: str | None
    recipients: tuple[str, ...]
    profile: str
    before: ReplayEnd
    after: ReplayEnd
    again: bool
    earlier: bool

    @property
    def changed(self) -> bool:
        return (self.before.fate, self.before.dropped) != (self.after.fate, self.after.dropped)


async def replay(store: Store, settings: Settings, chosen: Chosen, account: str | None, last: int) -> list[Replayed]:
    """The newest ``last`` judgements, oldest first. Ends the command if there is no such account."""
    try:
        account_id = (await store.accounts.find(account)).account.id if account else None
    except AccountError as error:
        fail(f"mta lint: {error}", status=2)
    scanners = Scanners(settings.content_scan)
    replayed = []
    for judgement in reversed(await store.screening_history.last(last, account_id)):
        who = store.accounts.by_id(judgement.account_id)
        if who is not None:
            replayed.append(await _replay(store, scanners, chosen, judgement, who))
    return replayed


async def _replay(store: Store, scanners: Scanners, chosen: Chosen, judgement: Judgement, account: Account) -> Replayed:
    profile = judgement.profile or account.profile
    stream = _stream(judgement, chosen.before, profile)
    # A file called like a profile in use is that profile, changed; any other would be the account's new profile.
    changed = profile if chosen.name is None or chosen.name in chosen.before.names else chosen.name
    old, new = _rules(chosen.before, profile, stream), _rules(chosen.profiles, changed, stream)
    judged = ScreenedMessage(judgement.findings, judgement.recipients, _fate(judgement))
    then, fresh = before(judged), None
    if _same(old, new):
        end = then
    else:
        if new is not None and judgement.queued:
            fresh = await _again(store, scanners, judgement, account, stream, new)
        end = after(judged, old, new, fresh)
    return Replayed(
        judgement.message_id,
        judgement.received_at,
        account.name,
        judgement.sender,
        judgement.recipients,
        profile,
        then,
        end,
        again=fresh is not None,
        earlier=bool(judgement.digest) and judgement.digest != _digest(chosen.before, profile),
    )


def _fate(judgement: Judgement) -> ReplayVerdict:
    if judgement.reply:
        return ReplayVerdict.PUT_OFF if judgement.reply.startswith("4") else ReplayVerdict.REFUSED
    return (
        ReplayVerdict.HELD
        if any(finding.verdict == "hold" for finding in judgement.findings)
        else ReplayVerdict.ACCEPTED
    )


def _stream(judgement: Judgement, profiles: Profiles, profile: str) -> Stream:
    """As recorded; a recipient that was refused at RCPT was refused for every stream, so any will do."""
    if judgement.stream:
        return Stream(judgement.stream)
    return next((stream for stream in Stream if _rules(profiles, profile, stream)), Stream.TRANSACTIONAL)


def _rules(profiles: Profiles, profile: str, stream: Stream) -> StreamRules | None:
    try:
        return profiles.get(profile).streams.get(stream)
    except UnknownProfile:
        return None


def _digest(profiles: Profiles, profile: str) -> str | None:
    try:
        return profiles.digest(profile)
    except UnknownProfile:
        return None


def _same(old: StreamRules | None, new: StreamRules | None) -> bool:
    """Whether the two judge alike, so that there is nothing to replay."""
    if old is None or new is None:
        return old is new
    return (
        list(old.settings.items()) == list(new.settings.items())
        and old.chain.observed == new.chain.observed
        and old.chain.failing is new.chain.failing
    )


async def _again(
    store: Store, scanners: Scanners, judgement: Judgement, account: Account, stream: Stream, new: StreamRules
) -> tuple[Finding, ...] | None:
    """What the new chain finds in the message that is still queued; None if it has gone meanwhile."""
    try:
        content = _as_submitted(await store.messages.content(judgement.message_id))
    except (ContentMissing, HeaderError):
        return None
    message = _message(judgement, account, content)
    options = SubmissionOptions(stream=stream, mailing=judgement.mailing, topic=judgement.topic)
    facts = await gather(store, scanners, Submitter(account), message, options, stream, new.chain, {})
    try:
        return merged_findings(screen_copies(new.chain, message, facts))
    except MessageRejected as rejected:
        return rejected.findings


def _as_submitted(content: bytes) -> bytes:
    """Without our own signatures and Received field, which stand on top. Raises HeaderError."""
    size = 0
    for name, raw in Headers.split(content).fields:
        if name not in (b"dkim-signature", b"received"):
            break
        size += len(raw) + 2
        if name == b"received":
            break
    return content[size:]


def _message(judgement: Judgement, account: Account, content: bytes) -> Message:
    recipients = tuple(Recipient(Address.parse(address)) for address in judgement.recipients)
    envelope = Envelope(Address.parse(judgement.sender) if judgement.sender else None, recipients)
    origin = Origin(
        account_id=account.id,
        account=account.name,
        credential=None,
        client=ip_address("127.0.0.1"),
        hello="mta lint",
        session="replay",
        protocol="ESMTPSA",
        received_at=judgement.received_at,
    )
    return Message(judgement.message_id, envelope, origin, Headers.split(content), content)

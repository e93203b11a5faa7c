"""``mta lint --replay``: judge recorded messages by a changed profile, and show what would change.

Invariants: nothing is changed or sent. The content of a message is read only if the change concerns it. Every message
with another result is shown, and every one whose result is unknown.

Limitations: a message that is still queued is judged with what the chain has added to it. Facts about it are looked up
as they are now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from mta.cli.context import account_id
from mta.cli.message.message_file import ProfileChoice
from mta.cli.output import moment, plain, print_json, print_lines
from mta.mail.address import Address
from mta.mail.headers import HeaderError, Headers
from mta.mail.identity import MessageId, format_id
from mta.mail.message import Envelope, Message, Origin, Recipient, Stream
from mta.store.queue.content import ContentMissing, whole
from mta.submission.content_scan import Scanners
from mta.submission.control_headers import SubmissionOptions
from mta.submission.prepare import MessageRejected, Submitter, gather, merged_findings, screen_copies
from policy.profile import UnknownProfile
from policy.replay import ReplayVerdict, ScreenedMessage, after, before

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.store.journal.screening_history import Judgement
    from mta.store.store import Store
    from policy.accounts.account import Account
    from policy.base import Finding
    from policy.profile import Profiles, StreamRules
    from policy.replay import ReplayEnd

STYLES = {
    ReplayVerdict.ACCEPTED: "green",
    ReplayVerdict.HELD: "yellow",
    ReplayVerdict.REFUSED: "red",
    ReplayVerdict.PUT_OFF: "yellow",
    ReplayVerdict.UNKNOWN: "magenta",
}


@dataclass(frozen=True, slots=True)
class Replayed:
    """One message under the profile it was judged by, and under the changed one. ``again``: judged again, from its
    content. ``earlier``: judged by an earlier version of the profile than is loaded now."""

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


async def replay(
    store: Store, settings: Settings, chosen: ProfileChoice, account: str | None, last: int
) -> list[Replayed]:
    """Return the newest ``last`` messages, oldest first, under both profiles."""
    scanners = Scanners(settings.content_scan)
    replayed = []
    for judgement in reversed(await store.screening_history.last(last, await account_id(store, account))):
        who = store.accounts.by_id(judgement.account_id)
        if who is not None:
            replayed.append(await _replay(store, scanners, chosen, judgement, who))
    return replayed


async def _replay(
    store: Store, scanners: Scanners, chosen: ProfileChoice, judgement: Judgement, account: Account
) -> Replayed:
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
    """Return the recorded stream; a recipient refused at RCPT was refused for every stream, so any will do."""
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
    """Return whether both judge alike, so that there is nothing to replay."""
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
    """Return what the new chain finds in a message that is still queued; None if it has left the queue meanwhile."""
    try:
        content = _as_submitted(await whole(await store.messages.content(judgement.message_id)))
    except (ContentMissing, HeaderError):
        return None
    message = _message(judgement, account, content)
    options = SubmissionOptions(stream=stream, mailing=judgement.mailing, topic=judgement.topic)
    facts = await gather(store, scanners, Submitter(account), message, options, stream, new.chain, {})
    if (mailing := facts.mailing) and mailing.references and mailing.confirmation:
        compared = await store.mailings.compare_queued(mailing.id, judgement.message_id, judgement.recipients)
        facts = replace(facts, reference=compared)
    try:
        return merged_findings(screen_copies(new.chain, message, facts))
    except MessageRejected as rejected:
        return rejected.findings


def _as_submitted(content: bytes) -> bytes:
    """Return the message without our own signatures and Received field, which come first. Raises HeaderError."""
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
    return Message.of(judgement.message_id, envelope, origin, content)


# Output


def print_replayed(replayed: Sequence[Replayed], *, as_json: bool) -> None:
    """Print the messages with another result, and how many there are of each kind."""
    changed = [each for each in replayed if each.changed]
    if as_json:
        print_json({"changes": [_fields(each) for each in changed], "summary": dict(_summary(replayed))})
        return
    lines = [line for each in changed for line in _change(each)]
    print_lines([*lines, *((f"{count:>7} {name}", "" if count else "dim") for name, count in _summary(replayed))])


def _change(each: Replayed) -> Iterator[tuple[str, str]]:
    more = f" and {len(each.recipients) - 3} more" if len(each.recipients) > 3 else ""
    to = ", ".join(each.recipients[:3]) + more
    yield f"{format_id(each.message_id)}  {moment(each.received_at)}  {each.account} to {to}", ""
    for when, end in (("before", each.before), ("after", each.after)):
        yield f"  {when:<7} {_told(end)}", STYLES[end.fate]
    if each.again:
        yield "          judged again: it is still queued", "dim"


def _told(end: ReplayEnd) -> str:
    rule = f" by {end.rule}" if end.rule and end.fate is not ReplayVerdict.UNKNOWN else ""
    why = end.why.removeprefix(f"{end.rule}: ").replace("\n", " / ")
    dropped = f", without {', '.join(end.dropped)}" if end.dropped else ""
    return f"{end.fate.value}{rule}{dropped}" + (f": {why}" if why else "")


def _summary(replayed: Sequence[Replayed]) -> Iterator[tuple[str, int]]:
    """Yield how many messages there are of each kind of change."""
    yield "messages judged", len(replayed)
    ways = Counter((each.before.fate, each.after.fate) for each in replayed if each.changed)
    for (was, is_), count in sorted(ways.items(), key=lambda pair: -pair[1]):
        yield (f"{was.value}, would be {is_.value}" if was is not is_ else f"{was.value}, for other recipients"), count
    yield "unchanged", sum(not each.changed for each in replayed)
    if earlier := sum(each.earlier for each in replayed):
        yield "of them judged by an earlier version of their profile", earlier


def _fields(each: Replayed) -> dict[str, Any]:
    fields: dict[str, Any] = plain(each)
    again, message_id = fields.pop("again"), fields.pop("message_id")
    return {"message": message_id} | fields | {"judged_again": again}

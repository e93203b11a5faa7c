"""Say what would become of a message: everything that a submitted one goes through, but the commit.

Invariants: nothing is changed. What is reserved of a quota, to see how much is left, is released; no sample is taken;
nothing is queued or recorded.

Limitations: scanners are asked, and may count what they see. What depends on the connection (its rate, its TLS) is not
judged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mta.mail.address import Address
from mta.mail.hold import Hold, distinct
from mta.mail.message import Message, Stream
from mta.mail.reply import Reply
from mta.submission.prepare import MessageRejected, Prepared, Preparer, Submitter, merged_findings
from mta.submission.rate_limit import RateLimit
from policy.accounts.mailing import Mailing, sampling_hold
from policy.base import Finding


@dataclass(frozen=True, slots=True)
class Linted:
    """``refusal`` None: it would be accepted; ``holds``: then why it would wait. ``stream`` None: it was not known yet
    when the message was refused. ``outgoing``: the message as its first recipient would get it, if it is accepted; of a
    large one the header only."""

    profile: str
    digest: str
    findings: tuple[Finding, ...]
    refusal: Reply | None = None
    holds: tuple[Hold, ...] = ()
    dropped: tuple[tuple[Address, Reply], ...] = ()
    stream: Stream | None = None
    mailing: str | None = None
    topic: str | None = None
    outgoing: bytes = b""


async def lint(
    preparer: Preparer,
    rate_limit: RateLimit,
    submitter: Submitter,
    message: Message,
    content_of: Mailing | None = None,
) -> Linted:
    """Return what would become of ``message``. ``content_of``: whatever its recipients, as one of this mailing. Raises
    StoreUnavailable, UnknownProfile."""
    profile = submitter.account.profile
    digest = preparer.digest(profile)
    reservation = await rate_limit.reserve(submitter.account, len(message.envelope.recipients))
    try:
        prepared = await preparer.prepare(
            submitter, message, known={}, quota_left=reservation.left, content_of=content_of
        )
    except MessageRejected as rejected:
        linted, facts = Linted(profile, digest, rejected.findings, rejected.reply), rejected.facts
    else:
        holds = distinct(hold for each in prepared.messages for hold in each.holds) or _sampled(prepared)
        findings, facts = merged_findings(prepared.messages), prepared.facts
        linted = Linted(profile, digest, findings, holds=holds, dropped=prepared.dropped)
        linted = replace(linted, outgoing=prepared.messages[0].message.content)
    finally:
        reservation.release()
    if facts is None:
        return linted
    return replace(linted, stream=facts.stream, mailing=facts.mailing_name, topic=facts.topic)


def _sampled(prepared: Prepared) -> tuple[Hold, ...]:
    """Return why the message would wait, if the sample of its mailing is complete."""
    mailing = prepared.facts.mailing
    if mailing is None or mailing.sample is None or not mailing.sample.exhausted:
        return ()
    return (sampling_hold(mailing.id, mailing.name, mailing.list, mailing.sample.size),)

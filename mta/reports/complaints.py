"""From a complaint to what follows: no more marketing of that account to that address, and a case that is answered.

Whose complaint it is, about which account and mailing, is known by our own traces in the returned message alone: they
survive what feedback loops strike out, and nobody else can make them.

It must never follow a complaint about a message that is not ours, nor let a second copy of one change anything.

*Limits.* One person's complaints about one mailing are one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bounce.parsers.report_kinds import Report
from mta.mail.address import Address
from mta.mail.identity import MessageId
from mta.observe.labels import InboundReportKind
from mta.reports.dedup_key import mark
from mta.store.results.apply_report import ReportAction, Sent
from policy.permission.consent import EVERY_TOPIC
from policy.permission.suppression import Reason, SuppressionRequest
from policy.permission.tokens import Claim
from policy.reputation.complaint import EVIDENCE, Complaint, Source


@dataclass(frozen=True, slots=True)
class ComplaintSubject:
    """Who complains about what. ``address`` None: only its hash is known; ``message_id`` and
    ``recipient_index``: if it was found."""

    account_id: int
    address_key: bytes
    address: Address | None = None
    mailing: str | None = None
    message_id: MessageId | None = None
    recipient_index: int | None = None


def by_claim(claim: Claim, messages: list[Sent], key_of: Callable[[Address], bytes]) -> ComplaintSubject:
    """What a token says, with the message among ``messages`` that went from that account to that address."""
    plain = ComplaintSubject(claim.account_id, claim.address_key, mailing=claim.mailing or None)
    for sent in messages:
        if sent.account_id != claim.account_id or (claim.mailing and sent.mailing != claim.mailing):
            continue
        for n, address in enumerate(sent.recipients):
            if address and key_of(address) == claim.address_key:
                return _of(sent, n, address, claim.address_key)
    return plain


def by_path(sent: Sent, n: int | None, report: Report, key_of: Callable[[Address], bytes]) -> ComplaintSubject | None:
    """What a return path says; None if it was one of several recipients, and the report names none of them."""
    if n is not None:
        address = sent.recipients[n] if n < len(sent.recipients) else None
        return _of(sent, n, address, key_of(address)) if address else None
    named = {part.address.key for part in report.recipients if part.address}
    for place, address in enumerate(sent.recipients):
        if address and address.key in named:
            return _of(sent, place, address, key_of(address))
    return None


def follow(
    subject: ComplaintSubject, source: Source, by: str, summary: str, content: bytes, told: Mapping[str, Any]
) -> ReportAction:
    """``by``: who reports it, a domain that was proved or a person's address; ``summary``: of the case; ``told``: what
    the event says besides."""
    return ReportAction(
        mark=mark("complained", source.value, subject.account_id, subject.address_key.hex(), _about(subject)),
        sort=InboundReportKind.COMPLAINT,
        kind="complained",
        data={"by": by, "mailing": subject.mailing, **told},
        account_id=subject.account_id,
        message_id=subject.message_id,
        recipient_index=subject.recipient_index,
        act=SuppressionRequest(
            subject.address_key,
            subject.account_id,
            Reason.COMPLAINT,
            source.value,
            topic=EVERY_TOPIC,
            address=subject.address,
            detail="complained",
            evidence=f"reported by {by}",
            message_id=subject.message_id,
            by=by,
        ),
        case=Complaint(
            account_id=subject.account_id,
            source=source,
            summary=summary,
            mailing=subject.mailing,
            address=str(subject.address) if subject.address else None,
            address_key=subject.address_key,
            message_id=subject.message_id,
            evidence=content[:EVIDENCE],
        ),
    )


def _of(sent: Sent, n: int, address: Address, key: bytes) -> ComplaintSubject:
    return ComplaintSubject(sent.account_id, key, address, sent.mailing, sent.id, n)


def _about(subject: ComplaintSubject) -> str:
    return subject.mailing or str(subject.message_id)

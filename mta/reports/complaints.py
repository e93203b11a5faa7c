"""Decide what follows from complaints whose subject is proved: those of feedback loops, and others with a token.

Who complains about which account and mailing is taken only from our own tokens and return paths in the returned
message: they survive the redaction of feedback loops, and only this installation can make them. Complaints of people
without one are the subject of ``abuse_case``.

Invariants: A complaint about a message that is not ours changes nothing, nor does a second copy of one.

Limitations: Several complaints of one person about one mailing are one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mta.mail.address import Address
from mta.mail.identity import MessageId
from mta.mail.message import Stream
from mta.observe.labels import InboundReportKind
from mta.reports.attribution import AttributedReport, ReportContext
from mta.reports.bounces import AddressKey
from mta.store.results.report_actions import (
    CountReport,
    CountStats,
    OpenCase,
    RecordEvent,
    ReportAction,
    SentMessage,
    Suppress,
    dedup_key,
)
from policy.permission.consent import EVERY_TOPIC
from policy.permission.suppression import Reason, SuppressionRequest
from policy.permission.tokens import COMPLAINT, UNSUBSCRIBE, Claim
from policy.reputation.breaker import ONE_COMPLAINT, MailOrigin
from policy.reputation.complaint import EVIDENCE, Complaint, ComplaintCause, ComplaintCauseKind, Source


@dataclass(frozen=True, slots=True)
class ComplaintSubject:
    """Who complains about what. ``address``: None if only its hash is known; ``message``: None if not found."""

    account_id: int
    address_key: bytes
    address: Address | None = None
    mailing: str | None = None
    message: SentMessage | None = None
    recipient_index: int | None = None

    @property
    def message_id(self) -> MessageId | None:
        return self.message.id if self.message else None

    @property
    def origin(self) -> MailOrigin:
        if self.message:
            return self.message.origin(self.recipient_index)
        return MailOrigin(self.account_id, Stream.MARKETING, self.mailing)


def subject_of(report: AttributedReport, address_key: AddressKey) -> ComplaintSubject | None:
    """Return the subject that the report's token or return path names; None without one, or if the account is gone."""
    claim, path, messages = report.attribution.claim, report.attribution.path, report.facts.messages
    if claim and claim.purpose in (COMPLAINT, UNSUBSCRIBE) and claim.account_id in report.accounts:
        ids = [*([path.message_id] if path else []), *report.attribution.message_ids]
        return _by_claim(claim, [messages[each] for each in ids if each in messages], address_key)
    if path and (sent := messages.get(path.message_id)):
        return _by_path(sent, path.recipient_index, address_key)
    return None


def _by_claim(claim: Claim, messages: list[SentMessage], address_key: AddressKey) -> ComplaintSubject:
    """Return what the token says, with the message among ``messages`` that went to its recipient."""
    for sent in messages:
        if sent.account_id != claim.account_id or (claim.mailing and sent.mailing != claim.mailing):
            continue
        for index, address in enumerate(sent.recipients):
            if address and address_key(address) == claim.address_key:
                return ComplaintSubject(sent.account_id, claim.address_key, address, sent.mailing, sent, index)
    return ComplaintSubject(claim.account_id, claim.address_key, mailing=claim.mailing or None)


def _by_path(sent: SentMessage, index: int, address_key: AddressKey) -> ComplaintSubject | None:
    """Return what the return path says; None if its recipient was erased."""
    address = sent.recipient(index)
    if address is None:
        return None
    return ComplaintSubject(sent.account_id, address_key(address), address, sent.mailing, sent, index)


def actions_of_complaint(report: AttributedReport, context: ReportContext) -> list[ReportAction]:
    """Return the actions for a complaint of a feedback loop."""
    if report.signer is None:
        return [CountReport(InboundReportKind.UNVERIFIED)]
    subject = subject_of(report, context.address_key)
    if subject is None:
        return [CountReport(InboundReportKind.UNMATCHED)]
    feedback = report.report.feedback
    data = {"feedback": feedback.value if feedback else None, "form": report.report.form}
    summary, cause = report.signer, ComplaintCause(ComplaintCauseKind.REPORTED, {"by": report.signer})
    return actions_about(subject, Source.FEEDBACK_LOOP, report.signer, summary, report.inbound.content, data, cause)


def actions_about(
    subject: ComplaintSubject,
    source: Source,
    by: str,
    summary: str,
    content: bytes,
    data: Mapping[str, Any],
    cause: ComplaintCause | None,
) -> list[ReportAction]:
    """Return the actions for a complaint. ``by``: the verified domain or the address that reports it; ``data``: further
    fields of the event."""
    about = subject.mailing or str(subject.message_id)
    key = dedup_key("complained", source.value, subject.account_id, subject.address_key.hex(), about)
    event = {"by": by, "mailing": subject.mailing, **data}
    return [
        CountReport(InboundReportKind.COMPLAINT, key, subject.account_id),
        Suppress(
            key,
            SuppressionRequest(
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
        ),
        OpenCase(
            key,
            Complaint(
                account_id=subject.account_id,
                source=source,
                summary=summary,
                cause=cause,
                mailing=subject.mailing,
                address=str(subject.address) if subject.address else None,
                address_key=subject.address_key,
                message_id=subject.message_id,
                evidence=content[:EVIDENCE],
            ),
        ),
        RecordEvent(key, "complained", event, subject.account_id, subject.message_id, subject.recipient_index),
        CountStats(key, subject.origin, ONE_COMPLAINT),
    ]

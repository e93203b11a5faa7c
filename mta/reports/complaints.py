"""Decide what follows from complaints: of feedback loops, of people, and what accounts reply about their cases.

Who complains about which account and mailing is taken only from our own tokens and return paths in the returned
message: they survive the redaction of feedback loops, and only this installation can make them.

Invariants: A complaint about a message that is not ours changes nothing, nor does a second copy of one. No
recipient is suppressed or unsubscribed by the sender of a mail, which anyone can forge, but only by a token. The id of
a mailing, which many know, is enough for a case.

Limitations: Several complaints of one person about one mailing are one. Without a mailbox to forward to, mail of people
is recorded as an event, and its text is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bounce.abuse_mail import AbuseMail, AbuseMailKind
from bounce.mailboxes import ReportMailbox
from mta.mail.address import Address, AddressError
from mta.mail.identity import MessageId
from mta.mail.message import Stream
from mta.observe.labels import InboundReportKind
from mta.reports.attribution import AttributedReport, ReportContext
from mta.reports.bounces import AddressKey
from mta.store.results.report_actions import (
    AnswerCase,
    CountReport,
    CountStats,
    Forward,
    OpenCase,
    RecordEvent,
    ReportAction,
    SentMessage,
    Suppress,
    Unsubscribe,
    dedup_key,
)
from policy.accounts.account import SERVICE_ACCOUNT, Account
from policy.permission.consent import EVERY_TOPIC
from policy.permission.suppression import Reason, SuppressionRequest
from policy.permission.tokens import COMPLAINT, UNSUBSCRIBE, Claim
from policy.reputation.authorities import source_of
from policy.reputation.breaker import ONE_COMPLAINT, MailOrigin
from policy.reputation.complaint import EVIDENCE, Complaint, Source
from policy.reputation.complaint_mail import contacts_of

MAX_SENDER = 254  # characters
UNKNOWN_SENDER = "unknown"


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
    summary = f"a feedback loop reports a complaint: {report.signer}"
    return _complaint(subject, Source.FEEDBACK_LOOP, report.signer, summary, report.inbound.content, data)


def _complaint(
    subject: ComplaintSubject, source: Source, by: str, summary: str, content: bytes, data: Mapping[str, Any]
) -> list[ReportAction]:
    """``by``: the verified domain or the address that reports it; ``data``: further fields of the event."""
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


# --- mail of people


def actions_of_abuse_mail(
    report: AttributedReport, mail: AbuseMail, mailbox: ReportMailbox, context: ReportContext
) -> list[ReportAction]:
    """Return the actions for mail of a person: it is forwarded to people, and what it says about our mail is done."""
    key = dedup_key("abuse_mail", report.inbound.id, mailbox.value)
    data = {
        "to": mailbox.value,
        "from": mail.sender,
        "subject": mail.subject,
        "about": mail.kind.value,
        "case_named": f"C-{mail.case}" if mail.case is not None else None,
    }
    actions = _actions_asked_for(report, mail, context)
    actions += [CountReport(InboundReportKind.ABUSE_MAIL, key), RecordEvent(key, "abuse_mail", data)]
    if context.postmaster:
        actions.append(Forward(key, context.postmaster, SERVICE_ACCOUNT))
    return actions


def needs_signature(report: AttributedReport, mail: AbuseMail, context: ReportContext) -> bool:
    """Return whether it matters which domain signed mail of a person."""
    if mail.kind is AbuseMailKind.CASE_REPLY:
        return _replying_account(report, mail) is not None
    return (
        mail.kind is AbuseMailKind.COMPLAINT
        and report.facts.mailing is not None
        and subject_of(report, context.address_key) is None
    )


def _actions_asked_for(report: AttributedReport, mail: AbuseMail, context: ReportContext) -> list[ReportAction]:
    claim = report.attribution.claim
    sender = (mail.sender or report.inbound.sender or UNKNOWN_SENDER)[:MAX_SENDER]
    if mail.kind is AbuseMailKind.CASE_REPLY:
        return _case_reply(report, mail)
    if mail.kind is AbuseMailKind.OPT_OUT and claim and claim.account_id in report.accounts:
        return [CountReport(InboundReportKind.UNSUBSCRIBE), Unsubscribe(claim)]
    if mail.kind not in (AbuseMailKind.COMPLAINT, AbuseMailKind.OPT_OUT):
        return []
    if subject := subject_of(report, context.address_key):
        return _complaint(subject, Source.RECIPIENT, sender, mail.summary, report.inbound.content, {})
    if report.facts.mailing and mail.kind is AbuseMailKind.COMPLAINT:
        mailing, account_id = report.facts.mailing
        source = source_of(report.signer, context.authorities)
        return _case_about_mailing(report, mail, mailing, account_id, sender, source, context.address_key)
    return []


def _case_about_mailing(
    report: AttributedReport,
    mail: AbuseMail,
    mailing: str,
    account_id: int,
    sender: str,
    source: Source,
    address_key: AddressKey,
) -> list[ReportAction]:
    """Return the actions for a complaint that names a mailing: of someone who may have received it, or of an authority
    that signed it."""
    address = mail.recipient or mail.sender or report.inbound.sender or ""
    try:
        address_hash = address_key(Address.parse(address))
    except AddressError:
        address_hash = None
    key = dedup_key("abuse_case", source.value, mailing, address_hash.hex() if address_hash else sender)
    complaint = Complaint(
        account_id=account_id,
        source=source,
        summary=mail.summary or mail.subject or "a complaint without text",
        mailing=mailing,
        address=address[:MAX_SENDER] or None,
        address_key=address_hash,
        evidence=report.inbound.content[:EVIDENCE],
    )
    return [
        CountReport(InboundReportKind.COMPLAINT, key, account_id),
        OpenCase(key, complaint),
        RecordEvent(key, "complained", {"by": sender, "mailing": mailing}, account_id),
        CountStats(key, MailOrigin(account_id, Stream.MARKETING, mailing), ONE_COMPLAINT),
    ]


# --- an account replies about a case


def _case_reply(report: AttributedReport, mail: AbuseMail) -> list[ReportAction]:
    """Answer the case, if the mail is proved to be the account's: signed by the domain of its From address, and from a
    contact of the account or one of its domains. Unsigned mail stops no deadline; people get it all the same."""
    if report.signer is None or _replying_account(report, mail) is None or mail.case is None or mail.sender is None:
        return []
    return [AnswerCase(mail.case, mail.summary or mail.subject, mail.sender, report.inbound.content)]


def _replying_account(report: AttributedReport, mail: AbuseMail) -> Account | None:
    """Return the account of the case, if the author's address belongs to it."""
    account = None if report.facts.case_account is None else report.accounts.get(report.facts.case_account)
    if account is None or mail.sender is None:
        return None
    try:
        address = Address.parse(mail.sender)
    except AddressError:
        return None
    own = address.domain in account.domains or address.key in {each.key for each in contacts_of(account)}
    return account if own else None

"""Decide what follows from mail of people: complaints, requests for no more mail, replies about cases.

A token or return path in the mail tells account and recipient beyond doubt. Without one, the writer is taken to speak
for the address they write from, about the mailing that they name, else about the accounts that have lately sent them
marketing mail. Who names no mailing, and was mailed by several, gets no case, but no more mail either.

Invariants: nothing that the writer wrote is sent to anyone but the desk and, with a case, its account. Mail that does
not prove who wrote it (``Reason.REQUESTED``) ends no consent: what was forged can be lifted.

Limitations: without a mailbox to forward to, mail of people is recorded as an event, and its text is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bounce.abuse_mail import AbuseMail, AbuseMailKind
from mta.mail.address import Address, AddressError
from mta.mail.message import Stream
from mta.observe.labels import InboundReportKind
from mta.reports.attribution import AttributedReport, ReportContext
from mta.reports.case_reply import actions_of_case_reply, is_of_account
from mta.reports.complaints import actions_about, subject_of
from mta.reports.mailboxes import ReportMailbox
from mta.store.results.report_actions import (
    CountReport,
    CountStats,
    Forward,
    OpenCase,
    RecordEvent,
    ReportAction,
    SendReceipt,
    SentMessage,
    Suppress,
    Unsubscribe,
    dedup_key,
)
from policy.accounts.account import SERVICE_ACCOUNT, Account
from policy.languages import spoken
from policy.permission.consent import EVERY_TOPIC
from policy.permission.suppression import Reason, SuppressionRequest
from policy.permission.tokens import UNSUBSCRIBE, Claim
from policy.reputation.authorities import source_of
from policy.reputation.breaker import ONE_COMPLAINT, MailOrigin
from policy.reputation.complaint import EVIDENCE, Complaint, ComplaintCause, ComplaintCauseKind, Source
from policy.reputation.complaint_receipt import ReceiptKind

MAX_SENDER = 254  # characters
UNKNOWN_SENDER = "unknown"
ASKED_BY_MAIL = "asked_by_mail"  # rule of the suppression


@dataclass(frozen=True, slots=True)
class _Done:
    """What a mail asked for and led to. ``accounts``: whose mail it stops; ``case_key``: under which a case opens."""

    actions: list[ReportAction]
    accounts: tuple[int, ...] = ()
    case_key: bytes | None = None


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
    settled = mailbox is ReportMailbox.UNSUBSCRIBE and any(isinstance(each, Suppress | Unsubscribe) for each in actions)
    actions += [CountReport(InboundReportKind.ABUSE_MAIL, key), RecordEvent(key, "abuse_mail", data)]
    if context.postmaster and not settled:
        actions.append(Forward(key, context.postmaster, SERVICE_ACCOUNT))
    return actions


def needs_signature(report: AttributedReport, mail: AbuseMail, context: ReportContext) -> bool:
    """Return whether it matters which domain signed mail of a person."""
    match mail.kind:
        case AbuseMailKind.CASE_REPLY:
            return not report.answers_letter and is_of_account(report)
        case AbuseMailKind.COMPLAINT | AbuseMailKind.OPT_OUT:
            return bool(_senders_meant(report)) and subject_of(report, context.address_key) is None
        case _:
            return False


def actions_at_return_path(report: AttributedReport, sent: SentMessage, index: int) -> list[ReportAction]:
    """Return the actions for a reply to the return path of ``sent``, if its recipient wrote it and wants no more mail.

    Anything else there is for the parsers of bounces: what says "spam" to a return path may well be a receiver."""
    mail, recipient = report.abuse_mail, sent.recipient(index)
    if mail is None or mail.kind is not AbuseMailKind.OPT_OUT or report.inbound.sender is None:
        return []
    if recipient is None or report.writer is None or report.writer_key is None or recipient.key != report.writer.key:
        return []
    claim = Claim(UNSUBSCRIBE, sent.account_id, report.writer_key, sent.mailing or "", "")
    return [CountReport(InboundReportKind.UNSUBSCRIBE, account_id=sent.account_id), Unsubscribe(claim)]


def _actions_asked_for(report: AttributedReport, mail: AbuseMail, context: ReportContext) -> list[ReportAction]:
    match mail.kind:
        case AbuseMailKind.CASE_REPLY:
            return actions_of_case_reply(report, mail)
        case AbuseMailKind.OPT_OUT:
            done = _opted_out(report, context)
        case AbuseMailKind.COMPLAINT:
            done = _complained(report, mail, context)
        case _:
            return []
    return [*done.actions, *_receipt(report, mail, done, context)]


def _opted_out(report: AttributedReport, context: ReportContext) -> _Done:
    claim = report.attribution.claim
    if claim and claim.account_id in report.accounts:
        return _Done([CountReport(InboundReportKind.UNSUBSCRIBE), Unsubscribe(claim)], (claim.account_id,))
    accounts = _senders_meant(report)
    stopped = _stop(report, accounts, Reason.UNSUBSCRIBE)
    return _Done([CountReport(InboundReportKind.UNSUBSCRIBE), *stopped] if stopped else [], accounts)


def _complained(report: AttributedReport, mail: AbuseMail, context: ReportContext) -> _Done:
    sender = (mail.sender or report.inbound.sender or UNKNOWN_SENDER)[:MAX_SENDER]
    if subject := subject_of(report, context.address_key):
        summary, cause = _summary(mail)
        actions = actions_about(subject, Source.RECIPIENT, sender, summary, report.inbound.content, {}, cause)
        return _Done(actions, (subject.account_id,), _key_of_case(actions))
    source = source_of(report.signer, context.authorities)
    accounts = _senders_meant(report)
    stopped = _stop(report, accounts, Reason.COMPLAINT) if source is Source.RECIPIENT else []
    if len(accounts) != 1:
        return _Done(stopped, accounts if stopped else ())
    mailing = report.facts.mailing[0] if report.facts.mailing else None
    actions = _case(report, mail, accounts[0], mailing, sender, source, context)
    return _Done([*actions, *stopped], accounts, _key_of_case(actions))


def _senders_meant(report: AttributedReport) -> tuple[int, ...]:
    """Return the accounts that mail without a token is about."""
    return (report.facts.mailing[1],) if report.facts.mailing else report.facts.mailed_by


def _stop(report: AttributedReport, accounts: Sequence[int], proven: Reason) -> list[ReportAction]:
    """Return the suppressions that stop marketing mail of ``accounts`` to the writer, for the reason ``proven`` if the
    domain of their address has signed the mail."""
    if report.writer is None or report.writer_key is None:
        return []
    signed = f"signed by {report.signer}" if report.signer else "not signed"
    return [
        Suppress(
            dedup_key("stopped", report.inbound.id, account_id),
            SuppressionRequest(
                report.writer_key,
                account_id,
                proven if report.signer else Reason.REQUESTED,
                ASKED_BY_MAIL,
                topic=EVERY_TOPIC,
                address=report.writer,
                detail="asked by mail",
                evidence=f"mail R-{report.inbound.id} at {report.inbound.at:%Y-%m-%dT%H:%M:%SZ}, {signed}",
                by=str(report.writer),
            ),
        )
        for account_id in accounts
    ]


def _case(
    report: AttributedReport,
    mail: AbuseMail,
    account_id: int,
    mailing: str | None,
    sender: str,
    source: Source,
    context: ReportContext,
) -> list[ReportAction]:
    """Return the actions for a complaint without a token: of someone who may have received the mail, or of an authority
    that signed it."""
    address = mail.recipient or mail.sender or report.inbound.sender or ""
    try:
        address_hash = context.address_key(Address.parse(address))
    except AddressError:
        address_hash = None
    who = address_hash.hex() if address_hash else sender
    key = dedup_key("abuse_case", source.value, mailing or f"account {account_id}", who)
    summary, cause = _summary(mail)
    complaint = Complaint(
        account_id=account_id,
        source=source,
        summary=summary,
        cause=cause,
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


def _summary(mail: AbuseMail) -> tuple[str, ComplaintCause | None]:
    """Return what the mail says, or that it says nothing."""
    if said := mail.summary or mail.subject:
        return said, None
    return "a complaint without text", ComplaintCause(ComplaintCauseKind.WITHOUT_TEXT)


def _key_of_case(actions: Sequence[ReportAction]) -> bytes | None:
    return next((each.dedup_key for each in actions if isinstance(each, OpenCase)), None)


# --- receipts


def _receipt(report: AttributedReport, mail: AbuseMail, done: _Done, context: ReportContext) -> list[ReportAction]:
    """Return the receipt for the writer, if an automatic answer can begin no loop and reaches who wrote the mail."""
    writer, key = report.writer, report.writer_key
    if writer is None or key is None or not mail.is_answerable or not context.receipts_per_hour:
        return []
    if writer.domain in context.own_domains or not _is_from(report.inbound.sender, writer):
        return []
    accounts = [report.accounts[each] for each in done.accounts if each in report.accounts]
    kind = ReceiptKind.COMPLAINT if done.case_key else ReceiptKind.STOPPED if accounts else ReceiptKind.UNKNOWN
    theirs = (identity.language for account in accounts for identity in account.identities)
    return [
        SendReceipt(
            dedup_key("receipt", report.inbound.id),
            writer,
            key,
            kind,
            spoken(*([mail.language] if mail.language else []), *theirs),
            tuple(map(_shown, accounts)),
            context.receipts_per_hour,
            done.case_key,
            mail.number,
        )
    ]


def _is_from(envelope_sender: str | None, writer: Address) -> bool:
    """Return whether the envelope sender is the writer: never the null sender, nor a list in the writer's name."""
    try:
        return envelope_sender is not None and Address.parse(envelope_sender).key == writer.key
    except AddressError:
        return False


def _shown(account: Account) -> str:
    """Return the name by which recipients know an account."""
    return next((identity.names[0] for identity in account.identities if identity.names), account.name)

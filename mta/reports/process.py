"""Decide what follows from an inbound report: a list of actions, by the mailboxes that it came to.

    read: parse ▶ attribute ▶ facts (one round trip) ▶ signature   ``worker``, ``attribution``
    process: a list of actions                                     here, ``bounces``, ``complaints``, ``abuse_case``
    apply: one transaction                                         ``mta.store.results.apply_report``
    count: metrics, after the commit                               ``worker``

Invariants: Pure. What is forged, unrelated or unverified is counted and changes nothing.

Limitations: Text and dates of a report are believed if it is attributed to a message: anyone who received that could
have bounced it in any case.
"""

from __future__ import annotations

from typing import assert_never

from bounce.abuse_mail import AbuseMailKind
from bounce.parsers.report_kinds import ReportKind
from bounce.verp import InvalidReturnPath
from mta.observe.labels import InboundReportKind, UnsubscribeMethod
from mta.reports.abuse_case import actions_at_return_path, actions_of_abuse_mail, needs_signature
from mta.reports.attribution import AttributedReport, InboundRecipient, ReportContext, is_from_person
from mta.reports.bounces import actions_of_bounce
from mta.reports.complaints import actions_of_complaint
from mta.reports.mailboxes import ReportMailbox
from mta.store.results.report_actions import (
    CountReport,
    CountUnsubscribe,
    Forward,
    ReportAction,
    SentMessage,
    Suppress,
    Unsubscribe,
)
from policy.permission.tokens import UNSUBSCRIBE


def process(report: AttributedReport, context: ReportContext) -> list[ReportAction]:
    """Return what follows from ``report``, whose facts were read."""
    actions: list[ReportAction] = []
    for recipient in report.recipients:
        _add(actions, _actions_for(recipient, report, context))
    return actions


def signature_matters(report: AttributedReport, context: ReportContext) -> bool:
    """Return whether ``process`` needs to know which domain signed the report."""
    if report.report.kind is not ReportKind.COMPLAINT:
        return report.abuse_mail is not None and needs_signature(report, report.abuse_mail, context)
    return any(
        each.mailbox in (ReportMailbox.FEEDBACK, ReportMailbox.ABUSE, ReportMailbox.POSTMASTER)
        or _sent_from(each, report) is not None
        for each in report.recipients
    )


def _add(actions: list[ReportAction], more: list[ReportAction]) -> None:
    """Add the actions for one more recipient of the mail. What follows already is a duplicate."""
    known = {action.dedup_key for action in actions} - {None}
    for action in more:
        if action.dedup_key in known:
            if isinstance(action, CountReport):
                actions.append(CountReport(InboundReportKind.DUPLICATE))
        elif action.dedup_key or isinstance(action, CountReport | CountUnsubscribe) or action not in actions:
            actions.append(action)


def _actions_for(recipient: InboundRecipient, report: AttributedReport, context: ReportContext) -> list[ReportAction]:
    match recipient.mailbox:
        case ReportMailbox.BOUNCE:
            return _bounced(recipient, report, context)
        case ReportMailbox.UNSUBSCRIBE:
            return _unsubscribed(recipient, report, context)
        case ReportMailbox.FEEDBACK | ReportMailbox.ABUSE | ReportMailbox.POSTMASTER as mailbox:
            if report.report.kind is ReportKind.COMPLAINT:
                return actions_of_complaint(report, context)
            if report.abuse_mail is None:
                return [CountReport(InboundReportKind.AUTO_REPLY)]
            return actions_of_abuse_mail(report, report.abuse_mail, mailbox, context)
        case other:
            assert_never(other)


def _bounced(recipient: InboundRecipient, report: AttributedReport, context: ReportContext) -> list[ReportAction]:
    match recipient.path:
        case InvalidReturnPath.EXPIRED:
            return [CountReport(InboundReportKind.EXPIRED)]
        case InvalidReturnPath.FORGED | None:
            return [CountReport(InboundReportKind.FORGED)]
        case path:
            sent = report.facts.messages.get(path.message_id)
    if sent is None:
        return [CountReport(InboundReportKind.UNMATCHED)]
    if report.report.kind is ReportKind.COMPLAINT:
        return actions_of_complaint(report, context)
    if asked := actions_at_return_path(report, sent, path.recipient_index):
        return [CountUnsubscribe(UnsubscribeMethod.MAIL), *asked]
    lasts = context.thresholds.hard_lasts
    actions = actions_of_bounce(
        report.report,
        sent,
        path.recipient_index,
        context.address_key,
        hard_expires_at=None if lasts is None else report.now + lasts,
    )
    if not actions:
        return [CountReport(InboundReportKind.UNMATCHED)]
    return [*actions, *_forwarded_to_sender(report, sent, actions[0].dedup_key)]


def _forwarded_to_sender(report: AttributedReport, sent: SentMessage, key: bytes | None) -> list[ReportAction]:
    """Forward the report to the sender of the message, who would have received it without our return path."""
    account = report.accounts.get(sent.account_id)
    if account is None or account.bounce_notifications != "dsn" or sent.sender is None or key is None:
        return []
    return [Forward(key, sent.sender, sent.account_id)]


def _sent_from(recipient: InboundRecipient, report: AttributedReport) -> SentMessage | None:
    """Return the message whose return path the mail came to."""
    if recipient.path is None or isinstance(recipient.path, InvalidReturnPath):
        return None
    return report.facts.messages.get(recipient.path.message_id)


def _unsubscribed(recipient: InboundRecipient, report: AttributedReport, context: ReportContext) -> list[ReportAction]:
    """Unsubscribe by the token in the subject, else by what a person wrote. Auto-replies and bounces unsubscribe no
    one; but a subject that is the token and nothing else was written by the link, whatever a mail program says of
    itself (Apple Mail's claims to be an automatic reply)."""
    claim, mail = recipient.claim, report.abuse_mail
    if not is_from_person(report.report) and not (claim and recipient.is_token_alone):
        return [CountReport(InboundReportKind.OTHER)]
    if claim is not None and claim.purpose == UNSUBSCRIBE and claim.account_id in report.accounts:
        return [
            CountUnsubscribe(UnsubscribeMethod.MAIL),
            CountReport(InboundReportKind.UNSUBSCRIBE, account_id=claim.account_id),
            Unsubscribe(claim),
        ]
    unknown: list[ReportAction] = [CountUnsubscribe(UnsubscribeMethod.UNKNOWN)]
    if claim is not None or mail is None or mail.kind is AbuseMailKind.OTHER:
        return [*unknown, CountReport(InboundReportKind.FORGED)]
    actions = actions_of_abuse_mail(report, mail, recipient.mailbox, context)
    stops = any(isinstance(each, Suppress | Unsubscribe) for each in actions)
    return [*([CountUnsubscribe(UnsubscribeMethod.MAIL)] if stops else unknown), *actions]

"""Stage 0, backwards, in one story: from a mail that came back to what follows from it.

    what was it sent to ▶ what does it say ▶ is it about mail of ours ▶ what follows ▶ one transaction

It must never follow what is forged, foreign or not proved: that is counted, and changes nothing.

*Limits.* What a report says besides (texts, dates) is believed of whoever had the message: he could have sent it back
in any case.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import assert_never

from bounce.abuse_mail import AbuseMail, AbuseMailReader
from bounce.abuse_mail import AbuseMailKind as Grief
from bounce.classify import Classifier
from bounce.mailboxes import ReportMailbox, detail_of, mailbox_of
from bounce.parsers.report_kinds import Report, ReportKind
from bounce.report import read
from bounce.verp import InvalidReturnPath, Verp
from bounce.verp import ReturnPath as Path
from mta.delivery.mx import Resolver
from mta.mail.address import Address
from mta.observe.labels import InboundReportKind, UnsubscribeMethod
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.reports import abuse_case, attribution, bounces, case_reply, complaints, reporters
from mta.reports.attribution import Traces
from mta.reports.complaints import ComplaintSubject
from mta.reports.forward import Forwarder
from mta.store.permission.unsubscribes import UnsubscribeVia
from mta.store.queue.enqueue import NewMessage
from mta.store.results.apply_report import ReportAction, Sent
from mta.store.results.report_queue import Arrived
from mta.store.store import Store
from policy.accounts.account import HOUSE
from policy.permission.tokens import Tokens
from policy.reputation.authorities import source_of
from policy.reputation.complaint import Source

log = get_logger()

CLAIMS = ("c", "u")  # purposes of tokens that say whose message it was


@dataclass(frozen=True, slots=True)
class ReportContext:
    """What the settings make of it. ``operator``: people who read mail for abuse and postmaster."""

    domain: str
    tokens: Tokens
    verp: Verp
    classifier: Classifier
    trusted: Collection[str]
    operator: Address | None
    passing_on: Forwarder
    reader: AbuseMailReader
    authorities: Mapping[str, Source]


class ReportProcessor:
    """``means`` None: there is no returns domain, and nothing to do."""

    def __init__(self, store: Store, resolver: Resolver, means: ReportContext | None, metrics: Metrics) -> None:
        self._store, self._resolver, self._metrics = store, resolver, metrics
        self.means = means

    async def take(self, arrived: Arrived) -> None:
        """Work off one mail. Raises StoreUnavailable, DnsError, Overtaken: then nothing was changed."""
        means = self.means
        if means is None:
            return await self._store.report_queue.drop(arrived)
        report = read(arrived.content, means.classifier)
        found: list[ReportAction] = []
        for address in arrived.recipients:
            found += await self._judge(means, arrived, address, report)
        fresh = await self._store.returning.apply(arrived, found)
        self._metrics.inbound_reports[InboundReportKind.DUPLICATE].inc(len(found) - len(fresh))
        for each in fresh:
            self._metrics.inbound_reports[each.sort].inc()
            log.info("mail came back", report=arrived.id, sort=each.sort.value, account=each.account_id)
        return None

    async def _judge(self, means: ReportContext, arrived: Arrived, to: Address, report: Report) -> list[ReportAction]:
        """What follows from it as mail to ``to``."""
        match mailbox_of(to, means.domain):
            case None:
                return []  # the returns domain has changed meanwhile
            case ReportMailbox.BOUNCE:
                return await self._bounced(means, arrived, to, report)
            case ReportMailbox.UNSUBSCRIBE:
                return await self._unsubscribed(means, arrived, to, report)
            case ReportMailbox.FEEDBACK | ReportMailbox.ABUSE | ReportMailbox.POSTMASTER as mailbox:
                if report.kind is ReportKind.COMPLAINT:
                    return await self._complained(means, arrived, report)
                return await self._letter(means, arrived, mailbox, report)
            case other:
                assert_never(other)

    # --- to a return path

    async def _bounced(self, means: ReportContext, arrived: Arrived, to: Address, report: Report) -> list[ReportAction]:
        path = means.verp.read(to, datetime.now(UTC))
        if not isinstance(path, Path):
            return self._nothing(
                InboundReportKind.EXPIRED if path is InvalidReturnPath.EXPIRED else InboundReportKind.FORGED
            )
        sent = await self._store.returning.sent(path.message_id)
        if sent is None:
            return self._nothing(InboundReportKind.UNMATCHED)
        if report.kind is ReportKind.COMPLAINT:
            return await self._complained(means, arrived, report)
        found = bounces.follow(report, sent, path.recipient_index, self._store.returning.key)
        if not found:
            return self._nothing(InboundReportKind.UNMATCHED)
        return [replace(found[0], mail=self._for_sender(means, arrived, sent)), *found[1:]]

    def _for_sender(self, means: ReportContext, arrived: Arrived, sent: Sent) -> NewMessage | None:
        """Whoever sent the message would have got this, if we had not put our return path in place of his."""
        account = self._store.accounts.by_id(sent.account_id)
        if account is None or account.bounce_notifications != "dsn" or sent.sender is None:
            return None
        return means.passing_on.compose(arrived, sent.sender, sent.account_id)

    # --- complaints

    async def _complained(self, means: ReportContext, arrived: Arrived, report: Report) -> list[ReportAction]:
        reporter = await reporters.proved(arrived.content, self._resolver, means.trusted)
        if reporter is None:
            return self._nothing(InboundReportKind.UNVERIFIED)
        found = attribution.in_report(arrived.content, report.original, means.tokens, means.verp, datetime.now(UTC))
        subject = await self._subject(found, report)
        if subject is None:
            return self._nothing(InboundReportKind.UNMATCHED)
        told = {"feedback": report.feedback.value if report.feedback else None, "form": report.form}
        summary = f"a feedback loop reports a complaint: {reporter}"
        return [complaints.follow(subject, Source.FEEDBACK_LOOP, reporter, summary, arrived.content, told)]

    async def _subject(self, found: Traces, report: Report) -> ComplaintSubject | None:
        """Whom our traces name; None if there are none, or the account is gone."""
        returning, path, claim = self._store.returning, found.path, found.claim
        if claim and claim.purpose in CLAIMS and self._store.accounts.by_id(claim.account_id):
            ids = [*([path.message_id] if path else []), *found.ids[:3]]
            messages = [sent for each in ids if (sent := await returning.sent(each))]
            return complaints.by_claim(claim, messages, returning.key)
        if path and (sent := await returning.sent(path.message_id)):
            return complaints.by_path(sent, path.recipient_index, report, returning.key)
        return None

    # --- unsubscribing

    async def _unsubscribed(
        self, means: ReportContext, arrived: Arrived, to: Address, report: Report
    ) -> list[ReportAction]:
        """A token in the subject, or behind the plus. What programs answer or send back unsubscribes nobody."""
        if report.kind is not ReportKind.OTHER or report.feedback is not None:
            return self._nothing(InboundReportKind.OTHER)
        claim = attribution.token_in(report.subject or "", means.tokens) or attribution.token_in(
            detail_of(to), means.tokens
        )
        done = await self._store.unsubscribes.take(claim, UnsubscribeVia.MAIL) if claim else None
        if done is None:
            self._metrics.unsubscribes[UnsubscribeMethod.UNKNOWN].inc()
            return self._nothing(InboundReportKind.FORGED)
        self._metrics.unsubscribes[UnsubscribeMethod.MAIL].inc()
        return self._nothing(InboundReportKind.UNSUBSCRIBE)

    # --- people

    async def _letter(
        self, means: ReportContext, arrived: Arrived, mailbox: ReportMailbox, report: Report
    ) -> list[ReportAction]:
        """Somebody's words: people read them, and what they say of mail of ours follows at once."""
        if report.kind is not ReportKind.OTHER or report.feedback is not None:
            return self._nothing(InboundReportKind.AUTO_REPLY)
        grievance = means.reader.read(arrived.content, arrived.at)
        if grievance.kind is Grief.CASE_REPLY:
            await case_reply.take(self._store, self._resolver, arrived, grievance)
        mail = means.passing_on.compose(arrived, means.operator, HOUSE) if means.operator else None
        follows = await self._aggrieved(means, arrived, grievance, report)
        return [*follows, abuse_case.letter(grievance, mailbox, arrived, mail)]

    async def _aggrieved(
        self, means: ReportContext, arrived: Arrived, grievance: AbuseMail, report: Report
    ) -> list[ReportAction]:
        """What follows from a complaint, or from the wish for no more mail."""
        if grievance.kind not in (Grief.COMPLAINT, Grief.OPT_OUT):
            return []
        claim = abuse_case.claim_of(grievance, means.tokens)
        if claim and grievance.kind is Grief.OPT_OUT:
            await self._store.unsubscribes.take(abuse_case.wish(claim), UnsubscribeVia.MAIL)
            return self._nothing(InboundReportKind.UNSUBSCRIBE)
        if claim and (subject := await self._subject(Traces(claim), report)):
            by = grievance.sender or arrived.sender or "somebody"
            return [complaints.follow(subject, Source.RECIPIENT, by, grievance.summary, arrived.content, {})]
        named = await self._store.returning.mailing(grievance.mailings)
        if named and grievance.kind is Grief.COMPLAINT:
            signer = await reporters.proved(arrived.content, self._resolver, ())
            source = source_of(signer, means.authorities)
            return [abuse_case.case_of(grievance, abuse_case.Named(*named), source, arrived, self._store.returning.key)]
        return []

    def _nothing(self, sort: InboundReportKind) -> list[ReportAction]:
        """Counted, and no more."""
        self._metrics.inbound_reports[sort].inc()
        return []

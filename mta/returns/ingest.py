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

import structlog

from bounce.classify import Classifier
from bounce.grievance import Grievance, Reader
from bounce.grievance import Kind as Grief
from bounce.mailboxes import Mailbox, detail_of, mailbox_of
from bounce.report import read
from bounce.reports.kinds import Kind, Report
from bounce.verp import Returned as Path
from bounce.verp import Verp, Worthless
from mta.mail.address import Address
from mta.observe.labels import Returned, Unsubscribe
from mta.observe.metrics import Metrics
from mta.outbound.mx import Resolver
from mta.returns import answers, bounces, complaints, letters, reporters, traces
from mta.returns.complaints import Subject
from mta.returns.passing_on import PassingOn
from mta.returns.traces import Traces
from mta.store.acceptance import Accepted
from mta.store.incoming import Arrived
from mta.store.returning import Consequence, Sent
from mta.store.store import Store
from mta.store.unsubscribes import Way
from policy.account import HOUSE
from policy.authorities import source_of
from policy.complaint import Source
from policy.tokens import Tokens

log = structlog.get_logger()

CLAIMS = ("c", "u")  # purposes of tokens that say whose message it was


@dataclass(frozen=True, slots=True)
class Means:
    """What the settings make of it. ``operator``: people who read mail for abuse and postmaster."""

    domain: str
    tokens: Tokens
    verp: Verp
    classifier: Classifier
    trusted: Collection[str]
    operator: Address | None
    passing_on: PassingOn
    reader: Reader
    authorities: Mapping[str, Source]


class Ingest:
    """``means`` None: there is no returns domain, and nothing to do."""

    def __init__(self, store: Store, resolver: Resolver, means: Means | None, metrics: Metrics) -> None:
        self._store, self._resolver, self._metrics = store, resolver, metrics
        self.means = means

    async def take(self, arrived: Arrived) -> None:
        """Work off one mail. Raises StoreUnavailable, DnsTrouble, Overtaken: then nothing was changed."""
        means = self.means
        if means is None:
            return await self._store.incoming.drop(arrived)
        report = read(arrived.content, means.classifier)
        found: list[Consequence] = []
        for address in arrived.recipients:
            found += await self._judge(means, arrived, address, report)
        fresh = await self._store.returning.apply(arrived, found)
        self._metrics.returned[Returned.REPEATED].inc(len(found) - len(fresh))
        for each in fresh:
            self._metrics.returned[each.sort].inc()
            log.info("mail came back", report=arrived.id, sort=each.sort.value, account=each.account_id)
        return None

    async def _judge(self, means: Means, arrived: Arrived, to: Address, report: Report) -> list[Consequence]:
        """What follows from it as mail to ``to``."""
        match mailbox_of(to, means.domain):
            case None:
                return []  # the returns domain has changed meanwhile
            case Mailbox.BOUNCE:
                return await self._bounced(means, arrived, to, report)
            case Mailbox.UNSUBSCRIBE:
                return await self._unsubscribed(means, arrived, to, report)
            case Mailbox.FEEDBACK | Mailbox.ABUSE | Mailbox.POSTMASTER as mailbox:
                if report.kind is Kind.COMPLAINT:
                    return await self._complained(means, arrived, report)
                return await self._letter(means, arrived, mailbox, report)
            case other:
                assert_never(other)

    # --- to a return path

    async def _bounced(self, means: Means, arrived: Arrived, to: Address, report: Report) -> list[Consequence]:
        path = means.verp.read(to, datetime.now(UTC))
        if not isinstance(path, Path):
            return self._nothing(Returned.EXPIRED if path is Worthless.EXPIRED else Returned.FORGED)
        sent = await self._store.returning.sent(path.message_id)
        if sent is None:
            return self._nothing(Returned.FOREIGN)
        if report.kind is Kind.COMPLAINT:
            return await self._complained(means, arrived, report)
        found = bounces.follow(report, sent, path.n, self._store.returning.key)
        if not found:
            return self._nothing(Returned.FOREIGN)
        return [replace(found[0], mail=self._for_sender(means, arrived, sent)), *found[1:]]

    def _for_sender(self, means: Means, arrived: Arrived, sent: Sent) -> Accepted | None:
        """Whoever sent the message would have got this, if we had not put our return path in place of his."""
        account = self._store.accounts.by_id(sent.account_id)
        if account is None or account.notices != "notice" or sent.sender is None:
            return None
        return means.passing_on.compose(arrived, sent.sender, sent.account_id)

    # --- complaints

    async def _complained(self, means: Means, arrived: Arrived, report: Report) -> list[Consequence]:
        reporter = await reporters.proved(arrived.content, self._resolver, means.trusted)
        if reporter is None:
            return self._nothing(Returned.UNPROVEN)
        found = traces.in_report(arrived.content, report.original, means.tokens, means.verp, datetime.now(UTC))
        subject = await self._subject(found, report)
        if subject is None:
            return self._nothing(Returned.FOREIGN)
        told = {"feedback": report.feedback.value if report.feedback else None, "form": report.form}
        summary = f"a feedback loop reports a complaint: {reporter}"
        return [complaints.follow(subject, Source.FEEDBACK_LOOP, reporter, summary, arrived.content, told)]

    async def _subject(self, found: Traces, report: Report) -> Subject | None:
        """Whom our traces name; None if there are none, or the account is gone."""
        returning, path, claim = self._store.returning, found.path, found.claim
        if claim and claim.purpose in CLAIMS and self._store.accounts.by_id(claim.account_id):
            ids = [*([path.message_id] if path else []), *found.ids[:3]]
            messages = [sent for each in ids if (sent := await returning.sent(each))]
            return complaints.by_claim(claim, messages, returning.key)
        if path and (sent := await returning.sent(path.message_id)):
            return complaints.by_path(sent, path.n, report, returning.key)
        return None

    # --- unsubscribing

    async def _unsubscribed(self, means: Means, arrived: Arrived, to: Address, report: Report) -> list[Consequence]:
        """A token in the subject, or behind the plus. What programs answer or send back unsubscribes nobody."""
        if report.kind is not Kind.OTHER or report.feedback is not None:
            return self._nothing(Returned.OTHER)
        claim = traces.token_in(report.subject or "", means.tokens) or traces.token_in(detail_of(to), means.tokens)
        done = await self._store.unsubscribes.take(claim, Way.MAIL) if claim else None
        if done is None:
            self._metrics.unsubscribes[Unsubscribe.UNKNOWN].inc()
            return self._nothing(Returned.FORGED)
        self._metrics.unsubscribes[Unsubscribe.MAIL].inc()
        return self._nothing(Returned.UNSUBSCRIBE)

    # --- people

    async def _letter(self, means: Means, arrived: Arrived, mailbox: Mailbox, report: Report) -> list[Consequence]:
        """Somebody's words: people read them, and what they say of mail of ours follows at once."""
        if report.kind is not Kind.OTHER or report.feedback is not None:
            return self._nothing(Returned.ANSWER)
        grievance = means.reader.read(arrived.content)
        if grievance.kind is Grief.ANSWER:
            await answers.take(self._store, self._resolver, arrived, grievance)
        mail = means.passing_on.compose(arrived, means.operator, HOUSE) if means.operator else None
        follows = await self._aggrieved(means, arrived, grievance, report)
        return [*follows, letters.letter(grievance, mailbox, arrived, mail)]

    async def _aggrieved(
        self, means: Means, arrived: Arrived, grievance: Grievance, report: Report
    ) -> list[Consequence]:
        """What follows from a complaint, or from the wish for no more mail."""
        if grievance.kind not in (Grief.COMPLAINT, Grief.STOP):
            return []
        claim = letters.claim_of(grievance, means.tokens)
        if claim and grievance.kind is Grief.STOP:
            await self._store.unsubscribes.take(letters.wish(claim), Way.MAIL)
            return self._nothing(Returned.UNSUBSCRIBE)
        if claim and (subject := await self._subject(Traces(claim), report)):
            by = grievance.sender or arrived.sender or "somebody"
            return [complaints.follow(subject, Source.RECIPIENT, by, grievance.summary, arrived.content, {})]
        named = await self._store.returning.mailing(grievance.mailings)
        if named and grievance.kind is Grief.COMPLAINT:
            signer = await reporters.proved(arrived.content, self._resolver, ())
            source = source_of(signer, means.authorities)
            return [letters.case_of(grievance, letters.Named(*named), source, arrived, self._store.returning.key)]
        return []

    def _nothing(self, sort: Returned) -> list[Consequence]:
        """Counted, and no more."""
        self._metrics.returned[sort].inc()
        return []

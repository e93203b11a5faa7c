"""Report every day how TLS with each domain's mail hosts went, where the domain wants to know (RFC 8460).

    sessions counted by the workers ▶ a day is over ▶ claimed by one instance ▶ _smtp._tls record ▶ https | mail ▶ done

Invariants: a report is sent by one instance. If no place took it, it is tried again: TRIES times, an hour apart.
Reports leave whatever the TLS policies of their receiver say, and are not counted themselves: a report about a broken
policy must not be stopped by it, nor cause the next report (RFC 8460 3 and 5.3).
Limitations: reports by mail need a DKIM key for the domain of `egress.tls_report_from`; without one they are not sent.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email import policy as mail_policy
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import format_datetime

from config.schema import Settings
from mta.admin.senders.domain_check import read_key_ring
from mta.admin.service.receiver_tls import reporter_address
from mta.delivery.mx import Resolver
from mta.delivery.name_servers import DnsError
from mta.delivery.tls.report import ReportPlaces, TlsReport, record_name, report_places
from mta.delivery.tls.tag_record import RecordError
from mta.dkim import KeyRing, Signer
from mta.http_client import HttpClient, HttpError
from mta.mail.address import Address
from mta.mail.identity import format_id, new_message_id
from mta.mail.message import SenderTls
from mta.observe.labels import Success
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.queue.internal_mail import InternalMailBuilder, InternalMailKind
from mta.store.queue.enqueue import NewMessage
from mta.store.queue.tls_results import DueReport
from mta.store.store import Store
from policy.accounts.account import SERVICE_ACCOUNT

log = get_logger()

BATCH = 50  # reports a round
TRIES = 5
POST_TIMEOUT = 60.0  # seconds

_MEDIA_TYPE = "application/tlsrpt+gzip"


async def send_due_reports(settings: Settings, store: Store, metrics: Metrics) -> None:
    """Send the reports that are due. Raises StoreUnavailable, ConfigError."""
    due = await store.tls_results.claim(BATCH, tries=TRIES)
    if not due:
        return
    resolver = Resolver(settings)
    http = resolver.http_client(POST_TIMEOUT)
    reporter = TlsReporter(settings, await read_key_ring(settings, store), resolver, http, metrics)
    try:
        for each in due:
            if await reporter.send(each, store):
                await store.tls_results.done(each)
    finally:
        await http.close()


class TlsReporter:
    """Sends reports, signed with the keys of ``ring``."""

    def __init__(
        self, settings: Settings, ring: KeyRing, resolver: Resolver, http: HttpClient, metrics: Metrics
    ) -> None:
        self._sender = reporter_address(settings)
        self._organisation = settings.server.hostname
        self._ring, self._resolver, self._http, self._metrics = ring, resolver, http, metrics
        self._builder = InternalMailBuilder(settings, Signer(settings.signing, ring))

    async def send(self, due: DueReport, store: Store) -> bool:
        """Send one report to all places that its domain names; return whether that is settled."""
        try:
            places = report_places(await self._resolver.txt(record_name(due.domain)))
        except DnsError:
            return False
        except RecordError as error:
            log.info("TLS report not sent: invalid record", domain=due.domain, reason=str(error))
            return True
        counts = await store.tls_results.read(due.day, due.domain)
        if places is None or not counts:
            return True
        id_ = f"{due.day.isoformat()}.{format_id(new_message_id())}@{self._organisation}"
        report = TlsReport(due.domain, due.day, counts, self._organisation, str(self._sender), id_)
        posted = [await self._post(report, url) for url in places.urls]
        return await self._mail(report, places, store) or any(posted)

    async def _post(self, report: TlsReport, url: str) -> bool:
        try:
            answer = await self._http.post(url, report.compressed(), [("Content-Type", _MEDIA_TYPE)])
            problem = "" if 200 <= answer.status <= 299 else f"HTTP status {answer.status}"
        except (HttpError, TimeoutError) as error:
            problem = str(error) or "no answer in time"
        self._metrics.tls_reports[Success.NO if problem else Success.YES].inc()
        if problem:
            log.info("TLS report not taken", domain=report.domain, url=url, reason=problem)
        return not problem

    async def _mail(self, report: TlsReport, places: ReportPlaces, store: Store) -> bool:
        """Queue the report for the addresses; return whether there are any, and we may sign."""
        if not places.addresses:
            return False
        if not self._ring.of(self._sender.domain):
            log.warning("TLS report not sent: no DKIM key", domain=report.domain, sender=str(self._sender))
            return False
        await store.messages.enqueue_all([self._letter(report, to) for to in places.addresses], leased=False)
        self._metrics.tls_reports[Success.YES].inc(len(places.addresses))
        return True

    def _letter(self, report: TlsReport, to: Address) -> NewMessage:
        message_id, now = new_message_id(), datetime.now(UTC)
        number = f"<{format_id(message_id)}@{self._builder.hostname}>"
        return self._builder.build(
            InternalMailKind.TLS_REPORT,
            message_id,
            to,
            compose(report, self._sender, to, number, now),
            now,
            account_id=SERVICE_ACCOUNT,
            smtputf8=not to.is_ascii,
            tls=SenderTls.OPTIONAL,
            signing_domain=self._sender.domain,
        )


def compose(report: TlsReport, sender: Address, to: Address, message_id: str, now: datetime) -> bytes:
    """Compose the mail with a report (RFC 8460 5.3)."""
    failed = sum(count.failed for count in report.policies)
    succeeded = sum(count.successful for count in report.policies)
    mail = MIMEMultipart("report")
    mail.set_param("report-type", "tlsrpt")
    mail["From"] = str(sender)
    mail["To"] = str(to)
    mail["Subject"] = f"Report Domain: {report.domain} Submitter: {sender.domain} Report-ID: <{report.id}>"
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = message_id
    mail["TLS-Report-Domain"] = report.domain
    mail["TLS-Report-Submitter"] = sender.domain
    mail["TLS-Required"] = "No"
    mail["Auto-Submitted"] = "auto-generated"
    text = (
        f"TLS connections from {report.organisation} to the mail hosts of {report.domain} on {report.day} (UTC):\n"
        f"{succeeded} came about as your policies demand, {failed} did not. The report is attached (RFC 8460).\n"
    )
    mail.attach(MIMEText(text, "plain", "us-ascii"))
    attached = MIMEApplication(report.compressed(), "tlsrpt+gzip")
    attached.add_header("Content-Disposition", "attachment", filename=report.file_name(sender.domain))
    mail.attach(attached)
    return mail.as_bytes(policy=mail_policy.SMTP if to.is_ascii else mail_policy.SMTPUTF8)

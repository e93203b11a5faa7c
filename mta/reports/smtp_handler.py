"""Receive reports: mail for the return path domain's own addresses, and for no others.

Any client may come, without AUTH: bounces come from everywhere, mostly from the null sender. A report is in the
database before it is acknowledged; what follows from it is decided by ``mta.reports.process``.

Invariants: nothing is relayed. 250 means committed.

Limitations: a return path is checked at RCPT: a forged or expired one is rejected there, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from bounce.verp import InvalidReturnPath, Verp
from mta.mail.address import Address
from mta.mail.large_body import LargeBody
from mta.mail.message import Envelope, Recipient
from mta.mail.reply import Reply
from mta.observe.labels import InboundReportKind
from mta.observe.metrics import Metrics
from mta.reports.mailboxes import ReportMailbox, mailbox_of
from mta.smtp_server.handler import Client
from mta.store.results.report_queue import ReportQueue

NO_RELAY = Reply(550, "5.7.1", "Relay access denied: only reports are accepted here")
UNKNOWN = Reply(550, "5.1.1", "User unknown")
FORGED = Reply(550, "5.1.1", "User unknown: invalid return path")
EXPIRED = Reply(550, "5.1.1", "User unknown: return path expired")
FULL = Reply(452, "4.3.1", "Insufficient system storage: too many reports queued, try again later")


class ReportHandler:
    """The handler of the report listeners. ``waiting`` returns the number of reports to be processed, as far as
    known; ``arrived`` is called for each new one."""

    def __init__(
        self,
        queue: ReportQueue,
        *,
        domain: str | None,
        verp: Verp | None,
        backlog: int,
        waiting: Callable[[], int],
        arrived: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        self._queue, self._waiting, self._arrived = queue, waiting, arrived
        self._metrics = metrics
        self.configure(domain, verp, backlog)

    def configure(self, domain: str | None, verp: Verp | None, backlog: int) -> None:
        """Apply new settings. Without ``domain`` nothing is accepted."""
        self._domain, self._verp, self._backlog = domain, verp, backlog

    async def on_sender(self, client: Client, envelope: Envelope, size: int | None) -> ReportTransaction | Reply:
        """Accept any sender, unless too many reports are waiting."""
        return FULL if self._waiting() >= self._backlog else ReportTransaction(self, client)

    async def put(self, client: Client, envelope: Envelope, content: bytes) -> Reply:
        """Commit a report. Raises StoreUnavailable."""
        recipients = list(dict.fromkeys(recipient.address for recipient in envelope.recipients))
        number = await self._queue.put(envelope.sender, recipients, client.address, client.hello, content)
        self._arrived()
        return Reply(250, "2.0.0", f"OK: queued as R-{number}")

    def rejection(self, address: Address) -> Reply | None:
        """Return why ``address`` is rejected, None if it is one of the domain's own."""
        if self._domain is None or address.domain != self._domain:
            return NO_RELAY
        match mailbox_of(address, self._domain):
            case None:
                return UNKNOWN
            case ReportMailbox.BOUNCE:
                return self._return_path_rejection(address)
            case _:
                return None

    def _return_path_rejection(self, address: Address) -> Reply | None:
        match self._verp.read(address, datetime.now(UTC)) if self._verp else None:
            case InvalidReturnPath.FORGED | None:
                self._metrics.inbound_reports[InboundReportKind.FORGED].inc()
                return FORGED
            case InvalidReturnPath.EXPIRED:
                self._metrics.inbound_reports[InboundReportKind.EXPIRED].inc()
                return EXPIRED
            case _:
                return None


class ReportTransaction:
    """One report on its way in."""

    __slots__ = ("_client", "_handler")

    def __init__(self, handler: ReportHandler, client: Client) -> None:
        self._handler, self._client = handler, client

    async def on_recipient(self, recipient: Recipient, ahead: Sequence[Address] = ()) -> Reply | None:
        return self._handler.rejection(recipient.address)

    async def on_message(self, envelope: Envelope, content: bytes, large: LargeBody | None = None) -> Reply:
        return await self._handler.put(self._client, envelope, content)

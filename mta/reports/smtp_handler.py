"""The door for what comes back: takes mail for our own addresses at the returns domain, and for nobody else.

Whoever may come, without AUTH: bounces come from everywhere, mostly from the null sender. What is taken is in the
database before it is acknowledged; what follows from it is the business of ``mta.reports``.

It must never relay, never take mail that nobody will work off, and never say 250 before the commit.

*Limits.* A return path is looked at when it is named: what is forged or too old is refused there, and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from bounce.mailboxes import ReportMailbox, mailbox_of
from bounce.verp import InvalidReturnPath, Verp
from mta.mail.address import Address
from mta.mail.message import Envelope, Recipient
from mta.mail.reply import Reply
from mta.observe.events import EventLog
from mta.observe.labels import InboundReportKind
from mta.observe.metrics import Metrics
from mta.smtp_server.client import Client
from mta.store.results.report_queue import ReportQueue

NO_RELAY = Reply(550, "5.7.1", "no relaying: only what comes back to us is taken here")
UNKNOWN = Reply(550, "5.1.1", "no such mailbox here")
FORGED = Reply(550, "5.1.1", "no such mailbox here: this return path is not ours")
EXPIRED = Reply(550, "5.1.1", "no such mailbox here: this return path has ended")
FULL = Reply(452, "4.3.1", "too many reports are waiting; try again later")


class ReportHandler:
    """``waiting``: how many reports there are to be worked off, as far as is known."""

    def __init__(
        self,
        incoming: ReportQueue,
        *,
        domain: str | None,
        verp: Verp | None,
        backlog: int,
        waiting: Callable[[], int],
        taken: Callable[[], None],
        events: EventLog,
        metrics: Metrics,
    ) -> None:
        self._incoming = incoming
        self._waiting, self._taken = waiting, taken
        self._events, self._metrics = events, metrics
        self.configure(domain, verp, backlog)

    def configure(self, domain: str | None, verp: Verp | None, backlog: int) -> None:
        """Take over (re)loaded settings. Without ``domain`` nothing is taken."""
        self._domain, self._verp, self._backlog = domain, verp, backlog

    async def sender(self, client: Client, envelope: Envelope, size: int | None) -> Reply | None:
        """Anybody, the null sender above all."""
        if self._waiting() >= self._backlog:
            return self._refuse(client, envelope, FULL, verb="MAIL")
        return None

    async def recipient(self, client: Client, envelope: Envelope, recipient: Recipient) -> Reply | None:
        """None for our own addresses."""
        if reply := self._refusal(recipient.address):
            return self._refuse(client, envelope, reply, verb="RCPT", recipient=recipient.address)
        return None

    async def accept(self, client: Client, envelope: Envelope, content: bytes) -> Reply:
        """Keep it. Raises StoreUnavailable."""
        recipients = list(dict.fromkeys(recipient.address for recipient in envelope.recipients))
        number = await self._incoming.put(envelope.sender, recipients, client.address, client.hello, content)
        self._taken()
        return Reply(250, "2.0.0", f"taken as R-{number}")

    def _refusal(self, address: Address) -> Reply | None:
        if self._domain is None or address.domain != self._domain:
            return NO_RELAY
        match mailbox_of(address, self._domain):
            case None:
                return UNKNOWN
            case ReportMailbox.BOUNCE:
                return self._worthless(address)
            case _:
                return None

    def _worthless(self, address: Address) -> Reply | None:
        match self._verp.read(address, datetime.now(UTC)) if self._verp else None:
            case InvalidReturnPath.FORGED | None:
                self._metrics.inbound_reports[InboundReportKind.FORGED].inc()
                return FORGED
            case InvalidReturnPath.EXPIRED:
                self._metrics.inbound_reports[InboundReportKind.EXPIRED].inc()
                return EXPIRED
            case _:
                return None

    def _refuse(
        self, client: Client, envelope: Envelope, reply: Reply, *, verb: str, recipient: Address | None = None
    ) -> Reply:
        self._events.rejected(
            reply,
            session=client.session,
            client=client.address,
            verb=verb,
            sender=envelope.sender,
            recipient=recipient,
        )
        self._metrics.rejected(reply)
        return reply

"""Build the mail that follows from an inbound report: the report forwarded, or a receipt for who wrote it.

Invariants: both come from the null sender, so that nothing comes back of them. A receipt says that it is automatic
(RFC 3834), and repeats nothing of the mail that it is for but its Message-ID.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email import policy as mail_policy
from email.message import EmailMessage
from email.utils import format_datetime
from ipaddress import ip_address

from mta.mail.headers import HeaderError
from mta.mail.identity import format_id, new_message_id
from mta.mail.message import IPAddress
from mta.queue.internal_mail import InternalMailBuilder, InternalMailKind, Relay
from mta.reports.attribution import ReportContext
from mta.store.queue.enqueue import NewMessage
from mta.store.results.report_actions import Forward, InboundReport, SendReceipt
from policy.accounts.account import SERVICE_ACCOUNT
from policy.reputation.complaint_receipt import write_receipt


class OutgoingMail:
    """Builds what follows from ``inbound``: a ``ReportMail``."""

    def __init__(self, builder: InternalMailBuilder, inbound: InboundReport, context: ReportContext) -> None:
        self._builder, self._inbound, self._context = builder, inbound, context

    def forward(self, forward: Forward) -> NewMessage | None:
        """Return the report as a message for ``forward.to``, below our Received field; None if its header is
        invalid."""
        inbound, hostname = self._inbound, self._builder.hostname
        now, message_id, client = datetime.now(UTC), new_message_id(), ip_address(inbound.client)
        received = _received(client, inbound.hello, hostname, format_id(message_id), now)
        header = inbound.content.partition(b"\r\n\r\n")[0]
        try:
            return self._builder.build(
                InternalMailKind.FORWARD,
                message_id,
                forward.to,
                received + inbound.content,
                now,
                account_id=forward.account_id,
                smtputf8=not header.isascii() or not received.isascii() or not forward.to.is_ascii,
                relay=Relay(client, inbound.hello),
            )
        except HeaderError:
            return None

    def receipt(self, receipt: SendReceipt, case_id: int | None) -> NewMessage:
        """Return the receipt, with the number of its case."""
        context, now, message_id = self._context, datetime.now(UTC), new_message_id()
        case = None if case_id is None else f"C-{case_id}"
        subject, text = write_receipt(
            receipt.kind, receipt.language, self._builder.operator, senders=receipt.senders, case=case
        )
        mail = EmailMessage(mail_policy.SMTP if receipt.to.is_ascii else mail_policy.SMTPUTF8)
        mail["From"] = f"abuse@{context.domain}"
        mail["To"] = str(receipt.to)
        mail["Subject"] = subject
        mail["Date"] = format_datetime(now)
        mail["Message-ID"] = f"<{format_id(message_id)}@{self._builder.hostname}>"
        if receipt.in_reply_to:
            mail["In-Reply-To"] = mail["References"] = receipt.in_reply_to
        mail["Auto-Submitted"] = "auto-replied"
        mail["X-Auto-Response-Suppress"] = "All"
        mail["Content-Language"] = receipt.language.value
        mail.set_content(text, cte="quoted-printable")
        return self._builder.build(
            InternalMailKind.RECEIPT,
            message_id,
            receipt.to,
            mail.as_bytes(),
            now,
            account_id=SERVICE_ACCOUNT,
            smtputf8=not receipt.to.is_ascii,
            signing_domain=context.domain,
        )


def _received(client: IPAddress, hello: str, hostname: str, number: str, now: datetime) -> bytes:
    literal = f"IPv6:{client}" if client.version == 6 else str(client)
    return (
        f"Received: from {hello or 'unknown'} ([{literal}])\r\n"
        f"\tby {hostname} with ESMTP id {number};\r\n"
        f"\t{format_datetime(now)}\r\n"
    ).encode()

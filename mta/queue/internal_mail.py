"""Build the messages that the service itself sends: DSNs, forwarded reports, mail about complaint cases,
receipts, requests to confirm a sign-up.

Invariants: They come from the null sender, so that nothing bounces back, unless it is to be known that they do; then
nobody is sent a DSN. No Bcc of a forwarded message leaves, no
verdict in this host's name, and no line longer than RFC 5322 allows. The policy chain does not apply to them, which
their finding says.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from ipaddress import ip_address

from config.schema import Settings
from mta.dkim import Signer
from mta.mail.address import Address
from mta.mail.headers import Headers, break_long_lines
from mta.mail.identity import MessageId
from mta.mail.message import Body, Envelope, IPAddress, Message, Notify, Origin, Recipient, SenderTls
from mta.mail.values import replace
from mta.store.queue.enqueue import NewMessage
from policy.base import Finding
from policy.header_fields import outgoing_fields

LOOPBACK = ip_address("127.0.0.1")


class InternalMailKind(Enum):
    """What the service sends a message for; the value names it in the message's origin and finding."""

    DSN = "dsn"
    FORWARD = "forward"  # an inbound report, to the sender of the message or to the postmaster
    COMPLAINT = "complaint"  # about complaint cases, to their account
    RECEIPT = "receipt"  # for a complaint or request of a person, to its writer
    TLS_REPORT = "tls_report"  # how TLS with a receiver went, to its operator
    SIGN_UP = "sign_up"  # asks a person to confirm what was asked for with a form


@dataclass(frozen=True, slots=True)
class Relay:
    """The client that a forwarded message was received from."""

    client: IPAddress
    hello: str


class InternalMailBuilder:
    """Built from the settings; ``signer`` signs with the keys that it has then."""

    def __init__(self, settings: Settings, signer: Signer) -> None:
        self.hostname = settings.server.hostname
        self.operator = settings.server.operator or self.hostname  # as mail to people is signed
        self._lifetime = timedelta(seconds=settings.queue.expire_after)
        self._signer = signer
        self._host_names = frozenset(filter(None, (self.hostname, settings.return_path.domain)))

    def build(
        self,
        kind: InternalMailKind,
        message_id: MessageId,
        to: Address,
        content: bytes,
        now: datetime,
        *,
        account_id: int,
        smtputf8: bool,
        tls: SenderTls = SenderTls.AS_POLICY,
        signing_domain: str | None = None,
        sender: Address | None = None,
        relay: Relay | None = None,
    ) -> NewMessage:
        """Return ``content`` as a message for ``to``, to be queued as mail of the account.

        ``signing_domain``: of the DKIM signature, if it has a key. ``sender``: of the envelope. Raises
        HeaderError if the header is invalid.
        """
        content = self._fit_to_leave(content)
        origin = Origin(
            account_id=account_id,
            account="",
            credential=None,
            client=relay.client if relay else LOOPBACK,
            hello=relay.hello if relay else self.hostname,
            session=kind.value,
            protocol="ESMTP" if relay else "local",
            received_at=now,
        )
        recipient = Recipient(to, Notify.NEVER if sender else None)
        body = Body.SEVEN_BIT if content.isascii() else Body.EIGHT_BIT
        message = Message.of(message_id, Envelope(sender, (recipient,), body, smtputf8, tls=tls), origin, content)
        if signing_domain and (signature := self._signer.sign(message.headers, message.body, signing_domain)):
            message = replace(message, head=signature + message.head)
        finding = Finding(kind.value, "pass", "sent by the service itself; the policy chain does not apply")
        return NewMessage(message, account_id, expires_at=now + self._lifetime, findings=(finding,))

    def _fit_to_leave(self, content: bytes) -> bytes:
        """Return the message without the fields and the long lines that others may have given us."""
        headers = Headers.split(content)
        kept, removed = outgoing_fields(headers, self._host_names, submitted=False)
        if removed:
            block = b"".join(raw + b"\r\n" for _, raw in kept) + b"\r\n"
            content = block + content[headers.size :]
        return break_long_lines(content)

"""Who is submitting, and to whom the session hands what was submitted.

``Client`` is what a session has learnt about its peer; ``MessageHandler`` is the next stage, as the session sees it.

*Limits.* ``hello`` is what the client says of itself: printable ASCII without spaces, at most 255 characters, and
otherwise to be believed by nobody.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Protocol

from mta.mail.address import Address
from mta.mail.message import Envelope, IPAddress, Recipient
from mta.mail.reply import Reply
from policy.accounts.account import Account, Grant
from policy.base import RecipientFacts


@dataclass(slots=True, eq=False)
class Client:
    """The peer of one session. The session changes it at EHLO, STARTTLS, AUTH and MAIL; others only read.

    ``account`` is None until somebody answers for the client: its network or, with ``credential`` set, its AUTH.
    ``grant`` is what its credential may do. ``tls`` is e.g. ``TLSv1.3 TLS_AES_256_GCM_SHA384``. ``checked_at`` and
    ``known`` are the next stage's own: the monotonic time of the transaction's first look-up, and what was found.
    """

    session: str
    address: IPAddress
    hello: str = ""
    extended: bool = False
    tls: str | None = None
    account: Account | None = None
    credential: str | None = None
    grant: Grant = field(default_factory=Grant)
    checked_at: float = 0.0
    known: dict[Address, RecipientFacts] = field(default_factory=dict)

    @property
    def protocol(self) -> str:
        """The ``with`` of the Received field (RFC 3848), for a message without SMTPUTF8."""
        if not self.extended:
            return "SMTP"
        return f"ESMTP{'S' if self.tls else ''}{'A' if self.credential else ''}"

    def protocol_of(self, envelope: Envelope) -> str:
        """The ``with`` of this message's Received field (RFC 3848, RFC 6531 4.3)."""
        return f"UTF8{self.protocol.removeprefix('E')}" if envelope.smtputf8 else self.protocol


class MessageHandler(Protocol):
    """The next stage. Whatever it raises the client sees as 451 4.3.0."""

    async def sender(self, client: Client, envelope: Envelope, size: int | None) -> Reply | None:
        """The answer to MAIL, None for the usual 250. ``size`` is the announced one, in octets."""
        ...

    async def recipient(self, client: Client, envelope: Envelope, recipient: Recipient) -> Reply | None:
        """The answer to RCPT, None for the usual 250. ``envelope`` has no recipients yet: they come with ``accept``."""
        ...

    async def accept(self, client: Client, envelope: Envelope, content: bytes) -> Reply:
        """The answer to the whole message; positive only once it is committed."""
        ...


def client_address(host: str) -> IPAddress:
    """A socket's name for its peer, as an address: an IPv4 peer of an IPv6 socket is an IPv4 peer."""
    address = ip_address(host.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address

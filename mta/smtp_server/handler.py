"""What the SMTP server and the stage behind it know of each other: the client, the handler, and what sessions share.

The stage behind keeps what it learns in a transaction of its own, which it returns at MAIL; the server calls that for
each recipient and for the message.

Limitations: ``Client.hello`` is what the client says of itself: printable ASCII without spaces, at most 255 characters,
and otherwise not to be trusted. A value of ``ServerContext`` that a reload replaces is in force from a session's next
command on.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import field
from ipaddress import ip_address
from typing import Protocol

from config.schema import Limits
from mta.mail.address import Address
from mta.mail.large_body import LargeBody
from mta.mail.message import Envelope, IPAddress, Recipient
from mta.mail.reply import Reply
from mta.mail.values import dataclass
from mta.observe.disk import DiskWatch
from mta.observe.events import EventLog
from mta.observe.metrics import Metrics
from mta.observe.trace import Trace
from mta.smtp_server.auth.authenticator import Authenticator
from mta.smtp_server.limits import Connections, MemoryBudget, Slot
from mta.smtp_server.spool import Spool
from mta.store.postgres.errors import StoreUnavailable
from policy.accounts.account import Account, Grant


@dataclass(slots=True, eq=False)
class Client:
    """The peer of one session. The session changes it at EHLO, STARTTLS, AUTH and MAIL; handlers only read it.

    ``account`` is None until the client is known, by its network or, with ``credential`` set, by its AUTH. ``grant`` is
    what its credential may do. ``tls`` is e.g. ``TLSv1.3 TLS_AES_256_GCM_SHA384``.
    """

    session: str
    address: IPAddress
    hello: str = ""
    extended: bool = False
    tls: str | None = None
    account: Account | None = None
    credential: str | None = None
    grant: Grant = field(default_factory=Grant)

    @property
    def protocol(self) -> str:
        """The ``with`` of the Received field (RFC 3848), for a message without SMTPUTF8."""
        if not self.extended:
            return "SMTP"
        return f"ESMTP{'S' if self.tls else ''}{'A' if self.credential else ''}"

    def protocol_of(self, envelope: Envelope) -> str:
        """Return the ``with`` of this message's Received field (RFC 3848, RFC 6531 4.3)."""
        return f"UTF8{self.protocol.removeprefix('E')}" if envelope.smtputf8 else self.protocol


class MailTransaction(Protocol):
    """One mail transaction in the stage behind the server. The client is answered 451 4.3.0 whatever it raises."""

    async def on_recipient(self, recipient: Recipient, ahead: Sequence[Address] = ()) -> Reply | None:
        """Return why RCPT is rejected, None to accept the recipient. ``ahead``: those that the client has named in the
        same group of commands, and that come next, so that all can be looked up together."""
        ...

    async def on_message(self, envelope: Envelope, content: bytes, large: LargeBody | None = None) -> Reply:
        """Return the answer to the whole message, positive only once it is committed. ``envelope`` has the accepted
        recipients. ``large``: the body, if it is not in memory; then ``content`` is the header block, and the body is
        gone after the answer. Without ``ServerContext.spool`` it is None."""
        ...


class MessageHandler(Protocol):
    """The stage behind the server."""

    async def on_sender(self, client: Client, envelope: Envelope, size: int | None) -> MailTransaction | Reply:
        """Begin a transaction, or return why MAIL is rejected. ``size``: as announced, in octets."""
        ...


class OpenSession(Protocol):
    """A session, for those who may end it. ``task`` ends when its connection is closed."""

    @property
    def task(self) -> asyncio.Task[None]: ...
    def finish(self) -> None: ...
    def cut(self) -> None: ...


@dataclass(slots=True, eq=False)
class ServerContext:
    """What the sessions of one process share. ``sessions`` holds each one until its connection is closed.

    ``authenticator`` None: no AUTH, and the handler decides what is accepted. ``message_budget``: memory for messages
    that are arriving. ``spool``: where large ones go; None: they are held in memory, too. ``postmaster_domain``: the
    domain of a bare ``postmaster`` (RFC 5321 4.5.1), None if no mail is received here. ``disk``: where mail is kept, if
    it is on this machine. ``closing``: no client is let in any more, and sessions end between transactions.
    """

    hostname: str
    limits: Limits
    tls: ssl.SSLContext
    handler: MessageHandler
    authenticator: Authenticator | None
    message_budget: MemoryBudget
    trace: Trace
    events: EventLog
    metrics: Metrics
    spool: Spool | None = None
    postmaster_domain: str | None = None
    disk: DiskWatch | None = None
    connections: Connections = field(default_factory=Connections)
    sessions: set[OpenSession] = field(default_factory=set)
    closing: bool = False


def enter(context: ServerContext, address: IPAddress) -> Slot | Reply:
    """Count a connection from ``address``, or return why it is rejected."""
    return context.connections.enter(address, context.limits, known=_is_known(context.authenticator, address))


def _is_known(authenticator: Authenticator | None, address: IPAddress) -> bool:
    try:
        return authenticator is None or authenticator.by_network(address) is not None
    except StoreUnavailable:  # MAIL will be put off; until then it is a stranger
        return False


def client_address(host: str) -> IPAddress:
    """Return a socket's name for its peer as an address: an IPv4 peer of an IPv6 socket is an IPv4 peer."""
    address = ip_address(host.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address

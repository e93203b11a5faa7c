"""A message, its envelope and where it came from.

A message of usual size is held whole in memory. Of a larger one (``large_body``) only the header block is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from datetime import datetime
from enum import Enum, Flag, auto

from mta.mail.address import Address
from mta.mail.headers import Headers
from mta.mail.identity import MessageId
from mta.mail.large_body import LargeBody
from mta.mail.values import dataclass

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Stream(Enum):
    """What a message is for; each stream has its own policy and its own share of the queue."""

    MARKETING = "marketing"
    TRANSACTIONAL = "transactional"

    __hash__ = object.__hash__  # Enum's own is ten times slower, and streams are dict keys several times a message


class Body(Enum):
    """The BODY parameter (RFC 6152). BINARYMIME is not offered."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT = "8BITMIME"


class Return(Enum):
    """How much of the message a DSN about a failure returns (RFC 3461 4.3)."""

    FULL = "FULL"
    HEADERS = "HDRS"


class Notify(Flag):
    """When the sender wants a DSN about this recipient (RFC 3461 4.1); NEVER stands alone."""

    NEVER = 0
    SUCCESS = auto()
    FAILURE = auto()
    DELAY = auto()


class SenderTls(Enum):
    """What the sender wants of TLS on the whole way (RFC 8689): what the receivers' policies say; verified TLS or no
    delivery (REQUIRETLS); delivery whatever the policies say (``TLS-Required: No``)."""

    AS_POLICY = "as_policy"
    REQUIRED = "required"
    OPTIONAL = "optional"


class ByMode(Enum):
    """What follows when a message is not delivered by its time (RFC 2852 4): it comes back, or the sender is told."""

    RETURN = "R"
    NOTIFY = "N"


@dataclass(frozen=True, slots=True)
class DeliverBy:
    """Until when a message is to be delivered (RFC 2852). ``trace``: each relay sends a DSN."""

    deadline: datetime
    mode: ByMode
    trace: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """When the first attempt may be made. ``request``: what the client asked for (RFC 4865), None if it did so in the
    header."""

    at: datetime
    request: str | None = None


@dataclass(frozen=True, slots=True)
class Recipient:
    """One RCPT. ``notify`` None: not given, which means FAILURE and, by local policy, DELAY. ``orcpt`` as received."""

    address: Address
    notify: Notify | None = None
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """``sender`` None is the null return path ``<>``. ``priority``: from -9 to 9 (RFC 6710)."""

    sender: Address | None
    recipients: tuple[Recipient, ...]
    body: Body = Body.SEVEN_BIT
    smtputf8: bool = False
    ret: Return | None = None
    envid: str | None = None
    tls: SenderTls = SenderTls.AS_POLICY
    release: Release | None = None
    deliver_by: DeliverBy | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Origin:
    """Who submitted the message, and how. ``credential`` None: the client was authenticated by its network."""

    account_id: int
    account: str
    credential: str | None
    client: IPAddress
    hello: str
    session: str
    protocol: str  # the `with` of the Received field: ESMTPSA and kin, RFC 3848
    received_at: datetime
    tls: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """``head``: the header block with its empty line; ``headers``: the same, already split, without the fields that
    signing puts on top. CRLF line ends only, no bare CR, LF or NUL. The body stands apart so that a new field does not
    copy it.

    ``large``: the body, if it is not in memory; then ``body`` is empty.
    """

    id: MessageId
    envelope: Envelope
    origin: Origin
    headers: Headers
    head: bytes
    body: bytes
    large: LargeBody | None = None

    @classmethod
    def of(
        cls, id: MessageId, envelope: Envelope, origin: Origin, content: bytes, large: LargeBody | None = None
    ) -> Message:
        """Return a message that was in one piece. Raises HeaderError."""
        headers = Headers.split(content)
        return cls(id, envelope, origin, headers, content[: headers.size], content[headers.size :], large)

    def with_content(self, content: bytes) -> Message:
        """Return the message with other content, all of it in memory. Raises HeaderError."""
        return Message.of(self.id, self.envelope, self.origin, content)

    @property
    def content(self) -> bytes:
        """All of it but a large body, in one piece, which is made anew each time."""
        return self.head + self.body

    @property
    def size(self) -> int:
        """Octets of header block and body."""
        return len(self.head) + (self.large.size if self.large else len(self.body))

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield all octets in order."""
        yield self.head
        if self.body:
            yield self.body
        if self.large:
            async for piece in self.large.pieces():
                yield piece

"""A session with a receiver, what it offered, and why it cannot be used any more."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mta.delivery.client import SmtpClientProtocol, ehlo_keywords
from mta.delivery.egress.paths import EgressPath
from mta.delivery.egress.sources import EgressSource
from mta.delivery.route import Route, Target
from mta.delivery.tls.demand import ClientCertificate, TlsDemand
from mta.mail.delivery import Stage
from mta.mail.reply import Reply
from mta.mail.tls_session import TlsFault
from mta.mail.values import dataclass

_LIMIT = re.compile(r"(?i)(RCPTMAX|MAILMAX)=([1-9][0-9]{0,5})\Z")  # RFC 9422 4


class DeliveryError(Exception):
    """A host cannot be used now. Nothing was sent to the recipients that have no result yet."""

    def __init__(self, stage: Stage, reply: Reply) -> None:
        super().__init__(f"{stage.value}: {reply}")
        self.stage = stage
        self.reply = reply


class TlsError(DeliveryError):
    """TLS did not come up to what was demanded."""

    def __init__(self, reply: Reply, fault: TlsFault) -> None:
        super().__init__(Stage.TLS, reply)
        self.fault = fault


class OpportunisticTlsError(TlsError):
    """Opportunistic TLS failed: a new session in plain text may do."""


class PipeliningError(DeliveryError):
    """The receiver lost count of our commands: a new session that sends them one by one may do."""


class StaleSessionError(DeliveryError):
    """An idle connection had died, or was about to: a new one may do."""


@dataclass(frozen=True, slots=True)
class Extensions:
    """What EHLO offered. ``size``: octets of the largest message, None if not given. ``deliver_by``: the shortest time
    that it takes (RFC 2852 3), 0 if it takes any, None if not offered."""

    pipelining: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    starttls: bool = False
    dsn: bool = False
    requiretls: bool = False
    mt_priority: bool = False
    deliver_by: int | None = None
    sizes: bool = False
    size: int | None = None
    auth: frozenset[str] = frozenset()
    recipients: int | None = None  # of one transaction
    transactions: int | None = None  # of one connection

    @classmethod
    def parse(cls, text: str) -> Extensions:
        """Read the reply to EHLO."""
        return cls.of(*ehlo_keywords(text))

    @classmethod
    def of(cls, offered: Mapping[str, str], mechanisms: Iterable[str]) -> Extensions:
        """``offered``: parameters by lower-case keyword. ``mechanisms``: of AUTH."""
        size = offered.get("size", "").strip()
        limits = {m[1].upper(): int(m[2]) for word in offered.get("limits", "").split() if (m := _LIMIT.match(word))}
        return cls(
            pipelining="pipelining" in offered,
            eight_bit="8bitmime" in offered,
            smtputf8="smtputf8" in offered,
            starttls="starttls" in offered,
            dsn="dsn" in offered,
            requiretls="requiretls" in offered,
            mt_priority="mt-priority" in offered,
            deliver_by=_shortest(offered["deliverby"]) if "deliverby" in offered else None,
            sizes="size" in offered,
            size=int(size) if size.isascii() and size.isdigit() and len(size) < 20 and int(size) > 0 else None,
            auth=frozenset(mechanisms),
            recipients=limits.get("RCPTMAX"),
            transactions=limits.get("MAILMAX"),
        )


def _shortest(text: str) -> int:
    """Return the min-by-time of DELIVERBY; what is no number says nothing."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


class SessionKey(NamedTuple):
    """Sessions with the same key can replace each other. ``site``: a connection counts for one path."""

    source: EgressSource
    site: str
    address: str
    port: int
    tls: TlsDemand
    username: str | None
    certificate: ClientCertificate | None = None  # that we show

    @classmethod
    def of(cls, path: EgressPath, route: Route, target: Target, demand: TlsDemand) -> SessionKey:
        """Return the key of sessions on a path with one host of the route."""
        certificate = route.certificate or path.source.certificate
        username = route.login.username if route.login else None
        return cls(path.source, path.site, target.address, target.port, demand, username, certificate)


@dataclass(slots=True, eq=False)
class DeliverySession:
    """A session that is ready for transactions. ``source``: our address. ``tls``: version, None for plain text.
    ``octets``: of the messages it was used for. ``idle_until``: loop time, None while it is not in the pool;
    ``watched``: the pool looks at it some time."""

    key: SessionKey
    protocol: SmtpClientProtocol
    target: Target
    source: str
    tls: str | None
    extensions: Extensions
    transactions: int = 0
    octets: int = 0
    dirty: bool = False  # the receiver still has a transaction open
    max_recipients: int | None = None  # in one transaction, once the receiver has shown it
    idle_until: float | None = None
    watched: bool = False

"""How mail is kept, retried, routed and sent to receivers.

It must never hold behaviour.
"""

# ruff: noqa: RUF012 (pydantic copies a mutable default for each instance)
from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from config.types import Access, Duration, File, HostName, Section, Size, default


class StreamWeights(Section):
    """How deliveries to one site are shared between the streams where both have mail waiting."""

    transactional: int = Field(4, ge=1, le=1000)
    """Weight of transactional deliveries."""
    marketing: int = Field(1, ge=1, le=1000)
    """Weight of marketing deliveries."""


class QueueSettings(Section):
    """Keeping and retrying."""

    retry_schedule: list[Duration] = Field(
        ["5m", "10m", "20m", "40m", "1h", "2h", "3h", "4h"], min_length=1, validate_default=True
    )
    """Waits after the first, second ... failed attempt; the last one repeats."""
    retry_jitter: float = Field(0.1, ge=0, le=0.5)
    """Each wait is changed at random by up to this share, so that retries do not march in step."""
    expire_after: Duration = default("5d")
    """A delivery that has not succeeded by then has failed. A message may ask for less with `X-MTA-Expire: 6h`."""
    expire_min_attempts: int = Field(1, ge=0)
    """Attempts that must have been made before expiry counts (a clock that jumps must not bounce the queue)."""
    delay_dsn_after: Duration = default("4h")
    """The sender is told of a delay once, after so long; `0s` never."""
    active_deliveries: int = Field(10_000, ge=1)
    """Deliveries each worker keeps in memory."""
    active_size: Size = default("32MiB")
    """Octets of messages each worker keeps in memory; what does not fit is read again from the database."""
    stream_weights: StreamWeights = StreamWeights()
    """Weights."""
    poll: Duration = default("1s")
    """How often due deliveries are looked for."""
    event_retention: Duration = default("90d")
    """How long messages' metadata and events are kept for `mta explain` after their last delivery ended."""


class DnsSettings(Section):
    """Name resolution for routing."""

    servers: list[str] = []
    """`address` or `address:port` of each resolver; empty for those of the system."""
    timeout: Duration = default("3s")
    """Wait for one server's answer."""
    lifetime: Duration = default("10s")
    """Wait for a name in all."""
    cache_size: int = Field(50_000, ge=100)
    """Names remembered."""
    min_ttl: Duration = default("30s")
    """An answer is believed for at least so long, whatever its TTL."""
    max_ttl: Duration = default("1h")
    """An answer is believed for at most so long, whatever its TTL."""


class Timeouts(Section):
    """Patience with receivers, stage by stage (RFC 5321 4.5.3.2)."""

    connect: Duration = default("30s")
    """TCP connection to one address."""
    greeting: Duration = default("5m")
    """The 220 greeting."""
    hello: Duration = default("1m")
    """Answer to EHLO."""
    starttls: Duration = default("1m")
    """Answer to STARTTLS, and the handshake."""
    mail: Duration = default("5m")
    """Answer to MAIL."""
    rcpt: Duration = default("5m")
    """Answer to each RCPT."""
    data: Duration = default("2m")
    """Answer to DATA."""
    block: Duration = default("3m")
    """Sending one block of the message."""
    final_dot: Duration = default("10m")
    """Answer to the final dot; less makes duplicates."""
    idle: Duration = default("10s")
    """How long an unused connection is kept for the next message."""


class RouteSettings(Section):
    """A static route or smart host for some destinations."""

    domains: list[str]
    """Destination domains; `.example.com` for everything below, `*` for all."""
    hosts: list[str]
    """`name`, `name:port` or `[address]:port`, tried in order; names are looked up for addresses, not for MX."""
    tls: Literal["opportunistic", "required", "implicit", "none"] | None = None
    """How to use TLS; the egress setting if not given. `required` and `implicit` verify the certificate."""
    username: str | None = None
    """User name for AUTH at the smart host; asks for `tls = "required"` or `"implicit"`."""
    password_file: Annotated[File | None, Access.PRIVATE] = None
    """File with the password for `username`; must not be readable by others."""


class EgressSettings(Section):
    """Sending to receivers."""

    ehlo: HostName | None = None
    """Name in EHLO; `server.hostname` if not given."""
    sources: list[str] = []
    """Local addresses to send from, in turn for each connection; empty lets the system choose."""
    ipv6: bool = True
    """Whether receivers' IPv6 addresses are used."""
    tls: Literal["opportunistic", "none"] = "opportunistic"
    """STARTTLS with receivers that offer it; without a valid certificate mail still goes, encrypted."""
    max_hosts: int = Field(5, ge=1)
    """Addresses tried in one attempt."""
    max_recipients: int = Field(100, ge=1)
    """Recipients in one transaction."""
    timeouts: Timeouts = Timeouts()


class Shaping(Section):
    """How hard one site (all domains that share their MX) may be pressed. Over all workers, unless said otherwise."""

    name: str = "default"
    """Shown by `mta explain` and `mta queue`."""
    mx: list[str] = []
    """Suffixes of MX host names that belong to this provider, e.g. `.google.com`."""
    domains: list[str] = []
    """Destination domains that belong to it whatever their MX."""
    connections: int = Field(20, ge=1)
    """Most connections at once."""
    initial_connections: int = Field(2, ge=1)
    """Connections at the start; each success allows another, up to `connections`. Less if `connections` is less."""
    messages_per_connection: int = Field(100, ge=1)
    """Messages sent over one connection; then a new one is made."""
    message_rate: float | None = Field(None, gt=0)
    """Most messages a second."""
    backoff: Duration = default("5m")
    """Rest of the whole site after `backoff_after` connections failed in a row; doubles up to an hour."""
    backoff_after: int = Field(3, ge=1)
    """Failed connections in a row after which the site rests."""


class ShapingSettings(Section):
    """Limits for receiving sites: the default, and named providers (`config/defaults/shaping.toml`)."""

    default: Shaping = Shaping()
    providers: list[Shaping] = []
    """First match wins, yours before the shipped ones. An entry with a shipped name changes only the keys it gives."""

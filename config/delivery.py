"""Sections about sending mail: signing, queue, DNS, bounces, blocklists. Connections are in ``config.egress``."""

# ruff: noqa: RUF012 (pydantic copies a mutable default for each instance)
from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from config.header_fields import Signed, signed_names
from config.mail_conditions import MailConditionSettings
from config.types import Access, Duration, File, HostName, Name, Network, Section, Selector, Size, WeekHours, default


class SigningKeySettings(Section):
    """A DKIM key in a file. Keys can also be kept in the database (`mta dkim new`)."""

    domain: HostName
    """Signing domain (`d=`)."""
    selector: Selector
    """Selector (`s=`)."""
    file: Annotated[File, Access.PRIVATE]
    """PEM file with an RSA (2048 bits or more) or Ed25519 private key; must be readable by its owner only."""


class SigningSettings(Section):
    """DKIM signatures."""

    keys: list[SigningKeySettings] = []
    require: bool = False
    """Defer a message (451) if its From domain has no active key."""
    headers: list[str] = signed_names(Signed.PRESENT, Signed.OVER)
    """Header fields to sign if present."""
    oversign: list[str] = signed_names(Signed.OVER)
    """Header fields signed once more than present, so that adding one breaks the signature."""


class StreamWeights(Section):
    """How connections to a site are shared when both streams have mail waiting for it."""

    transactional: int = Field(4, ge=1, le=1000)
    """Weight of transactional deliveries."""
    marketing: int = Field(1, ge=1, le=1000)
    """Weight of marketing deliveries."""


class SendWindowSettings(MailConditionSettings):
    """When mail may leave, for the mail that fits all conditions. Mail that several windows fit leaves while all of
    them are open; in between it waits in the queue."""

    name: Name
    """Name in `mta queue` and `mta explain`."""
    times: list[WeekHours] = Field(min_length=1)
    """Days and hours, any of these: `"mon-fri 08:00-20:00"`, `"sat,sun 10:00-14:00"`, `"mon-sun 22:00-06:00"` (until
    the next morning)."""
    zone: str
    """Time zone of these hours, e.g. `Europe/Berlin`; summer time is observed."""


class QueueSettings(Section):
    """Queueing and retries."""

    retry_schedule: list[Duration] = Field(
        ["5m", "10m", "20m", "40m", "1h", "2h", "3h", "4h"], min_length=1, validate_default=True
    )
    """Delay after the first, second, ... failed attempt (varied by 10 % at random); the last one repeats."""
    expire_after: Duration = default("5d")
    """Deliveries fail after this time. A message can ask for less with `X-MTA-Expire: 6h`."""
    delay_dsn_after: Duration = default("4h")
    """When the sender gets a DSN about a delay, once per message; `0s` for never."""
    active_deliveries: int = Field(10_000, ge=1)
    """Maximum deliveries in memory per worker."""
    active_size: Size = default("32MiB")
    """Maximum memory for message content per worker; content that does not fit is read from the database again."""
    stream_weights: StreamWeights = StreamWeights()
    send_windows: list[SendWindowSettings] = []
    poll: Duration = default("1s")
    """How often the database is checked for due deliveries."""


class DnsSettings(Section):
    """DNS resolution."""

    servers: list[str] = []
    """`address` or `address:port` of resolvers; if empty, those of the system."""
    validating: bool = False
    """The resolvers validate DNSSEC, and their AD flag is believed. They must be on a loopback address: unbound, for
    example. `mta check` tests it. DANE needs it."""
    timeout: Duration = default("10s")
    """Timeout of a lookup; each server gets a third of it per try."""
    min_ttl: Duration = default("30s")
    """Minimum time an answer is cached."""
    max_ttl: Duration = default("1h")
    """Maximum time an answer is cached."""


class BounceSettings(Section):
    """Classification of receivers' replies."""

    rules: Annotated[list[File], Access.READ] = []
    """Files with your own rules, tried before those of `config/defaults/bounces.toml`."""


class BlocklistCode(Section):
    """What some of a list's answers mean. Answers that are not named here are ignored."""

    codes: Network
    """Address or network of the answers, e.g. `127.0.0.2`."""
    means: str = Field("", max_length=200)
    """Description."""
    listed: bool = True
    """Whether this counts as listed."""


class DnsBlocklist(Section):
    """A DNS blocklist (RFC 5782). Observe its terms of use."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,38}[a-z0-9])?$")
    """Name in events, replies and `mta blocklist`."""
    zone: HostName
    """DNS zone, e.g. `zen.example.org`."""
    answers: list[BlocklistCode] = []
    """If empty, every answer in 127.0.0.0/8 counts as listed, except 127.255.255.0/24 (query refused)."""


class Blocklist(DnsBlocklist):
    """A DNS blocklist (RFC 5782) to check our own addresses and domains on. Observe its terms of use."""

    kind: Literal["ip", "domain"] = "ip"
    """`ip`: checks the addresses of `egress.sources`; `domain`: the verified sender domains of all accounts."""
    source_backoff: bool = True
    """Do not send from a listed source as long as another one is left."""


class LinkBlocklist(DnsBlocklist):
    """A DNS blocklist of domains in links (URL blocklist). Observe its terms of use."""

    @property
    def kind(self) -> Literal["domain"]:
        """What it lists."""
        return "domain"


class LinkListSettings(Section):
    """URL blocklists that the rule `links` checks the links of messages against. No list is queried unless it is named
    here."""

    lists: list[LinkBlocklist] = []
    timeout: Duration = default("5s")
    """Timeout for all look-ups of one message together."""
    max_names: int = Field(100, ge=1, le=1000)
    """Maximum hosts of one message that are looked up; more count as a failure."""
    on_failure: Literal["closed", "open"] = "closed"
    """If a list does not answer, or there are too many links: `closed` defers the message (451), `open` accepts it with
    a note. A list that fails its test entries is ignored in either case."""


class BlocklistSettings(Section):
    """Checks of our own addresses and domains on DNS blocklists. No list is queried unless it is named here."""

    lists: list[Blocklist] = []
    also: list[str] = []
    """More addresses and domains to check: public addresses behind NAT, the host name, link domains."""
    every: Duration = default("1h")
    """Interval between checks; longer if an answer's TTL is."""
    confirm_after: Duration = default("15m")
    """A listing counts when it is still there after this time."""

    @property
    def backoff_lists(self) -> list[str]:
        """Names of the lists that put a listed source in backoff."""
        return [each.name for each in self.lists if each.source_backoff and each.kind == "ip"]

"""Sections about connections to receivers: sources, pools, static routes, and how much each site may be given."""

# ruff: noqa: RUF012 (pydantic copies a mutable default for each instance)
from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from config.mail_conditions import MailConditionSettings
from config.types import (
    MAILBOX,
    Access,
    Duration,
    EnhancedCode,
    File,
    HostName,
    Name,
    Network,
    RateLimit,
    ReplyCode,
    Section,
    Size,
    default,
)

DEFAULT_POOL = "default"


class Timeouts(Section):
    """Timeouts towards receivers, per SMTP stage (RFC 5321 4.5.3.2)."""

    connect: Duration = default("30s")
    """TCP connection to one address, through the proxy if the source has one."""
    greeting: Duration = default("5m")
    """The 220 greeting."""
    hello: Duration = default("1m")
    """Reply to EHLO."""
    starttls: Duration = default("1m")
    """Reply to STARTTLS, and the handshake."""
    mail: Duration = default("5m")
    """Reply to MAIL."""
    rcpt: Duration = default("5m")
    """Reply to each RCPT."""
    data: Duration = default("2m")
    """Reply to DATA."""
    block: Duration = default("3m")
    """Sending one block of the message."""
    final_dot: Duration = default("10m")
    """Reply to the final dot. A shorter timeout causes duplicates."""


class RouteSettings(Section):
    """A static route or smart host."""

    domains: list[str]
    """Destination domains; `.example.com` for all subdomains, `*` for all domains."""
    hosts: list[str]
    """`name`, `name:port` or `[address]:port`, tried in order. Names are resolved to addresses, without MX."""
    tls: Literal["opportunistic", "required", "implicit", "none"] | None = None
    """TLS mode; that of the site if not set. `required` and `implicit` verify the certificate."""
    certificate: Annotated[File | None, Access.READ] = None
    """PEM file with the certificate chain that is shown to these hosts (TLS client certificate), instead of the
    source's."""
    key: Annotated[File | None, Access.PRIVATE] = None
    """PEM file with its private key; must be readable by its owner only."""
    username: str | None = None
    """User name for AUTH; needs `tls = "required"` or `"implicit"`."""
    password_file: Annotated[File | None, Access.PRIVATE] = None
    """File with the password for `username`; must be readable by its owner only."""


class SourceSettings(Section):
    """An address that mail is sent from, under a name."""

    name: Name
    """Name in pools, shaping, events and `mta explain`."""
    address: str
    """IPv4 or IPv6 address: one of this machine's, or one of the proxy's."""
    ehlo: HostName | None = None
    """Name in EHLO; `egress.ehlo` if not set. Its address record should be `address`, and the PTR record this name."""
    proxy: str | None = None
    """Connect through a proxy that sends from `address`: `haproxy://host:port` (PROXY protocol, version 2) or
    `socks5://host:port` (RFC 1928)."""
    certificate: Annotated[File | None, Access.READ] = None
    """PEM file with the certificate chain that is shown to receivers which ask for one (TLS client certificate)."""
    key: Annotated[File | None, Access.PRIVATE] = None
    """PEM file with its private key; must be readable by its owner only."""
    certified: bool = False
    """Registered with a certification programme such as CSA: carries only mail whose profile has `certified = true`,
    and only if no rule found fault with it."""


class PoolMember(Section):
    """A source in a pool."""

    source: Name
    """Name of the source."""
    weight: int = Field(1, ge=1, le=1000)
    """Share of the pool's mail."""


class PoolSettings(Section):
    """Sources that share mail by weight."""

    name: Name
    """Name in rules, and for `mta account set --pool`. Without a pool `default`, that one is all sources that are not
    certified."""
    members: list[PoolMember] = Field(min_length=1)


class PoolRuleSettings(MailConditionSettings):
    """Which mail goes to a pool. All conditions that are set must be met; an empty list is no condition."""

    pool: Name
    """Name of the pool."""


class DeniedHost(Section):
    """Mail hosts that nothing is sent to, whatever MX records lead there. Static routes are not concerned."""

    host: str | None = None
    """Name of the host; `.example.com` for all below it. Set this or `network`."""
    network: Network | None = None
    """Address or network of hosts, e.g. `192.0.2.0/24`."""
    code: int = Field(550, ge=400, le=599)
    """Reply code for mail that no other host takes: 4xx is tried again, 5xx fails."""
    status: str = Field("5.4.4", pattern=r"^[45]\.\d{1,3}\.\d{1,3}$")
    """Its enhanced status code; the first digit is that of `code`."""
    text: str = Field("the mail host is on the deny list", min_length=1, max_length=200)
    """Its text, which senders see."""


class EgressSettings(Section):
    """Connections to receivers."""

    ehlo: HostName | None = None
    """Name in EHLO; `server.hostname` if not set."""
    sources: list[SourceSettings] = []
    """Addresses to send from. If there are none, the system chooses."""
    pools: list[PoolSettings] = []
    """Groups of sources."""
    rules: list[PoolRuleSettings] = []
    """The first rule that fits a delivery chooses its pool; then the account's own pool does; then it is `default`. A
    pool of certified sources is passed over for mail that may not use it."""
    avoid_unfit_sources: bool = True
    """Pass over sources that the hourly check has found a fault with (PTR record, name in EHLO, SPF of the return path
    domain), as long as the pool has others. A source whose address this machine lacks is never used."""
    ipv6: bool = True
    """Use IPv6."""
    max_hosts: int = Field(5, ge=1)
    """Maximum addresses tried per attempt."""
    denied_hosts: list[DeniedHost] = []
    """The first entry that fits a host applies."""
    dane: bool = True
    """Verify receivers by DANE (RFC 7672) where they publish TLSA records. Needs `dns.validating`, without which it has
    no effect."""
    mta_sts: bool = True
    """Follow the MTA-STS policies of recipient domains (RFC 8461)."""
    tls_policy_exceptions: list[str] = []
    """Recipient domains whose DANE records and MTA-STS policies are ignored; `.example.com` for all subdomains."""
    tls_reports: bool = True
    """Send domains that want them daily reports on TLS with their hosts (RFC 8460). By mail only if there is a DKIM key
    for the domain of `tls_report_from`."""
    tls_report_from: str | None = Field(None, max_length=254, pattern=MAILBOX)
    """Address that the reports come from, and contact for questions; postmaster at `server.hostname` if not set."""
    timeouts: Timeouts = Timeouts()


class PathLimits(Section):
    """How a site is treated from one source. `[[shaping.sources]]` sets any of these for certain paths."""

    connections: int = Field(20, ge=1)
    """Maximum concurrent connections of all workers and machines, idle ones included."""
    initial_connections: int = Field(2, ge=1)
    """Connections of a worker at the start (at most `connections`); each success allows it one more."""
    messages_per_connection: int = Field(100, ge=1)
    """Messages per connection before a new one is opened."""
    octets_per_connection: Size | None = None
    """Octets of messages per connection before a new one is opened."""
    recipients_per_transaction: int = Field(100, ge=1)
    """Maximum recipients per transaction."""
    message_rates: list[RateLimit] = []
    """Maximum messages of all workers and machines in any such time; all rates hold together: `["10/s", "300/m",
    "5000/h", "50000/d"]`."""
    idle: Duration = default("10s")
    """How long an idle connection is kept open for the next message."""
    backoff: Duration = default("5m")
    """Pause after `backoff_after` failures in a row; doubles up to one hour while it goes on."""
    backoff_after: int = Field(3, ge=1)
    """Failed connections, and replies that we send too much, in a row that start a backoff."""
    retry_schedule: list[Duration] | None = Field(None, min_length=1)
    """As `queue.retry_schedule`, which applies if this is not set."""
    expire_after: Duration | None = None
    """Deliveries fail after this time; `queue.expire_after` if that is shorter or this is not set."""
    tls: Literal["opportunistic", "required", "none"] = "opportunistic"
    """`opportunistic`: use STARTTLS if offered, whatever the certificate. `required`: only with a certificate that is
    valid for the host. `none`: never."""
    pipelining: bool = True
    """Use PIPELINING if offered."""


class Shaping(PathLimits):
    """How a site (all domains that share their MX, or a provider) is treated, from each source."""

    name: str = "default"
    """Name in `mta explain` and `mta queue`."""
    mx: list[str] = []
    """Suffixes of the provider's MX host names, e.g. `.google.com`."""
    domains: list[str] = []
    """Destination domains of the provider, whatever their MX."""


class SourceShaping(PathLimits):
    """Other limits for certain sources, at one provider or everywhere. Only the keys that are set apply."""

    source: Name | None = None
    """Name of a source; set this or `pool`."""
    pool: Name | None = None
    """Name of a pool: each of its sources."""
    provider: str | None = None
    """Name of a provider, or `default` for all other sites. If not set: every site."""


class TenantShaping(Section):
    """What one account, or one mailing, may use of a site, over all sources; beside the limits of the path."""

    account: str = "*"
    """Name of an account; `*`: each account has these limits for itself."""
    mailing: str | None = None
    """A mailing id; `*`: each mailing has these limits for itself. If not set: the account as a whole."""
    provider: str | None = None
    """Name of a provider, or `default` for each other site. If not set: at every site."""
    connections: int | None = Field(None, ge=1)
    """Maximum deliveries under way at once, over all workers and machines."""
    message_rates: list[RateLimit] = []
    """Maximum messages of all workers and machines in any such time."""


class AutomationRule(Section):
    """What a receiver's replies make of a path, a mailing or an account for a time. Every rule that fits a reply
    applies, and the strictest effect of all counts."""

    name: Name
    """Name in `mta shaping actions`. With a shipped name, only the keys that are given change."""
    enabled: bool = True
    """`false` turns a shipped rule off."""
    providers: list[str] = []
    """Names of providers, or sites. If empty: every site."""
    codes: list[ReplyCode] = []
    """Reply codes: `"421"`, `"4xx"`."""
    enhanced: list[EnhancedCode] = []
    """Enhanced codes: `"4.7.28"`, `"x.7.1"`."""
    patterns: list[str] = []
    """Words of the reply, one of these, as in bounce rules (docs/bounces.md)."""
    categories: list[str] = []
    """Categories of bounce rules, one of these."""
    samples: list[str] = []
    """Replies that the rule must fit; checked when the file is read. Not for rules by category alone."""
    count: int | None = Field(None, ge=1)
    """So many of these replies within `window`, over all workers and machines. Without `count` and `share`: the first
    such reply is enough."""
    share: float | None = Field(None, gt=0, le=1)
    """Such a share of all replies within `window`, if there were at least `volume` of them."""
    volume: int = Field(100, ge=1)
    """See `share`."""
    window: Duration = default("1h")
    """At most one day."""
    scope: list[Literal["source", "pool", "site", "domain", "account", "mailing", "stream"]] = ["source", "site"]
    """What the effects are for: that of the delivery that got the reply, all of these together."""
    effects: list[Literal["pause", "limit", "close", "pool", "hold_mailing", "alert"]] = ["pause"]
    """`pause`: nothing is sent. `limit`: `connections` and `message_rates` hold as well. `close`: idle connections are
    closed. `pool`: mail leaves from `pool`. `hold_mailing`: the mailing is stopped. `alert`: it is only reported."""
    duration: Duration = default("1h")
    """How long; at most 30 days."""
    connections: int | None = Field(None, ge=1)
    """Of the effect `limit`."""
    message_rates: list[RateLimit] = []
    """Of the effect `limit`."""
    pool: Name | None = None
    """Of the effect `pool`."""
    reason: str = ""
    """One line, for people."""


class WarmupCurve(Section):
    """How the daily volume of a source that warms up grows."""

    name: Name
    """Name in `[[shaping.warmup]]`. One of a shipped name replaces it."""
    daily: list[Annotated[int, Field(ge=1, le=100_000_000)]] = Field(min_length=1, max_length=365)
    """Recipients on the first, second, ... day on which there is mail; none less than the one before. After the last
    one the source is warm."""
    reason: str = ""
    """Where the figures come from, for people."""


class WarmupSettings(Section):
    """A source that warms up: on each day no more than its curve says is sent from it to each provider group."""

    source: Name | None = None
    """Name of a source; set this or `pool`."""
    pool: Name | None = None
    """Name of a pool: each of its sources, each with its own count."""
    provider: str | None = None
    """Name of a provider, or `default` for all other sites together. If not set: each of them, with its own count."""
    curve: Name = "standard"
    """Name of the curve."""
    first_day: int = Field(1, ge=1, le=365)
    """The day of the curve to begin with, for a source that has sent before."""


class ShapingSettings(Section):
    """Limits per egress path: a source and a receiving site."""

    providers: list[Shaping] = []
    """The first match applies; yours come before the shipped ones (`config/defaults/shaping.toml`). An entry with a
    shipped name overrides only the keys it has."""
    default: Shaping = Shaping()
    """For all other sites; without `name`, `mx` and `domains`."""
    sources: list[SourceShaping] = []
    """What differs for certain sources. Later entries override earlier ones, key by key."""
    tenants: list[TenantShaping] = []
    """What each account or mailing may use. All that fit apply."""
    warmup: list[WarmupSettings] = []
    """Sources that warm up. Later entries replace earlier ones for the same source and provider."""
    curves: list[WarmupCurve] = []
    """Curves of daily volumes; beside the shipped ones, `standard` and `careful` (`config/defaults/warmup.toml`)."""
    automation: list[AutomationRule] = []
    """What is done about receivers' replies; yours come before the shipped ones (`config/defaults/automation.toml`)."""

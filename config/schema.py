"""The shape of the configuration: one section per part of the service, every key with its default and its meaning.

The descriptions here are the text of ``docs/config.md``. Each part of the service is handed its own section, never
the whole.

It must never hold behaviour: reading files and reporting mistakes is ``config.load``.

*Limits.* A reload applies everything but the keys marked ``needs a restart``.
"""

# ruff: noqa: RUF012 (pydantic copies a mutable default for each instance)
from __future__ import annotations

from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict

from config.notation import Access, Duration, File, HostName, Network, Port, Section, Size, default
from config.watching import Blocklists


class Server(Section):
    """The service as a whole."""

    hostname: HostName = "localhost.localdomain"
    """Fully qualified name of this host: in the greeting, in EHLO to receivers, in Received and Message-ID fields."""
    data_dir: File = Path("data")
    """Where the embedded database, the secret and the run-time files live. Needs a restart."""
    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=256)] = "auto"
    """Worker processes; `auto` is one per processor core. Needs a restart."""
    user: str | None = None
    """Account to run the workers as, when started as root. Needs a restart."""
    secret_file: Annotated[File | None, Access.PRIVATE] = None
    """The installation's secret (32 octets in hexadecimal, mode 0600), from which all keys are derived; the same on all
    machines of one installation. Without it one is made in `data_dir`. Needs a restart."""
    shutdown_grace: Duration = default("30s")
    """How long running transactions may take to finish after SIGTERM."""


class Database(Section):
    """PostgreSQL 15 or newer: yours by `url`, or one of our own under `data_dir`."""

    url: str | None = Field(None, json_schema_extra={"writeOnly": True})
    """`postgresql://user:password@host:5432/name`. Without it the service runs its own PostgreSQL. Needs a restart."""
    pool_size: int = Field(6, ge=2, le=100)
    """Connections for each worker. Needs a restart."""
    timeout: Duration = default("4s")
    """Longest wait for the database while a client is waiting; then the client gets 451 4.3.0. Needs a restart."""
    lease: Duration = default("30s")
    """A worker that has not been heard of for so long is taken for dead, and what it was delivering goes to others.
    Needs a restart."""


class TlsMode(Enum):
    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


class Listener(Section):
    """One address on which mail is taken."""

    address: str = "127.0.0.1"
    """Address to listen on; `::` for all. Needs a restart."""
    port: Port
    """TCP port. Needs a restart."""
    tls: Annotated[TlsMode, Strict(False)] = TlsMode.STARTTLS
    """`starttls` (587), `implicit` (465), or `none`."""
    auth_without_tls: Literal["never", "loopback"] = "never"
    """Whether AUTH may be used on an unencrypted connection from this machine."""
    proxy_from: list[Network] = []
    """Load balancers whose PROXY header (version 1 or 2) is required and believed."""

    @property
    def place(self) -> str:
        """Address and port as people write them."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class Certificate(Section):
    """The certificate that listeners show."""

    certificate: Annotated[File | None, Access.READ] = None
    """PEM file with the chain. Without it a self-signed one is made, good for trying out."""
    key: Annotated[File | None, Access.PRIVATE] = None
    """PEM file with the private key; must not be readable by others."""
    minimum_version: Literal["1.2", "1.3"] = "1.2"
    """Oldest TLS version accepted from clients."""


class Limits(Section):
    """What one client may ask of us."""

    message_size: Size = default("50MiB")
    """Largest message; announced with SIZE."""
    message_memory: Size = default("512MiB")
    """Octets of messages that may be arriving at one time, for each worker; what does not fit gets 452 4.3.1."""
    recipients: int = Field(1000, ge=100)
    """Recipients of one message (RFC 5321 4.5.3.1.8: at least 100); more get 452 4.5.3."""
    line_length: int = Field(998, ge=998, le=100_000)
    """Longest line in octets without its CRLF (RFC 5322 2.1.1)."""
    header_size: Size = default("256KiB")
    """Largest header block."""
    header_count: int = Field(1000, ge=10)
    """Most header fields."""
    mime_depth: int = Field(50, ge=1, le=200)
    """Deepest nesting of MIME parts."""
    mime_parts: int = Field(1000, ge=1)
    """Most MIME parts."""
    received_count: int = Field(100, ge=10)
    """Received fields beyond which a message is taken to be looping (RFC 5321 6.3)."""
    connections: int = Field(2000, ge=1)
    """Open connections for each worker; more get 421 4.7.0."""
    connections_per_address: int = Field(200, ge=1)
    """Open connections from one client address, for each worker."""
    commands: int = Field(100_000, ge=10)
    """Commands in one session."""
    errors: int = Field(20, ge=1)
    """Refused commands in one session; then 421 4.7.0."""
    auth_failures: int = Field(3, ge=1)
    """Failed AUTHs in one session; then 421 4.7.0."""
    auth_failures_per_address: int = Field(10, ge=1)
    """Failed AUTHs for one client address and user name within `auth_window`; then 454 4.7.0 until it has passed."""
    auth_window: Duration = default("10m")
    """Window for `auth_failures_per_address`."""
    command_timeout: Duration = default("5m")
    """Longest wait for a client's next command (RFC 5321 4.5.3.2.7)."""
    data_timeout: Duration = default("3m")
    """Longest wait for the next piece of a message."""
    data_rate: Size = default("500B")
    """Lowest average rate, octets a second, at which a message may arrive after its first minute."""
    session_time: Duration = default("1h")
    """Longest session; ends between transactions."""


class Submission(Section):
    """Taking mail from applications."""

    listeners: list[Listener] = []
    """Where to listen. `config/defaults/mta.toml` has ports 587, 465 and, for this machine only, 2525."""
    tls: Certificate = Certificate()
    """The certificate."""
    limits: Limits = Limits()
    """Limits."""


class ReturnLimits(Limits):
    """What one client may ask of us who brings something back."""

    message_size: Size = default("10MiB")
    """Largest report; announced with SIZE. Reports hold the message that they are about, if it was small."""
    message_memory: Size = default("64MiB")
    """Octets of reports that may be arriving at one time, for each worker; what does not fit gets 452 4.3.1."""
    connections: int = Field(500, ge=1)
    """Open connections for each worker; more get 421 4.7.0."""
    connections_per_address: int = Field(50, ge=1)
    """Open connections from one client address, for each worker."""
    line_length: int = Field(100_000, ge=998, le=100_000)
    """Longest line in octets without its CRLF: reports quote what should not have been sent."""


class Returns(Section):
    """Taking what comes back by mail, for `permission.returns_domain` and nobody else: bounces, complaints of feedback
    loops, unsubscribes, and mail to `abuse` and `postmaster`."""

    listeners: list[Listener] = []
    """Where to listen: port 25 of the host that the MX record of `permission.returns_domain` names. AUTH is not offered
    here. They show the certificate of `submission.tls`."""
    limits: ReturnLimits = ReturnLimits()
    """Limits."""
    expire_after: Duration = default("30d")
    """How long after its message a return path is good; reports that come later change nothing."""
    backlog: int = Field(100_000, ge=1)
    """Reports that may wait to be worked off; beyond, more get 452 4.3.1 and come again."""
    operator: str | None = Field(
        None, max_length=254, pattern=r"^[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$"
    )
    """Mail address of people, to which mail for `abuse` and `postmaster` is passed on."""
    trusted_reporters: list[HostName] = []
    """Domains whose complaints are believed without a DKIM signature of their own."""


class SigningKey(Section):
    """A DKIM key kept in a file."""

    domain: HostName
    """The domain that signs (`d=`)."""
    selector: HostName
    """The selector (`s=`)."""
    file: Annotated[File, Access.PRIVATE]
    """PEM file with an RSA (2048 bits or more) or Ed25519 private key; must not be readable by others."""


class Signing(Section):
    """DKIM."""

    keys: list[SigningKey] = []
    """Keys in files; more live in the database (`mta dkim new`)."""
    require: bool = False
    """Refuse a message (451) for whose From domain there is no active key."""
    headers: list[str] = [
        "From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
        "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "List-Id", "List-Help", "List-Unsubscribe",
        "List-Unsubscribe-Post", "List-Subscribe", "List-Post", "List-Owner", "List-Archive", "Feedback-ID",
        "X-Mailing-ID", "CFBL-Address", "CFBL-Feedback-ID", "X-CSA-Complaints",
    ]  # fmt: skip
    """Fields that are signed where they are present."""
    oversign: list[str] = [
        "From", "To", "Cc", "Subject", "Date", "Reply-To", "Message-ID", "List-Id", "List-Help", "List-Unsubscribe",
        "List-Unsubscribe-Post", "List-Subscribe", "List-Post", "List-Owner", "List-Archive", "Feedback-ID",
        "X-Mailing-ID", "CFBL-Address", "CFBL-Feedback-ID", "X-CSA-Complaints",
    ]  # fmt: skip
    """Fields signed once more than present, so that adding one breaks the signature."""


class Shares(Section):
    """How deliveries to one site are shared between the streams where both have mail waiting."""

    transactional: int = Field(4, ge=1, le=1000)
    """Starts of transactional mail ..."""
    marketing: int = Field(1, ge=1, le=1000)
    """... for so many of marketing mail."""


class Queue(Section):
    """Keeping and retrying."""

    retry: list[Duration] = Field(
        ["5m", "10m", "20m", "40m", "1h", "2h", "3h", "4h"], min_length=1, validate_default=True
    )
    """Waits after the first, second ... failed attempt; the last one repeats."""
    retry_jitter: float = Field(0.1, ge=0, le=0.5)
    """Each wait is changed at random by up to this share, so that retries do not march in step."""
    expire_after: Duration = default("5d")
    """A delivery that has not succeeded by then has failed. A message may ask for less with `X-MTA-Expire: 6h`."""
    expire_min_attempts: int = Field(1, ge=0)
    """Attempts that must have been made before expiry counts (a clock that jumps must not bounce the queue)."""
    delay_notice_after: Duration = default("4h")
    """The sender is told of a delay once, after so long; `0s` never."""
    window_deliveries: int = Field(10_000, ge=1)
    """Deliveries each worker keeps in memory."""
    window_size: Size = default("32MiB")
    """Octets of messages each worker keeps in memory; what does not fit is read again from the database."""
    shares: Shares = Shares()
    """Shares."""
    poll: Duration = default("1s")
    """How often due deliveries are looked for."""
    event_retention: Duration = default("90d")
    """How long messages' metadata and events are kept for `mta explain` after their last delivery ended."""


class Dns(Section):
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


class Route(Section):
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


class Egress(Section):
    """Sending to receivers."""

    ehlo: HostName | None = None
    """Name in EHLO; `server.hostname` if not given."""
    sources: list[str] = []
    """Local addresses to send from, in turn for each connection; empty lets the system choose."""
    port: Port = 25
    """Port of receivers found by MX. Other values serve tests."""
    ipv6: bool = True
    """Whether receivers' IPv6 addresses are used."""
    tls: Literal["opportunistic", "none"] = "opportunistic"
    """STARTTLS with receivers that offer it; without a valid certificate mail still goes, encrypted."""
    loopback_receivers: bool = False
    """Deliver to receivers whose MX is this machine's loopback or one of our own listeners (tests and demos only)."""
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


class Delivering(Section):
    """Limits for receiving sites: the default, and named providers (`config/defaults/shaping.toml`)."""

    default: Shaping = Shaping()
    providers: list[Shaping] = []
    """First match wins, yours before the shipped ones. An entry with a shipped name changes only the keys it gives."""


class Bounces(Section):
    """Meaning of receivers' replies."""

    rules: Annotated[list[File], Access.READ] = []
    """Files with your own rules, before those of `config/defaults/bounces.toml`."""


class Observe(Section):
    """What operators see."""

    events: Annotated[Literal["stdout", "none"] | File, Access.WRITE] = "stdout"
    """Where the event log goes, one JSON object a line; a file is reopened on SIGUSR1 for rotation."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """How much the log on standard error says."""


class SoftBounces(Section):
    """When refusals of one category, none of which is final by itself, amount to a suppression."""

    category: str
    """A category whose fault lies with the recipient (`mta classify --categories`)."""
    count: int = Field(5, ge=1, le=1000)
    """Messages that failed so; of one mailing and day, one counts."""
    within: Duration = Field("90d", validate_default=True, gt=0, le=365 * 86400)
    """For how long each of them counts. A message that is delivered to the address ends the count."""
    mailings: int = Field(3, ge=1, le=1000)
    """Mailings that they must be of, at least; those without a mailing count as one a day."""


class Suppressing(Section):
    """What bounces do to an address beside failing the message. Complaints, unsubscribing and objections have nothing
    to set: they suppress at once, and for good."""

    soft_bounces: list[SoftBounces] = Field(
        [
            SoftBounces(category="mailbox_full"),
            SoftBounces(category="bad_mailbox", count=3, mailings=2),
            SoftBounces(category="inactive_mailbox", count=3, mailings=2),
            SoftBounces(category="bad_domain", count=3, mailings=2),
            SoftBounces(category="bad_address", count=3, mailings=2),
        ]
    )
    """Thresholds, one for each category that counts; yours replace all of them. Without any only a clear answer
    suppresses."""
    soft_bounces_expire: Duration = Field("180d", validate_default=True, gt=0)
    """How long a suppression for soft bounces holds."""
    hard_bounces_expire: Duration | None = Field(None, gt=0)
    """How long a suppression for a hard bounce holds; for good without it."""


class Terms(Section):
    """The terms and anti-spam rules that accounts accept (`mta account terms`)."""

    version: str = Field("1", min_length=1, max_length=40)
    """The version in force."""
    since: date = date(2026, 1, 1)
    """When it came into force, a date such as 2026-01-01."""
    grace: Duration = default("14d")
    """For so long after `since` the version before is still good enough; then marketing mail is refused."""


class Scanner(Section):
    """A content scanner, asked about each message of the streams whose profile lists its rule."""

    address: str | None = None
    """rspamd: `http://127.0.0.1:11333`; ClamAV: `127.0.0.1:3310` or the path of clamd's socket. Off without it."""
    timeout: Duration = default("10s")
    """Longest wait for its word."""
    on_failure: Literal["closed", "open"] = "closed"
    """When it cannot say: `closed` puts the message off (451), `open` lets it pass with a note."""
    max_size: Size = default("20MiB")
    """Larger messages are not scanned; `on_failure` decides."""


class Scanners(Section):
    """Asking others about content; off unless an address is given."""

    rspamd: Scanner = Scanner()
    """rspamd, over HTTP (`/checkv2`)."""
    clamav: Scanner = Scanner()
    """ClamAV's clamd, over its socket (INSTREAM)."""


class Permission(Section):
    """Which rules mail must pass: profiles, terms, what goes into headers."""

    profiles: Annotated[list[File], Access.READ] = []
    """Your own profile files; one with the name of a shipped profile replaces it. See docs/policies.md."""
    default_profile: str = "transactional"
    """Profile of accounts for which none was named."""
    terms: Terms = Terms()
    """Terms."""
    public_url: str | None = None
    """Where the pages of `web.public` are reached from outside, e.g. `https://mail.example.com`: recipients'
    unsubscribe links lead there. Without it a profile that asks for such links refuses marketing mail."""
    returns_domain: HostName | None = None
    """Domain whose mail comes to us (`returns.listeners`): bounces, complaints (CFBL-Address) and unsubscribes by mail.
    With it every message leaves with a return path of its own under this domain; without it the sender gets bounces."""
    sender_id: str = Field("imprimatur", pattern=r"^[A-Za-z0-9_-]{5,15}$")
    """Last field of Feedback-ID, by which Gmail knows the service: 5 to 15 letters and digits."""
    token_key: int = Field(1, ge=1, le=1_000_000)
    """Number of the key that makes the tokens in unsubscribe links and complaint ids; the next higher number is a new
    key. The same on all machines."""
    token_keys_kept: int = Field(2, ge=0, le=100)
    """How many keys before that are still read: links in mail that is out work for as long."""
    credential_rate: float = Field(100, gt=0)
    """Messages a second that one credential may submit, over all workers, unless it has a rate of its own."""
    credential_burst: int = Field(5000, ge=1)
    """Messages that one credential may submit at once before its rate counts."""
    scanners: Scanners = Scanners()
    """Scanners."""


class Retention(Section):
    """How long personal data is kept, class by class; an hourly job deletes what is older."""

    refusals: Duration = default("90d")
    """Refused messages' metadata and findings."""
    consent_evidence: Duration = default("1095d")
    """Evidence of a consent after it was revoked or lapsed, and who complained after the case was closed (proof for
    claims: three years in most of Europe)."""
    contacts: Duration = default("1095d")
    """When an address was last mailed, counted from that moment."""
    account_history: Duration = default("3650d")
    """Who changed what of an account."""
    outbox: Duration = default("7d")
    """Events for webhooks that all webhooks of the account have taken: for so long they can be sent again."""
    outbox_untaken: Duration = default("30d")
    """Events for webhooks that some webhook has not taken yet: then it never will."""


class Public(Section):
    """Pages for recipients: unsubscribing. A port of its own, so that nothing else is shown to the world."""

    address: str = "127.0.0.1"
    """Address to listen on; `::` for all. Needs a restart."""
    port: Port | None = None
    """TCP port; off without it. It is reached from outside as `permission.public_url`. Needs a restart."""
    certificate: Annotated[File | None, Access.READ] = None
    """PEM file with the chain, for HTTPS without a reverse proxy; without it plain HTTP. Read again at a reload."""
    key: Annotated[File | None, Access.PRIVATE] = None
    """PEM file with the private key; must not be readable by others."""
    proxy_from: list[Network] = []
    """Reverse proxies whose X-Forwarded-For is believed."""
    rate: float = Field(50, gt=0)
    """Requests a second of one client address (IPv6: of one /64); more get 429. Providers unsubscribe many from few."""
    burst: int = Field(1000, ge=1)
    """Requests that one client may make at once before its rate counts."""


class Webhooks(Section):
    """Sending accounts' events to their webhooks (docs/webhooks.md)."""

    timeout: Duration = default("30s")
    """Longest wait for a receiver's answer."""
    concurrency: int = Field(20, ge=1, le=500)
    """Requests under way at once; of one webhook there is never more than one."""
    alert_after: int = Field(5, ge=1)
    """Failures in a row after which a webhook counts as failing: in the log, the events and the metrics."""
    allow_private: bool = False
    """Webhooks may lead to private and loopback addresses, to `localhost` without TLS (tests and demos only)."""


class Web(Section):
    """HTTP: `/metrics`, `/healthz`, `/readyz`."""

    address: str = "127.0.0.1"
    """Address to listen on. Needs a restart."""
    port: Port = 8025
    """TCP port. Needs a restart."""
    public: Public = Public()
    """Pages for recipients."""
    webhooks: Webhooks = Webhooks()
    """Webhooks."""


class Settings(Section):
    """Everything."""

    server: Server = Server()
    database: Database = Database()
    submission: Submission = Submission()
    returns: Returns = Returns()
    signing: Signing = Signing()
    queue: Queue = Queue()
    dns: Dns = Dns()
    egress: Egress = Egress()
    routes: list[Route] = []
    shaping: Delivering = Delivering()
    bounces: Bounces = Bounces()
    suppressing: Suppressing = Suppressing()
    blocklists: Blocklists = Blocklists()
    permission: Permission = Permission()
    retention: Retention = Retention()
    observe: Observe = Observe()
    web: Web = Web()

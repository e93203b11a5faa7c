"""The schema of the configuration: ``Settings``, and the sections about the service itself.

The docstrings of sections and keys are the text of ``docs/config.md``.

Limitations: a reload applies all keys except those that say "Needs a restart".
"""

# ruff: noqa: RUF012 (pydantic copies a mutable default for each instance)
from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from config.delivery import (
    Blocklist,
    BlocklistCode,
    BlocklistSettings,
    BounceSettings,
    DnsSettings,
    LinkBlocklist,
    LinkListSettings,
    QueueSettings,
    SigningKeySettings,
    SigningSettings,
    StreamWeights,
)
from config.egress import (
    AutomationRule,
    DeniedHost,
    EgressSettings,
    PathLimits,
    PoolMember,
    PoolRuleSettings,
    PoolSettings,
    RouteSettings,
    Shaping,
    ShapingSettings,
    SourceSettings,
    SourceShaping,
    TenantShaping,
    Timeouts,
    WarmupCurve,
    WarmupSettings,
)
from config.inbound import (
    Certificate,
    ContentScanSettings,
    Limits,
    Listener,
    ListenerTls,
    RateLimitsSettings,
    ReportLimits,
    ReportsSettings,
    ScannerSettings,
    SubmissionLimits,
    SubmissionSettings,
)
from config.policy import (
    PolicySettings,
    RetentionSettings,
    ReturnPathSettings,
    SoftBounceThreshold,
    SuppressionSettings,
    TermsSettings,
    TokensSettings,
)
from config.types import Access, Duration, File, HostName, Network, Port, Section, Size, default

__all__ = [
    "AdminSettings",
    "AutomationRule",
    "Blocklist",
    "BlocklistCode",
    "BlocklistSettings",
    "BounceSettings",
    "Certificate",
    "ContentScanSettings",
    "DatabaseSettings",
    "DeniedHost",
    "DnsSettings",
    "EgressSettings",
    "Limits",
    "LinkBlocklist",
    "LinkListSettings",
    "Listener",
    "ListenerTls",
    "ObserveSettings",
    "PathLimits",
    "PolicySettings",
    "PoolMember",
    "PoolRuleSettings",
    "PoolSettings",
    "PublicPagesSettings",
    "QueueSettings",
    "RateLimitsSettings",
    "ReportLimits",
    "ReportsSettings",
    "RetentionSettings",
    "ReturnPathSettings",
    "RouteSettings",
    "ScannerSettings",
    "ServerSettings",
    "Settings",
    "Shaping",
    "ShapingSettings",
    "SigningKeySettings",
    "SigningSettings",
    "SoftBounceThreshold",
    "SourceSettings",
    "SourceShaping",
    "StreamWeights",
    "SubmissionLimits",
    "SubmissionSettings",
    "SuppressionSettings",
    "TenantShaping",
    "TermsSettings",
    "TestingSettings",
    "Timeouts",
    "TokensSettings",
    "WarmupCurve",
    "WarmupSettings",
    "WebSettings",
    "WebhookSettings",
]


class ServerSettings(Section):
    """The service as a whole."""

    hostname: HostName = "localhost.localdomain"
    """Fully qualified name of this host, used in the greeting, EHLO, Received and Message-ID."""
    operator: str = Field("", max_length=100)
    """Name of the organisation that runs this service, as letters and dossiers are signed; the host name if not set."""
    time_zone: str = "UTC"
    """Time zone of the times in letters and dossiers, e.g. `Europe/Amsterdam`."""
    data_dir: File = Path("data")
    """Directory of the embedded database, the secret and run-time files. Needs a restart."""
    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=256)] = "auto"
    """Number of worker processes; `auto` for one per CPU core. Needs a restart."""
    user: str | None = None
    """User the workers run as, if started as root. Needs a restart."""
    secret_file: Annotated[File | None, Access.PRIVATE] = None
    """File with the secret that all keys are derived from (32 octets in hexadecimal, mode 0600); the same on all hosts
    of an installation. If not set, one is generated in `data_dir`. Needs a restart."""
    shutdown_grace: Duration = default("30s")
    """How long running transactions may take to finish after SIGTERM."""


class DatabaseSettings(Section):
    """PostgreSQL 15 or newer."""

    url: str | None = Field(None, json_schema_extra={"writeOnly": True})
    """`postgresql://user:password@host:5432/name`. If not set, the service runs its own PostgreSQL under
    `server.data_dir`. Needs a restart."""
    memory: Size = default("16MiB", ge=16 * 2**20)
    """Shared buffers of its own PostgreSQL. A queue does with the default; look-ups in a ledger of millions of consents
    are faster if its table and indexes fit. Each gigabyte costs 15 MiB at once. Needs a restart."""
    pool_size: int = Field(6, ge=2, le=100)
    """Connections per process, at most. Another is opened when callers wait for those in use; one that is not used for
    a quarter of a minute is closed. Needs a restart."""
    timeout: Duration = default("4s")
    """How long an SMTP client waits for the database before it gets 451 4.3.0. Needs a restart."""
    lease: Duration = default("30s")
    """A worker silent for this long is considered dead; its deliveries are reassigned. Needs a restart."""


class ObserveSettings(Section):
    """Event log and service log."""

    events: Annotated[Literal["stdout", "none"] | File, Access.WRITE] = "stdout"
    """Where the event log is written, one JSON object per line. SIGUSR1 reopens a file after rotation."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Level of the service log on standard error."""


class PublicPagesSettings(Section):
    """Public pages (unsubscribe), on a port of their own."""

    address: str = "127.0.0.1"
    """IP address to listen on; `::` for all. Needs a restart."""
    port: Port | None = None
    """TCP port; off if not set. Needs a restart."""
    url: str | None = None
    """Public URL of these pages, e.g. `https://mail.example.com`, for unsubscribe links. If not set, profiles that
    require such links reject marketing mail."""
    certificate: Annotated[File | None, Access.READ] = None
    """PEM file with the certificate chain, for HTTPS without a reverse proxy. If not set, plain HTTP."""
    key: Annotated[File | None, Access.PRIVATE] = None
    """PEM file with the private key; must be readable by its owner only."""
    proxy_from: list[Network] = []
    """Reverse proxies whose X-Forwarded-For is trusted."""
    rate: float = Field(50, gt=0)
    """Requests per second and client address (IPv6: per /64); more get 429. Mailbox providers send many unsubscribes
    from few addresses."""
    burst: int = Field(1000, ge=1)
    """Requests one client may make at once before the rate applies."""


class AdminSettings(Section):
    """The REST API `/v1` and the pages of operators and accounts, on a port of their own (docs/api.md)."""

    address: str = "127.0.0.1"
    """IP address to listen on; `::` for all, which needs a certificate or a reverse proxy. Needs a restart."""
    port: Port | None = 8026
    """TCP port. Needs a restart."""
    url: str = Field("", pattern=r"^(https?://[^/?#\s]+)?$")
    """Address under which browsers reach the port, such as `https://mta.example.net`; links to the login begin with it.
    If not set, made from `address` and `port`."""
    certificate: Annotated[File | None, Access.READ] = None
    """PEM file with the certificate chain, for HTTPS without a reverse proxy. If not set, plain HTTP."""
    key: Annotated[File | None, Access.PRIVATE] = None
    """PEM file with the private key; must be readable by its owner only."""
    proxy_from: list[Network] = []
    """Reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted."""
    rate: float = Field(1000, gt=0)
    """Requests per second and token; more get 429. Requests without a valid token are limited to a hundredth of it per
    client address (IPv6: per /64)."""
    burst: int = Field(5000, ge=1)
    """Requests one token may make at once before the rate applies."""

    @property
    def base_url(self) -> str:
        """Where browsers reach the port."""
        if self.url:
            return self.url
        host = "localhost" if self.address in ("127.0.0.1", "::1", "::", "0.0.0.0") else self.address  # noqa: S104
        host = f"[{host}]" if ":" in host else host
        return f"{'https' if self.certificate else 'http'}://{host}:{self.port}"


class WebhookSettings(Section):
    """Delivery of events to webhooks (docs/webhooks.md)."""

    timeout: Duration = default("30s")
    """Timeout for a webhook's answer."""
    concurrency: int = Field(20, ge=1, le=500)
    """Maximum concurrent requests; at most one per webhook."""
    alert_after: int = Field(5, ge=1)
    """Number of failures in a row after which a webhook counts as failing in log, events and metrics."""


class WebSettings(Section):
    """HTTP: `/metrics`, `/healthz`, `/readyz`."""

    address: str = "127.0.0.1"
    """IP address to listen on. Needs a restart."""
    port: Port = 8025
    """TCP port. Needs a restart."""
    processes: int = Field(1, ge=1, le=64)
    """Processes that serve these ports and those of `web.public` and `web.admin`, and share their connections. What is
    counted per process (rates of clients and tokens, memory for messages) is counted in each. Needs a restart."""
    public: PublicPagesSettings = PublicPagesSettings()
    admin: AdminSettings = AdminSettings()
    webhooks: WebhookSettings = WebhookSettings()


class TestingSettings(Section):
    """For tests and demos only."""

    receiver_port: Port = 25
    """Port of receivers, unless a static route names one."""
    policy_port: Port = 443
    """Port of the hosts that MTA-STS policies are fetched from."""
    loopback_receivers: bool = False
    """Deliver to receivers on loopback addresses and to this host's own listeners."""
    private_webhooks: bool = False
    """Allow webhooks and the pages of mailings on private and loopback addresses, and on `localhost` without TLS."""


class Settings(Section):
    """All sections."""

    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    submission: SubmissionSettings = SubmissionSettings()
    content_scan: ContentScanSettings = ContentScanSettings()
    rate_limits: RateLimitsSettings = RateLimitsSettings()
    policy: PolicySettings = PolicySettings()
    signing: SigningSettings = SigningSettings()
    queue: QueueSettings = QueueSettings()
    dns: DnsSettings = DnsSettings()
    egress: EgressSettings = EgressSettings()
    routes: list[RouteSettings] = []
    shaping: ShapingSettings = ShapingSettings()
    bounces: BounceSettings = BounceSettings()
    suppression: SuppressionSettings = SuppressionSettings()
    blocklists: BlocklistSettings = BlocklistSettings()
    return_path: ReturnPathSettings = ReturnPathSettings()
    reports: ReportsSettings = ReportsSettings()
    tokens: TokensSettings = TokensSettings()
    retention: RetentionSettings = RetentionSettings()
    observe: ObserveSettings = ObserveSettings()
    web: WebSettings = WebSettings()
    testing: TestingSettings = TestingSettings()

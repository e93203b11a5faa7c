"""The shape of the configuration: one section per part of the service, every key with its default and its meaning.

The descriptions here are the text of ``docs/config.md``. Each part of the service is handed its own section, never
the whole.

It must never hold behaviour: reading files and reporting mistakes is ``config.load``.

*Limits.* A reload applies everything but the keys marked ``needs a restart``.
"""

# ruff: noqa: RUF012 (pydantic copies a mutable default for each instance)
from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from config.blocklists import BlocklistSettings
from config.delivery import (
    DnsSettings,
    EgressSettings,
    QueueSettings,
    RouteSettings,
    Shaping,
    ShapingSettings,
    StreamWeights,
    Timeouts,
)
from config.inbound import Certificate, Limits, Listener, ReportLimits, ReportsSettings, SubmissionSettings, TlsMode
from config.policy import (
    ContentScanSettings,
    PolicySettings,
    RateLimitsSettings,
    RetentionSettings,
    ReturnPathSettings,
    ScannerSettings,
    TermsSettings,
    TokensSettings,
)
from config.types import Access, Duration, File, HostName, Port, Section, default
from config.web import PublicPagesSettings, WebhookSettings, WebSettings

__all__ = [
    "BlocklistSettings",
    "BounceSettings",
    "Certificate",
    "ContentScanSettings",
    "DatabaseSettings",
    "DnsSettings",
    "EgressSettings",
    "Limits",
    "Listener",
    "ObserveSettings",
    "PolicySettings",
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
    "StreamWeights",
    "SubmissionSettings",
    "SuppressionSettings",
    "TermsSettings",
    "TestingSettings",
    "Timeouts",
    "TlsMode",
    "TokensSettings",
    "WebSettings",
    "WebhookSettings",
]


class ServerSettings(Section):
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


class DatabaseSettings(Section):
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


class SigningKeySettings(Section):
    """A DKIM key kept in a file."""

    domain: HostName
    """The domain that signs (`d=`)."""
    selector: HostName
    """The selector (`s=`)."""
    file: Annotated[File, Access.PRIVATE]
    """PEM file with an RSA (2048 bits or more) or Ed25519 private key; must not be readable by others."""


class SigningSettings(Section):
    """DKIM."""

    keys: list[SigningKeySettings] = []
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


class BounceSettings(Section):
    """Meaning of receivers' replies."""

    rules: Annotated[list[File], Access.READ] = []
    """Files with your own rules, before those of `config/defaults/bounces.toml`."""


class ObserveSettings(Section):
    """What operators see."""

    events: Annotated[Literal["stdout", "none"] | File, Access.WRITE] = "stdout"
    """Where the event log goes, one JSON object a line; a file is reopened on SIGUSR1 for rotation."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """How much the log on standard error says."""


class SoftBounceThreshold(Section):
    """When refusals of one category, none of which is final by itself, amount to a suppression."""

    category: str
    """A category whose fault lies with the recipient (`mta classify --categories`)."""
    count: int = Field(5, ge=1, le=1000)
    """Messages that failed so; of one mailing and day, one counts."""
    within: Duration = Field("90d", validate_default=True, gt=0, le=365 * 86400)
    """For how long each of them counts. A message that is delivered to the address ends the count."""
    mailings: int = Field(3, ge=1, le=1000)
    """Mailings that they must be of, at least; those without a mailing count as one a day."""


class SuppressionSettings(Section):
    """What bounces do to an address beside failing the message. Complaints, unsubscribing and objections have nothing
    to set: they suppress at once, and for good."""

    soft_bounces: list[SoftBounceThreshold] = Field(
        [
            SoftBounceThreshold(category="mailbox_full"),
            SoftBounceThreshold(category="bad_mailbox", count=3, mailings=2),
            SoftBounceThreshold(category="inactive_mailbox", count=3, mailings=2),
            SoftBounceThreshold(category="bad_domain", count=3, mailings=2),
            SoftBounceThreshold(category="bad_address", count=3, mailings=2),
        ]
    )
    """Thresholds, one for each category that counts; yours replace all of them. Without any only a clear answer
    suppresses."""
    soft_bounces_expire: Duration = Field("180d", validate_default=True, gt=0)
    """How long a suppression for soft bounces holds."""
    hard_bounces_expire: Duration | None = Field(None, gt=0)
    """How long a suppression for a hard bounce holds; for good without it."""


class TestingSettings(Section):
    """For tests and demos only; leave it out in production."""

    receiver_port: Port = 25
    """Port of receivers, unless a static route names one."""
    loopback_receivers: bool = False
    """Deliver to receivers whose MX is a loopback address of this host or one of its own listeners."""
    private_webhooks: bool = False
    """Allow webhooks at private and loopback addresses, and at `localhost` without TLS."""


class Settings(Section):
    """All sections."""

    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    submission: SubmissionSettings = SubmissionSettings()
    reports: ReportsSettings = ReportsSettings()
    return_path: ReturnPathSettings = ReturnPathSettings()
    signing: SigningSettings = SigningSettings()
    queue: QueueSettings = QueueSettings()
    dns: DnsSettings = DnsSettings()
    egress: EgressSettings = EgressSettings()
    routes: list[RouteSettings] = []
    shaping: ShapingSettings = ShapingSettings()
    bounces: BounceSettings = BounceSettings()
    suppression: SuppressionSettings = SuppressionSettings()
    blocklists: BlocklistSettings = BlocklistSettings()
    policy: PolicySettings = PolicySettings()
    content_scan: ContentScanSettings = ContentScanSettings()
    rate_limits: RateLimitsSettings = RateLimitsSettings()
    tokens: TokensSettings = TokensSettings()
    retention: RetentionSettings = RetentionSettings()
    observe: ObserveSettings = ObserveSettings()
    web: WebSettings = WebSettings()
    testing: TestingSettings = TestingSettings()

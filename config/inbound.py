"""Sections about accepting mail: submission, reports, content scanners, rate limits."""

# ruff: noqa: RUF012 (pydantic copies a mutable default for each instance)
from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal, Self

from pydantic import Field, Strict

from config.delivery import LinkListSettings
from config.types import MAILBOX, Access, Duration, File, HostName, Network, Port, Section, Size, default

LineEndings = Literal["strict", "normalise"]


class ListenerTls(Enum):
    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


class Listener(Section):
    """An address and port to accept mail on."""

    address: str = "127.0.0.1"
    """IP address to listen on; `::` for all. Needs a restart."""
    port: Port
    """TCP port. Needs a restart."""
    tls: Annotated[ListenerTls, Strict(False)] = ListenerTls.STARTTLS
    """`starttls` (port 587), `implicit` (port 465) or `none`."""
    auth_without_tls: Literal["never", "loopback"] = "never"
    """Whether clients on this host may use AUTH without TLS."""
    proxy_from: list[Network] = []
    """Load balancers that send a PROXY header (version 1 or 2). From these it is required and trusted."""

    @property
    def place(self) -> str:
        """Address and port as one string."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class Certificate(Section):
    """TLS of all SMTP listeners, those for reports included."""

    certificate: Annotated[File | None, Access.READ] = None
    """PEM file with the certificate chain. Without it a self-signed certificate is generated (for trying out)."""
    key: Annotated[File | None, Access.PRIVATE] = None
    """PEM file with the private key; must be readable by its owner only."""
    minimum_version: Literal["1.2", "1.3"] = "1.2"
    """Oldest TLS version accepted from clients."""


class SubmissionLimits(Section):
    """Limits for SMTP clients. They also apply to `[reports]`, except those in `[reports.limits]`."""

    message_size: Size = default("50MiB")
    """Maximum message size; announced with SIZE."""
    message_memory: Size = default("512MiB")
    """Memory per worker for messages being received and judged, three times their size; a quarter is kept for small
    ones. More get 452 4.3.1. Of a message over 1 MiB only a part is in memory, the rest is in `data_dir/run`."""
    message_disk: Size = default("8GiB")
    """Disk space in `data_dir/run` per worker for messages over 1 MiB being received; more get 452 4.3.1."""
    recipients: int = Field(1000, ge=100)
    """Maximum recipients per message (RFC 5321 4.5.3.1.8: at least 100); more get 452 4.5.3."""
    connections: int = Field(2000, ge=1)
    """Maximum open connections per worker; more get 421 4.7.0. A quarter is kept for clients in an account's networks
    and those that have logged in within a day."""
    connections_per_address: int = Field(200, ge=1)
    """Maximum open connections per client address and worker."""
    send_delay: Duration = default("30d")
    """How long a message may wait for its first attempt (`X-MTA-Send-At`, HOLDFOR, HOLDUNTIL); announced with
    FUTURERELEASE. `0s`: not at all."""
    errors: int = Field(20, ge=1)
    """Rejected commands per session before it is closed with 421 4.7.0."""
    auth_failures_per_address: int = Field(10, ge=1)
    """Failed AUTHs per client address and user name within ten minutes; more get 454 4.7.0."""
    command_timeout: Duration = default("5m")
    """How long to wait for the client's next command (RFC 5321 4.5.3.2.7: at least 5 minutes)."""


class Limits(SubmissionLimits):
    """The limits of a listener in effect: the configured ones and the fixed ones, and where it is lenient."""

    line_endings: LineEndings = "strict"
    device_networks: list[Network] = []

    line_length: int = Field(998, ge=998, le=100_000)
    """RFC 5322 2.1.1: at most 998 octets without CRLF."""
    header_size: Size = default("256KiB")
    header_count: int = Field(1000, ge=10)
    mime_depth: int = Field(50, ge=1, le=200)
    mime_parts: int = Field(1000, ge=1)
    commands: int = Field(100_000, ge=10)
    auth_failures: int = Field(3, ge=1)
    """Failed AUTHs per session; then 421 4.7.0."""
    auth_window: Duration = default("10m")
    data_timeout: Duration = default("3m")
    """RFC 5321 4.5.3.2.5: at least 3 minutes between two blocks of a message."""
    data_rate: Size = default("500B")
    """Minimum average rate in octets per second after the first minute of a message."""
    session_time: Duration = default("1h")
    """Sessions end after this, between transactions."""

    @classmethod
    def of(cls, *sections: Section, line_length: int = 998) -> Self:
        """Return the limits that ``sections`` configure; later sections override earlier ones."""
        values: dict[str, object] = {"line_length": line_length}
        for section in sections:
            values |= {name: getattr(section, name) for name in type(section).model_fields}
        return cls().model_copy(update=values)


class SubmissionSettings(Section):
    """Mail from applications."""

    listeners: list[Listener] = []
    """`config/defaults/mta.toml` has ports 587, 465 and, for applications on this host, 2525."""
    tls: Certificate = Certificate()
    limits: SubmissionLimits = SubmissionLimits()
    line_endings: LineEndings = "strict"
    """`strict` rejects a message with a bare LF and says how to send it. `normalise` makes each one CRLF, for programs
    that cannot be changed (`smtplib.sendmail` with `as_bytes()`). Only CRLF.CRLF ends a message, either way."""
    eightbit: Literal["keep", "encode"] = "keep"
    """Bodies beyond ASCII: `keep` them as they are, or `encode` them before they are signed, for receivers without
    8BITMIME, which are few. What is kept fails there with 5.6.3."""
    device_networks: list[Network] = []
    """Networks of printers, cameras and the like, whose EHLO name may be empty or contain blanks: it is logged, and not
    rejected."""


class ReportLimits(Section):
    """Limits for clients that deliver reports, where they differ from `[submission.limits]`."""

    message_size: Size = default("10MiB")
    """Maximum report size; announced with SIZE. Reports include the original message if it was small."""
    message_memory: Size = default("64MiB")
    """Memory per worker for reports being received; more get 452 4.3.1."""
    connections: int = Field(500, ge=1)
    """Maximum open connections per worker; more get 421 4.7.0."""
    connections_per_address: int = Field(50, ge=1)
    """Maximum open connections per client address and worker."""


class ReportsSettings(Section):
    """Mail that comes back to `return_path.domain`: bounces, feedback loop reports, unsubscribes, and mail to `abuse`
    and `postmaster`."""

    listeners: list[Listener] = []
    """Port 25 of the host in the MX record of `return_path.domain`. AUTH is not offered, so `auth_without_tls` is not
    allowed."""
    limits: ReportLimits = ReportLimits()
    backlog: int = Field(100_000, ge=1)
    """Maximum reports waiting to be processed; more get 452 4.3.1 and are sent again later."""
    postmaster_forward: str | None = Field(None, max_length=254, pattern=MAILBOX)
    """Where mail to `abuse` and `postmaster` is forwarded."""
    trusted_reporters: list[HostName] = []
    """Domains whose complaints are accepted without a DKIM signature."""
    receipts_per_hour: int = Field(200, ge=0)
    """Maximum receipts for complaints and unsubscribe requests of people, at most one a day to each; 0: none."""


class ScannerSettings(Section):
    """An external content scanner. It scans the messages of streams whose profile has its rule."""

    address: str | None = None
    """rspamd: `http://127.0.0.1:11333`; ClamAV: `127.0.0.1:3310` or the path of clamd's socket. Off if not set."""
    timeout: Duration = default("10s")
    """Timeout for the scanner's verdict."""
    on_failure: Literal["closed", "open"] = "closed"
    """If the scanner fails: `closed` defers the message (451), `open` accepts it with a note."""
    max_size: Size = default("20MiB")
    """Larger messages are not scanned; `on_failure` decides."""


class ContentScanSettings(Section):
    """Content scanners."""

    rspamd: ScannerSettings = ScannerSettings()
    clamav: ScannerSettings = ScannerSettings()
    links: LinkListSettings = LinkListSettings()


class RateLimitsSettings(Section):
    """How fast a credential may submit, over all workers. A credential can have limits of its own."""

    credential_rate: float = Field(100, gt=0)
    """Messages per second."""
    credential_burst: int = Field(5000, ge=1)
    """Messages at once before the rate applies."""

"""How mail is taken in: from applications (submission), and what comes back (returns).

It must never hold behaviour.
"""

# ruff: noqa: RUF012 (pydantic copies a mutable default for each instance)
from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

from pydantic import Field, Strict

from config.types import Access, Duration, File, HostName, Network, Port, Section, Size, default


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


class SubmissionSettings(Section):
    """Taking mail from applications."""

    listeners: list[Listener] = []
    """Where to listen. `config/defaults/mta.toml` has ports 587, 465 and, for this machine only, 2525."""
    tls: Certificate = Certificate()
    """The certificate."""
    limits: Limits = Limits()
    """Limits."""


class ReportLimits(Limits):
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


class ReportsSettings(Section):
    """Taking what comes back by mail, for `return_path.domain` and nobody else: bounces, complaints of feedback
    loops, unsubscribes, and mail to `abuse` and `postmaster`."""

    listeners: list[Listener] = []
    """Where to listen: port 25 of the host that the MX record of `return_path.domain` names. AUTH is not offered
    here. They show the certificate of `submission.tls`."""
    limits: ReportLimits = ReportLimits()
    """Limits."""
    backlog: int = Field(100_000, ge=1)
    """Reports that may wait to be worked off; beyond, more get 452 4.3.1 and come again."""
    postmaster_forward: str | None = Field(
        None, max_length=254, pattern=r"^[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$"
    )
    """Address that mail to `abuse` and `postmaster` is forwarded to."""
    trusted_reporters: list[HostName] = []
    """Domains whose complaints are believed without a DKIM signature of their own."""

"""What mail must have: profiles, terms, scanners; and for how long data about people is kept.

It must never hold behaviour.
"""

# ruff: noqa: RUF012 (pydantic copies a mutable default for each instance)
from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from config.types import Access, Duration, File, HostName, Section, Size, default


class TermsSettings(Section):
    """The terms and anti-spam rules that accounts accept (`mta account terms`)."""

    version: str = Field("1", min_length=1, max_length=40)
    """The version in force."""
    since: date = date(2026, 1, 1)
    """When it came into force, a date such as 2026-01-01."""
    grace: Duration = default("14d")
    """For so long after `since` the version before is still good enough; then marketing mail is refused."""


class ScannerSettings(Section):
    """A content scanner, asked about each message of the streams whose profile lists its rule."""

    address: str | None = None
    """rspamd: `http://127.0.0.1:11333`; ClamAV: `127.0.0.1:3310` or the path of clamd's socket. Off without it."""
    timeout: Duration = default("10s")
    """Longest wait for its word."""
    on_failure: Literal["closed", "open"] = "closed"
    """When it cannot say: `closed` puts the message off (451), `open` lets it pass with a note."""
    max_size: Size = default("20MiB")
    """Larger messages are not scanned; `on_failure` decides."""


class ContentScanSettings(Section):
    """Content scanners; off unless an address is given."""

    rspamd: ScannerSettings = ScannerSettings()
    """rspamd, over HTTP (`/checkv2`)."""
    clamav: ScannerSettings = ScannerSettings()
    """ClamAV's clamd, over its socket (INSTREAM)."""


class PolicySettings(Section):
    """Which rules mail must pass."""

    profiles: Annotated[list[File], Access.READ] = []
    """Your own profile files; one with the name of a shipped profile replaces it. See docs/policies.md."""
    default_profile: str = "transactional"
    """Profile of accounts that name none."""
    terms: TermsSettings = TermsSettings()
    """Terms."""
    sender_id: str = Field("imprimatur", pattern=r"^[A-Za-z0-9_-]{5,15}$")
    """Last field of Feedback-ID, by which Gmail knows the service: 5 to 15 letters and digits."""


class ReturnPathSettings(Section):
    """Return paths of our own: bounces come to us instead of to the sender."""

    domain: HostName | None = None
    """Domain that receives bounces, complaints (CFBL-Address) and unsubscribes by mail (`reports.listeners`). Every
    message gets a return path of its own under this domain. Without it bounces go to the sender."""
    expire_after: Duration = default("30d")
    """How long a return path is valid after the message was accepted; later reports are ignored."""


class TokensSettings(Section):
    """Tokens in unsubscribe links, complaint ids and return paths. The same on all machines."""

    key: int = Field(1, ge=1, le=1_000_000)
    """Number of the key that signs tokens. Raise it by one to use a new key."""
    keys_kept: int = Field(2, ge=0, le=100)
    """Number of earlier keys that are still accepted, so that links in sent mail keep working."""


class RateLimitsSettings(Section):
    """How fast credentials may submit, over all workers, unless a credential has limits of its own."""

    credential_rate: float = Field(100, gt=0)
    """Messages per second one credential may submit."""
    credential_burst: int = Field(5000, ge=1)
    """Messages one credential may submit at once before the rate applies."""


class RetentionSettings(Section):
    """How long personal data is kept, class by class; an hourly job deletes what is older."""

    rejections: Duration = default("90d")
    """Metadata and findings of rejected messages."""
    consent_evidence: Duration = default("1095d")
    """Evidence of a consent after it was revoked or lapsed, and who complained after the case was closed (proof for
    claims: three years in most of Europe)."""
    recipient_activity: Duration = default("1095d")
    """When an address was last mailed, counted from that moment."""
    account_history: Duration = default("3650d")
    """Who changed what of an account."""
    outbox: Duration = default("7d")
    """Events for webhooks that all webhooks of the account have taken: for so long they can be sent again."""
    outbox_undelivered: Duration = default("30d")
    """Events for webhooks that some webhook has not taken yet: then it never will."""

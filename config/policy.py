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


class ScannersSettings(Section):
    """Asking others about content; off unless an address is given."""

    rspamd: ScannerSettings = ScannerSettings()
    """rspamd, over HTTP (`/checkv2`)."""
    clamav: ScannerSettings = ScannerSettings()
    """ClamAV's clamd, over its socket (INSTREAM)."""


class PolicySettings(Section):
    """Which rules mail must pass: profiles, terms, what goes into headers."""

    profiles: Annotated[list[File], Access.READ] = []
    """Your own profile files; one with the name of a shipped profile replaces it. See docs/policies.md."""
    default_profile: str = "transactional"
    """Profile of accounts for which none was named."""
    terms: TermsSettings = TermsSettings()
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
    scanners: ScannersSettings = ScannersSettings()
    """Scanners."""


class RetentionSettings(Section):
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

"""Sections about what mail may be sent and what is kept about people: policy, return paths, tokens, retention."""

# ruff: noqa: RUF012 (pydantic copies a mutable default for each instance)
from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import Field

from config.types import Access, Duration, File, HostName, Section, default


class TermsSettings(Section):
    """The terms and anti-spam rules that accounts accept (`mta account terms`)."""

    version: str = Field("1", min_length=1, max_length=40)
    """Current version."""
    url: str = Field("", max_length=500, pattern=r"^(https?://[^\s<>\"]+)?$")
    """Where accounts can read them, such as `https://mail.example.com/terms`; linked beside the box to accept them."""
    since: date = date(2026, 1, 1)
    """Date since which it is in force."""
    grace: Duration = default("14d")
    """How long after `since` the previous version is still accepted; then marketing mail is rejected."""


class PolicySettings(Section):
    """Which rules mail must pass."""

    profiles: Annotated[list[File], Access.READ] = []
    """Your own profile files; one named like a shipped profile replaces it (docs/policies.md)."""
    default_profile: str = "transactional"
    """Profile of new accounts."""
    terms: TermsSettings = TermsSettings()
    trap_addresses: Annotated[File | None, Access.READ] = None
    """File of trap addresses, one a line: an address, or the SHA-256 of one in lower case. Lists that have them, and
    messages to them, count for the profile's `[lists]` and `[breakers]`; no client is told."""
    preview_browser: Path | None = None
    """Chromium, which draws the message that a mailing is confirmed with; not set: one in PATH, if there is one. It is
    cut off from the network, runs no scripts, and is started as `nobody` by root."""
    sender_id: str = Field("imprimatur", pattern=r"^[A-Za-z0-9_-]{5,15}$")
    """Last field of Feedback-ID, by which Gmail identifies this service: 5 to 15 letters and digits."""


class ReturnPathSettings(Section):
    """The envelope sender (VERP) of outgoing messages."""

    domain: HostName | None = None
    """Domain for return paths; mail to it is received by `reports.listeners`. Each message gets its own return path.
    If not set, bounces go to the sender's address."""
    expire_after: Duration = default("30d")
    """How long a return path is valid; later reports are ignored."""


class TokensSettings(Section):
    """Keys of the tokens in unsubscribe links, complaint ids and return paths. The same on all hosts."""

    key: int = Field(1, ge=1, le=1_000_000)
    """Number of the current key. To rotate, increase it by one."""
    keys_kept: int = Field(2, ge=0, le=100)
    """How many previous keys are still accepted. Links in sent mail work that long."""


class SoftBounceThreshold(Section):
    """When repeated soft bounces of one category suppress an address."""

    category: str
    """A category whose fault is the recipient's (`mta classify --categories`)."""
    count: int = Field(5, ge=1, le=1000)
    """Number of failed messages; one per mailing and day counts."""
    within: Duration = Field("90d", validate_default=True, gt=0, le=365 * 86400)
    """How long each counts. A delivered message resets the count."""
    mailings: int = Field(3, ge=1, le=1000)
    """Number of different mailings they must belong to; messages without a mailing count as one per day."""


class SuppressionSettings(Section):
    """Suppressions after bounces. Complaints, unsubscribes and objections always suppress at once, without expiry."""

    soft_bounces: list[SoftBounceThreshold] = Field(
        [
            SoftBounceThreshold(category="mailbox_full"),
            SoftBounceThreshold(category="bad_mailbox", count=3, mailings=2),
            SoftBounceThreshold(category="inactive_mailbox", count=3, mailings=2),
            SoftBounceThreshold(category="bad_domain", count=3, mailings=2),
            SoftBounceThreshold(category="bad_address", count=3, mailings=2),
        ]
    )
    """One for each category that counts; yours replace the default list. If empty, only hard bounces suppress."""
    soft_bounces_expire: Duration = Field("180d", validate_default=True, gt=0)
    """How long a suppression after soft bounces lasts."""
    hard_bounces_expire: Duration | None = Field(None, gt=0)
    """How long a suppression after a hard bounce lasts; without expiry if not set."""


class RetentionSettings(Section):
    """How long data is kept. An hourly job deletes older data."""

    messages: Duration = default("90d")
    """Metadata and events of messages (`mta explain`), after the last recipient was delivered or failed."""
    rejections: Duration = default("90d")
    """Metadata and findings of rejected messages."""
    consent_evidence: Duration = default("1095d")
    """Evidence of a consent after it was revoked or expired, complainants after a case was closed, and the confirmed
    messages of a mailing once no record of its messages is left (limitation of claims: three years in most of
    Europe)."""
    recipient_activity: Duration = default("1095d")
    """When an address was last mailed, from that day on."""
    account_history: Duration = default("3650d")
    """Changes to accounts and the audit: who changed what."""
    outbox: Duration = default("7d")
    """Webhook events after all webhooks of the account have received them; so long they can be sent again."""
    outbox_undelivered: Duration = default("30d")
    """Webhook events that a webhook has not received."""

"""What rules may know of the service: its names and addresses, the terms in force, and how to make tokens.

One ``RuleContext`` is made from the settings (``mta.service.composition``) and passed to every rule.

Invariants: nothing here changes while mail flows; what does comes as facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from policy.permission.tokens import TokenMaker


@dataclass(frozen=True, slots=True)
class RuleContext:
    """``web_url``: where our web pages are reached from outside, without a slash at the end, None if nowhere.
    ``returns``: the domain that takes bounces, complaints and unsubscribes by mail, None if there is none.
    ``sender_id``: the last field of Feedback-ID. ``terms``: the version in force, since when, and for how long the
    one before is still good enough."""

    hostname: str
    tokens: TokenMaker
    message_size: int = 50 * 1024 * 1024
    received_count: int = 100  # RFC 5321 6.3: at least this many
    web_url: str | None = None
    returns: str | None = None
    sender_id: str = "imprimatur"
    terms: str = "1"
    terms_since: date = date(2026, 1, 1)
    terms_grace: timedelta = timedelta(days=14)

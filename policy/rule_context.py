"""What rules may know of the service: its names and addresses, the terms in force, and how to make tokens.

One ``RuleContext`` is made from the settings and handed to every rule when it is built.

It must never hold anything that changes while mail flows: that comes as facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from config.schema import Settings
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
    received_count: int = 100
    web_url: str | None = None
    returns: str | None = None
    sender_id: str = "imprimatur"
    terms: str = "1"
    terms_since: date = date(2026, 1, 1)
    terms_grace: timedelta = timedelta(days=14)

    @classmethod
    def of(cls, settings: Settings, tokens: TokenMaker) -> RuleContext:
        """Return the context that ``settings`` describe."""
        limits, policy = settings.submission.limits, settings.policy
        url = settings.web.public.url
        return cls(
            hostname=settings.server.hostname,
            tokens=tokens,
            message_size=limits.message_size,
            web_url=url.rstrip("/") if url else None,
            returns=settings.return_path.domain,
            sender_id=policy.sender_id,
            terms=policy.terms.version,
            terms_since=policy.terms.since,
            terms_grace=timedelta(seconds=policy.terms.grace),
        )

"""The settings as the rules of the chain see them."""

from __future__ import annotations

from datetime import timedelta

from config.schema import Settings
from mta.store.secrets import Secrets
from policy.house import House
from policy.profile import Profiles, load_profiles
from policy.tokens import Tokens


def open_house(settings: Settings, secrets: Secrets) -> House:
    """What rules may know of this installation."""
    permission = settings.permission
    return House(
        hostname=settings.server.hostname,
        tokens=Tokens(secrets.derive("tokens")),
        message_size=settings.submission.limits.message_size,
        received_count=settings.submission.limits.received_count,
        web_url=permission.public_url.rstrip("/") if permission.public_url else None,
        returns=permission.returns_domain,
        sender_id=permission.sender_id,
        terms=permission.terms.version,
        terms_since=permission.terms.since,
        terms_grace=timedelta(seconds=permission.terms.grace),
    )


def open_profiles(settings: Settings, secrets: Secrets) -> Profiles:
    """The profiles of this installation, ready for use. Raises ConfigError with every mistake."""
    return load_profiles(settings.permission.profiles, open_house(settings, secrets))

"""The settings as the rules of the chain see them, and the tokens: what the parts of the service make of them alike."""

from __future__ import annotations

from config.schema import Settings
from mta.store.secrets import Secrets
from policy.house import House
from policy.profile import Profiles, load_profiles
from policy.tokens import Tokens


def open_tokens(settings: Settings, secrets: Secrets) -> Tokens:
    """What makes and reads this installation's tokens."""
    permission = settings.permission
    return Tokens.derived(secrets.derive, permission.token_key, permission.token_keys_kept)


def open_house(settings: Settings, secrets: Secrets) -> House:
    """What rules may know of this installation."""
    return House.of(settings, open_tokens(settings, secrets))


def open_profiles(settings: Settings, secrets: Secrets) -> Profiles:
    """The profiles of this installation, ready for use. Raises ConfigError with every mistake."""
    return load_profiles(settings.permission.profiles, open_house(settings, secrets))

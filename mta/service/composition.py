"""The settings as the rules of the chain see them, the tokens and the return paths: what the parts of the service make
of them alike."""

from __future__ import annotations

from datetime import timedelta

from bounce.verp import Verp
from config.schema import Settings
from mta.store.postgres.secrets import Secrets
from policy.permission.tokens import Tokens
from policy.profile import Profiles, load_profiles
from policy.rule_context import RuleContext


def open_tokens(settings: Settings, secrets: Secrets) -> Tokens:
    """What makes and reads this installation's tokens."""
    return Tokens.derived(secrets.derive, settings.tokens.key, settings.tokens.keys_kept)


def open_verp(settings: Settings, secrets: Secrets) -> Verp | None:
    """What makes and reads return paths; None if there is no domain for them."""
    return_path, tokens = settings.return_path, settings.tokens
    if return_path.domain is None:
        return None
    keep = timedelta(seconds=return_path.expire_after)
    return Verp.derived(return_path.domain, secrets.derive, tokens.key, tokens.keys_kept, keep)


def open_rule_context(settings: Settings, secrets: Secrets) -> RuleContext:
    """What rules may know of this installation."""
    return RuleContext.of(settings, open_tokens(settings, secrets))


def open_profiles(settings: Settings, secrets: Secrets) -> Profiles:
    """The profiles of this installation, ready for use. Raises ConfigError with every mistake."""
    return load_profiles(settings.policy.profiles, open_rule_context(settings, secrets))

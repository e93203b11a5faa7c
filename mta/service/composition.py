"""Build tokens, return paths, readers and profiles, alike in workers, jobs, the web process and commands."""

from __future__ import annotations

import gc
from datetime import timedelta

from bounce.abuse_mail import AbuseMailReader
from bounce.verp import Verp
from config.schema import Settings
from mta.store.postgres.secrets import Secrets
from policy.permission.tokens import TokenMaker, Tokens
from policy.profile import Profiles, load_profiles
from policy.rule_context import RuleContext
from policy.text.unsubscribe_grammar import UnsubscribeGrammar, plain


def open_tokens(settings: Settings, secrets: Secrets) -> Tokens:
    """Return the maker and reader of this installation's tokens."""
    return Tokens.derived(secrets.derive, settings.tokens.key, settings.tokens.keys_kept)


def open_abuse_mail_reader() -> AbuseMailReader:
    """Return the reader of people's mail. Raises ConfigError."""
    grammar = UnsubscribeGrammar.shipped()
    return AbuseMailReader(lambda text: grammar.says(plain(text)))


def open_verp(settings: Settings, secrets: Secrets) -> Verp | None:
    """Return the maker and reader of return paths; None without a return path domain."""
    return_path, tokens = settings.return_path, settings.tokens
    if return_path.domain is None:
        return None
    keep = timedelta(seconds=return_path.expire_after)
    return Verp.derived(return_path.domain, secrets.derive, tokens.key, tokens.keys_kept, keep)


def rule_context(settings: Settings, tokens: TokenMaker) -> RuleContext:
    """Return the context that rules run in."""
    terms, url = settings.policy.terms, settings.web.public.url
    return RuleContext(
        hostname=settings.server.hostname,
        tokens=tokens,
        message_size=settings.submission.limits.message_size,
        web_url=url.rstrip("/") if url else None,
        returns=settings.return_path.domain,
        sender_id=settings.policy.sender_id,
        terms=terms.version,
        terms_since=terms.since,
        terms_grace=timedelta(seconds=terms.grace),
    )


def open_profiles(settings: Settings, secrets: Secrets) -> Profiles:
    """Return the profiles of this installation. Raises ConfigError with every error."""
    return load_profiles(settings.policy.profiles, rule_context(settings, open_tokens(settings, secrets)))


def spare_collector() -> None:
    """Collect no garbage among what exists by now, and the rest less often: that costs a tenth of the throughput."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)

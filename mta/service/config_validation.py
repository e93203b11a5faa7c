"""Everything that the service makes of its settings, made once and thrown away, to see that it can be made.

``mta check``, ``mta serve`` and a reload all ask here, so that what one of them accepts the others accept too, and a
worker never meets a certificate, key, password or rule file for the first time.

It must never bind, connect or change anything.

*Limits.* A file that changes afterwards is not noticed until it is read.
"""

from __future__ import annotations

from bounce.classify import Classifier
from bounce.rules import RuleBook, load_rules
from bounce.suppression import load_soft_bounce_thresholds
from config.schema import Settings
from config.toml import ConfigError
from mta.delivery.route import StaticRoutes
from mta.dkim.keys import read_key_files
from mta.service.composition import rule_context
from mta.smtp_server.tls import CertificateError, server_context
from mta.web import public
from policy.permission.tokens import SampleTokens
from policy.profile import Profiles, UnknownProfile, load_profiles


def validate(settings: Settings) -> RuleBook:
    """The bounce rules that ``settings`` name. Raises ConfigError with every mistake in the files that they name."""
    lines: list[str] = []
    book = RuleBook((), {})
    try:
        book = load_rules(settings.bounces.rules)
        lines += Classifier(book).sample_errors()
        load_soft_bounce_thresholds(settings.suppression, book)
    except ConfigError as error:
        lines += error.lines
    try:
        read_key_files(settings.signing, settings.server.user)
    except ConfigError as error:
        lines += error.lines
    try:
        if settings.submission.tls.certificate:
            server_context(
                settings.submission.tls, hostname=settings.server.hostname, data_dir=settings.server.data_dir
            )
    except CertificateError as error:
        lines.append(str(error))
    try:
        public.server_context(settings.web.public)
    except CertificateError as error:
        lines.append(str(error))
    try:
        StaticRoutes(settings.routes, settings.egress)
    except (OSError, UnicodeError) as error:
        lines.append(f"routes: cannot read password file: {error}")
    try:
        validate_profiles(settings)
    except ConfigError as error:
        lines += error.lines
    if lines:
        raise ConfigError(lines)
    return book


def validate_profiles(settings: Settings) -> Profiles:
    """The profiles that ``settings`` name, checked; their tokens are placeholders. Raises ConfigError."""
    profiles = load_profiles(settings.policy.profiles, rule_context(settings, SampleTokens()))
    try:
        profiles.get(settings.policy.default_profile)
    except UnknownProfile as error:
        raise ConfigError([f"policy.default_profile: {error}"]) from None
    return profiles

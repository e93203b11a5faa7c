"""Validate settings with every file that they name: certificates, keys, passwords, bounce rules and profiles.

``mta check``, ``mta serve`` and a reload share this, so that what one of them accepts the others accept too, and no
worker is the first to read a file.

Invariants: nothing is bound, connected or changed.

Limitations: a file that changes afterwards is not noticed until it is read again.
"""

from __future__ import annotations

import os

from bounce.classify import Classifier
from bounce.rules import RuleBook, load_rules
from bounce.suppression import load_soft_bounce_thresholds
from config.schema import Settings
from config.toml import ConfigError
from mta.delivery.route import StaticRoutes
from mta.dkim.keys import read_key_files
from mta.service.composition import rule_context
from mta.service.descriptors import hard_limit, share_out
from mta.smtp_server.tls import CertificateError, server_context
from mta.web import public
from policy.permission.tokens import SampleTokens
from policy.profile import Profiles, UnknownProfile, load_profiles


def validate(settings: Settings) -> RuleBook:
    """Return the bounce rules of ``settings``. Raises ConfigError with every mistake in the files that they name."""
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
    if not (descriptors := share_out(settings, hard_limit())).is_usable:
        lines.append(f"too few file descriptors: {descriptors.shown()}")
    if lines:
        raise ConfigError(lines)
    return book


def warnings(settings: Settings) -> list[str]:
    """Return what works, but must not stay so: logged at each start and reload, and shown by `mta check`."""
    found = []
    if os.geteuid() == 0 and settings.server.user is None:
        found.append("server.user: the workers, which parse mail from everybody, run as root; name an account for them")
    return found


def validate_profiles(settings: Settings) -> Profiles:
    """Return the profiles of ``settings``, with placeholders for tokens. Raises ConfigError."""
    profiles = load_profiles(settings.policy.profiles, rule_context(settings, SampleTokens()))
    try:
        profiles.get(settings.policy.default_profile)
    except UnknownProfile as error:
        raise ConfigError([f"policy.default_profile: {error}"]) from None
    return profiles

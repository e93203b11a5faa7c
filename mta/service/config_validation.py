"""Check a configuration with everything that it names: keys, certificates, secrets, rules, profiles, this machine.

``mta check``, ``mta serve`` and a reload share this, so that what one of them accepts the others accept too, and no
worker is the first to read a file. All mistakes are found in one run, each with the line of its key.

Invariants: nothing is connected or changed.

Limitations: a file that changes afterwards is not noticed until it is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from bounce.classify import Classifier, load_classifier
from bounce.rules import RuleBook, load_rules
from bounce.suppression import threshold_faults
from config.load import draft_file, shipped_automation
from config.schema import RouteSettings, Settings
from config.toml import ConfigDraft, ConfigError, Mistake, MistakeLevel
from config.toml_positions import KeyPath
from mta.delivery.egress import automation
from mta.delivery.route import StaticRoutes
from mta.delivery.tls.contexts import TlsContexts
from mta.delivery.tls.demand import ClientCertificate, TlsPolicy
from mta.dkim.keys import key_file_faults
from mta.service.certificate_check import certificate_mistakes
from mta.service.composition import rule_context
from mta.service.environment_check import environment_mistakes, public_host
from mta.smtp_server.tls import CertificateError, server_context
from mta.store.postgres.secrets import OCTETS, Secrets
from mta.web.https import https_context
from policy.permission.tokens import SampleTokens
from policy.permission.traps import TrapAddresses
from policy.profile import Profiles, UnknownProfile, load_profiles

NO_RULES = RuleBook((), {})


class CertificatePair(Protocol):
    """The part of a section that names a certificate and its key."""

    @property
    def certificate(self) -> Path | None: ...
    @property
    def key(self) -> Path | None: ...


@dataclass(frozen=True, slots=True)
class Valid:
    """A configuration that can be used. ``remarks``: what will not work or may surprise, a line each."""

    settings: Settings
    book: RuleBook
    remarks: list[str]


def load_valid(path: Path | None) -> Valid:
    """Read and check a configuration file, or the shipped one. Raises ConfigError with every mistake."""
    draft = draft_file(path)
    book = examine(draft)
    return Valid(draft.require(), book, [*draft.lines(MistakeLevel.WARNING), *draft.lines(MistakeLevel.NOTE)])


def examine(draft: ConfigDraft[Settings]) -> RuleBook:
    """Add to ``draft`` what is wrong with all that its settings name; return the bounce rules."""
    settings = draft.value
    if settings is None:
        return NO_RULES
    book = NO_RULES
    try:
        book = load_rules(settings.bounces.rules)
        draft.add(_rules(settings, book))
        draft.add(_automation(settings, book))
    except ConfigError as error:
        draft.foreign += error.lines
    try:
        TrapAddresses.load(settings.policy.trap_addresses)
    except ConfigError as error:
        draft.foreign += error.lines
    draft.add(environment_mistakes(settings))
    draft.add(_keys(settings))
    draft.add(_certificates(settings))
    draft.add(_client_certificates(settings))
    draft.add(_passwords(settings))
    try:
        profiles = validate_profiles(settings)
        draft.add(_default_profile(settings, profiles))
    except ConfigError as error:
        draft.foreign += error.lines
    return book


def validate_profiles(settings: Settings) -> Profiles:
    """Return the profiles of ``settings``, with placeholders for tokens. Raises ConfigError."""
    return load_profiles(settings.policy.profiles, rule_context(settings, SampleTokens()))


def warm_up() -> None:
    """Fill the caches that every configuration needs: patterns, rules, profiles, what OpenSSL makes once."""
    load_classifier([]).sample_errors()
    automation.Automation(shipped_automation())
    validate_profiles(Settings())
    Secrets(bytes(OCTETS)).seal(b"")


def _rules(settings: Settings, book: RuleBook) -> Iterator[Mistake]:
    for fault in Classifier(book).sample_errors():
        yield Mistake(("bounces", "rules"), fault)
    for n, fault in threshold_faults(settings.suppression, book):
        yield Mistake(("suppression", "soft_bounces", n, "category"), fault)


def _automation(settings: Settings, book: RuleBook) -> Iterator[Mistake]:
    for n, key, fault in automation.faults(settings.shaping.automation, book.categories):
        yield Mistake(("shaping", "automation", n, *key), fault)


def _keys(settings: Settings) -> Iterator[Mistake]:
    for n, fault in key_file_faults(settings.signing, settings.server.user):
        yield Mistake(("signing", "keys", n, "file"), fault)


def _certificates(settings: Settings) -> Iterator[Mistake]:
    """Check all certificates: what is known of them first, then whether OpenSSL takes them."""
    tls, web, hostname = settings.submission.tls, settings.web, settings.server.hostname
    listener_context = partial(server_context, tls, hostname=hostname, data_dir=settings.server.data_dir)
    yield from _pair(("submission", "tls"), tls, hostname, "server.hostname", listener_context)
    if settings.submission.listeners and not tls.certificate:
        text = "clients see a self-signed certificate, because submission.tls.certificate is not set"
        yield Mistake(("submission", "tls"), text, level=MistakeLevel.NOTE)
    public, admin = partial(https_context, web.public, "web.public"), partial(https_context, web.admin, "web.admin")
    yield from _pair(("web", "public"), web.public, public_host(settings), "web.public.url", public)
    yield from _pair(("web", "admin"), web.admin, hostname, "server.hostname", admin)


def _pair(
    table: KeyPath, pair: CertificatePair, host: str | None, host_key: str, load: Callable[[], object]
) -> Iterator[Mistake]:
    """Check the certificate and key of ``table``, if it names both. ``load``: gives them to OpenSSL."""
    if not (pair.certificate and pair.key):
        return
    now = datetime.now(UTC)
    found = list(certificate_mistakes(table, pair.certificate, pair.key, host=host, host_key=host_key, now=now))
    yield from found
    if not any(each.level is MistakeLevel.ERROR for each in found):
        try:
            load()
        except CertificateError as error:
            yield Mistake((*table, "certificate"), str(error))


def _client_certificates(settings: Settings) -> Iterator[Mistake]:
    owners: list[tuple[KeyPath, Path | None, Path | None]] = [
        (("egress", "sources", n), each.certificate, each.key) for n, each in enumerate(settings.egress.sources)
    ]
    owners += [(("routes", n), each.certificate, each.key) for n, each in enumerate(settings.routes)]
    for path, chain, key in owners:
        if certificate := ClientCertificate.of(chain, key):
            try:
                TlsContexts().of(TlsPolicy.REQUIRED, certificate)
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                yield Mistake((*path, "certificate"), f"{chain} and {key} cannot be used together: {error}")


def _passwords(settings: Settings) -> Iterator[Mistake]:
    for n, route in enumerate(settings.routes):
        if route.password_file and (why := _no_password(route, settings)):
            yield Mistake(("routes", n, "password_file"), f"{route.password_file}: {why}")


def _no_password(route: RouteSettings, settings: Settings) -> str | None:
    assert route.password_file
    try:
        if not route.password_file.read_text().strip():
            return "is empty; write the password into it"
        StaticRoutes([route])
    except (OSError, UnicodeError) as error:
        return f"cannot be read: {error}"
    return None


def _default_profile(settings: Settings, profiles: Profiles) -> Iterator[Mistake]:
    try:
        profiles.get(settings.policy.default_profile)
    except UnknownProfile as error:
        yield Mistake(("policy", "default_profile"), str(error))

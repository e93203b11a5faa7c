"""Load what settings name: files, and what is made of them. A start needs it, and a reload.

Invariants: all that may fail when settings are applied is here or in ``event_log``, before anything has changed.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from bounce.classify import Classifier, load_classifier
from bounce.suppression import SoftBounceThresholds, soft_bounce_thresholds
from bounce.verp import Verp
from config.schema import Settings
from config.toml import ConfigError
from mta.delivery.route import StaticRoutes
from mta.dkim.keys import SigningKey, read_key_files
from mta.service.composition import open_profiles, open_verp
from mta.smtp_server.tls import CertificateError, server_context
from mta.store.postgres.secrets import Secrets
from policy.permission.traps import TrapAddresses
from policy.profile import Profiles


@dataclass(frozen=True, slots=True)
class LoadedSubmission:
    """What messages are judged and signed by, over SMTP and over HTTP."""

    profiles: Profiles
    traps: TrapAddresses
    keys: list[SigningKey]

    @classmethod
    def of(cls, settings: Settings, secrets: Secrets) -> LoadedSubmission:
        """Raises ConfigError."""
        return cls(
            profiles=open_profiles(settings, secrets),
            traps=TrapAddresses.load(settings.policy.trap_addresses),
            keys=read_key_files(settings.signing),
        )


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a worker needs. ``tls``: of all its listeners; ``verp``: None without a return path domain."""

    submission: LoadedSubmission
    classifier: Classifier
    thresholds: SoftBounceThresholds
    verp: Verp | None
    routes: StaticRoutes
    tls: ssl.SSLContext

    @classmethod
    def of(cls, settings: Settings, secrets: Secrets) -> Loaded:
        """Raises ConfigError."""
        server = settings.server
        try:
            return cls(
                submission=LoadedSubmission.of(settings, secrets),
                classifier=load_classifier(settings.bounces.rules),
                thresholds=soft_bounce_thresholds(settings.suppression),
                verp=open_verp(settings, secrets),
                routes=StaticRoutes.of(settings),
                tls=server_context(settings.submission.tls, hostname=server.hostname, data_dir=server.data_dir),
            )
        except (CertificateError, OSError, UnicodeError) as error:  # the latter two: of a password file
            raise ConfigError([str(error)]) from None

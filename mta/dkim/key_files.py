"""The DKIM keys that the configuration names (``[[signing.keys]]``), read and checked all at once.

It must never say what is in a file: only which file, what is wrong with it and how to mend it.

*Limits.* The keys are read when the service starts and when its configuration is reloaded, not when a file changes.
"""

from __future__ import annotations

import os
import pwd

from config.schema import SigningSettings
from config.toml import ConfigError
from mta.dkim.keys import KeyUnusable, SigningKey, parse_selector, read_key_file
from mta.mail.address import AddressError, parse_domain


def read_key_files(settings: SigningSettings, user: str | None = None) -> list[SigningKey]:
    """The keys, in the order of the configuration. Raises ConfigError with every mistake.

    ``user``: as whom the service runs (``server.user``), which counts for root only; nobody else can change it.
    """
    uid = _uid(user)
    keys: list[SigningKey] = []
    mistakes: list[str] = []
    for entry in settings.keys:
        try:
            domain, selector = parse_domain(entry.domain), parse_selector(entry.selector)
            keys.append(read_key_file(entry.file, domain=domain, selector=selector, uid=uid))
        except AddressError as error:
            mistakes.append(f"signing.keys: domain {entry.domain!r}: {error}")
        except KeyUnusable as error:
            mistakes.append(f"signing.keys: {error}")
    if mistakes:
        raise ConfigError(mistakes)
    return keys


def _uid(user: str | None) -> int:
    if user is None or os.geteuid() != 0:
        return os.geteuid()
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ConfigError([f"server.user: there is no user {user!r} on this machine"]) from None

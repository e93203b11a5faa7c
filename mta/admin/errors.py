"""Why something is not done. The texts are for people, and say how to fix it."""

from __future__ import annotations

from collections.abc import Sequence

from config.toml import ConfigError
from mta.mail.address import AddressError
from mta.store.postgres.errors import ChangeRefused
from policy.accounts.account import StatusChangeRefused
from policy.permission.consent import TopicError
from policy.profile import UnknownProfile


class AdminError(Exception):
    """Why something is not done; nothing was changed."""


class NotFound(AdminError):
    """There is no such thing, or it belongs to another account: the two cannot be told apart."""


class Forbidden(AdminError):
    """The caller may not do this, whatever it is done to."""


class Refused(AdminError):
    """It cannot be done in the present state."""


class NoRoom(AdminError):
    """There is no room for it now; it may be tried again."""


class ConfigRejected(Refused):
    """A configuration file has mistakes, each with its file and line; the service keeps its settings."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("the configuration has mistakes; the service keeps its settings")
        self.mistakes = tuple(mistakes)


class InvalidValue(AdminError):
    """A value cannot be used. ``field``: its name in the request."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


# What a caller can expect, whose text it is shown: why something is not done, and values that cannot be read.
REFUSALS: tuple[type[Exception], ...] = (AdminError, ChangeRefused, StatusChangeRefused, UnknownProfile)
MISTAKES: tuple[type[Exception], ...] = (AddressError, TopicError, ConfigError)

"""Why something is not done. The texts are for people, and say how to fix it."""

from __future__ import annotations


class AdminError(Exception):
    """Why something is not done; nothing was changed."""


class NotFound(AdminError):
    """There is no such thing, or it belongs to another account: the two cannot be told apart."""


class Forbidden(AdminError):
    """The caller may not do this, whatever it is done to."""


class Refused(AdminError):
    """It cannot be done in the present state."""


class InvalidValue(AdminError):
    """A value cannot be used. ``field``: its name in the request."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field

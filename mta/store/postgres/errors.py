"""Errors of the store, as its callers see them.

Limitations: an error in our own SQL is not among them; it keeps its type and is answered 451 like any internal error.
"""

from __future__ import annotations

from mta.observe.background import Outage


class StoreUnavailable(Outage):
    """The database is unavailable, or slower than ``database.timeout``. Try again later."""


class StoreFull(StoreUnavailable):
    """The database has no room on its disk: the statement has failed, and changed nothing."""


class OutcomeUnknown(StoreUnavailable):
    """The connection was lost while a change was on its way: it may have been made, or not.

    ``backend``: the server's process that may still be at it.
    """

    def __init__(self, text: str, backend: int) -> None:
        super().__init__(text, backend)
        self.backend = backend

    def __str__(self) -> str:
        return str(self.args[0])


class ChangeRefused(ValueError):
    """Why a change cannot be made: the text, for people, says how to fix it. Nothing was changed."""


class LeaseLost(Exception):
    """This worker was considered dead: its deliveries were reassigned, and it must register again."""


class SchemaError(Exception):
    """The database's schema is not the one this program knows; the text says what to do."""

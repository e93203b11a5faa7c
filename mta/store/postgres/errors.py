"""What can go wrong with the store, as its callers see it.

*Limits.* A fault of our own SQL is not here: it stays the exception that it is, and is answered 451 like any other
internal error.
"""

from __future__ import annotations


class StoreUnavailable(Exception):
    """The database is gone, or slower than ``database.timeout``. Try again later; it heals by itself."""


class OutcomeUnknown(StoreUnavailable):
    """The connection was lost while a change was on its way: it may have been made, or not.

    ``backend``: the server's process that may still be at it.
    """

    def __init__(self, text: str, backend: int) -> None:
        super().__init__(text, backend)
        self.backend = backend

    def __str__(self) -> str:
        return str(self.args[0])


class LeaseLost(Exception):
    """This worker was taken for dead: what it held now belongs to others, and it must register anew."""


class SchemaError(Exception):
    """The database's schema is not the one this program knows; the text says what to do."""

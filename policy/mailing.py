"""The mailing: one dispatch to one list about one topic, confirmed by a person before it may leave.

It must never count an old confirmation for a new dispatch: each mailing is confirmed itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Somebody's word that this dispatch keeps to the rules, under a version of the terms."""

    at: datetime
    by: str
    terms: str


@dataclass(frozen=True, slots=True)
class Sample:
    """Of a first mailing to a new list only ``size`` messages go out; the rest waits for ``released_at``."""

    size: int
    taken: int = 0
    released_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Mailing:
    """``id``: 26 characters, unique over all accounts; the one that goes out. ``name``: the account's own for it.

    ``list``: the list it goes to; ``origin``: where that list comes from, None if nobody has said so;
    ``approved``: whether a reviewer has approved that origin. ``stopped``: why nothing more may leave, if so.
    """

    id: str
    account_id: int
    name: str
    topic: str
    list: str
    confirmation: Confirmation | None = None
    sample: Sample | None = None
    origin: str | None = None
    approved: bool = False
    stopped: str | None = None

"""The mailing: one dispatch to one list about one topic, confirmed by a person before it may leave.

What its messages wait for is told by the reason of their hold, which begins with a rule's name: ``confirmation`` for
somebody's word (or the approval of the list), ``sampling`` for a look at the first ones, ``stopped`` for nothing.

It must never count an old confirmation for a new dispatch: each mailing is confirmed itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

# How the reasons of holds begin. The second and third wait for a confirmation besides: for that, and for somebody to
# say where the list comes from, or for a reviewer to approve of that.
UNCONFIRMED = "confirmation: mailing "
NO_ORIGIN = "confirmation: the origin of list "
UNAPPROVED = "confirmation: list "
SAMPLED = "sampling: "
STOPPED = "stopped: "


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

    @property
    def exhausted(self) -> bool:
        """Whether what comes now must wait."""
        return self.released_at is None and self.taken >= self.size


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


def held_by_sampling(mailing_id: str, name: str, list_name: str, size: int) -> str:
    """Why a message beyond the sample of ``size`` waits."""
    return (
        f'{SAMPLED}the first {size} messages of mailing "{name}" to the new list "{list_name}" go out; '
        f"the rest waits for a look at them (mta mailing release {mailing_id})"
    )

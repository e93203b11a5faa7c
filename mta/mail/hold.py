"""Holds: why a queued recipient is not sent yet. It may have several, and is sent once it has none."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from mta.mail.values import dataclass


class HoldSource(Enum):
    """What placed a hold, and so what releases it."""

    ACCOUNT_STATUS = "account_status"  # the account may not send
    BREAKER = "breaker"
    MAILING = "mailing"  # it is not confirmed or was stopped, or its list is not approved
    SAMPLING = "sampling"
    OPERATOR = "operator"
    REVIEW = "review"  # a person has to look at the message


@dataclass(frozen=True, slots=True)
class Hold:
    """One reason to wait.

    ``ref``: which one of its source: the name of the breaker, the complaint case, the condition that the mailing does
    not meet, the rule that asks for a review; "" if there is only one. ``text``: the reason in words, and what ends it.
    """

    source: HoldSource
    ref: str
    text: str

    def __str__(self) -> str:
        return f"{self.source.value} ({self.ref}): {self.text}" if self.ref else f"{self.source.value}: {self.text}"


def distinct(holds: Iterable[Hold]) -> tuple[Hold, ...]:
    """Return the first hold of each source and ref."""
    found: dict[tuple[HoldSource, str], Hold] = {}
    for each in holds:
        found.setdefault((each.source, each.ref), each)
    return tuple(found.values())

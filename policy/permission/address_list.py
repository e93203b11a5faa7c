"""Lists of addresses: whether one shows signs that its owner did not collect it.

    keyed hashes ▶ sketch: the smallest of them ▶ share of a list that another account has, too
    counts ▶ share of role addresses; addresses that are known traps

A sketch says nothing of an address to anyone without the key, and its size does not grow with the list.

Limitations: shares are estimates: with the usual size of a sketch, of 4,096 hashes, a list of 5,000 beside one of a
million is judged by some twenty addresses. All addresses of an account that came one by one are one list.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from heapq import nsmallest

from pydantic import Field

from config.types import Section

SKETCH = 4096  # hashes
MOST = (1 << 64) - 1  # the highest hash
COMMON = 12  # hashes that two lists must have in common before their share is judged


class ListThresholds(Section):
    """When an imported list is looked at: the table `[lists]` of a profile.

    Rates are shares of the list's addresses. From `_warn` on the list is shown in `mta consent findings`; from `_hold`
    on no mailing of the account is confirmed until somebody has dismissed the finding. Shorter lists than `_floor`
    count as that long."""

    overlap_warn: float = Field(0.3, gt=0, le=1)
    """Addresses that a list of another account has, too, by those of the shorter list."""
    overlap_hold: float = Field(0.8, gt=0, le=1)
    """The same, to hold."""
    overlap_floor: int = Field(1000, ge=1)
    """Shorter lists count as this long."""
    roles_warn: float = Field(0.02, gt=0, le=1)
    """Role addresses (info@, sales@): people sign up with their own, so a list with many was copied."""
    roles_hold: float = Field(0.1, gt=0, le=1)
    """The same, to hold."""
    roles_floor: int = Field(500, ge=1)
    """Shorter lists count as this long."""
    traps_warn: int = Field(1, ge=1)
    """Trap addresses (`policy.trap_addresses`) in a list."""
    traps_hold: int = Field(2, ge=1)
    """The same, to hold."""


class ListSign(Enum):
    """What is wrong with a list."""

    OVERLAP = "overlap"
    ROLES = "roles"
    TRAPS = "traps"


@dataclass(frozen=True, slots=True)
class ListCounts:
    """What was counted in a list."""

    addresses: int
    roles: int
    traps: int


@dataclass(frozen=True, slots=True)
class ListFinding:
    """``hold``: whether mailings wait for a decision. ``text``: for the account, too; it names no address and no
    other account."""

    sign: ListSign
    hold: bool
    text: str


class Sketch:
    """The smallest hashes of a list, 64 bits each, in order."""

    __slots__ = ("_hashes", "_known")

    def __init__(self, octets: bytes = b"") -> None:
        self._hashes = array("Q", octets)
        self._known: frozenset[int] | None = None

    def __bytes__(self) -> bytes:
        return self._hashes.tobytes()

    @property
    def addresses(self) -> int:
        """How many different addresses the list has; an estimate once the sketch is full."""
        size = len(self._hashes)
        return size if size < SKETCH else round((size - 1) * MOST / self._reach)

    @property
    def _reach(self) -> int:
        """The hash up to which the sketch knows of every address."""
        return MOST if len(self._hashes) < SKETCH else self._hashes[-1]

    def extended(self, hashes: Iterable[int]) -> Sketch:
        """Return the sketch of the list with more addresses."""
        reach = self._reach
        fresh = {each for each in hashes if each <= reach}.difference(self._hashes)
        extended = Sketch()
        extended._hashes = array("Q", nsmallest(SKETCH, (*self._hashes, *fresh)))
        return extended

    def share(self, other: Sketch) -> float:
        """Return what part of the shorter list the other one has, too; 0 if too few addresses say so."""
        reach = min(self._reach, other._reach)
        common = len(self._set() & other._set())
        if common < COMMON:
            return 0.0
        return common / min(bisect_right(self._hashes, reach), bisect_right(other._hashes, reach))

    def _set(self) -> frozenset[int]:
        if self._known is None:
            self._known = frozenset(self._hashes)
        return self._known


def judge_counts(counts: ListCounts, limits: ListThresholds) -> Iterator[ListFinding]:
    """Yield what the counts of a list say."""
    rate = counts.roles / max(counts.addresses, limits.roles_floor)
    if rate >= limits.roles_warn:
        text = f"{counts.roles} role addresses among {counts.addresses} ({counts.roles / counts.addresses:.1%})"
        yield ListFinding(ListSign.ROLES, rate >= limits.roles_hold, text)
    if counts.traps >= limits.traps_warn:
        yield ListFinding(ListSign.TRAPS, counts.traps >= limits.traps_hold, f"{counts.traps} trap addresses")


def judge_overlap(own: Sketch, other: Sketch, limits: ListThresholds) -> ListFinding | None:
    """Return what a list of another account says of one."""
    share, shorter = own.share(other), min(own.addresses, other.addresses)
    rate = share * shorter / max(shorter, limits.overlap_floor)
    if rate < limits.overlap_warn:
        return None
    text = f"about {share:.0%} of {shorter} addresses are in a list of another account, too"
    return ListFinding(ListSign.OVERLAP, rate >= limits.overlap_hold, text)

"""Blocklists: how they are queried (RFC 5782), what their answers mean, and whether they can be trusted.

A list proves itself: it must contain its test entry (127.0.0.2, or the domain ``test``) and must not contain the names
reserved as unlisted (127.0.0.1, ``invalid``). A dead list that answers for everything fails the second test; a closed
zone, or a list that rejects our resolver, fails the first. Such a list is ignored.

Invariants: a failed query is never an answer, and one answer is never a confirmed listing.

Limitations: the reason for a listing is the list's own text; it is shown, not judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import assert_never

from config.schema import Blocklist, LinkBlocklist

DnsList = Blocklist | LinkBlocklist

_LOOPBACK = IPv4Network("127.0.0.0/8")
_REFUSED = IPv4Network("127.255.255.0/24")  # widely used for "you may not ask", e.g. through a public resolver


@dataclass(frozen=True, slots=True)
class ListedAnswer:
    """``codes``: the addresses that the list answered with; ``means``: what the configuration says of them."""

    codes: tuple[str, ...]
    means: str = ""

    @property
    def words(self) -> str:
        codes = ", ".join(self.codes)
        return f"{codes} ({self.means})" if self.means else codes


@dataclass(frozen=True, slots=True)
class Clear:
    """It is not listed."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Nobody knows."""

    why: str


Said = ListedAnswer | Clear | Unanswered


@dataclass(frozen=True, slots=True)
class Believed:
    """The list proves itself."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """What it says counts for nothing."""

    why: str


Trust = Believed | Ignored | Unanswered


class ListingChange(Enum):
    """What a look does to what is known."""

    SEEN = "seen"  # for the first time
    CONFIRM = "confirm"  # for the second time, at a distance
    END = "end"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class KnownListing:
    """A listing that has not ended."""

    seen_at: datetime
    confirmed_at: datetime | None = None


def question(subject: str, blocklist: DnsList) -> str:
    """The name to ask for: an address backwards (RFC 5782 2.1, 2.4) or a domain, within the list's zone."""
    try:
        address = ip_address(subject)
    except ValueError:
        return f"{subject}.{blocklist.zone}"
    backwards = address.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
    return f"{backwards}.{blocklist.zone}"


def fits(subject: str, blocklist: Blocklist) -> bool:
    """Whether the list is asked about such a subject."""
    try:
        ip_address(subject)
    except ValueError:
        return blocklist.kind == "domain"
    return blocklist.kind == "ip"


def proofs(blocklist: DnsList) -> tuple[str, str]:
    """What the list must list, and what it must not (RFC 5782 5)."""
    return ("127.0.0.2", "127.0.0.1") if blocklist.kind == "ip" else ("test", "invalid")


def read(addresses: Sequence[str], blocklist: DnsList) -> Said:
    """What the addresses mean that a list has answered with; none: it does not list."""
    if not addresses:
        return Clear()
    codes = sorted(IPv4Address(address) for address in addresses)
    if blocklist.answers:
        meant = [(code, each) for code in codes for each in blocklist.answers if code in each.codes and each.listed]
        if meant:
            said = tuple(dict.fromkeys(str(code) for code, _ in meant))
            return ListedAnswer(said, ", ".join(dict.fromkeys(each.means for _, each in meant if each.means)))
    refused = [code for code in codes if code in _REFUSED]
    if refused:
        return Unanswered(f"{blocklist.zone} refuses the question ({refused[0]})")
    strange = [code for code in codes if code not in _LOOPBACK]
    if strange:
        return Unanswered(f"{blocklist.zone} answers {strange[0]}, which no blocklist does: its zone may be given up")
    return Clear() if blocklist.answers else ListedAnswer(tuple(str(code) for code in codes))


def trust(must: Said, must_not: Said, blocklist: DnsList) -> Trust:
    """Whether the list is to be believed, by what it says of its ``proofs``."""
    yes, no = proofs(blocklist)
    if isinstance(must_not, ListedAnswer):
        return Ignored(f"it lists {no}, which is reserved as unlisted: it answers for everything")
    for said in (must, must_not):
        if isinstance(said, Unanswered):
            return said
    if isinstance(must, Clear):
        return Ignored(f"it does not list {yes}, as every list must: it is empty, or does not answer us")
    return Believed()


def move(known: KnownListing | None, said: Said, now: datetime, apart: timedelta) -> ListingChange:
    """What this answer does to what is known."""
    match said:
        case Unanswered():
            return ListingChange.NOTHING
        case Clear():
            return ListingChange.NOTHING if known is None else ListingChange.END
        case ListedAnswer():
            if known is None:
                return ListingChange.SEEN
            if known.confirmed_at is None and now - known.seen_at >= apart:
                return ListingChange.CONFIRM
            return ListingChange.NOTHING
        case _:
            assert_never(said)

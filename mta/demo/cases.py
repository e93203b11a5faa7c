"""What the demo submits, and what should become of it.

Each case is one submission; each recipient has the fate that it should come to. What decides is the receiver's script
(``mta.demo.script.MANNERS``, by the local part), the zone of ``mta.demo.world``, and the service itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

SENDER = "desk@demo.example"
UNKNOWN = "unknown@inbox.example"


class Fate(Enum):
    """What has become of one recipient so far."""

    PENDING = "on its way"
    DELIVERED = "delivered"
    DEFERRED = "put off"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Expected:
    """``status``: enhanced code of the deciding reply, "" for any. ``attempts``: at least so many."""

    recipient: str
    fate: Fate
    status: str = ""
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Case:
    """One submission. ``after``: the title of the case that must have come to its end before."""

    title: str
    expected: tuple[Expected, ...]
    header_from: str = SENDER
    login: bool = True
    after: str | None = None


REFUSED_ONCE = "unknown mailbox"

CASES = (
    Case("plain success", (Expected("ann@inbox.example", Fate.DELIVERED),)),
    Case("greylisted first", (Expected("grey@club.example", Fate.DELIVERED, attempts=2),)),
    Case("tarpit", (Expected("slow@tarpit.example", Fate.DELIVERED),)),
    Case("first MX host dead", (Expected("sam@spare.example", Fate.DELIVERED),)),
    Case("mailbox full", (Expected("full@club.example", Fate.DEFERRED, "4.2.2"),)),
    Case(REFUSED_ONCE, (Expected(UNKNOWN, Fate.FAILED, "5.1.1"),)),
    Case("unknown domain", (Expected("eve@nowhere.example", Fate.FAILED, "5.1.2"),)),
    Case(
        "half of four refused",
        (
            Expected("bob@inbox.example", Fate.DELIVERED),
            Expected("unknown-2@inbox.example", Fate.FAILED, "5.1.1"),
            Expected("cat@inbox.example", Fate.DELIVERED),
            Expected("unknown-3@inbox.example", Fate.FAILED, "5.1.1"),
        ),
    ),
    Case("unknown mailbox again", (Expected(UNKNOWN, Fate.REFUSED, attempts=0),), after=REFUSED_ONCE),
    Case(
        "somebody else's From",
        (Expected("ann@inbox.example", Fate.REFUSED, attempts=0),),
        header_from="boss@bank.example",
    ),
    Case("without a login", (Expected("ann@inbox.example", Fate.REFUSED, "5.7.0", attempts=0),), login=False),
)

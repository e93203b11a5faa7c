"""What the demo submits, and what should become of it.

Each case is one submission; each recipient has the fate that it should come to. What decides is the receiver's script
(``mta.demo.script.MANNERS``, by the local part), the zone of ``mta.demo.world``, and the service itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

SENDER = "desk@demo.example"
UNKNOWN = "unknown@inbox.example"
CONFIRMED, UNCONFIRMED = "spring-week-1", "spring-week-2"  # mailings
READER, LAPSED, STRANGER, ROLE = "rita@inbox.example", "lena@inbox.example", "dora@inbox.example", "info@inbox.example"


class DemoOutcome(Enum):
    """What has become of one recipient so far."""

    PENDING = "on its way"
    DELIVERED = "delivered"
    DEFERRED = "put off"
    HELD = "held"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Expected:
    """``status``: enhanced code of the deciding reply, "" for any. ``attempts``: at least so many."""

    recipient: str
    fate: DemoOutcome
    status: str = ""
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Newsletter:
    """Marketing mail. ``mailing``: which one, by its name."""

    mailing: str
    imprint: bool = True


@dataclass(frozen=True, slots=True)
class DemoCase:
    """One submission. ``after``: the title of the case that must have come to its end before. ``newsletter``: None for
    a plain transactional message."""

    title: str
    expected: tuple[Expected, ...]
    header_from: str = SENDER
    login: bool = True
    after: str | None = None
    newsletter: Newsletter | None = None


def _refused(recipient: str) -> Expected:
    return Expected(recipient, DemoOutcome.REFUSED, "5.7.1", attempts=0)


REFUSED_ONCE = "unknown mailbox"

CASES = (
    DemoCase("plain success", (Expected("ann@inbox.example", DemoOutcome.DELIVERED),)),
    DemoCase("greylisted first", (Expected("grey@club.example", DemoOutcome.DELIVERED, attempts=2),)),
    DemoCase("tarpit", (Expected("slow@tarpit.example", DemoOutcome.DELIVERED),)),
    DemoCase("first MX host dead", (Expected("sam@spare.example", DemoOutcome.DELIVERED),)),
    DemoCase("mailbox full", (Expected("full@club.example", DemoOutcome.DEFERRED, "4.2.2"),)),
    DemoCase(REFUSED_ONCE, (Expected(UNKNOWN, DemoOutcome.FAILED, "5.1.1"),)),
    DemoCase("unknown domain", (Expected("eve@nowhere.example", DemoOutcome.FAILED, "5.1.2"),)),
    DemoCase(
        "half of four refused",
        (
            Expected("bob@inbox.example", DemoOutcome.DELIVERED),
            Expected("unknown-2@inbox.example", DemoOutcome.FAILED, "5.1.1"),
            Expected("cat@inbox.example", DemoOutcome.DELIVERED),
            Expected("unknown-3@inbox.example", DemoOutcome.FAILED, "5.1.1"),
        ),
    ),
    DemoCase("unknown mailbox again", (Expected(UNKNOWN, DemoOutcome.REFUSED, attempts=0),), after=REFUSED_ONCE),
    DemoCase(
        "somebody else's From",
        (Expected("ann@inbox.example", DemoOutcome.REFUSED, attempts=0),),
        header_from="boss@bank.example",
    ),
    DemoCase(
        "without a login", (Expected("ann@inbox.example", DemoOutcome.REFUSED, "5.7.0", attempts=0),), login=False
    ),
    DemoCase("newsletter: good", (Expected(READER, DemoOutcome.DELIVERED),), newsletter=Newsletter(CONFIRMED)),
    DemoCase("newsletter: role address", (_refused(ROLE),), newsletter=Newsletter(CONFIRMED)),
    DemoCase("newsletter: no opt-in", (_refused(STRANGER),), newsletter=Newsletter(CONFIRMED)),
    DemoCase("newsletter: opt-in lapsed", (_refused(LAPSED),), newsletter=Newsletter(CONFIRMED)),
    DemoCase("newsletter: no imprint", (_refused(READER),), newsletter=Newsletter(CONFIRMED, imprint=False)),
    DemoCase(
        "newsletter: not confirmed",
        (Expected(READER, DemoOutcome.HELD, attempts=0),),
        newsletter=Newsletter(UNCONFIRMED),
    ),
)

"""The breakers of the running service: what comes near its limit is told of once a day."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from config.schema import Settings
from mta.observe.metrics import Metrics
from mta.service.jobs.breakers import WARNED_FOR, BreakerWatch
from mta.store.store import Store
from policy.reputation.breaker import BreakerFinding, BreakerKind, Level, MailingScope

NEAR = BreakerFinding(MailingScope(7, "summer"), BreakerKind.COMPLAINTS, Level.WARN, 3, 0.003, 0.004, 1000)


class Breakers:
    """Finds what it is told to find, and keeps the warnings."""

    def __init__(self) -> None:
        self.found: list[BreakerFinding] = []
        self.warned: list[BreakerFinding] = []

    async def look(self, thresholds: dict[str, Any]) -> list[BreakerFinding]:
        return self.found

    async def warn(self, finding: BreakerFinding) -> None:
        self.warned.append(finding)

    async def list(self) -> list[object]:
        return []


async def test_a_warning_is_not_repeated_while_counts_come_and_go() -> None:
    breakers, now, settings = Breakers(), [0.0], Settings()
    store = cast(Store, SimpleNamespace(breakers=breakers))
    watch = BreakerWatch(Metrics(), lambda: now[0])
    for found in ([NEAR], [NEAR], [], [NEAR]):
        breakers.found = found
        await watch.look(settings, store)
        now[0] += 3600
    assert breakers.warned == [NEAR]
    now[0] += WARNED_FOR
    await watch.look(settings, store)
    assert breakers.warned == [NEAR, NEAR]

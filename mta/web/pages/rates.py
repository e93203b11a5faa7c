"""The rates of the last hour, from the counters of all processes of this machine.

Limitations: kept in memory: it begins anew when the web process does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from mta.observe.metric_files import totals

EVERY = 10.0  # seconds
KEPT = 361  # readings: an hour
COUNTERS = ("messages_accepted", "recipients_delivered", "recipients_deferred", "recipients_failed", "rejections")


Reading = tuple[datetime, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Rates:
    """Per second, between two readings. ``at``: of the later one."""

    at: datetime
    accepted: float
    delivered: float
    deferred: float
    failed: float
    rejected: float


class RateHistory:
    """``run`` reads the counters until it is cancelled."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._readings: deque[Reading] = deque(maxlen=KEPT)

    async def run(self) -> None:
        while True:
            counts = await asyncio.to_thread(totals, self._run_dir)
            self._readings.append((datetime.now(UTC), tuple(counts.sum(name) for name in COUNTERS)))
            await asyncio.sleep(EVERY)

    def over(self, readings: int = KEPT, step: int = 1) -> Sequence[Rates]:
        """Return the rates of the last readings, ``step`` of them taken together."""
        kept = list(self._readings)[-readings:]
        kept = kept[::-1][::step][::-1]
        return [_between(before, later) for before, later in pairwise(kept)]

    def lately(self) -> Rates | None:
        """Return the rates of the last minute, None if there are none yet."""
        found = self.over(7, 6) or self.over(2)
        return found[-1] if found else None


def _between(before: Reading, later: Reading) -> Rates:
    seconds = max((later[0] - before[0]).total_seconds(), 0.001)
    return Rates(later[0], *(max(0.0, new - old) / seconds for old, new in zip(before[1], later[1], strict=True)))

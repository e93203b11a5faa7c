"""Check the breakers of the running service: every minute, and at once after a complaint.

A breaker that trips is logged, counted and reported to the account; so is one that comes near its limit, once a day.

Invariants: an account whose profile no longer exists is checked with the default thresholds.

Limitations: warnings are repeated after a restart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from config.schema import Settings
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.store.store import Store
from policy.profile import load_handling
from policy.reputation.breaker import BreakerFinding, Level, Thresholds

log = get_logger()

EVERY = 60.0  # seconds
WARNED_FOR = 86_400.0  # seconds in which a warning is not repeated


class BreakerWatch:
    """The breakers of all accounts; one object a service."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics, self._clock = metrics, clock
        self._read_from: Settings | None = None
        self._thresholds: dict[str, Thresholds] = {}
        self._warned: dict[str, float] = {}  # breakers, and when
        self._complained = asyncio.Event()

    def complained(self, _: str | None = None) -> None:
        """End the current pause: a complaint was counted."""
        self._complained.set()

    async def pause(self) -> None:
        """Wait until the next check is due."""
        try:
            async with asyncio.timeout(EVERY):
                await self._complained.wait()
        except TimeoutError:
            pass

    async def look(self, settings: Settings, store: Store) -> None:
        """Check all breakers whose counts have risen. Raises ConfigError, StoreUnavailable."""
        self._complained.clear()
        if self._read_from is not settings:
            profiles = load_handling(settings.policy.profiles)
            self._thresholds = {name: profile.breakers for name, profile in profiles.items()}
            self._read_from = settings
        found = await store.breakers.look(self._thresholds)
        for finding in found:
            if finding.level is Level.STOP:
                log.error("breaker tripped", breaker=finding.name, found=finding.words)
                self._metrics.breaker_trips[finding.kind].inc()
        await self._warn([finding for finding in found if finding.level is Level.WARN], store)
        self._metrics.breakers_open.set(len(await store.breakers.list()))

    async def _warn(self, findings: list[BreakerFinding], store: Store) -> None:
        now = self._clock()
        self._warned = {name: at for name, at in self._warned.items() if now < at + WARNED_FOR}
        for finding in findings:
            if finding.name not in self._warned:
                log.warning("breaker limit approached", breaker=finding.name, found=finding.words)
                await store.breakers.warn(finding)
                self._warned[finding.name] = now
                self._metrics.breaker_warnings[finding.kind].inc()

"""Once a second: how long the event loop made others wait, and what this process has used.

*Limits.* Memory is read from ``/proc`` (Linux); elsewhere it stays at nought.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from pathlib import Path

from mta.observe.metrics import Metrics

EVERY = 1.0  # seconds
OF_LATE = 15  # beats: the longest lag is shown for about one scrape
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


async def sample(metrics: Metrics) -> None:
    """Runs until it is cancelled."""
    lags: deque[float] = deque(maxlen=OF_LATE)
    used = 0.0
    while True:
        due = time.monotonic() + EVERY
        await asyncio.sleep(EVERY)
        lags.append(max(0.0, time.monotonic() - due))
        metrics.loop_lag.set(max(lags))
        now = time.process_time()
        metrics.cpu_seconds.inc(now - used)
        used = now
        metrics.resident_bytes.set(_resident())


def _resident() -> int:
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0

"""Watch that the event loop never stands still: measure every stall, and say which code made the long ones.

The loop beats BEAT_EVERY; a beat that comes late is a stall. A thread of its own looks at the beats and, while one is
overdue, notes where the loop's thread is: the log line names the code that held it, not the code that came after.

Invariants: at most one log line in LOG_EVERY seconds. The watcher itself takes less than a thousandth of a core.

Limitations: a machine that has no processor for us looks like a stall: ``cpu`` in the log line says how much of it the
loop's thread has worked. A C function that never returns to Python is seen only when it does.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections import deque
from types import FrameType

from mta.observe.log import get_logger
from mta.observe.metrics import Metrics

BEAT_EVERY = 0.025  # seconds
STALL = 0.05  # seconds late: counted
LONG_STALL = 0.25  # seconds late: logged, with the stack
LOG_EVERY = 10.0  # seconds between two log lines
RECENT = 15.0  # seconds for which the longest delay is shown: about one scrape interval
FRAMES = 6  # of the stack, innermost last

log = get_logger()


async def watch_loop(metrics: Metrics) -> None:
    """Watch the running loop until cancelled."""
    watch = LoopWatch(metrics, threading.get_ident())
    thread = threading.Thread(target=watch.look_on, name="loop watch", daemon=True)
    thread.start()
    try:
        while True:
            due = time.monotonic() + BEAT_EVERY
            await asyncio.sleep(BEAT_EVERY)
            watch.beat(due)
    finally:
        watch.stop()


class LoopWatch:
    """The beats of one loop, and the thread that looks on. ``thread``: the loop's."""

    def __init__(self, metrics: Metrics, thread: int) -> None:
        self._metrics, self._thread = metrics, thread
        self._due = time.monotonic() + BEAT_EVERY  # when the next beat should come
        self._worked = time.thread_time()
        self._lags: deque[tuple[float, float]] = deque()  # (when, lag), lags falling: the first one is the longest
        self._culprit = ""
        self._logged = -LOG_EVERY
        self._stopped = threading.Event()

    def beat(self, due: float) -> None:
        """Note a beat that was ``due`` then. Called by the loop's thread."""
        now, worked = time.monotonic(), time.thread_time()
        lag = max(0.0, now - due)
        self._due = now + BEAT_EVERY
        if lag >= STALL:
            self._metrics.loop_stalls.observe(lag)
            if lag >= LONG_STALL and now - self._logged >= LOG_EVERY:
                self._logged = now
                cpu = round(worked - self._worked, 3)
                log.warning("event loop stood still", seconds=round(lag, 3), cpu=cpu, where=self._culprit or "unknown")
        self._culprit, self._worked = "", worked
        self._remember(now, lag)

    def _remember(self, now: float, lag: float) -> None:
        lags = self._lags
        while lags and lags[-1][1] <= lag:
            lags.pop()
        lags.append((now, lag))
        while lags[0][0] < now - RECENT:
            lags.popleft()
        self._metrics.loop_lag.set(lags[0][1])

    def look_on(self) -> None:
        """Note where the loop is whenever its beat is overdue, until stopped. Runs in a thread of its own."""
        while not self._stopped.wait(LONG_STALL / 4):
            if time.monotonic() - self._due > LONG_STALL / 2 and not self._culprit:
                frame = sys._current_frames().get(self._thread)
                self._culprit = _place(frame) if frame else ""

    def stop(self) -> None:
        self._stopped.set()


def _place(frame: FrameType) -> str:
    """Return the innermost frames in one line: ``file:line function < ...``. No values: they may be secret."""
    frames = traceback.extract_stack(frame, limit=FRAMES)
    return " < ".join(f"{_short(each.filename)}:{each.lineno} {each.name}" for each in reversed(frames))


def _short(path: str) -> str:
    return "/".join(path.split("/")[-3:])

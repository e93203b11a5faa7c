"""The clock of the whole host steps, for the service and its PostgreSQL: libfaketime, and a file that says by how much.

The monotonic clock goes on as it should. The receivers and the name server are other hosts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from bench.programs import UNPACKED
from tests.faults.crashes import Fault
from tests.faults.trial import Standing, Trial, stand
from tests.flow.harness import open_directory

STEPS = ("+2d", "-2d", "+6d", "-1h", "+90", "-90", "+3h", "-20d", "+400d", "-5")

_PLACE = f"usr/lib/{os.uname().machine}-linux-gnu/faketime/libfaketimeMT.so.1"


def library() -> Path | None:
    """Where libfaketime is; FAKETIME_LIBRARY says so first."""
    places = (Path(os.environ.get("FAKETIME_LIBRARY", "/nowhere")), UNPACKED / _PLACE, Path("/") / _PLACE)
    return next((place for place in places if place.is_file()), None)


def missing() -> str | None:
    return None if library() else "libfaketime is not installed (Debian: libfaketime)"


@contextlib.asynccontextmanager
async def standing() -> AsyncIterator[tuple[Standing, Fault]]:
    with open_directory() as directory:
        stamp = directory / "clock"
        _set(stamp, "+0")
        environment = {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(stamp),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        made = await asyncio.to_thread(stand, directory / "service", environment)

        async def step(this: Trial) -> None:
            """Step, let the load go on, and step back at the end of the trial's next moment."""
            _set(stamp, this.random.choice(STEPS))
            this.struck()
            await asyncio.sleep(this.random.uniform(1, 6))
            if this.random.random() < 0.5:
                _set(stamp, "+0")

        try:
            yield made, step
        finally:
            made.service.stop()


def _set(stamp: Path, offset: str) -> None:
    """Replace the file at once: it is read at any moment."""
    new = stamp.with_suffix(".new")
    new.write_text(offset + "\n")
    new.chmod(0o644)
    new.rename(stamp)

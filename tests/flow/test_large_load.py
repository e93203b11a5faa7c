"""A hundred messages of 50 MB at once: all are taken, memory stays bounded, and a client with small ones is served.

``LARGE_COUNT`` and ``LARGE_OCTETS`` make it larger or smaller. The figures are printed (``-s``).
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
from pathlib import Path

import pytest

from tests.flow.harness import World, message

pytestmark = pytest.mark.nightly

COUNT = int(os.environ.get("LARGE_COUNT", "100"))
OCTETS = int(os.environ.get("LARGE_OCTETS", "50000000"))
MEMORY = 300  # MiB above idle


def megabytes(pid: int, what: str) -> int:
    """Return a line of ``/proc/PID/status``, in MiB."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines[what].split()[0]) // 1024


def forget_peak(pid: int) -> None:
    """The peak (VmHWM) counts from here."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


async def test_memory_and_neighbours(world: World) -> None:
    world.domain("large.example", "127.0.0.77")  # nobody is there: only taking them is looked at
    await world.start(database={"timeout": "10s", "lease": "30s"}, queue={"retry_schedule": ["1h"]})
    [worker] = world.service.workers()
    await world.accept("ben@example.com")
    idle = megabytes(worker, "VmRSS")
    forget_peak(worker)
    arguments = [str(world.service.port), str(COUNT), str(OCTETS), "x@large.example"]
    load = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.flow.large_load", *arguments, stdout=asyncio.subprocess.PIPE
    )
    answer, seconds = asyncio.create_task(load.communicate()), list[float]()
    while not answer.done():
        began = asyncio.get_running_loop().time()
        assert (await world.submit("ben@example.com", content=message(f"No {len(seconds)}", body="x" * 70 + "\r\n"))).id
        seconds.append(asyncio.get_running_loop().time() - began)
        await asyncio.sleep(0.02)
    codes = json.loads((await answer)[0])
    peak = megabytes(worker, "VmHWM")
    p99 = statistics.quantiles(seconds, n=100)[98]
    print(f"{COUNT} x {OCTETS}: {codes}, idle {idle} MiB, peak {peak}, small {len(seconds)}, p99 {p99 * 1000:.0f} ms")
    assert codes == {"250": COUNT}
    assert peak - idle <= MEMORY
    assert len(seconds) > 50
    assert "event loop stood still" not in world.service.output()

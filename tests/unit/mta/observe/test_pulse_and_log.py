"""What a process says of itself: its pulse, and its operational log."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time

import pytest

from mta.observe import process_metrics
from mta.observe.metrics import Metrics


async def test_the_pulse_measures_lag_memory_and_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_metrics, "EVERY", 0.01)
    metrics = Metrics()
    beating = asyncio.create_task(process_metrics.sample(metrics))
    await asyncio.sleep(0)
    time.sleep(0.2)  # noqa: ASYNC251  keeps the loop busy, which is to be noticed
    while not metrics.resident_bytes.value:  # noqa: ASYNC110  the task makes it true
        await asyncio.sleep(0.01)
    beating.cancel()
    assert metrics.loop_lag.value >= 0.15
    assert metrics.resident_bytes.value > 1_000_000
    assert metrics.cpu_seconds.value > 0


SCRIPT = """
import structlog
from mta.observe.log import configure
configure("info", process="worker-3")
log = structlog.get_logger()
log.debug("not shown")
log.info("ready", lease=7, odd=object)
try:
    raise ValueError("what went wrong")
except ValueError:
    log.exception("a part failed")
import logging
logging.getLogger("library").info("not shown")
logging.getLogger("library").warning("from a library")
"""


def test_lines_for_machines_are_json_on_standard_error() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == ""
    *own, library = done.stderr.splitlines()
    first, second = (json.loads(line) for line in own)
    assert (first["event"], first["level"], first["process"], first["lease"]) == ("ready", "info", "worker-3", 7)
    assert first["timestamp"].endswith("Z")
    assert "ValueError: what went wrong" in second["exception"]
    assert "from a library" in library

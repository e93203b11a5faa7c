"""The operational log."""

from __future__ import annotations

import json
import subprocess
import sys

from mta.observe.log import Sparingly

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


def test_a_lasting_trouble_is_logged_at_once_and_then_now_and_then() -> None:
    now = 0.0
    lines = Sparingly(60.0, lambda: now)
    assert [lines.due() for _ in range(5)] == [1, 0, 0, 0, 0]
    now = 59.0
    assert lines.due() == 0
    now = 60.0
    assert [lines.due(), lines.due()] == [6, 0]

"""Reading the dialogue of several workers, who come and go."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mta.observe import watch as module
from mta.observe.metrics import Metrics
from mta.observe.trace import Trace, TraceFilter
from mta.observe.watch import watch


async def test_lines_of_all_workers_also_of_later_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.01)
    first, second = (Trace(tmp_path / f"trace-{n}.sock", Metrics()) for n in range(2))
    await first.start()
    lines = watch(tmp_path, TraceFilter(side="in"))
    next_line = asyncio.ensure_future(anext(lines))
    await _seen(first)
    first.line("out", "s0", "mx", True, "QUIT")
    first.line("in", "s1", "192.0.2.1", False, "RSET")
    assert (await asyncio.wait_for(next_line, 5)).session == "s1"
    await first.stop()
    await second.start()
    next_line = asyncio.ensure_future(anext(lines))
    await _seen(second)
    second.line("in", "s2", "192.0.2.1", False, "RSET")
    assert (await asyncio.wait_for(next_line, 5)).session == "s2"
    await lines.aclose()
    await second.stop()


async def test_a_socket_nobody_listens_on_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.01)
    left_behind = Trace(tmp_path / "trace-0.sock", Metrics())
    await left_behind.start()
    (tmp_path / "trace-0.sock").rename(tmp_path / "kept")
    await left_behind.stop()
    (tmp_path / "kept").rename(tmp_path / "trace-0.sock")
    lines = watch(tmp_path, TraceFilter())
    next_line = asyncio.ensure_future(anext(lines))
    again = Trace(tmp_path / "trace-0.sock", Metrics())
    await again.start()
    await _seen(again)
    again.line("in", "s1", "192.0.2.1", True, "220 here")
    assert (await asyncio.wait_for(next_line, 5)).text == "220 here"
    await lines.aclose()
    await again.stop()


async def _seen(trace: Trace) -> None:
    while not trace.active:  # noqa: ASYNC110  the loop itself makes it true
        await asyncio.sleep(0)

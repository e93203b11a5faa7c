"""``mta trace`` as a process of its own, looking at a trace of this test's."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

from mta.observe.metrics import Metrics
from mta.observe.trace import Trace


async def look(config: Path, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mta", "trace", "--config", str(config), *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def watched(trace: Trace) -> None:
    async with asyncio.timeout(30):
        while not trace.active:  # noqa: ASYNC110  the other process makes it true
            await asyncio.sleep(0.01)


async def test_the_dialogue_is_shown_until_interrupted(tmp_path: Path) -> None:
    (tmp_path / "data" / "run").mkdir(parents=True)
    config = tmp_path / "mta.toml"
    config.write_text("[web]\nport = 0\n")
    trace = Trace(tmp_path / "data" / "run" / "trace-0.sock", Metrics())
    await trace.start()
    for words, expected in (
        ((), ["in  s1 192.0.2.1 ← MAIL FROM:<ann@a.example>", "in  s1 192.0.2.1 → 550 5.7.1 no \\x1b[2J"]),
        (("--json", "--contains", "5.7.1"), ["550 5.7.1 no \\x1b[2J"]),
    ):
        process = await look(config, *words)
        assert process.stdout
        await watched(trace)
        trace.line("in", "s1", "192.0.2.1", False, "MAIL FROM:<ann@a.example>")
        trace.line("in", "s1", "192.0.2.1", True, "550 5.7.1 no \x1b[2J")
        for text in expected:
            line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
            assert text == (json.loads(line)["text"] if "--json" in words else line.rstrip("\n").partition(" ")[2])
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 20) == 0
        while trace.active:  # noqa: ASYNC110  the end of the connection makes it false
            await asyncio.sleep(0.01)
    await trace.stop()


async def test_where_nothing_runs_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "mta.toml").write_text("[web]\nport = 0\n")
    process = await look(tmp_path / "mta.toml")
    assert process.stderr
    assert b"no service runs here" in await asyncio.wait_for(process.stderr.read(), 20)
    assert await process.wait() == 1

"""What the store costs in the whole service: log, disk and CPU for each message, by kind of record, table and process.

    python -m bench.store_cost [--marketing] [--size 2048] [--count 4000] [--statements]

A short run first fills caches and files; then ``--count`` messages go through, each to a recipient of its own. *log*:
what the WAL grew by, and of that pages written whole after a checkpoint. *disk*: growth of each table with its indexes.
``--statements`` adds what PostgreSQL's pg_stat_statements says, which costs some CPU itself.

Limitations: a run is short, so the share of autovacuum and checkpoints is that of its moment: see ``--seconds``, which
runs for that long instead, and says every ten seconds how large tables and log are and how long accepting took.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from bench import processes
from bench.contenders import Ours, Site, make_key
from bench.marketing import OursMarketing, content
from bench.rig import RESOLVER, Rig, machine, rig
from bench.source import Load, Source
from mta.store.postgres.server_programs import choose_programs

WARM_UP = 1000
_SETTLE = 1.0
_STATEMENTS = (
    "shared_preload_libraries = 'pg_stat_statements'\npg_stat_statements.max = 1000\ncompute_query_id = on\n"
    "track_io_timing = off\n"
)
_SIZES = """
select relname, pg_total_relation_size(oid) as octets, pg_relation_size(oid) as heap from pg_class
where relkind = 'r' and relnamespace = 'public'::regnamespace"""
_LOG = """
select pg_current_wal_insert_lsn()::text as at, pg_current_wal_insert_lsn() - '0/0' as octets,
    (select wal_fpi from pg_stat_wal) as pages, (select wal_records from pg_stat_wal) as records"""
_SLOWEST = """
select calls, total_exec_time, rows, wal_bytes, regexp_replace(query, '\\s+', ' ', 'g') as query
from pg_stat_statements order by total_exec_time desc limit 25"""


@dataclass(frozen=True, slots=True)
class State:
    """What the server says at one moment. ``tables``: octets of each, with its indexes; ``cpu``: seconds by kind of
    process."""

    at: str
    log: int
    pages: int
    records: int
    tables: Counter[str]
    cpu: Counter[str]


async def ask(dsn: str, question: str) -> list[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch(question))
    finally:
        await connection.close()


class Probe:
    """Looks at a running service and its database."""

    def __init__(self, ours: Ours) -> None:
        self._ours = ours
        self.folder = ours.service.data / "postgres"
        lines = (self.folder / "postmaster.pid").read_text().splitlines()
        self.dsn = f"postgresql://imprimatur@/postgres?host={lines[4]}&port={lines[3]}"

    def ask(self, question: str) -> list[Any]:
        return asyncio.run(ask(self.dsn, question))

    def state(self) -> State:
        (log,) = self.ask(_LOG)
        # Partitions are counted with their table.
        tables = Counter[str]()
        for row in self.ask(_SIZES):
            tables[re.sub(r"_p?\d+$", "", row["relname"])] += row["octets"]
        return State(log["at"], int(log["octets"]), log["pages"], log["records"], tables, self.cpu())

    def cpu(self) -> Counter[str]:
        used = Counter[str]()
        for pid in processes.tree(self._ours.roots()):
            used[_kind(pid)] += processes.cpu_seconds([pid], children="postmaster" in processes.command(pid))
        return used

    def records(self, start: str, end: str) -> str:
        """Return the log's records between two places, by kind."""
        programs = choose_programs(None, None)
        command = [programs.folder / "pg_waldump", "-p", self.folder.resolve() / "pg_wal", "-s", start, "-e", end]
        done = subprocess.run([*command, "--stats=record"], capture_output=True, text=True, check=False)
        return done.stdout or done.stderr


def _kind(pid: int) -> str:
    name, command = processes.name(pid), processes.command(pid)
    if "postgres" not in name and "postgres:" not in command:
        return name.split(" ")[0] + " " + " ".join(name.split(" ")[1:2]) if name.startswith("mta") else name
    title = command.partition("postgres: ")[2]
    for kind in ("checkpointer", "background writer", "walwriter", "autovacuum"):
        if title.startswith(kind):
            return f"postgres {kind.split()[0]}"
    return "postgres backends" if title.startswith("imprimatur") else "postgres others"


def through(load: Load, stage: Rig) -> list[float]:
    """Send, wait for all of it at the sink and for its outcomes; return the seconds of each acceptance."""
    sent = Source(load).run()
    if sent.refused or sent.broken or not sent.accepted:
        raise RuntimeError(f"refused: {sent.replies}")
    while stage.arrived() < len(sent.accepted):
        time.sleep(0.05)
    stage.take()
    return list(sent.seconds)


def show(before: State, after: State, count: int, seconds: float) -> dict[str, Any]:
    figures = {
        "rate": round(count / seconds),
        "log": round((after.log - before.log) / count),
        "whole_pages": round((after.pages - before.pages) / count, 3),
        "records": round((after.records - before.records) / count, 1),
        "disk": round((after.tables - before.tables).total() / count),
        "tables": {k: round(v / count) for k, v in (after.tables - before.tables).most_common() if v > count},
        "cpu": {k: round(v / count * 1000, 3) for k, v in (after.cpu - before.cpu).most_common()},
        "cpu_sum": round((after.cpu - before.cpu).total() / count * 1000, 3),
    }
    print(json.dumps(figures), flush=True)
    return figures


def loads(chosen: argparse.Namespace, port: int) -> Iterator[Load]:
    """Yield the warm-up, then what is measured; each message has a number of its own."""
    newsletter = content(chosen.size) if chosen.marketing else b""
    first = 0
    while True:
        count = WARM_UP if first == 0 else chosen.count
        yield Load(
            port=port, count=count, size=chosen.size, domains=50, sessions=chosen.sessions, first_id=first,
            content=newsletter,
        )  # fmt: skip
        first += count


def percentile(seconds: list[float], part: float) -> float:
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--marketing", action="store_true", help="the whole marketing chain")
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--count", type=int, default=4000, help="messages (of a round, with --seconds)")
    parser.add_argument("--rounds", type=int, default=1, help="how often")
    parser.add_argument("--seconds", type=float, help="run for so long")
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--statements", action="store_true")
    parser.add_argument("--records", action="store_true", help="the log's records by kind")
    chosen = parser.parse_args()
    print(json.dumps(machine()))
    with tempfile.TemporaryDirectory(prefix="imprimatur-bench-") as work, rig() as stage:
        folder = Path(work)
        folder.chmod(0o755)
        site = Site(folder, make_key(folder), RESOLVER, 53, stage.sink_port, chosen.workers)
        consents = 200_000 if chosen.seconds else WARM_UP + chosen.rounds * chosen.count
        ours = OursMarketing(site, consents) if chosen.marketing else Ours(site)
        try:
            ours.start()
            if chosen.statements:
                ours.service.stop()
                (ours.service.data / "postgres" / "local.conf").write_text(_STATEMENTS)
                ours.service.start()
            probe = Probe(ours)
            steps = loads(chosen, ours.port)
            through(next(steps), stage)
            time.sleep(_SETTLE)
            if chosen.statements:
                probe.ask("create extension if not exists pg_stat_statements")
                probe.ask("select pg_stat_statements_reset()")
            if chosen.seconds:
                run_long(chosen.seconds, steps, stage, probe)
            else:
                for _ in range(chosen.rounds):
                    before, began = probe.state(), time.monotonic()
                    through(next(steps), stage)
                    seconds = time.monotonic() - began
                    time.sleep(_SETTLE)
                    after = probe.state()
                    show(before, after, chosen.count, seconds)
                    if chosen.records:
                        print(probe.records(before.at, after.at))
            if chosen.statements:
                for row in probe.ask(_SLOWEST):
                    print(
                        f"{row['calls']:7} calls {row['total_exec_time']:9.1f} ms {row['rows']:7} rows"
                        f" {int(row['wal_bytes']):10} log  {row['query'][:150]}"
                    )
        finally:
            ours.stop()


def run_long(seconds: float, steps: Iterator[Load], stage: Rig, probe: Probe) -> None:
    """Send round after round; a line for each."""
    first, began, number = probe.state(), time.monotonic(), 0
    everything: list[float] = []
    while time.monotonic() - began < seconds:
        load = next(steps)
        before, since = probe.state(), time.monotonic()
        waits = through(load, stage)
        after = probe.state()
        everything += waits
        number += load.count
        queue, contents = (round(after.tables[name] / 2**20, 1) for name in ("queue", "content"))
        wal = sum(each.stat().st_size for each in (probe.folder.resolve() / "pg_wal").iterdir() if each.is_file())
        print(
            f"{time.monotonic() - began:5.0f} s {load.count / (time.monotonic() - since):5.0f}/s"
            f"  accept ms p50 {percentile(waits, 0.5) * 1000:.0f} p99 {percentile(waits, 0.99) * 1000:.0f}"
            f" p99.9 {percentile(waits, 0.999) * 1000:.0f} max {max(waits) * 1000:.0f}"
            f"  MiB queue {queue} content {contents} wal {wal / 2**20:.0f}"
            f"  cpu {(after.cpu - before.cpu).total() / load.count * 1000:.2f} ms"
            f" autovacuum {(after.cpu - before.cpu)['postgres autovacuum'] / load.count * 1000:.3f}",
            flush=True,
        )
    print(f"p99.9 of all {percentile(everything, 0.999) * 1000:.0f} ms, longest {max(everything) * 1000:.0f} ms")
    show(first, probe.state(), number, time.monotonic() - began)


if __name__ == "__main__":
    main()

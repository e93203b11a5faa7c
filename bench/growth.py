"""``python -m bench.growth``: what more workers, instances, queued messages and consents cost, and a restart.

    processes   one worker, two workers, two instances of one worker on one PostgreSQL
    queued      so many messages that are due tomorrow, while mail passes
    restart     so many messages that are due, and the service starts: the time to its first delivery
    consents    a marketing account with so many (``--consents``)

Invariants: queued messages are copies of one that the service has taken, in all tables: they are what it writes.
Limitations: source, sink and PostgreSQL share the machine; two instances on two cores show a cost, no gain.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from bench import report
from bench.contenders import Contender, Ours, Site, make_key
from bench.footprint import footprint
from bench.marketing import OursMarketing, content
from bench.rig import RESOLVER, Rig, machine, measure, rig
from bench.service import merged
from bench.source import Load, Source
from mta.store.postgres.embedded import EmbeddedPostgres

_DOMAINS = 1000
_COPIED = 100_000  # rows in one statement
_PATIENCE = 60.0  # seconds for a first delivery

_TABLES = """
select c.table_name, array_agg(c.column_name::text order by c.ordinal_position)
from information_schema.columns c join information_schema.tables t using (table_schema, table_name)
where c.table_schema = 'public' and t.table_type = 'BASE TABLE' and c.is_generated = 'NEVER' and c.is_identity = 'NO'
    and c.table_name in (
        select table_name from information_schema.columns
        where table_schema = 'public' and table_name = 'message' and column_name = 'id'
        union select table_name from information_schema.columns
        where table_schema = 'public' and column_name = 'message_id'
    )
    and c.table_name not in (select inhrelid::regclass::text from pg_inherits)
group by c.table_name"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.growth", description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=["processes", "queued", "restart", "consents"])
    parser.add_argument("--count", type=int, default=4000, help="messages of a run (4000)")
    parser.add_argument("--queued", type=int, nargs="+", default=[1, 10_000, 100_000, 1_000_000])
    parser.add_argument("--consents", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    chosen = parser.parse_args()
    print(report.describe(machine()))
    with tempfile.TemporaryDirectory(prefix="imprimatur-growth-") as work, rig(domains=_DOMAINS) as stage:
        directory = Path(work)
        directory.chmod(0o755)  # the database runs as another user
        site = Site(directory, make_key(directory), RESOLVER, 53, stage.sink_port)
        match chosen.what:
            case "processes":
                processes(site, stage, chosen.count)
            case "queued":
                for queued in chosen.queued:
                    with_queue(site, stage, chosen.count, queued)
            case "restart":
                for queued in chosen.queued:
                    restart(site, stage, queued)
            case "consents":
                for consents in chosen.consents:
                    with_consents(site, stage, chosen.count, consents)


def processes(site: Site, stage: Rig, count: int) -> None:
    """Print rate and cost by the number of workers and instances."""
    for workers in (1, 2):
        with running(Ours(replace(site, workers=workers))) as ours:
            tell(f"{workers} worker(s)", ours, Load(port=ours.port, count=count, domains=50), stage)
    database = EmbeddedPostgres(site.directory / "shared" / "postgres")
    database.directory.parent.mkdir()
    url = database.start()
    try:
        first, second = (_instance(site, number, url) for number in (1, 2))
        first.prepare()
        second.service.configure()
        with running(first), running(second):
            _both(first, second, count, stage)
    finally:
        database.stop()


def _instance(site: Site, number: int, url: str) -> Ours:
    secret = site.directory / "secret"
    if not secret.exists():
        secret.touch(mode=0o600)
        secret.write_text("5a" * 32 + "\n")
    ours = Ours(replace(site, workers=1), f"instance-{number}")
    extra = {"database": {"url": url}, "server": {"secret_file": str(secret)}}
    ours.service.settings = merged(ours.service.settings, extra)
    return ours


def _both(first: Ours, second: Ours, count: int, stage: Rig) -> None:
    """Send half of the messages to each, at the same time."""
    half = count // 2
    loads = [
        Load(port=ours.port, count=half, domains=50, sessions=10, first_id=n * half)
        for n, ours in enumerate((first, second))
    ]
    began = time.monotonic()
    senders = [threading.Thread(target=Source(load).run) for load in loads]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    while stage.arrived() < 2 * half:
        time.sleep(0.02)
    times = stage.take().times
    print(f"2 instances of 1 worker: {2 * half / (max(times) - began):.0f}/s", flush=True)


def with_queue(site: Site, stage: Rig, count: int, queued: int) -> None:
    """Print rate and cost while so many messages wait for tomorrow."""
    with filled(site, stage, queued, timedelta(days=1)) as ours, running(ours):
        tell(f"{queued:,} queued", ours, Load(port=ours.port, count=count, domains=50), stage)


def restart(site: Site, stage: Rig, queued: int) -> None:
    """Print how long a start takes until the first delivery, and what it delivers then."""
    with filled(site, stage, queued, timedelta(0)) as ours:
        began = time.monotonic()
        with running(ours):
            ready = time.monotonic() - began
            while not stage.arrived() and time.monotonic() < began + _PATIENCE:
                time.sleep(0.02)
            first = stage.take().times[0] - began
            time.sleep(10)
            memory = footprint(ours)
            arrived = len(stage.take().ids)
            print(f"{queued:,} due: ready after {ready:.1f} s, first delivery {first:.1f} s after the start, "
                  f"then {arrived / 10:.0f}/s; {sum(memory.values()):.0f} MiB", flush=True)  # fmt: skip


def with_consents(site: Site, stage: Rig, count: int, consents: int) -> None:
    """Print rate and cost of the newsletter chain with so many consents."""
    with running(OursMarketing(site, max(consents, count))) as ours:
        load = Load(port=ours.port, count=count, domains=50, content=content(10_240))
        tell(f"{consents:,} consents", ours, load, stage)


def tell(title: str, contender: Contender, load: Load, stage: Rig) -> None:
    result = measure("ours", contender, load, stage)
    print(f"{title}: {result.drain_rate:.0f}/s, {result.cpu_ms:.2f} ms CPU, {result.pss_mib:.0f} MiB, "
          f"accept p50 {result.accept_p50_ms:.0f} ms, p99 {result.accept_p99_ms:.0f} ms, lost {result.lost}",
          flush=True)  # fmt: skip


@contextmanager
def filled(site: Site, stage: Rig, queued: int, due: timedelta) -> Iterator[Ours]:
    """Prepare a service, stopped, whose queue has so many messages that are due ``due`` from now."""
    ours = Ours(site)
    ours.prepare()
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f"From: sender@bench.example\r\nSubject: x\r\nX-MTA-Send-At: {tomorrow}\r\n"
    text += "Date: Sat, 21 Nov 2026 20:00:00 +0000\r\nMessage-ID: <1@bench.example>\r\n\r\n" + "text\r\n" * 300
    with running(ours):
        sent = Source(Load(port=ours.port, count=1, content=text.encode())).run()
        if not sent.accepted:
            raise RuntimeError(f"the message to be copied was refused: {sent.replies}")
    database = EmbeddedPostgres(ours.service.data / "postgres")
    url = database.start()
    try:
        asyncio.run(copy(url, queued, due))
    finally:
        database.stop()
    stage.take()
    yield ours


async def copy(url: str, count: int, due: timedelta) -> None:
    """Copy the one queued message ``count`` times, to recipients of their own."""
    connection = await asyncpg.connect(url)
    tables = [(name, columns) for name, columns in await connection.fetch(_TABLES)]
    for first in range(0, count, _COPIED):
        last = min(first + _COPIED, count) - 1
        async with connection.transaction():
            await connection.execute("create temp table copied on commit drop as select n, gen_random_uuid() as id "
                                     f"from generate_series({first}, {last}) as n")  # fmt: skip
            for name, columns in tables:
                await connection.execute(_copy_statement(name, columns, due))
    await connection.execute("vacuum analyze")
    await connection.close()


def _copy_statement(table: str, columns: Sequence[str], due: timedelta) -> str:
    """Return the statement that copies the rows of the first message to those of ``copied``."""
    key = "id" if table == "message" else "message_id"
    values = {key: "copied.id"}
    if table == "queue":
        values |= {
            "destination": f"'d' || lpad((n % {_DOMAINS})::text, 2, '0') || '.example'",
            "address": f"'user' || n || '@d' || lpad((n % {_DOMAINS})::text, 2, '0') || '.example'",
            "address_key": "decode(md5(n::text), 'hex')",
            "due_at": f"now() + interval '{due.total_seconds()} s'",
            "delayed_by": "null",
            "lease": "null",
        }
    chosen = ", ".join(f"{values[each]} as {each}" if each in values else f"one.{each}" for each in columns)
    first = "(select id from message order by received_at limit 1)"
    return (f"insert into {table} ({', '.join(columns)}) select {chosen} from copied, {table} one "
            f"where one.{key} = {first}")  # fmt: skip


@contextmanager
def running(ours: Ours) -> Iterator[Ours]:
    try:
        ours.start()
        yield ours
    except Exception:
        print(ours.output())
        raise
    finally:
        ours.stop()


if __name__ == "__main__":
    main()

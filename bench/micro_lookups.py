"""Whether the lookup of a recipient gets slower with many known recipients: ``store.recipients.find`` on two databases.

    python -m bench.micro_lookups [--consents 10000000] [--suppressions 1000000] [--memory 2048]

Both have the same schema on one server with the shipped settings, but for its memory. The small one has 10,000
addresses, the large one as many as the options say; each address with a consent also has a row of activity. Each query
is for an address that has both; every tenth is suppressed. In the large database no address is queried twice.

* *alone*: one caller, median wait.
* *16 callers*: concurrent queries are batched, as in the service; time per query.
* *CPU*: of this process and of PostgreSQL, with 16 callers.

Rounds of the two databases alternate, so that other load affects both. Medians are shown, and the ratio of large to
small, which should be at most 1.33.

Limitations: Both databases fit into memory, as they should in production. Creating ten million rows takes minutes and
about 5 GB in the temporary directory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import asyncpg
import uvloop

from bench.micro_store import Meter, measure
from config.schema import DatabaseSettings
from mta.mail.address import Address
from mta.store.postgres.embedded import EmbeddedPostgres
from mta.store.postgres.migrate import migrate
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store

ROUNDS = 7
CALLERS = 16
QUESTIONS = 8000  # of a round with 16 callers
ALONE = 2000  # of a round with one
SMALL = 10_000
ASKED = 2 * (ROUNDS + 1) * (QUESTIONS + ALONE)  # addresses of the large database that may be queried
GIVEN = datetime(2026, 1, 1, tzinfo=UTC)

_MANY = {
    "consent": """
        insert into consent (address_key, account_id, topic, basis, given_at, confirmed_at, entry)
        select decode(md5(n::text), 'hex'), 1 + n % 50, 'offers', 'double_opt_in', now(), now(), n
        from generate_series(1, $1::bigint) n""",
    "recipient_activity": """
        insert into recipient_activity (address_key, account_id, contacted_at, accepted)
        select decode(md5(n::text), 'hex'), 1 + n % 50, now(), array[now(), now(), now()]
        from generate_series(1, $1::bigint) n""",
    "suppression": """
        insert into suppression (address_key, account_id, address, reason, rule, evidence)
        select decode(md5((-n)::text), 'hex'), 1, 'someone@example.net', 'hard_bounce', 'r', ''
        from generate_series(1, $1::bigint) n""",
}


@dataclass
class Side:
    """One of the two databases and its results: milliseconds per query, by round."""

    name: str
    store: Store
    addresses: Iterator[Address]
    alone: list[float]
    together: list[float]
    ours: list[float]
    theirs: list[float]


async def fill(dsn: str, secrets: Secrets, consents: int, suppressions: int, asked: Sequence[Address]) -> None:
    """Add rows for ``asked`` and generate the others. Indexes are built at the end, which is much faster."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("insert into account (id, name) overriding system value values (1, 'acme')")
        keys = [secrets.address_key(address) for address in asked]
        numbers = {"consent": consents - len(keys), "recipient_activity": consents - len(keys)}
        for table, number in {**numbers, "suppression": suppressions - len(keys) // 10}.items():
            began = time.perf_counter()
            definition = await connection.fetchval(
                "select pg_get_constraintdef(oid) from pg_constraint where conname = $1", f"{table}_pkey"
            )
            await connection.execute(f"alter table {table} drop constraint {table}_pkey")
            await connection.execute(_MANY[table], number)
            await _known(connection, table, keys)
            await connection.execute(f"alter table {table} add constraint {table}_pkey {definition}")
            await connection.execute(f"vacuum analyze {table}")
            rows = await connection.fetchval(f"select count(*) from {table}")
            size = await connection.fetchval("select pg_size_pretty(pg_total_relation_size($1::regclass))", table)
            print(f"  {rows:>10,} rows of {table:18} {size:>8}  {time.perf_counter() - began:6.0f} s", flush=True)
    finally:
        await connection.close()


async def _known(connection: asyncpg.Connection, table: str, keys: Sequence[bytes]) -> None:
    """Add the rows of the addresses that will be queried."""
    if table == "consent":
        columns = ["address_key", "account_id", "topic", "basis", "given_at", "confirmed_at", "entry"]
        records = [(key, 1, "offers", "double_opt_in", GIVEN, GIVEN, n) for n, key in enumerate(keys)]
    elif table == "recipient_activity":
        columns = ["address_key", "account_id", "contacted_at", "accepted"]
        records = [(key, 1, GIVEN, [GIVEN] * 3) for key in keys]
    else:
        columns = ["address_key", "account_id", "address", "reason", "rule", "evidence"]
        records = [(key, 1, "someone@example.net", "hard_bounce", "r", "") for key in keys[::10]]
    await connection.copy_records_to_table(table, columns=columns, records=records)


async def one_round(side: Side, meter: Meter, *, kept: bool) -> None:
    waits = []
    for _ in range(ALONE):
        address, began = next(side.addresses), time.perf_counter()
        (found,) = await side.store.recipients.find(1, [address])
        waits.append((time.perf_counter() - began) * 1000)
        assert found.consents, address

    async def look(_: int) -> None:
        await side.store.recipients.find(1, [next(side.addresses)])

    rate, ours, theirs = await measure(meter, CALLERS, look, QUESTIONS)
    if kept:
        side.alone.append(statistics.median(waits))
        side.together.append(1000 / rate)
        side.ours.append(ours)
        side.theirs.append(theirs)


def report(small: Side, large: Side) -> None:
    print(f"\n{'milliseconds per query':26}{'small':>9}{'large':>9}{'ratio':>8}")
    for name, column in (
        ("alone", "alone"), (f"{CALLERS} callers", "together"), ("CPU, ours", "ours"), ("CPU, PostgreSQL", "theirs"),
    ):  # fmt: skip
        few, many = (statistics.median(getattr(side, column)) for side in (small, large))
        print(f"{name:26}{few:9.4f}{many:9.4f}{many / few:8.2f}")


async def open_side(name: str, server: str, secrets: Secrets, consents: int, suppressions: int) -> Side:
    connection = await asyncpg.connect(server)
    await connection.execute(f"create database {name}")
    await connection.close()
    dsn = server.replace("/postgres?", f"/{name}?")
    await migrate(dsn)
    print(f"{name}:", flush=True)
    asked = [Address(f"someone{n}", "example.net") for n in range(min(ASKED, consents))]
    await fill(dsn, secrets, consents, suppressions, asked)
    store = await Store.open(dsn, DatabaseSettings(), secrets)
    return Side(name, store, (asked[n % len(asked)] for n in count()), [], [], [], [])


async def run(server: str, meter: Meter, consents: int, suppressions: int) -> None:
    secrets = Secrets(os.urandom(32))
    small = await open_side("small", server, secrets, SMALL, SMALL // 10)
    large = await open_side("large", server, secrets, consents, suppressions)
    for number in range(ROUNDS + 1):
        for side in (small, large) if number % 2 else (large, small):
            await one_round(side, meter, kept=number > 0)  # the first one warms up
    report(small, large)
    for side in (small, large):
        await side.store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--consents", type=int, default=10_000_000)
    parser.add_argument("--suppressions", type=int, default=1_000_000)
    parser.add_argument("--memory", type=int, default=2048, help="database.memory in MiB (2048)")
    parser.add_argument("--programs", type=Path, help="directory of PostgreSQL's programs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imprimatur-bench-") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedPostgres(Path(folder) / "postgres", programs=options.programs, memory=options.memory * 2**20)
        dsn = server.start()
        try:
            postmaster = int((Path(folder) / "postgres" / "postmaster.pid").read_text().split()[0])
            uvloop.run(run(dsn, Meter(postmaster), options.consents, options.suppressions))
        finally:
            server.remove()


if __name__ == "__main__":
    main()

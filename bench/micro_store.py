"""Cost of the store: CPU per message to enqueue, write outcomes, look up suppressions, claim from a long queue.

    python -m bench.micro_store [--long]

CPU is that of this process and of all of PostgreSQL, in milliseconds per message; rates are those of one process that
does nothing else. Batches are as large as the number of callers. ``--long`` adds a queue of a million rows and a
million suppressions.

Limitations: PostgreSQL's CPU time is read in ticks of 10 ms; on a busy machine results vary by 10 to 20 %.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvloop

from config.schema import DatabaseSettings
from mta.mail.address import Address
from mta.mail.delivery import Attempt, Delivered, Delivery, Host, Result, Stage
from mta.mail.identity import new_message_id
from mta.mail.message import Body, Envelope, Message, Origin, Recipient
from mta.mail.reply import Reply
from mta.queue.outcome_recorder import BATCH_ITEMS, BATCH_OUTCOMES
from mta.store.postgres.batch import Batch
from mta.store.postgres.embedded import EmbeddedPostgres
from mta.store.postgres.migrate import migrate
from mta.store.postgres.secrets import Secrets
from mta.store.queue.enqueue import Leased, NewMessage
from mta.store.results.delivery_results import DeliveryResult
from mta.store.store import Store
from policy.base import Finding

SIZES = (10_240, 61_440)
CALLERS = (1, 16, 64)
ROUNDS = 3  # the first one is not shown: it grows the files, as only the first minutes of a service do
OK = Reply(250, "2.0.0", "Ok: queued as 4F2C11A0B3")
RECEIVER = Host("mx1.example.net", "192.0.2.10", "TLSv1.3")
FINDINGS = tuple(
    Finding(name, "pass", "as it should be") for name in ("size", "loops", "headers", "sender_identity", "suppressed")
)
SUPPRESSIONS = """
insert into suppression (address_key, account_id, address, reason, rule, evidence)
select decode(md5(n::text), 'hex'), 1, 'x@example.net', 'r', 'r', '' from generate_series(1, $1::int) n"""
QUEUE = """
with made as (
    insert into message (id, account_id, sender, size, recipients, received_at, record)
    select (lpad(to_hex(1790000000000 + n), 12, '0') || '7000' || '8000' || lpad(to_hex(n), 12, '0'))::uuid, 1,
        'a@acme.example', 1000, 1, now(), '{"envelope": {"body": "7BIT"}, "recipients": []}'
    from generate_series(1, $1::int) n returning id
), numbered as (select id, row_number() over () as k from made)
insert into queue (message_id, recipient_index, account_id, destination, address, address_key, due_at, expires_at)
select
    id, 0, k % 5, d, 'x@' || d, sha256(id::text::bytea), now() - random() * interval '1 hour',
    now() + interval '5 days'
from numbered cross join lateral (
    select case when k % 2 = 0 then 'dead.example' else 'd' || k % 20000 || '.example' end as d
) one"""


class Meter:
    """Reads the CPU seconds of this process and of a PostgreSQL server."""

    def __init__(self, postmaster: int) -> None:
        self._postmaster = postmaster

    def read(self) -> tuple[float, float]:
        return time.process_time(), sum(self._ticks()) / os.sysconf("SC_CLK_TCK")

    def _ticks(self) -> Iterator[int]:
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if self._postmaster in (int(fields[1]), int(path.parent.name)):
                yield int(fields[11]) + int(fields[12])
                if int(path.parent.name) == self._postmaster:
                    yield int(fields[13]) + int(fields[14])  # children that have ended


def make(number: int, size: int) -> list[NewMessage]:
    now, sender = datetime.now(UTC), Address.parse("bounces@acme.example")
    origin = Origin(
        1, "acme", "acme-1", ipaddress.ip_address("10.1.2.3"), "app.acme.example", "k3j5h2k1", "ESMTPSA", now, "TLSv1.3"
    )
    headers = (
        b"Subject: Your order 123456 has been shipped\r\nFrom: shop@acme.example\r\nMessage-ID: <1@acme.example>\r\n"
    )
    content = headers + b"\r\n" + os.urandom(size - len(headers) - 2)
    made = []
    for n in range(number):
        recipient = Recipient(Address(f"someone{n}", f"d{n % 50}.example"))
        message = Message.of(new_message_id(), Envelope(sender, (recipient,), Body.EIGHT_BIT), origin, content)
        made.append(NewMessage(message, 1, now + timedelta(days=5), FINDINGS))
    return made


def delivered(delivery: Delivery) -> DeliveryResult:
    results = tuple(Result(recipient, Stage.FINAL_DOT, OK) for recipient in delivery.recipients)
    attempt = Attempt(delivery, results, datetime.now(UTC), 0.05, RECEIVER, "192.0.2.1")
    return DeliveryResult(attempt, tuple(Delivered(result) for result in results))


async def by(callers: int, work: Callable[[int], Awaitable[None]], number: int) -> None:
    """Run ``work(0)`` ... ``work(number - 1)``, ``callers`` at a time."""
    numbers = iter(range(number))

    async def caller() -> None:
        for n in numbers:
            await work(n)

    await asyncio.gather(*(caller() for _ in range(callers)))


async def measure(meter: Meter, callers: int, work: Callable[[int], Awaitable[None]], number: int) -> Sequence[float]:
    """Return messages per second, and CPU milliseconds per message: ours, PostgreSQL's."""
    began, (ours, theirs) = time.perf_counter(), meter.read()
    await by(callers, work, number)
    seconds, (ours_now, theirs_now) = time.perf_counter() - began, meter.read()
    return number / seconds, (ours_now - ours) / number * 1000, (theirs_now - theirs) / number * 1000


async def put_and_write(store: Store, meter: Meter, vacuum: Callable[[], Awaitable[None]]) -> None:
    print("   size callers |   put/s   ours     PG | write/s    ours     PG | sum ms")
    for size in SIZES:
        for callers in CALLERS:
            number = (8000 if size < 20_000 else 3000) // (4 if callers == 1 else 1)
            figures: list[Sequence[float]] = []
            results: Batch[DeliveryResult, None] = Batch(  # as the outcome recorder has it
                lambda batch, _: store.results.write(batch),
                items=BATCH_ITEMS,
                weight=BATCH_OUTCOMES,
                weigh=lambda each: len(each.outcomes),
                keeps=True,
            )
            for _ in range(ROUNDS):
                messages, deliveries = make(number, size), [None] * number

                async def put(n: int, messages=messages, deliveries=deliveries) -> None:  # type: ignore[no-untyped-def]
                    queued = await store.messages.enqueue(messages[n], leased=True)
                    assert isinstance(queued, Leased)
                    (deliveries[n],) = queued.deliveries

                async def write(n: int, deliveries=deliveries, results=results) -> None:  # type: ignore[no-untyped-def]
                    await results.do(delivered(deliveries[n]))

                figures += [
                    (*await measure(meter, callers, put, number), *await measure(meter, callers, write, number))
                ]
                await vacuum()
            put_rate, ours, theirs, write_rate, ours_too, theirs_too = (
                sorted(column)[(len(column) - 1) // 2] for column in zip(*figures[1:], strict=True)
            )
            print(
                f"{size:7} {callers:7} | {put_rate:7.0f} {ours:6.3f} {theirs:6.3f} |"
                f" {write_rate:8.0f} {ours_too:6.3f} {theirs_too:6.3f} | {ours + theirs + ours_too + theirs_too:.3f}"
            )


async def find(store: Store, meter: Meter, known: int) -> None:
    addresses = [Address(f"someone{n}", "example.net") for n in range(10_000)]

    async def look(n: int) -> None:
        await store.suppressions.find(1, [addresses[n]])

    rate, ours, theirs = await measure(meter, 16, look, len(addresses))
    print(f"suppressions.find, {known:>9} known, 16 callers: {rate:7.0f}/s  ours {ours:.3f}  PG {theirs:.3f} ms")


async def take(store: Store, rows: int) -> None:
    times = []
    for _ in range(20):
        began = time.perf_counter()
        taken = await store.messages.claim(deliveries=500, octets=10**9)
        times.append((time.perf_counter() - began) * 1000)
        await store.messages.requeue(taken, datetime.now(UTC) + timedelta(hours=1))
    print(f"lease of 500 from {rows} due rows: median {sorted(times)[10]:.1f} ms, longest {max(times):.1f} ms")


async def run(dsn: str, meter: Meter, long: bool) -> None:
    await migrate(dsn)
    store = await Store.open(dsn, DatabaseSettings(lease="1h"), Secrets(os.urandom(32)))
    await store.lease.register()
    async with store._database.session(3600) as connection:

        async def vacuum() -> None:
            await connection.execute("vacuum queue")
            await connection.execute("truncate content")  # as the ring is emptied

        await put_and_write(store, meter, vacuum)
        await find(store, meter, 0)
        if long:
            await connection.execute(SUPPRESSIONS, 1_000_000)
            await connection.execute("vacuum analyze suppression")
            await find(store, meter, 1_000_000)
            await connection.execute(QUEUE, 1_000_000)
            await connection.execute("vacuum analyze queue")
            await take(store, 1_000_000)
    await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="with a million rows")
    parser.add_argument("--programs", type=Path, help="folder of PostgreSQL's programs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imprimatur-bench-") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedPostgres(Path(folder) / "postgres", programs=options.programs)
        dsn = server.start()
        try:
            postmaster = int((Path(folder) / "postgres" / "postmaster.pid").read_text().split()[0])
            uvloop.run(run(dsn, Meter(postmaster), options.long))
        finally:
            server.remove()


if __name__ == "__main__":
    main()

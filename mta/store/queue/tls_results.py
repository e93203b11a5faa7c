"""How TLS with receivers went, by day (UTC), recipient domain and policy, until it has been reported (RFC 8460).

Invariants: sessions are counted exactly; only so many domains a day, and so many different failures of each, are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from hashlib import blake2b
from typing import Any

import orjson

from mta.mail.tls_session import MAX_FAILURES, AppliedPolicy, PolicyKind, SessionCount, SessionFailure, TlsResult
from mta.store.postgres.database import Connection, Database

MAX_DOMAINS = 100_000  # a day
SPREAD = 4 * 3600  # seconds after midnight over which the reports are spread (RFC 8460 4.1)

_DOMAINS = f"""
insert into tls_report (day, domain, due_at)
select day, domain, (day + 1)::timestamp at time zone 'utc' + random() * interval '{SPREAD} seconds'
from (select distinct * from unnest($1::date[], $2::text[]) as one (day, domain)) as new
where (select count(*) from tls_report r where r.day = new.day) < {MAX_DOMAINS}
order by day, domain
on conflict do nothing"""  # noqa: S608 - our own constants

_SESSIONS = """
insert into tls_sessions as s (day, domain, policy_key, policy, successful, failed)
select day, domain, policy_key, policy, successful, failed
from unnest($1::date[], $2::text[], $3::bytea[], $4::jsonb[], $5::bigint[], $6::bigint[])
    as new (day, domain, policy_key, policy, successful, failed)
where exists (select from tls_report r where r.day = new.day and r.domain = new.domain)
order by day, domain, policy_key
on conflict (day, domain, policy_key) do update set
    successful = s.successful + excluded.successful, failed = s.failed + excluded.failed"""

_FAILURES = f"""
insert into tls_failure as f (day, domain, policy_key, failure_key, failure, sessions)
select day, domain, policy_key, failure_key, failure, sessions
from unnest($1::date[], $2::text[], $3::bytea[], $4::bytea[], $5::jsonb[], $6::bigint[])
    as new (day, domain, policy_key, failure_key, failure, sessions)
where exists (select from tls_report r where r.day = new.day and r.domain = new.domain)
    and ((select count(*) from tls_failure o
          where o.day = new.day and o.domain = new.domain and o.policy_key = new.policy_key) < {MAX_FAILURES}
         or exists (select from tls_failure o where o.day = new.day and o.domain = new.domain
                    and o.policy_key = new.policy_key and o.failure_key = new.failure_key))
order by day, domain, policy_key, failure_key
on conflict (day, domain, policy_key, failure_key) do update set sessions = f.sessions + excluded.sessions"""  # noqa: S608

_READ = """
select domain, policy_key, policy, successful, failed from tls_sessions
where day = $1 and ($2::text is null or domain = $2) order by domain, policy_key limit $3"""

_READ_FAILURES = """
select domain, policy_key, failure, sessions from tls_failure
where day = $1 and domain = any($2) order by sessions desc, failure_key"""

# An instance that dies with a claim leaves the report to the next one, an hour later.
_CLAIM = """
update tls_report set tries = tries + 1, due_at = now() + interval '1 hour' where (day, domain) in (
    select day, domain from tls_report
    where not done and due_at <= now() and tries < $2 and day < (now() at time zone 'utc')::date
    order by due_at limit $1 for update skip locked
)
returning day, domain"""

_SWEEP = [
    f"delete from {table} where day < (now() at time zone 'utc')::date - 7"  # noqa: S608 - our own tables
    for table in ("tls_report", "tls_sessions", "tls_failure")
]


@dataclass(frozen=True, slots=True)
class DueReport:
    """A day and domain to be reported."""

    day: date
    domain: str


class TlsResults:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, counts: Sequence[SessionCount]) -> None:
        """Add what a worker has counted. Raises StoreUnavailable."""
        if not counts:
            return
        sessions = [_sessions_row(count) for count in counts]
        failures = [row for count in counts for row in _failure_rows(count)]

        async def work(connection: Connection) -> None:
            await connection.execute(_DOMAINS, [row[0] for row in sessions], [row[1] for row in sessions])
            await connection.execute(_SESSIONS, *zip(*sessions, strict=True))
            if failures:
                await connection.execute(_FAILURES, *zip(*failures, strict=True))

        await self._database.retried(work)

    async def read(self, day: date, domain: str | None = None, limit: int = 10_000) -> Sequence[SessionCount]:
        """Return a day's counts, of one domain or of all, by domain. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_READ, day, domain, limit)
            domains = list({row["domain"] for row in rows})
            failures = await connection.fetch(_READ_FAILURES, day, domains)
        details: dict[tuple[str, bytes], Counter[SessionFailure]] = {}
        for row in failures:
            known = details.setdefault((row["domain"], row["policy_key"]), Counter())
            known[_failure(row["failure"])] += row["sessions"]
        return [
            SessionCount(
                day,
                row["domain"],
                _policy(row["policy"]),
                row["successful"],
                row["failed"],
                details.get((row["domain"], row["policy_key"]), Counter()),
            )
            for row in rows
        ]

    async def claim(self, limit: int, *, tries: int) -> Sequence[DueReport]:
        """Return reports of past days that are due and were not tried ``tries`` times, for this process alone.

        Raises StoreUnavailable.
        """
        async with self._database.session() as connection:
            return [DueReport(row["day"], row["domain"]) for row in await connection.fetch(_CLAIM, limit, tries)]

    async def done(self, report: DueReport) -> None:
        """Note that a report was sent, or is not wanted. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(
                "update tls_report set done = true where day = $1 and domain = $2", report.day, report.domain
            )

    async def sweep(self) -> None:
        """Delete what is older than a week. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            for statement in _SWEEP:
                await connection.execute(statement)


def _sessions_row(count: SessionCount) -> tuple[Any, ...]:
    policy = _policy_json(count.policy)
    return count.day, count.domain, _key(policy), policy.decode(), count.successful, count.failed


def _failure_rows(count: SessionCount) -> list[tuple[Any, ...]]:
    policy_key = _key(_policy_json(count.policy))
    rows = []
    for failure, sessions in count.failures.items():
        told = orjson.dumps(asdict(failure) | {"result": failure.result.value})
        rows.append((count.day, count.domain, policy_key, _key(told), told.decode(), sessions))
    return rows


def _policy_json(policy: AppliedPolicy) -> bytes:
    return orjson.dumps(asdict(policy) | {"kind": policy.kind.value})


def _policy(text: str) -> AppliedPolicy:
    fields = orjson.loads(text)
    return AppliedPolicy(PolicyKind(fields["kind"]), fields["domain"], tuple(fields["lines"]), tuple(fields["mx"]))


def _failure(text: str) -> SessionFailure:
    fields = orjson.loads(text)
    return SessionFailure(**fields | {"result": TlsResult(fields["result"])})


def _key(text: bytes) -> bytes:
    return blake2b(text, digest_size=16).digest()

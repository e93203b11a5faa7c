"""TLS sessions by day, domain and policy, until they have been reported."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest

from mta.mail.tls_session import MAX_FAILURES, AppliedPolicy, PolicyKind, SessionCount, SessionFailure, TlsResult
from mta.store.queue import tls_results
from mta.store.queue.tls_results import DueReport
from mta.store.store import Store
from tests.unit.mta.store.make import execute

TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(days=1)
STS = AppliedPolicy(PolicyKind.STS, "example.com", ("mode: enforce",), ("*.example.com",))
TLSA = AppliedPolicy(PolicyKind.TLSA, "mx1.example.com", ("3 1 1 ab",), ("mx1.example.com",))


def failure(n: int = 1) -> SessionFailure:
    return SessionFailure(TlsResult.CERTIFICATE_EXPIRED, "192.0.2.1", "mx1.example.com", f"198.51.100.{n}", "expired")


def count(day: date, domain: str = "example.com", policy: AppliedPolicy = STS, **more: object) -> SessionCount:
    return SessionCount(day, domain, policy, **more)  # type: ignore[arg-type]


async def test_what_workers_count_adds_up(store: Store) -> None:
    for _ in range(2):
        await store.tls_results.add(
            [
                count(TODAY, successful=3, failed=2, failures=Counter({failure(): 2})),
                count(TODAY, policy=TLSA, failed=1, failures=Counter({failure(2): 1})),
                count(TODAY, "other.example", successful=1),
                count(YESTERDAY, successful=7),
            ]
        )
    found = {(each.domain, each.policy): each for each in await store.tls_results.read(TODAY)}
    assert found == {
        ("example.com", STS): count(TODAY, successful=6, failed=4, failures=Counter({failure(): 4})),
        ("example.com", TLSA): count(TODAY, policy=TLSA, failed=2, failures=Counter({failure(2): 2})),
        ("other.example", STS): count(TODAY, "other.example", successful=2),
    }
    assert [each.successful for each in await store.tls_results.read(YESTERDAY, "example.com")] == [14]


async def test_only_so_much_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(MAX_FAILURES + 5):
        await store.tls_results.add([count(TODAY, failed=1, failures=Counter({failure(n): 1}))])
    (found,) = await store.tls_results.read(TODAY)
    assert (found.failed, len(found.failures)) == (MAX_FAILURES + 5, MAX_FAILURES)
    statement = tls_results._DOMAINS.replace(str(tls_results.MAX_DOMAINS), "2")
    monkeypatch.setattr(tls_results, "_DOMAINS", statement)
    await store.tls_results.add([count(TODAY, "b.example", successful=1)])
    await store.tls_results.add([count(TODAY, "c.example", successful=1)])
    assert {each.domain for each in await store.tls_results.read(TODAY)} == {"example.com", "b.example"}


async def test_a_report_is_one_process_at_a_time_and_only_of_days_that_are_over(store: Store) -> None:
    await store.tls_results.add([count(TODAY, successful=1), count(YESTERDAY, successful=1)])
    assert await store.tls_results.claim(10, tries=2) in ([], [DueReport(YESTERDAY, "example.com")])
    await execute(store, "update tls_report set due_at = now(), tries = 0")
    assert await store.tls_results.claim(10, tries=2) == [DueReport(YESTERDAY, "example.com")]
    assert await store.tls_results.claim(10, tries=2) == []
    await execute(store, "update tls_report set due_at = now()")  # it died with it
    assert await store.tls_results.claim(10, tries=2) == [DueReport(YESTERDAY, "example.com")]
    await execute(store, "update tls_report set due_at = now()")
    assert await store.tls_results.claim(10, tries=2) == []  # tried often enough
    assert await store.tls_results.claim(10, tries=3) == [DueReport(YESTERDAY, "example.com")]
    await store.tls_results.done(DueReport(YESTERDAY, "example.com"))
    await execute(store, "update tls_report set due_at = now()")
    assert await store.tls_results.claim(10, tries=9) == []


async def test_what_is_older_than_a_week_is_deleted(store: Store) -> None:
    old = TODAY - timedelta(days=8)
    await store.tls_results.add([count(day, failed=1, failures=Counter({failure(): 1})) for day in (old, YESTERDAY)])
    await store.tls_results.sweep()
    assert await store.tls_results.read(old) == []
    assert len(await store.tls_results.read(YESTERDAY)) == 1

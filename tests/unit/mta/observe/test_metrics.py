"""Counting in one process, adding up over all of them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mta.mail.address import Address
from mta.mail.delivery import (
    Action,
    Attempt,
    Classification,
    Deferred,
    Delivered,
    Delivery,
    Failed,
    Fault,
    Host,
    QueuedRecipient,
    Result,
    Stage,
)
from mta.mail.identity import new_message_id
from mta.mail.reply import Reply, ReplyKind
from mta.observe import metrics as metrics_module
from mta.observe.exposition import exposition
from mta.observe.labels import Encryption, RejectionSubject, Severity
from mta.observe.metric_files import add_providers, mark_dead, prepare, totals
from mta.observe.metrics import Metrics, read_providers, sample_process
from mta.observe.shared_counters import SIZE, MetricType, SharedCounters
from tests.metric_names import full_name


def sample(text: bytes, series: str) -> float:
    """The value of ``series`` (name and labels as they stand in the exposition)."""
    for line in text.decode().splitlines():
        name, _, value = line.rpartition(" ")
        if name == series:
            return float(value)
    raise AssertionError(f"no {series} in the exposition")


def test_what_is_counted_is_exposed(tmp_path: Path) -> None:
    prepare(tmp_path)
    metrics = Metrics.open(tmp_path)
    metrics.sessions.inc()
    metrics.sessions.inc()
    metrics.sessions_open.set(5)
    metrics.sessions_open.dec()
    metrics.recipients_delivered[Encryption.YES].inc(3)
    text = exposition(tmp_path)
    assert sample(text, "imprimatur_sessions_total") == 2
    assert sample(text, "imprimatur_sessions_open") == 4
    assert sample(text, 'imprimatur_recipients_delivered_total{tls="yes"}') == 3
    assert sample(text, 'imprimatur_recipients_delivered_total{tls="no"}') == 0


def test_histogram_buckets_are_cumulative_and_a_bound_belongs_to_its_bucket(tmp_path: Path) -> None:
    prepare(tmp_path)
    metrics = Metrics.open(tmp_path)
    for seconds in (0.0001, 0.001, 0.002, 100.0):
        metrics.accept_seconds.observe(seconds)
    text = exposition(tmp_path)
    assert sample(text, 'imprimatur_accept_seconds_bucket{le="0.001"}') == 2
    assert sample(text, 'imprimatur_accept_seconds_bucket{le="0.0025"}') == 3
    assert sample(text, 'imprimatur_accept_seconds_bucket{le="30.0"}') == 3
    assert sample(text, 'imprimatur_accept_seconds_bucket{le="+Inf"}') == 4
    assert sample(text, "imprimatur_accept_seconds_count") == 4
    assert sample(text, "imprimatur_accept_seconds_sum") == pytest.approx(100.0031)


_CHILD = """
import sys
from pathlib import Path
from mta.observe.metrics import Metrics
metrics = Metrics.open(Path(sys.argv[1]))
metrics.sessions.inc(10)
metrics.sessions_open.set(3)
metrics.loop_lag.set(7)
print("counted", flush=True)
sys.stdin.read()
"""


def test_processes_add_up_and_the_dead_keep_their_counts_only(tmp_path: Path) -> None:
    prepare(tmp_path)
    own = Metrics.open(tmp_path)
    own.sessions.inc(1)
    own.sessions_open.set(2)
    own.loop_lag.set(5)
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == b"counted\n"
        alive = exposition(tmp_path)
        child.kill()
        child.wait()
        assert sample(exposition(tmp_path), "imprimatur_sessions_total") == 11, "nothing is lost before it is buried"
        mark_dead(tmp_path, child.pid)
    dead = exposition(tmp_path)
    assert sample(alive, "imprimatur_sessions_total") == sample(dead, "imprimatur_sessions_total") == 11
    assert (sample(alive, "imprimatur_sessions_open"), sample(dead, "imprimatur_sessions_open")) == (5, 2)
    assert (sample(alive, "imprimatur_loop_lag_seconds"), sample(dead, "imprimatur_loop_lag_seconds")) == (7, 5)


def test_many_deaths_leave_one_page(tmp_path: Path) -> None:
    prepare(tmp_path)
    for _ in range(5):
        Metrics.open(tmp_path).sessions.inc()
        mark_dead(tmp_path, os.getpid())
    assert sample(exposition(tmp_path), "imprimatur_sessions_total") == 5
    assert len(list((tmp_path / "metrics").glob("*.counters"))) == 1


def test_a_new_service_starts_from_nought(tmp_path: Path) -> None:
    prepare(tmp_path)
    Metrics.open(tmp_path).sessions.inc()
    prepare(tmp_path)
    assert sample(exposition(tmp_path), "imprimatur_sessions_total") == 0


def test_pages_of_other_code_are_left_out(tmp_path: Path) -> None:
    prepare(tmp_path)
    (tmp_path / "metrics" / "99999-1.0123456789ab.counters").write_bytes(b"\xff" * 16384)
    assert sample(exposition(tmp_path), "imprimatur_sessions_total") == 0


def test_a_page_that_is_being_made_is_left_out(tmp_path: Path) -> None:
    prepare(tmp_path)
    (tmp_path / "metrics" / f"99999-1{Metrics().counters.suffix}").write_bytes(b"")
    assert sample(exposition(tmp_path), "imprimatur_sessions_total") == 0


def test_names_are_unique_and_say_their_unit() -> None:
    names = [full_name(family) for family in Metrics().counters.families]
    assert len(names) == len(set(names))
    for family in Metrics().counters.families:
        assert full_name(family).endswith("_total") == (family.type is MetricType.COUNTER)
        assert family.type is not MetricType.HISTOGRAM or family.name.endswith("_seconds")


def test_an_instance_has_metrics_of_its_own_that_nothing_of_the_class_hides() -> None:
    first, second = vars(Metrics()), vars(Metrics())
    assert not first.keys() & vars(Metrics).keys()
    assert [name for name in first if first[name] is second[name]] == []


def test_too_many_series_are_refused_when_declared() -> None:
    counters = SharedCounters()
    for n in range(SIZE // 8):
        counters.counter(f"c{n}", "one of many")
    with pytest.raises(ValueError, match="raise SIZE"):
        counters.counter("one_more", "too many")


@pytest.mark.parametrize(
    ("reply", "severity", "subject"),
    [
        (Reply(550, "5.1.1", ""), Severity.PERMANENT, RejectionSubject.ADDRESS),
        (Reply(550, "5.7.1", ""), Severity.PERMANENT, RejectionSubject.POLICY),
        (Reply(452, "4.5.3", ""), Severity.TRANSIENT, RejectionSubject.PROTOCOL),
        (Reply(451, "4.0.0", ""), Severity.TRANSIENT, RejectionSubject.OTHER),
        (Reply(500, "5.9.9", ""), Severity.PERMANENT, RejectionSubject.OTHER),
        (Reply(421, "", ""), Severity.TRANSIENT, RejectionSubject.OTHER),
    ],
)
def test_rejections_are_counted_by_their_code(reply: Reply, severity: Severity, subject: RejectionSubject) -> None:
    metrics = Metrics()
    metrics.rejected(reply)
    assert metrics.rejections[severity, subject].value == 1


def test_an_attempt_is_counted_by_stage_and_each_recipient_by_outcome() -> None:
    ann, bob, cat, dan = (QueuedRecipient(n, Address("x", f"{n}.example")) for n in range(4))
    now = datetime.now(UTC)
    delivery = Delivery(
        new_message_id(), "a.example", None, (ann, bob, cat, dan), 1, now - timedelta(seconds=9), now, 700
    )
    taken, refused = Reply(250, "2.0.0", "ok"), Reply(550, "5.1.1", "no")
    full = Classification("mailbox_full", Fault.RECIPIENT, Action.RETRY, "full")
    gone = Classification("site_down", Fault.SITE, Action.RETRY, "down")
    results = (
        Result(bob, Stage.RECIPIENT, refused),
        Result(cat, Stage.RECIPIENT, refused),
        Result(dan, Stage.RECIPIENT, refused),
        Result(ann, Stage.FINAL_DOT, taken),
    )
    attempt = Attempt(delivery, results, now, 1.0, Host("mx.a.example", "192.0.2.1", "TLSv1.3"))
    outcomes = (
        Deferred(results[0], full, now),
        Failed(results[1], full),
        Failed(results[2], gone, expired=True),
        Delivered(results[3]),
    )
    metrics = Metrics()
    metrics.outcome_recorded(attempt, outcomes)
    assert metrics.attempts[Stage.FINAL_DOT, ReplyKind.POSITIVE].value == 1
    assert metrics.recipients_deferred[Fault.RECIPIENT].value == 1
    assert metrics.recipients_failed[Fault.RECIPIENT].value == 1
    assert metrics.recipients_failed[Fault.SITE].value == 1
    assert metrics.recipients_expired.value == 1
    assert metrics.recipients_delivered[Encryption.YES].value == 1
    assert metrics.bytes_delivered.value == 700
    assert metrics.delivery_seconds.count == 1


def test_totals_answer_how_many_and_how_fast(tmp_path: Path) -> None:
    prepare(tmp_path)
    metrics = Metrics.open(tmp_path)
    metrics.accept_seconds.observe(30.0)
    metrics.rejected(Reply(550, "5.1.1", ""))
    metrics.rejected(Reply(451, "4.3.0", ""))
    before = totals(tmp_path)
    assert before.quantile("accept_seconds", 0.5, before) is None
    for _ in range(100):
        metrics.accept_seconds.observe(0.02)
    now = totals(tmp_path)
    assert now.sum("rejections") == 2
    assert now.sum("rejections", "permanent") == 1
    assert now.sum("rejections", "permanent", "policy") == 0
    median = now.quantile("accept_seconds", 0.5, before)
    assert median
    assert 0.01 < median < 0.025


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_what_root_makes_belongs_to_the_owner_of_the_run_directory(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    prepare(tmp_path)
    Metrics.open(tmp_path).sessions.inc()
    exposition(tmp_path)
    mark_dead(tmp_path, os.getpid())
    Metrics.open(tmp_path)
    made = [tmp_path / "metrics", *(tmp_path / "metrics").iterdir()]
    assert len(made) == 5
    assert {path.stat().st_uid for path in made} == {65534}


async def test_a_process_measures_its_memory_and_cpu_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "SAMPLE_EVERY", 0.01)
    metrics = Metrics()
    sampling = asyncio.create_task(sample_process(metrics))
    while not metrics.resident_bytes.value:  # noqa: ASYNC110  the task makes it true
        await asyncio.sleep(0.01)
    sampling.cancel()
    assert metrics.resident_bytes.value > 1_000_000
    assert metrics.cpu_seconds.value > 0


def test_receivers_are_counted_by_the_groups_of_the_configuration(tmp_path: Path) -> None:
    prepare(tmp_path, ["gmail", "yahoo"])
    metrics = Metrics.open(tmp_path)
    recipient = QueuedRecipient(0, Address("ann", "a.example"))
    blocked = Classification("bad_reputation", Fault.SENDER, Action.RETRY, "rule")
    now = datetime.now(UTC)
    outcomes = [
        Delivered(Result(recipient, Stage.FINAL_DOT, Reply(250, "2.0.0", "ok"))),
        Deferred(Result(recipient, Stage.RECIPIENT, Reply(421, "4.7.0", "too much")), blocked, now),
    ]
    metrics.provider_outcomes("gmail", outcomes, now - timedelta(seconds=3), now)
    metrics.provider_outcomes("unknown", outcomes[:1], now, now)
    metrics.provider_backoff("yahoo")
    text = exposition(tmp_path)
    assert sample(text, 'imprimatur_provider_recipients_total{outcome="delivered",provider="gmail"}') == 1
    assert sample(text, 'imprimatur_provider_recipients_total{outcome="deferred",provider="gmail"}') == 1
    assert sample(text, 'imprimatur_provider_recipients_total{outcome="delivered",provider="default"}') == 1
    assert sample(text, 'imprimatur_provider_rejections_total{provider="gmail"}') == 1
    assert sample(text, 'imprimatur_provider_delivery_seconds_total{provider="gmail"}') == 3
    assert sample(text, 'imprimatur_provider_backoffs_total{provider="yahoo"}') == 1


def test_a_group_that_a_reload_adds_is_counted_from_then_on(tmp_path: Path) -> None:
    prepare(tmp_path, ["gmail", "yahoo"])
    worker, other = Metrics.open(tmp_path), Metrics.open(tmp_path)
    worker.provider_backoff("yahoo")
    worker.provider_backoff("regional")
    add_providers(tmp_path, ["regional", "gmail"])
    worker.count_providers(read_providers(tmp_path))
    worker.provider_backoff("regional")
    worker.provider_backoff("yahoo")
    worker.sessions.inc()
    other.provider_backoff("gmail")  # it has not been told yet
    late = Metrics.open(tmp_path)
    late.provider_backoff("regional")
    expected = {"default": 1, "gmail": 1, "yahoo": 2, "regional": 2}
    now = totals(tmp_path)
    assert {name: now.sum("provider_backoffs", name) for name in expected} == expected
    assert now.sum("sessions") == 1
    mark_dead(tmp_path, os.getpid())
    now = totals(tmp_path)
    assert {name: now.sum("provider_backoffs", name) for name in expected} == expected
    assert b'imprimatur_provider_backoffs_total{provider="regional"} 2.0' in exposition(tmp_path)

"""Every metric of the service: declared once, counted in each process, added up for Prometheus.

``prepare`` empties the directory when the service starts; each process then calls ``Metrics.open`` and counts in its
own page (``mta.observe.shared_counters``, about a tenth of a microsecond a count); ``exposition`` adds up all pages,
and
``mark_dead`` folds the counts of a process that has ended into a common page and forgets its gauges.

The label values are enums, never what a client or receiver said: no domains, no accounts, no addresses.

*Limits.* Counts start from nought when the service starts, as Prometheus expects. A worker that runs other code than
the rest (upgraded files under a running service) is left out until everything is restarted.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import assert_never

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from mta.mail.delivery import Action, Attempt, Deferred, Delivered, Failed, Fault, Outcome, Stage
from mta.mail.message import Message
from mta.mail.reply import Reply, ReplyKind
from mta.observe.labels import (
    Auth,
    Encryption,
    InboundReportKind,
    Lookup,
    QueueState,
    RejectionSubject,
    Severity,
    StoreCall,
    Success,
    UnsubscribeWay,
)
from mta.observe.shared_counters import (
    LONG_SECONDS,
    CounterPage,
    Family,
    MetricForm,
    create,
    map_file,
    read_file,
)
from mta.observe.totals import Totals
from policy.reputation.breaker import BreakerKind

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "imprimatur_"


class Metrics:
    """The metrics of one process, by attribute. ``Metrics()`` counts for nobody (tests, commands)."""

    def __init__(self, page: CounterPage | None = None) -> None:
        self.page = page = CounterPage() if page is None else page
        # submission
        self.sessions = page.counter("sessions", "SMTP sessions opened by clients")
        self.sessions_open = page.gauge("sessions_open", "SMTP sessions open now")
        self.authentications = page.counters("authentications", "AUTH attempts by result", "result", Auth)
        self.messages_accepted = page.counters(
            "messages_accepted",
            "Messages accepted, by whether the client's connection was encrypted",
            "tls",
            Encryption,
        )
        self.recipients_accepted = page.counter("recipients_accepted", "Recipients of accepted messages")
        self.bytes_accepted = page.counter("accepted_bytes", "Bytes of accepted messages")
        self.accept_seconds = page.histogram("accept_seconds", "Time from the end of a message's data to our 250")
        self.rejections = page.counter_table(
            "rejections",
            "Rejections sent to clients, by enhanced status code",
            ("severity", Severity),
            ("subject", RejectionSubject),
        )
        self.rule_errors = page.counter("rule_errors", "Policy rules that raised an error; the message got a 4xx")
        # the queue
        self.queue = page.gauges(
            "queue_recipients", "Queued recipients in the database", "state", QueueState, MetricForm.MAX
        )
        self.queue_oldest = page.gauge(
            "queue_oldest_seconds", "Age of the oldest unexpired queued recipient", MetricForm.MAX
        )
        self.queue_measured = page.gauge(
            "queue_measured_timestamp_seconds", "Time of the last queue measurement", MetricForm.MAX
        )
        self.active_recipients = page.gauge("active_recipients", "Recipients in the workers' active queues")
        self.active_bytes = page.gauge("active_bytes", "Bytes of messages in the workers' active queues")
        self.ready_queues = page.gauge("ready_queues", "Ready queues that are not empty")
        self.ready_queues_in_backoff = page.gauge(
            "ready_queues_in_backoff", "Ready queues in backoff after failed connections"
        )
        self.backoffs = page.counter("backoffs", "Backoffs of destinations started")
        # delivery
        self.attempts = page.counter_table(
            "attempts",
            "Delivery attempts, by the stage reached and the kind of the last reply",
            ("stage", Stage),
            ("reply", ReplyKind),
        )
        self.attempt_seconds = page.histogram("attempt_seconds", "Duration of a delivery attempt", LONG_SECONDS)
        self.recipients_delivered = page.counters(
            "recipients_delivered",
            "Recipients delivered, by whether the connection was encrypted",
            "tls",
            Encryption,
        )
        self.bytes_delivered = page.counter("delivered_bytes", "Bytes of messages accepted by receivers")
        self.delivery_seconds = page.histogram(
            "delivery_seconds", "Time from acceptance to delivery, per recipient", LONG_SECONDS
        )
        self.recipients_deferred = page.counters("recipients_deferred", "Recipients deferred, by fault", "fault", Fault)
        self.recipients_failed = page.counters(
            "recipients_failed", "Recipients failed permanently, by fault", "fault", Fault
        )
        self.recipients_expired = page.counter("recipients_expired", "Recipients failed because the message expired")
        self.deliveries_unknown = page.counter(
            "deliveries_unknown", "Attempts whose connection was lost after the final dot: may be delivered twice"
        )
        self.recipients_suppressed = page.counter(
            "recipients_suppressed", "Queued recipients dropped before an attempt because the address was suppressed"
        )
        self.suppressions = page.counter("suppressions", "Addresses added to the suppression list")
        self.dsn = page.counter("dsn", "Delivery status notifications sent to senders")
        self.connections = page.counters("connections", "Connection attempts to receivers", "success", Success)
        self.connections_open = page.gauge("connections_open", "Connections to receivers open now")
        self.dns = page.counters("dns_lookups", "DNS lookups for routing, by result", "result", Lookup)
        # reports
        self.unsubscribes = page.counters(
            "unsubscribes", "Unsubscribe requests, by method; unknown: the token is not valid", "method", UnsubscribeWay
        )
        self.inbound_reports = page.counters(
            "inbound_reports", "Bounces, complaints and other mail received, by kind", "kind", InboundReportKind
        )
        self.inbound_report_backlog = page.gauge(
            "inbound_report_backlog", "Inbound reports waiting to be processed", MetricForm.MAX
        )
        self.inbound_reports_failed = page.gauge(
            "inbound_reports_failed", "Inbound reports given up after several tries", MetricForm.MAX
        )
        # reputation
        self.breaker_trips = page.counters("breaker_trips", "Breakers tripped, by kind", "kind", BreakerKind)
        self.breaker_warnings = page.counters(
            "breaker_warnings", "Rates that came close to a breaker's limit", "kind", BreakerKind
        )
        self.breakers_open = page.gauge("breakers_open", "Breakers that hold mail", MetricForm.MAX)
        self.blocklist_listings = page.gauge(
            "blocklist_listings", "Confirmed blocklist listings of our addresses and sender domains", MetricForm.MAX
        )
        self.blocklists_ignored = page.gauge(
            "blocklists_ignored", "Blocklists ignored because their test entries are wrong", MetricForm.MAX
        )
        self.sources_in_backoff = page.gauge(
            "sources_in_backoff", "Egress sources not used because they are listed", MetricForm.MAX
        )
        # the store
        self.store_seconds = page.histograms("store_seconds", "Duration of database calls", "call", StoreCall)
        self.store_unavailable = page.counter("store_unavailable", "Database calls that failed or timed out")
        self.outcomes_pending = page.gauge("outcomes_pending", "Outcomes not yet written to the database")
        self.database_up = page.gauge("database_up", "1 if the database answers", MetricForm.MAX)
        # webhooks
        self.webhook_events = page.counter("webhook_events", "Events accepted by webhooks")
        self.webhook_requests = page.counters(
            "webhook_requests", "Webhook requests, by whether the receiver answered 2xx", "success", Success
        )
        self.webhooks_failing = page.gauge(
            "webhooks_failing", "Webhooks that failed web.webhooks.alert_after times in a row", MetricForm.MAX
        )
        self.webhook_lag = page.gauge(
            "webhook_lag_seconds", "Age of the oldest event not yet accepted by a webhook", MetricForm.MAX
        )
        # the service itself
        self.workers = page.gauge("workers", "Worker processes running")
        self.workers_wanted = page.gauge("workers_wanted", "Worker processes that should be running", MetricForm.MAX)
        self.worker_restarts = page.counter("worker_restarts", "Workers that exited unexpectedly and were replaced")
        self.reloads = page.counters("config_reloads", "Configuration reloads", "success", Success)
        self.config_loaded = page.gauge(
            "config_loaded_timestamp_seconds", "Time at which the current configuration was loaded", MetricForm.MAX
        )
        self.loop_lag = page.gauge("loop_lag_seconds", "Longest recent delay of the event loop", MetricForm.MAX)
        self.cpu_seconds = page.counter("cpu_seconds", "CPU time of the service's own processes")
        self.resident_bytes = page.gauge("resident_bytes", "Resident memory of the service's own processes")
        self.events_dropped = page.counter("events_dropped", "Event log lines lost because they could not be written")
        self.trace_dropped = page.counter("trace_dropped", "Trace lines lost because the reader was too slow")

    @classmethod
    def open(cls, run_dir: Path) -> Metrics:
        """The metrics of this process, visible to ``exposition``. Call it once in each process, after any fork."""
        directory = run_dir / "metrics"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        suffix = _page_suffix(cls())
        return cls(CounterPage(map_file(directory / f"{os.getpid()}-{time.monotonic_ns()}{suffix}")))

    def accepted(self, message: Message, seconds: float) -> None:
        """Count a message that was committed and answered with 250 ``seconds`` after the end of its data."""
        self.messages_accepted[Encryption.of(message.origin.tls)].inc()
        self.recipients_accepted.inc(len(message.envelope.recipients))
        self.bytes_accepted.inc(len(message.content))
        self.accept_seconds.observe(seconds)

    def rejected(self, reply: Reply) -> None:
        """Count a command, message or session that was rejected with ``reply``."""
        self.rejections[Severity.of(reply), RejectionSubject.of(reply)].inc()

    def outcome_recorded(self, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        """Count an attempt whose outcomes were written to the database."""
        last = attempt.results[-1]
        self.attempts[last.stage, last.reply.kind].inc()
        self.attempt_seconds.observe(attempt.seconds)
        if last.delivery_unknown:
            self.deliveries_unknown.inc()
        delivered = 0
        for outcome in outcomes:
            match outcome:
                case Delivered():
                    delivered += 1
                case Deferred(_, meaning):
                    self.recipients_deferred[meaning.fault].inc()
                case Failed(_, meaning, expired):
                    self.recipients_failed[meaning.fault].inc()
                    if meaning.action is Action.SUPPRESS:
                        self.suppressions.inc()
                    if expired:
                        self.recipients_expired.inc()
                case _:
                    assert_never(outcome)
        if delivered:
            self._delivered(attempt, delivered)

    def _delivered(self, attempt: Attempt, recipients: int) -> None:
        self.recipients_delivered[Encryption.of(attempt.host.tls if attempt.host else None)].inc(recipients)
        self.bytes_delivered.inc(attempt.delivery.size)
        seconds = (attempt.started_at - attempt.delivery.queued_at).total_seconds() + attempt.seconds
        for _ in range(recipients):
            self.delivery_seconds.observe(seconds)


def full_name(family: Family) -> str:
    """The name that Prometheus sees, without the ``_bucket``, ``_sum`` and ``_count`` of histograms."""
    return f"{PREFIX}{family.name}_total" if family.form is MetricForm.COUNTER else f"{PREFIX}{family.name}"


def prepare(run_dir: Path) -> None:
    """Forget everything counted before: called once, when the service starts and before any of its processes.

    The owner of ``run_dir`` is whom processes that are not root run as.
    """
    directory = run_dir / "metrics"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() == 0:
        owner = run_dir.stat()
        os.chown(directory, owner.st_uid, owner.st_gid, follow_symlinks=False)
    for path in directory.glob("*.cells"):
        path.unlink(missing_ok=True)


def mark_dead(run_dir: Path, pid: int) -> None:
    """Keep the counts of the ended process ``pid``, forget its gauges, and remove its page."""
    metrics = Metrics()
    directory, suffix = run_dir / "metrics", _page_suffix(metrics)
    with _locked(directory):
        for path in directory.glob(f"{pid}-*{suffix}"):
            common = directory / f"ended{suffix}"
            total = Totals.of(metrics.page.families, live=(), ended=_pages([common, path]))
            draft = common.with_suffix(".new")
            draft.unlink(missing_ok=True)
            with open(create(draft), "wb") as file:
                file.write(total.cells.tobytes())
            draft.replace(common)
            path.unlink(missing_ok=True)


def totals(run_dir: Path) -> Totals:
    """All processes' metrics added up, as they are now; noughts if nothing ever ran here. Raises PermissionError."""
    metrics = Metrics()
    directory, suffix = run_dir / "metrics", _page_suffix(metrics)
    if not directory.is_dir():
        return Totals.of(metrics.page.families, live=(), ended=())
    with _locked(directory):
        ended, live = _pages([directory / f"ended{suffix}"]), _pages(directory.glob(f"*-*{suffix}"))
    return Totals.of(metrics.page.families, live=live, ended=ended)


def exposition(run_dir: Path) -> bytes:
    """All processes' metrics added up, in the text format of Prometheus (CONTENT_TYPE)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Total(totals(run_dir)))
    return generate_latest(registry)


class _Total(Collector):
    """What ``prometheus_client`` asks for when it writes."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals

    def collect(self) -> Iterator[Metric]:
        for family in self._totals.families:
            yield _export(family, self._totals.cells)


def _export(family: Family, cells: memoryview[float]) -> Metric:
    name = PREFIX + family.name
    starts = range(family.start, family.start + family.cells, family.width)
    if family.form is MetricForm.HISTOGRAM:
        histogram = HistogramMetricFamily(name, family.help, labels=family.labels)
        bounds = [*(str(bound) for bound in family.bounds), "+Inf"]
        for labels, start in zip(family.series, starts, strict=True):
            buckets, running = [], 0.0
            for offset, bound in enumerate(bounds):
                running += cells[start + offset]
                buckets.append((bound, running))
            histogram.add_metric(labels, buckets, cells[start + len(bounds)])
        return histogram
    kind = CounterMetricFamily if family.form is MetricForm.COUNTER else GaugeMetricFamily
    single = kind(name, family.help, labels=family.labels)
    for labels, start in zip(family.series, starts, strict=True):
        single.add_metric(labels, cells[start])
    return single


def _pages(paths: Iterable[Path]) -> list[memoryview[float]]:
    return [cells for path in paths if (cells := read_file(path)) is not None]


def _page_suffix(metrics: Metrics) -> str:
    return f".{metrics.page.fingerprint}.cells"


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """A reader must not see a page both in the common page and by itself: totals would jump and fall back."""
    fd = create(directory / "lock", flags=0)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)

"""Every metric of the service, declared once. Each process counts its own; ``mta.observe.metric_files`` combines them.

Invariants: Label values are enums, or names of the configuration, never text from a client or receiver: no domains,
accounts or addresses.
Limitations: Counts start from zero when the service starts, as Prometheus expects. Provider
groups beyond MAX_PROVIDERS, those that reloads have removed included, are counted as REST.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import assert_never

from mta.mail.delivery import Action, Attempt, Deferred, Delivered, Failed, Fault, Outcome, Stage
from mta.mail.message import Message
from mta.mail.reply import Reply, ReplyKind
from mta.mail.shaping_action import Effect
from mta.mail.source_fault import SourceFaultKind
from mta.observe.labels import (
    Auth,
    BackgroundTask,
    Encryption,
    InboundReportKind,
    LinkLookup,
    Lookup,
    PageFetch,
    Protection,
    ProviderOutcome,
    QueueState,
    RejectionSubject,
    Resource,
    Severity,
    SignUpResult,
    StoreCall,
    Success,
    TlsDemandedBy,
    UnsubscribeMethod,
)
from mta.observe.shared_counters import LONG_SECONDS, Family, MetricType, SharedCounters, map_file
from policy.reputation.breaker import BreakerKind, is_against_us

PREFIX = "imprimatur_"
SAMPLE_EVERY = 1.0  # seconds
REST = "default"  # all sites that belong to no provider group
MAX_PROVIDERS = 500  # groups counted each for itself
PROVIDERS_FILE = "providers"
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


class Metrics:
    """The metrics of one process. ``Metrics()`` counts in private memory (tests, commands). ``providers``: names of the
    provider groups of the configuration; what goes elsewhere is counted as REST."""

    def __init__(self, counters: SharedCounters | None = None, providers: Sequence[str] = ()) -> None:
        self.counters = counters = SharedCounters() if counters is None else counters
        groups = [REST, *(name for name in providers if name != REST)][:MAX_PROVIDERS]
        # submission
        self.sessions = counters.counter("sessions", "SMTP sessions opened by clients")
        self.sessions_open = counters.gauge("sessions_open", "SMTP sessions open now")
        self.authentications = counters.counters("authentications", "AUTH attempts by result", "result", Auth)
        self.messages_accepted = counters.counters(
            "messages_accepted",
            "Messages accepted, by whether the client's connection was encrypted",
            "tls",
            Encryption,
        )
        self.recipients_accepted = counters.counter("recipients_accepted", "Recipients of accepted messages")
        self.bytes_accepted = counters.counter("accepted_bytes", "Bytes of accepted messages")
        self.accept_seconds = counters.histogram("accept_seconds", "Time from the end of a message's data to our 250")
        self.rejections = counters.counter_table(
            "rejections",
            "Rejections sent to clients, by enhanced status code",
            ("severity", Severity),
            ("subject", RejectionSubject),
        )
        self.rule_errors = counters.counter("rule_errors", "Policy rules that raised an error; the message got a 4xx")
        # the queue
        self.queue = counters.gauges(
            "queue_recipients", "Queued recipients in the database", "state", QueueState, MetricType.MAX
        )
        self.queue_oldest = counters.gauge(
            "queue_oldest_seconds", "Age of the oldest unexpired queued recipient", MetricType.MAX
        )
        self.queue_measured = counters.gauge(
            "queue_measured_timestamp_seconds", "Time of the last queue measurement", MetricType.MAX
        )
        self.active_recipients = counters.gauge("active_recipients", "Recipients in the workers' active queues")
        self.active_bytes = counters.gauge("active_bytes", "Bytes of messages in the workers' active queues")
        self.ready_queues = counters.gauge("ready_queues", "Ready queues that are not empty")
        self.ready_queues_in_backoff = counters.gauge("ready_queues_in_backoff", "Ready queues in backoff")
        self.backoffs = counters.counter("backoffs", "Backoffs of destinations started")
        self.shaping_actions = counters.counters(
            "shaping_actions", "Shaping actions begun by rules, by effect", "effect", Effect
        )
        self.shaping_actions_in_force = counters.gauges(
            "shaping_actions_in_force", "Shaping actions in force, by effect", "effect", Effect, MetricType.MAX
        )
        self.claim_age = counters.gauge(
            "claim_age_seconds", "Time since a worker last managed to claim due recipients", MetricType.MAX
        )
        self.queue_late = counters.gauge(
            "queue_late_seconds", "How long the first due recipient has waited to be claimed", MetricType.MAX
        )
        self.clock_offset = counters.gauge(
            "clock_offset_seconds", "Difference between this machine's clock and the database's", MetricType.MAX
        )
        self.clock_steps = counters.counter("clock_steps", "Times that a process saw a clock being set")
        self.expiry_suspended = counters.gauge(
            "expiry_suspended", "1 while no message expires because a clock cannot be trusted", MetricType.MAX
        )
        # delivery
        self.attempts = counters.counter_table(
            "attempts",
            "Delivery attempts, by the stage reached and the kind of the last reply",
            ("stage", Stage),
            ("reply", ReplyKind),
        )
        self.attempt_seconds = counters.histogram("attempt_seconds", "Duration of a delivery attempt", LONG_SECONDS)
        self.recipients_delivered = counters.counters(
            "recipients_delivered",
            "Recipients delivered, by whether the connection was encrypted",
            "tls",
            Encryption,
        )
        self.bytes_delivered = counters.counter("delivered_bytes", "Bytes of messages accepted by receivers")
        self.delivery_seconds = counters.histogram(
            "delivery_seconds", "Time from acceptance to delivery, per recipient", LONG_SECONDS
        )
        self.recipients_deferred = counters.counters(
            "recipients_deferred", "Recipients deferred, by fault", "fault", Fault
        )
        self.recipients_failed = counters.counters(
            "recipients_failed", "Recipients failed permanently, by fault", "fault", Fault
        )
        self.recipients_expired = counters.counter(
            "recipients_expired", "Recipients failed because the message expired"
        )
        self.deliveries_unknown = counters.counter(
            "deliveries_unknown", "Attempts whose connection was lost after the final dot: may be delivered twice"
        )
        self.recipients_suppressed = counters.counter(
            "recipients_suppressed", "Queued recipients dropped before an attempt because the address was suppressed"
        )
        self.suppressions = counters.counter("suppressions", "Addresses added to the suppression list")
        self.dsn = counters.counter("dsn", "Delivery status notifications sent to senders")
        self.connections = counters.counters("connections", "Connection attempts to receivers", "success", Success)
        self.connection_protection = counters.counters(
            "connection_protection", "Connections to receivers, by how they are protected", "protection", Protection
        )
        self.tls_policy_failures = counters.counters(
            "tls_policy_failures",
            "Receivers that did not come up to a TLS policy, by who demands it",
            "by",
            TlsDemandedBy,
        )
        self.sts_fetches = counters.counters("sts_fetches", "MTA-STS policies fetched", "success", Success)
        self.tls_reports = counters.counters("tls_reports", "TLS reports sent or posted", "success", Success)
        self.connections_open = counters.gauge("connections_open", "Connections to receivers open now")
        self.connections_most = counters.gauge("connections_most", "Connections to receivers that may be open at once")
        self.shortages = counters.counters(
            "shortages", "Attempts put off because this machine was short of a resource", "resource", Resource
        )
        self.source_backoffs = counters.counter(
            "source_backoffs", "Backoffs of egress sources started: this machine could not send from them"
        )
        self.source_faults = counters.gauges(
            "source_faults",
            "Egress sources with a fault, as this machine and the DNS say, by fault",
            "fault",
            SourceFaultKind,
            MetricType.MAX,
        )
        self.warmup_waits = counters.counter(
            "warmup_waits", "Deliveries put off because every source of their pool warms up and has no room"
        )
        self.warmup_paused = counters.gauge(
            "warmup_paused", "Sources that warm up and were paused today at a provider group", MetricType.MAX
        )
        self.dns = counters.counters("dns_lookups", "DNS lookups for routing, by result", "result", Lookup)
        self.link_lookups = counters.counters(
            "link_lookups", "Messages whose links were looked up, by result", "result", LinkLookup
        )
        self.page_fetches = counters.counters(
            "page_fetches", "Pages got that mailings link to, by what was found there", "result", PageFetch
        )
        # receivers, by provider group
        self.provider_recipients = counters.named_table(
            "provider_recipients",
            "Outcomes of attempts, by recipient and provider group",
            "provider",
            groups,
            ("outcome", ProviderOutcome),
            MAX_PROVIDERS,
        )
        self.provider_rejections = counters.named_counters(
            "provider_rejections",
            "Answers against us as a sender: reputation, policy, too much mail",
            "provider",
            groups,
            MAX_PROVIDERS,
        )
        self.provider_delivery_seconds = counters.named_counters(
            "provider_delivery_seconds",
            "Time from acceptance to delivery, all recipients together",
            "provider",
            groups,
            MAX_PROVIDERS,
        )
        self.provider_backoffs = counters.named_counters(
            "provider_backoffs", "Backoffs of paths started, by provider group", "provider", groups, MAX_PROVIDERS
        )
        # reports
        self.unsubscribes = counters.counters(
            "unsubscribes",
            "Unsubscribe requests, by method; unknown: the token is not valid",
            "method",
            UnsubscribeMethod,
        )
        self.sign_ups = counters.counters(
            "sign_ups", "Requests of sign-up forms, by what became of them", "result", SignUpResult
        )
        self.inbound_reports = counters.counters(
            "inbound_reports", "Bounces, complaints and other mail received, by kind", "kind", InboundReportKind
        )
        self.inbound_report_backlog = counters.gauge(
            "inbound_report_backlog", "Inbound reports waiting to be processed", MetricType.MAX
        )
        self.inbound_reports_failed = counters.gauge(
            "inbound_reports_failed", "Inbound reports given up after several tries", MetricType.MAX
        )
        # reputation
        self.breaker_trips = counters.counters("breaker_trips", "Breakers tripped, by kind", "kind", BreakerKind)
        self.breaker_warnings = counters.counters(
            "breaker_warnings", "Rates that came close to a breaker's limit", "kind", BreakerKind
        )
        self.breakers_open = counters.gauge("breakers_open", "Breakers that hold mail", MetricType.MAX)
        self.blocklist_listings = counters.gauge(
            "blocklist_listings", "Confirmed blocklist listings of our addresses and sender domains", MetricType.MAX
        )
        self.blocklists_ignored = counters.gauge(
            "blocklists_ignored", "Blocklists ignored because their test entries are wrong", MetricType.MAX
        )
        self.sources_in_backoff = counters.gauge(
            "sources_in_backoff", "Egress sources not used because they are listed", MetricType.MAX
        )
        # the store
        self.store_seconds = counters.histograms("store_seconds", "Duration of database calls", "call", StoreCall)
        self.store_unavailable = counters.counter("store_unavailable", "Database calls that failed or timed out")
        self.outcomes_pending = counters.gauge("outcomes_pending", "Outcomes not yet written to the database")
        self.database_up = counters.gauge("database_up", "1 if the database answers", MetricType.MAX)
        # webhooks
        self.webhook_events = counters.counter("webhook_events", "Events accepted by webhooks")
        self.webhook_requests = counters.counters(
            "webhook_requests", "Webhook requests, by whether the receiver answered 2xx", "success", Success
        )
        self.webhooks_failing = counters.gauge(
            "webhooks_failing", "Webhooks that failed web.webhooks.alert_after times in a row", MetricType.MAX
        )
        self.webhook_lag = counters.gauge(
            "webhook_lag_seconds", "Age of the oldest event not yet accepted by a webhook", MetricType.MAX
        )
        # the service itself
        self.workers = counters.gauge("workers", "Worker processes running")
        self.workers_wanted = counters.gauge(
            "workers_wanted", "Worker processes that should be running", MetricType.MAX
        )
        self.worker_restarts = counters.counter("worker_restarts", "Workers that exited unexpectedly and were replaced")
        self.background_task_failures = counters.counters(
            "background_task_failures",
            "Errors that ended a background task; it was started again",
            "task",
            BackgroundTask,
        )
        self.background_tasks_failing = counters.gauge(
            "background_tasks_failing", "Background tasks that do not work now"
        )
        self.processes_hung = counters.counter(
            "processes_hung", "Processes that reported nothing for too long and were replaced"
        )
        self.reloads = counters.counters("config_reloads", "Configuration reloads", "success", Success)
        self.config_loaded = counters.gauge(
            "config_loaded_timestamp_seconds", "Time at which the current configuration was loaded", MetricType.MAX
        )
        self.disk_free = counters.gauge(
            "disk_free_bytes", "Free space of the file system nearest to its reserve", MetricType.MAX
        )
        self.disk_short = counters.gauge(
            "disk_short", "1 if a file system has lost its reserve, so that no mail is accepted", MetricType.MAX
        )
        self.storage_rejections = counters.counter(
            "storage_rejections", "Messages rejected with 452 4.3.1 because a disk, ours or the database's, is full"
        )
        self.loop_lag = counters.gauge("loop_lag_seconds", "Longest recent delay of the event loop", MetricType.MAX)
        self.loop_stalls = counters.histogram(
            "loop_stall_seconds", "Delays of the event loop of 50 ms and more, during which nothing was served"
        )
        self.cpu_seconds = counters.counter("cpu_seconds", "CPU time of the service's own processes")
        self.resident_bytes = counters.gauge("resident_bytes", "Resident memory of the service's own processes")
        self.events_dropped = counters.counter(
            "events_dropped", "Event log lines lost because they could not be written"
        )
        self.trace_dropped = counters.counter("trace_dropped", "Trace lines lost because the reader was too slow")

    @classmethod
    def open(cls, run_dir: Path) -> Metrics:
        """Open the metrics of this process, visible to ``metric_files``. Call it once per process, after any fork."""
        directory = run_dir / "metrics"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        providers = read_providers(run_dir)
        name = f"{os.getpid()}-{time.monotonic_ns()}{cls(providers=providers).counters.suffix}"
        return cls(SharedCounters(map_file(directory / name)), providers)

    def accepted(self, message: Message, seconds: float) -> None:
        """Count a message that was committed and answered with 250 ``seconds`` after the end of its data."""
        self.messages_accepted[Encryption.of(message.origin.tls)].inc()
        self.recipients_accepted.inc(len(message.envelope.recipients))
        self.bytes_accepted.inc(message.size)
        self.accept_seconds.observe(seconds)

    def rejected(self, reply: Reply) -> None:
        """Count a command, message or session that was rejected with ``reply``."""
        self.rejections[Severity.of(reply), RejectionSubject.of(reply)].inc()

    def count_providers(self, providers: Sequence[str]) -> None:
        """Count other provider groups. Those of before come first, and keep their counts."""
        again = Metrics(SharedCounters(self.counters.buffer), providers)
        self.counters = again.counters
        self.provider_recipients, self.provider_rejections = again.provider_recipients, again.provider_rejections
        self.provider_delivery_seconds, self.provider_backoffs = (
            again.provider_delivery_seconds, again.provider_backoffs,
        )  # fmt: skip

    def provider_outcomes(
        self, provider: str, outcomes: Sequence[Outcome], since: datetime, ended_at: datetime
    ) -> None:
        """Count the outcomes of an attempt for a provider group. ``since``: when the message could first be sent."""
        group = provider if provider in self.provider_rejections else REST
        counters = self.provider_recipients[group]
        for outcome in outcomes:
            counters[ProviderOutcome.of(outcome)].inc()
            if isinstance(outcome, Delivered):
                self.provider_delivery_seconds[group].inc(max(0.0, (ended_at - since).total_seconds()))
            elif is_against_us(outcome.classification, outcome.result.reply):
                self.provider_rejections[group].inc()

    def provider_backoff(self, provider: str) -> None:
        """Count a backoff that has begun."""
        self.provider_backoffs[provider if provider in self.provider_backoffs else REST].inc()

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
        seconds = max(0.0, (attempt.started_at - attempt.delivery.since).total_seconds()) + attempt.seconds
        for _ in range(recipients):
            self.delivery_seconds.observe(seconds)


def read_providers(run_dir: Path) -> Sequence[str]:
    """Return the provider groups that the processes of this service count, none if it has not been started."""
    try:
        names: list[str] = json.loads((run_dir / "metrics" / PROVIDERS_FILE).read_bytes())
        return names
    except (OSError, ValueError):
        return ()


def full_name(family: Family) -> str:
    """Return the name in the exposition, without the ``_bucket``, ``_sum`` and ``_count`` of histograms."""
    return f"{PREFIX}{family.name}_total" if family.type is MetricType.COUNTER else f"{PREFIX}{family.name}"


async def sample_process(metrics: Metrics) -> None:
    """Measure CPU time and memory of this process once a second, until cancelled.

    Limitations: Memory is read from ``/proc`` (Linux); elsewhere it stays zero.
    """
    counted = 0.0
    while True:
        await asyncio.sleep(SAMPLE_EVERY)
        used = time.process_time()
        metrics.cpu_seconds.inc(used - counted)
        counted = used
        metrics.resident_bytes.set(_resident_bytes())


def _resident_bytes() -> int:
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE_SIZE
    except (OSError, IndexError, ValueError):
        return 0

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
from mta.observe.declared import counter, counters, gauge, gauges, histogram, histograms, named, table, take_declared
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
from mta.observe.shared_counters import LONG_SECONDS, MetricType, SharedCounters, map_file
from policy.reputation.breaker import BreakerKind, is_against_us

PREFIX = "imprimatur_"
SAMPLE_EVERY = 1.0  # seconds
REST = "default"  # all sites that belong to no provider group
MAX_PROVIDERS = 500  # groups counted each for itself
PROVIDERS_FILE = "providers"
MAX = MetricType.MAX
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


class Metrics:
    """The metrics of one process. ``Metrics()`` counts in private memory (tests, commands). ``providers``: names of the
    provider groups of the configuration; what goes elsewhere is counted as REST."""

    # submission
    sessions = counter("SMTP sessions opened by clients")
    sessions_open = gauge("SMTP sessions open now")
    authentications = counters("AUTH attempts by result", "result", Auth)
    messages_accepted = counters(
        "Messages accepted, by whether the client's connection was encrypted", "tls", Encryption
    )
    recipients_accepted = counter("Recipients of accepted messages")
    bytes_accepted = named("accepted_bytes", counter("Bytes of accepted messages"))
    accept_seconds = histogram("Time from the end of a message's data to our 250")
    rejections = table(
        "Rejections sent to clients, by enhanced status code", ("severity", Severity), ("subject", RejectionSubject)
    )
    rule_errors = counter("Policy rules that raised an error; the message got a 4xx")
    # the queue
    queue = named("queue_recipients", gauges("Queued recipients in the database", "state", QueueState, MAX))
    queue_oldest = named("queue_oldest_seconds", gauge("Age of the oldest unexpired queued recipient", MAX))
    queue_measured = named("queue_measured_timestamp_seconds", gauge("Time of the last queue measurement", MAX))
    active_recipients = gauge("Recipients in the workers' active queues")
    active_bytes = gauge("Bytes of messages in the workers' active queues")
    ready_queues = gauge("Ready queues that are not empty")
    ready_queues_in_backoff = gauge("Ready queues in backoff")
    backoffs = counter("Backoffs of destinations started")
    shaping_actions = counters("Shaping actions begun by rules, by effect", "effect", Effect)
    shaping_actions_in_force = gauges("Shaping actions in force, by effect", "effect", Effect, MAX)
    claim_age = named("claim_age_seconds", gauge("Time since a worker last managed to claim due recipients", MAX))
    queue_late = named("queue_late_seconds", gauge("How long the first due recipient has waited to be claimed", MAX))
    clock_offset = named(
        "clock_offset_seconds", gauge("Difference between this machine's clock and the database's", MAX)
    )
    clock_steps = counter("Times that a process saw a clock being set")
    expiry_suspended = gauge("1 while no message expires because a clock cannot be trusted", MAX)
    # delivery
    attempts = table(
        "Delivery attempts, by the stage reached and the kind of the last reply", ("stage", Stage), ("reply", ReplyKind)
    )
    attempt_seconds = histogram("Duration of a delivery attempt", LONG_SECONDS)
    recipients_delivered = counters("Recipients delivered, by whether the connection was encrypted", "tls", Encryption)
    bytes_delivered = named("delivered_bytes", counter("Bytes of messages accepted by receivers"))
    delivery_seconds = histogram("Time from acceptance to delivery, per recipient", LONG_SECONDS)
    recipients_deferred = counters("Recipients deferred, by fault", "fault", Fault)
    recipients_failed = counters("Recipients failed permanently, by fault", "fault", Fault)
    recipients_expired = counter("Recipients failed because the message expired")
    deliveries_unknown = counter("Attempts whose connection was lost after the final dot: may be delivered twice")
    recipients_suppressed = counter("Queued recipients dropped before an attempt because the address was suppressed")
    suppressions = counter("Addresses added to the suppression list")
    dsn = counter("Delivery status notifications sent to senders")
    connections = counters("Connection attempts to receivers", "success", Success)
    connection_protection = counters("Connections to receivers, by how they are protected", "protection", Protection)
    tls_policy_failures = counters(
        "Receivers that did not come up to a TLS policy, by who demands it", "by", TlsDemandedBy
    )
    sts_fetches = counters("MTA-STS policies fetched", "success", Success)
    tls_reports = counters("TLS reports sent or posted", "success", Success)
    connections_open = gauge("Connections to receivers open now")
    connections_most = gauge("Connections to receivers that may be open at once")
    shortages = counters("Attempts put off because this machine was short of a resource", "resource", Resource)
    source_backoffs = counter("Backoffs of egress sources started: this machine could not send from them")
    source_faults = gauges(
        "Egress sources with a fault, as this machine and the DNS say, by fault", "fault", SourceFaultKind, MAX
    )
    warmup_waits = counter("Deliveries put off because every source of their pool warms up and has no room")
    warmup_paused = gauge("Sources that warm up and were paused today at a provider group", MAX)
    dns = named("dns_lookups", counters("DNS lookups for routing, by result", "result", Lookup))
    link_lookups = counters("Messages whose links were looked up, by result", "result", LinkLookup)
    page_fetches = counters("Pages got that mailings link to, by what was found there", "result", PageFetch)
    # reports
    unsubscribes = counters(
        "Unsubscribe requests, by method; unknown: the token is not valid", "method", UnsubscribeMethod
    )
    sign_ups = counters("Requests of sign-up forms, by what became of them", "result", SignUpResult)
    inbound_reports = counters("Bounces, complaints and other mail received, by kind", "kind", InboundReportKind)
    inbound_report_backlog = gauge("Inbound reports waiting to be processed", MAX)
    inbound_reports_failed = gauge("Inbound reports given up after several tries", MAX)
    # reputation
    breaker_trips = counters("Breakers tripped, by kind", "kind", BreakerKind)
    breaker_warnings = counters("Rates that came close to a breaker's limit", "kind", BreakerKind)
    breakers_open = gauge("Breakers that hold mail", MAX)
    blocklist_listings = gauge("Confirmed blocklist listings of our addresses and sender domains", MAX)
    blocklists_ignored = gauge("Blocklists ignored because their test entries are wrong", MAX)
    sources_in_backoff = gauge("Egress sources not used because they are listed", MAX)
    # the store
    store_seconds = histograms("Duration of database calls", "call", StoreCall)
    store_unavailable = counter("Database calls that failed or timed out")
    outcomes_pending = gauge("Outcomes not yet written to the database")
    database_up = gauge("1 if the database answers", MAX)
    # webhooks
    webhook_events = counter("Events accepted by webhooks")
    webhook_requests = counters("Webhook requests, by whether the receiver answered 2xx", "success", Success)
    webhooks_failing = gauge("Webhooks that failed web.webhooks.alert_after times in a row", MAX)
    webhook_lag = named("webhook_lag_seconds", gauge("Age of the oldest event not yet accepted by a webhook", MAX))
    # the service itself
    workers = gauge("Worker processes running")
    workers_wanted = gauge("Worker processes that should be running", MAX)
    worker_restarts = counter("Workers that exited unexpectedly and were replaced")
    background_task_failures = counters(
        "Errors that ended a background task; it was started again", "task", BackgroundTask
    )
    background_tasks_failing = gauge("Background tasks that do not work now")
    processes_hung = counter("Processes that reported nothing for too long and were replaced")
    reloads = named("config_reloads", counters("Configuration reloads", "success", Success))
    config_loaded = named(
        "config_loaded_timestamp_seconds", gauge("Time at which the current configuration was loaded", MAX)
    )
    disk_free = named("disk_free_bytes", gauge("Free space of the file system nearest to its reserve", MAX))
    disk_short = gauge("1 if a file system has lost its reserve, so that no mail is accepted", MAX)
    storage_rejections = counter("Messages rejected with 452 4.3.1 because a disk, ours or the database's, is full")
    loop_lag = named("loop_lag_seconds", gauge("Longest recent delay of the event loop", MAX))
    loop_stalls = named(
        "loop_stall_seconds", histogram("Delays of the event loop of 50 ms and more, during which nothing was served")
    )
    cpu_seconds = counter("CPU time of the service's own processes")
    resident_bytes = gauge("Resident memory of the service's own processes")
    events_dropped = counter("Event log lines lost because they could not be written")
    trace_dropped = counter("Trace lines lost because the reader was too slow")

    def __init__(self, counters: SharedCounters | None = None, providers: Sequence[str] = ()) -> None:
        self.counters = counters = SharedCounters() if counters is None else counters
        for attribute, declared in _DECLARED.items():
            setattr(self, attribute, declared.make(counters, declared.name or attribute))
        groups = [REST, *(name for name in providers if name != REST)][:MAX_PROVIDERS]
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
        vars(self).update(vars(Metrics(SharedCounters(self.counters.buffer), providers)))

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


_DECLARED = take_declared(Metrics)


def read_providers(run_dir: Path) -> Sequence[str]:
    """Return the provider groups that the processes of this service count, none if it has not been started."""
    try:
        names: list[str] = json.loads((run_dir / "metrics" / PROVIDERS_FILE).read_bytes())
        return names
    except (OSError, ValueError):
        return ()


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

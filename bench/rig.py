"""One measurement: a contender between source and sink, and what it used.

Invariants: No rate is reported for messages that did not arrive: every accepted id must arrive at the sink exactly
once; lost and duplicated ones are part of the result.
Limitations: Source, sink and resolver share the machine with the contender; their cost is reported too.
"""

from __future__ import annotations

import multiprocessing
import platform
import socket
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from bench import processes, resolver, sink
from bench.contenders import DOMAIN, Contender
from bench.service import free_port
from bench.sink import Arrivals
from bench.source import WARM_UP, Load, Sent, Source, domain

DOMAINS = 50
HOSTS = 50  # addresses of the sink, over which the domains are spread
RESOLVER = "127.0.0.54"  # port 53: the resolver library of the others supports no other
_SINKS = [f"127.0.1.{n}" for n in range(1, HOSTS + 1)]
_NO_SINK = "127.0.2.1"
_PATIENCE = 60.0  # seconds without another message at the sink
_SETTLE = 0.5  # seconds after the last message that still count: its outcome is recorded
_CONTEXT = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Result:
    """One run. Rates: messages per second since the first submission; ``cpu_ms``, ``tools_ms``: per message."""

    contender: str
    size: int
    domains: int
    per_connection: int
    count: int
    drain_rate: float
    accept_rate: float
    cpu_ms: float
    rss_mib: float
    pss_mib: float
    processes: int
    accept_p50_ms: float
    accept_p99_ms: float
    late_ms: float
    lost: int
    duplicates: int
    refused: int
    connections_out: int
    tools_ms: float


class Rig:
    """Sink and resolver, running."""

    def __init__(self, port: int, control: Connection, helpers: list[BaseProcess]) -> None:
        self.sink_port = port
        self.late = 0.0  # seconds by which each reply of the sink is late
        self._control = control
        self._helpers = helpers

    def arrived(self) -> int:
        """Return the number of messages at the sink since the last ``take``."""
        self._control.send("count")
        return int(self._control.recv())

    def take(self) -> Arrivals:
        self._control.send("take")
        arrivals = self._control.recv()
        assert isinstance(arrivals, Arrivals)
        return arrivals

    def delay(self, seconds: float) -> None:
        """Let each reply of the sink come so late."""
        self.late = seconds
        self._control.send(float(seconds))

    def helpers_cpu(self) -> float:
        return processes.cpu_seconds(helper.pid for helper in self._helpers if helper.pid)


class Hosts(Enum):
    """What the domains' hosts do: accept mail (the sink), refuse connections, or accept them and never answer."""

    SINK = "sink"
    REFUSING = "refusing"
    SILENT = "silent"


@contextmanager
def rig(hosts: Hosts = Hosts.SINK, *, domains: int = DOMAINS, port: int | None = None) -> Iterator[Rig]:
    """Run sink and resolver for so many domains. ``port``: of the sink; a free one if not given."""
    port = port or free_port()
    zone = {
        domain(n): (f"mx{n:02d}.example", _SINKS[n % HOSTS] if hosts is Hosts.SINK else _NO_SINK)
        for n in range(domains)
    }
    zone[DOMAIN] = f"mx.{DOMAIN}", _NO_SINK  # answers to what it sends can be delivered
    silent = socket.create_server((_NO_SINK, port), backlog=4096) if hosts is Hosts.SILENT else None
    control, far = _CONTEXT.Pipe()
    helpers: list[BaseProcess] = [
        _CONTEXT.Process(target=sink.serve, args=(_SINKS, port, far), daemon=True),
        _CONTEXT.Process(target=resolver.serve, args=(zone, resolver.bind(RESOLVER, 53), far), daemon=True),
    ]
    try:
        for helper in helpers:
            helper.start()
            control.recv()
        yield Rig(port, control, helpers)
    finally:
        for helper in helpers:
            helper.kill()
            helper.join()
        if silent:
            silent.close()


def measure(name: str, contender: Contender, load: Load, stage: Rig) -> Result:
    """Send ``load`` through a running contender. Raises TimeoutError if messages stop arriving."""
    warm_up = replace(load, count=min(200, load.count), per_connection=100, first_id=WARM_UP + load.first_id)
    _through(warm_up, stage)
    before, helpers = _cpu(contender), stage.helpers_cpu()
    with processes.PeakMemory(contender.roots) as memory:
        sent, arrivals = _through(load, stage)
        time.sleep(_SETTLE)
    cpu = _cpu(contender) - before
    tools = sent.cpu + stage.helpers_cpu() - helpers
    copies = Counter(arrivals.ids)
    seconds = sorted(sent.seconds)
    return Result(
        contender=name,
        size=load.size,
        domains=load.domains,
        per_connection=load.per_connection,
        count=load.count,
        drain_rate=len(sent.accepted) / (max(arrivals.times) - sent.started),
        accept_rate=len(sent.accepted) / (sent.ended - sent.started),
        cpu_ms=cpu / load.count * 1000,
        rss_mib=memory.peak.rss,
        pss_mib=memory.peak.pss,
        processes=memory.peak.processes,
        accept_p50_ms=statistics.median(seconds) * 1000,
        accept_p99_ms=seconds[int(len(seconds) * 0.99)] * 1000,
        late_ms=stage.late * 1000,
        lost=len(set(sent.accepted) - copies.keys()),
        duplicates=copies.total() - len(copies),
        refused=sent.refused + sent.broken,
        connections_out=arrivals.connections,
        tools_ms=tools / load.count * 1000,
    )


def _through(load: Load, stage: Rig) -> tuple[Sent, Arrivals]:
    """Send, and wait until all accepted messages have arrived."""
    sent = Source(load).run()
    if not sent.accepted:
        raise RuntimeError(f"no message was accepted: {sent.replies}")
    seen, since = -1, time.monotonic()
    while (now := stage.arrived()) < len(sent.accepted):
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > _PATIENCE:
            raise TimeoutError(
                f"{now} of {len(sent.accepted)} accepted messages arrived, then none for {_PATIENCE:.0f} s"
            )
        time.sleep(0.05)
    return sent, stage.take()


def _cpu(contender: Contender) -> float:
    return processes.cpu_seconds(processes.tree(contender.roots()))


def machine() -> dict[str, str | int | float]:
    """Describe the machine. The two speeds say more than the model's name, since a virtual machine may be throttled."""
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "?")
    kib = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "processor": model,
        "cores": info.count("processor\t"),
        "memory_gib": round(kib / 1024**2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "rsa2048_signatures_per_core": round(_signatures()),
        "python_loop_ms": round(_loop() * 1000, 1),
    }


def _signatures() -> float:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    count, started = 0, time.process_time()
    while (used := time.process_time() - started) < 0.3:
        key.sign(b"message", padding.PKCS1v15(), hashes.SHA256())
        count += 1
    return count / used


def _loop() -> float:
    """Return the seconds for a million additions in this interpreter."""
    total, started = 0, time.process_time()
    for n in range(1_000_000):
        total += n
    return time.process_time() - started

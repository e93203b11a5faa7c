"""How much memory a long queue adds to each process.

A hundred thousand messages are submitted for domains whose hosts refuse connections, then for domains whose hosts
accept connections and never answer. Workers keep a bounded part of the queue in memory, however long it is: this shows
by how much each process grew.

Invariants: Shared pages are not counted twice: only the private memory of each process is compared.
Limitations: Memory that the allocator has not returned counts as in use.
"""

from __future__ import annotations

import time
from pathlib import Path

from bench import processes
from bench.contenders import Ours, Site, make_key
from bench.rig import RESOLVER, Hosts, rig
from bench.source import Load, Source

_SIZE = 10_240
_WARM_UP = 1000
_BATCH = 10_000
_REST = 5.0  # seconds for running attempts to end
_ALLOWED = 50.0  # MiB


def run(directory: Path, count: int) -> float:
    """Measure, print, and return the growth (MiB) of the worker that grew most."""
    return max(_with(hosts, directory, count) for hosts in (Hosts.REFUSING, Hosts.SILENT))


def _with(hosts: Hosts, directory: Path, count: int) -> float:
    print(f"receivers: {hosts.value}")
    with rig(hosts) as stage:
        ours = Ours(Site(directory, make_key(directory), RESOLVER, 53, stage.sink_port))
        try:
            ours.start()
            return _grow(ours, count)
        except Exception:
            print(ours.output())
            raise
        finally:
            ours.stop()


def _grow(ours: Ours, count: int) -> float:
    _submit(ours, _WARM_UP, 0)
    before = _at_rest(ours)
    highest = dict(before)
    for first in range(0, count, _BATCH):
        _submit(ours, min(_BATCH, count - first), _WARM_UP + first)
        now = _each(ours)
        highest = {pid: max(now.get(pid, 0.0), mib) for pid, mib in highest.items()}
        print(f"{first + _BATCH:7} queued: {_line(now)}", flush=True)
    print(f"at rest: {_line(_at_rest(ours))}")
    grown = max(highest[pid] - before[pid] for pid in ours.service.workers())
    verdict = "within" if grown <= _ALLOWED else "MORE THAN"
    print(
        f"{count} queued messages added at most {grown:.1f} MiB to a worker: {verdict} the {_ALLOWED:.0f} MiB allowed"
    )
    return grown


def _submit(ours: Ours, count: int, first: int) -> None:
    sent = Source(Load(port=ours.port, count=count, size=_SIZE, domains=50, first_id=first)).run()
    if len(sent.accepted) != count:
        raise RuntimeError(f"{count - len(sent.accepted)} of {count} messages were refused: {sent.replies}")


def _each(ours: Ours) -> dict[int, float]:
    """Return the private memory of each process, in MiB."""
    return {pid: processes.private(pid) for pid in processes.tree(ours.roots())}


def _at_rest(ours: Ours) -> dict[int, float]:
    time.sleep(_REST)
    return _each(ours)


def _line(each: dict[int, float]) -> str:
    largest = ", ".join(f"{mib:.0f}" for mib in sorted(each.values(), reverse=True)[:4])
    return f"{sum(each.values()):.0f} MiB in {len(each)} processes, the largest {largest}"

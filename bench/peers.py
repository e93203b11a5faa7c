"""``make bench-peers``: Imprimatur beside other MTAs, load by load, in interleaved rounds.

The base is 10 kB to fifty domains, a hundred messages a connection, a receiver that answers at once; each further
load differs from it in one thing (``--full``: all combinations). In each round every MTA is started, gets all loads one
after the other, and is stopped. Written are ``peers.json`` and ``peers.html``, a page with a bar chart for each load.

Invariants: what source and sink do without an MTA between them is measured in the same run, and shown.
Limitations: root, for port 25 and the MTAs; one that is not installed is named and left out. 2 kB newsletters are as
large as an imprint makes them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from bench import charts, contenders, report
from bench.contenders import Contender, Entry, Site, make_key
from bench.marketing import OursMarketing, content
from bench.rig import RESOLVER, Result, Rig, machine, measure, rig
from bench.source import WARM_UP, Load, Source, recipient

FOLDER = Path(__file__).parent
SIZES = (2_048, 10_240, 61_440, 1_048_576)
PER_CONNECTION = (100, 1)
DOMAINS = (50, 1, 5_000)
LATE = (0.0, 0.05)  # seconds by which each reply of the receiver comes late
SINK_PORT = 25  # some MTAs deliver to no other
SINK = "127.0.1.1"
MARKETING = "marketing"
LEDGER = 1_000_000


@dataclass(frozen=True, slots=True)
class Case:
    """One load, and how late the receiver's replies are."""

    load: Load
    late: float


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.peers", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the median is reported (3)")
    parser.add_argument(
        "--count", type=int, default=3000, help="messages of 10 kB per run; of larger ones fewer (3000)"
    )
    parser.add_argument("--ledger", type=int, default=LEDGER, help=f"consents of the marketing account ({LEDGER})")
    parser.add_argument("--only", nargs="+", choices=[entry.name for entry in entries()], help="contenders")
    parser.add_argument("--full", action="store_true", help="all combinations of sizes, connections, domains, latency")
    parser.add_argument("--base", action="store_true", help="the base load alone")
    parser.add_argument("--output", type=Path, default=FOLDER, help="where peers.json and peers.html go")
    return parser.parse_args()


def entries() -> list[Entry]:
    """Return all contenders, in the order of tables and charts."""
    ours, *others = contenders.entries()
    marketing = Entry(MARKETING, "Imprimatur, newsletter chain, DKIM", OursMarketing, None)
    return [ours, marketing, *others, *contenders.peers()]


def main() -> None:
    chosen = options()
    chosen.output.mkdir(parents=True, exist_ok=True)
    about = machine()
    print(report.describe(about))
    combinations = list(cases(full=chosen.full, base=chosen.base))
    plan = numbered(combinations, chosen.count, chosen.rounds)
    with tempfile.TemporaryDirectory(prefix="imprimatur-peers-") as work:
        directory = Path(work)
        directory.chmod(0o755)  # the database runs as another user
        with rig(domains=max(DOMAINS), port=SINK_PORT) as stage:
            ceilings = [ceiling(case, stage) for case in plan[0]]
            site = Site(directory, make_key(directory), RESOLVER, 53, stage.sink_port)
            results = run(available(chosen.only), site, plan, stage, chosen.ledger)
    medians = report.medians(results)
    titles = {entry.name: entry.title for entry in entries()}
    written = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": about,
        "rounds": chosen.rounds,
        "titles": titles,
        "ceilings": ceilings,
        "medians": [asdict(each) for each in medians],
        "runs": [asdict(each) for each in results],
    }
    (chosen.output / "peers.json").write_text(json.dumps(written, indent=1) + "\n")
    page = charts.page(titles, medians, ceilings, report.describe(about), written["at"])
    (chosen.output / "peers.html").write_text(page)
    print(charts.table(titles, medians))


def cases(*, full: bool, base: bool) -> Iterator[Case]:
    """Yield the loads, without port and ids; the base first."""
    every = itertools.product(SIZES, PER_CONNECTION, DOMAINS, LATE)
    usual = (10_240, PER_CONNECTION[0], DOMAINS[0], LATE[0])
    for each in sorted(every, key=lambda each: (sum(a != b for a, b in zip(each, usual, strict=True)), each)):
        differences = sum(a != b for a, b in zip(each, usual, strict=True))
        if differences == 0 or (not base and (full or differences == 1)):
            size, per_connection, domains, late = each
            yield Case(Load(port=0, count=0, size=size, domains=domains, per_connection=per_connection), late)


def numbered(combinations: Sequence[Case], count: int, rounds: int) -> list[list[Case]]:
    """Return the loads of each round, no message of which has the number of another: of a mailing each recipient gets
    one."""
    plan: list[list[Case]] = []
    first = 0
    for _ in range(rounds):
        plan.append([])
        for case in combinations:
            fewer = max(100, min(count, count * 20_480 // case.load.size))
            plan[-1].append(replace(case, load=replace(case.load, count=fewer, first_id=first)))
            first += fewer
    return plan


def run(chosen: list[Entry], site: Site, plan: list[list[Case]], stage: Rig, ledger: int) -> list[Result]:
    """Measure all contenders in each round; one that fails is named, with the end of its output."""
    results: list[Result] = []
    made = {entry.name: make(entry, site, plan, ledger) for entry in chosen}
    for number, planned in enumerate(plan, 1):
        for entry in chosen:
            contender = made[entry.name]
            try:
                with running(contender):
                    for case in planned:
                        results.append(once(entry.name, contender, case, stage))
                        print(report.line(number, results[-1]), flush=True)
            except (RuntimeError, TimeoutError, OSError) as error:
                print(f"round {number}  {entry.name} failed: {error}\n{contender.output()}", flush=True)
                stage.take()
    return results


def available(only: list[str] | None) -> list[Entry]:
    """Return the contenders that can run here; print a line for each that cannot."""
    found = [entry for entry in entries() if not only or entry.name in only]
    for entry in found:
        if entry.missing:
            print(f"not measured: {entry.title} ({entry.missing})")
    return [entry for entry in found if not entry.missing]


def make(entry: Entry, site: Site, plan: list[list[Case]], ledger: int) -> Contender:
    if entry.name != MARKETING:
        return entry.make(site)
    loads = [case.load for planned in plan for case in planned]
    ids = [(n, each.domains) for each in loads for n in range(each.first_id, each.first_id + each.count)]
    ids += [(WARM_UP + each.first_id + n, each.domains) for each in loads for n in range(200)]
    return OursMarketing(site, ledger, (recipient(n, domains) for n, domains in ids))


@contextmanager
def running(contender: Contender) -> Iterator[None]:
    try:
        contender.start()
        yield
    finally:
        contender.stop()


def once(name: str, contender: Contender, case: Case, stage: Rig) -> Result:
    load = replace(case.load, port=contender.port)
    if name == MARKETING:
        load = replace(load, content=content(load.size))
    stage.delay(case.late)
    try:
        return measure(name, contender, load, stage)
    finally:
        stage.delay(0.0)


def ceiling(case: Case, stage: Rig) -> dict[str, float]:
    """Return what source and sink do alone: messages per second."""
    stage.delay(case.late)
    sent = Source(replace(case.load, address=SINK, port=stage.sink_port)).run()
    stage.delay(0.0)
    stage.take()
    rate = len(sent.accepted) / (sent.ended - sent.started)
    load = case.load
    print(f"source and sink alone: {load.size} octets, {load.per_connection} a connection, "
          f"{case.late * 1000:.0f} ms: {rate:.0f}/s", flush=True)  # fmt: skip
    return {"size": load.size, "per_connection": load.per_connection, "domains": load.domains,
            "late_ms": case.late * 1000, "rate": rate}  # fmt: skip


if __name__ == "__main__":
    main()

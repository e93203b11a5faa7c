"""What many sources and destinations cost: 1,000 sources in 50 pools, 50 providers, 100,000 destinations.

    python -m bench.micro_egress [--sources 1000] [--destinations 100000]

* *load*: reading and checking the file, as `mta check`, a start and a reload do once.
* *take over*: what each worker does at a start and at a reload with that configuration.
* *explain*: the first path of `mta shaping explain`: where each limit is set.
* *site*: which site a destination belongs to, by its MX hosts; once for each answer of the DNS.
* *choose*: a source and a ready queue for a message, with a third of the destinations at the providers: to a new
  destination, and to a known one.
* *crowded*: the same while 20,000 paths have mail that waits, twice as many as are remembered.
* *actions*: what each worker does when an action begins or ends.

Times are CPU time of this process, the best of several rounds; memory is what the process has grown by.

Limitations: no mail is sent, and nothing is asked of a database.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.micro_deliver import delivery
from config.load import load_text
from config.schema import Settings
from config.shaping_origin import LIMITS, ShapingOrigins
from mta.delivery.egress.actions import ActionsInForce
from mta.delivery.egress.paths import PathShaping
from mta.delivery.egress.pools import SourcePools
from mta.delivery.egress.sources import SourceHealth
from mta.delivery.egress.warmup import WarmupPlans
from mta.delivery.route import MxHost, ProviderIndex, Route, Target, site_of
from mta.mail.message import Stream
from mta.mail.shaping_action import ActionScope, Effect, Place, ShapingAction
from mta.queue.active_queue import Job
from mta.queue.path_limits import Permits
from mta.queue.paths import Paths

ROUNDS = 3
PROVIDERS, POOLS = 50, 50
CROWD = 20_000
MAIL = Place("", "", "example.net", 1, Stream.MARKETING)


class NoAccounts:
    """An installation without accounts."""

    def by_id(self, _: int) -> None:
        """There is none."""


def text(sources: int) -> str:
    """Return a configuration with so many sources."""
    lines = []
    for n in range(sources):
        lines += ["[[egress.sources]]", f'name = "s{n}"', f'address = "10.{n >> 16}.{n >> 8 & 255}.{n & 255}"']
    for n in range(POOLS):
        members = ", ".join(f'{{ source = "s{m}", weight = {1 + m % 3} }}' for m in range(n, sources, POOLS))
        lines += ["[[egress.pools]]", f'name = "p{n}"', f"members = [{members}]"]
        lines += ["[[egress.rules]]", f'pool = "p{n}"', f'accounts = ["a{n}"]']
        lines += ["[[shaping.sources]]", f'pool = "p{n}"', f'provider = "own{n}"', 'message_rates = ["5/s"]']
    for n in range(PROVIDERS):
        lines += ["[[shaping.providers]]", f'name = "own{n}"', f'mx = [".mx{n}.example"]', f"connections = {n + 1}"]
    lines += ["[[shaping.warmup]]", 'pool = "p0"']
    return "\n".join(lines)


def best(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the CPU seconds of the fastest round."""
    found = []
    for _ in range(rounds):
        gc.collect()
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def resident() -> int:
    """Return this process's resident octets."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096


def show(name: str, value: str) -> None:
    print(f"| {name:46} | {value:>12} |", flush=True)


def make_paths(settings: Settings) -> Paths:
    shaping, weights = settings.shaping, settings.queue.stream_weights
    return Paths(settings.egress, shaping, weights, SourceHealth(), NoAccounts(), Permits, lambda _: None)


def configuration(sources: int) -> Settings:
    """Measure what the configuration costs, and return it."""
    whole = text(sources)
    settings = load_text(whole, "mta.toml", Path())
    show("load: file read and checked", f"{best(lambda: load_text(whole, 'mta.toml', Path())):.2f} s")
    before = resident()
    paths = make_paths(settings)
    show("take over at a start", f"{best(lambda: make_paths(settings)) * 1e3:.1f} ms")
    weights = settings.queue.stream_weights
    reload = best(lambda: paths.configure(settings.egress, settings.shaping, weights))
    show("take over at a reload", f"{reload * 1e3:.1f} ms")
    plans = best(lambda: WarmupPlans(settings.shaping, paths.pools))
    show("warm-up plans of a pool", f"{plans * 1e3:.1f} ms")
    show("memory of the pools", f"{(resident() - before) / 2**20:.1f} MiB")
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(whole)
        file.flush()
        show("explain: where each limit is set", f"{best(lambda: origins(settings, Path(file.name))) * 1e3:.0f} ms")
    return settings


def origins(settings: Settings, file: Path) -> None:
    found, pools = ShapingOrigins(file), SourcePools(settings.egress)
    limits = PathShaping(settings.shaping, pools)
    for source in pools.sources:
        limits.limits(source, settings.shaping.providers[0])
    for key in LIMITS:
        found.of(key, settings.shaping.providers[0], list(enumerate(settings.shaping.sources))[:1])


def routes(settings: Settings, destinations: int) -> list[Route]:
    """Return the routes of so many destinations, and measure what it takes to find their sites."""
    exchanges = [
        [MxHost(10, f"a.mx{n % PROVIDERS}.example" if n % 3 == 0 else f"mx.d{n}.example"), MxHost(20, f"b{n}.example")]
        for n in range(destinations)
    ]

    providers = ProviderIndex(settings.shaping)

    def find() -> list[Route]:
        return [
            Route(*site_of(f"d{n}.example", each, providers), (Target(each[0].host, "192.0.2.1", 25),))
            for n, each in enumerate(exchanges)
        ]

    show("site of a destination", f"{best(find) / destinations * 1e6:.1f} us")
    return find()


def choose(settings: Settings, to: list[Route]) -> None:
    """Measure the choice of a path."""
    paths = make_paths(settings)
    pools = [paths.pools[f"p{n}"] for n in range(POOLS)]

    def each_once() -> None:
        for n, route in enumerate(to):
            paths.choose(pools[n % POOLS], route, 0.0, MAIL._replace(site=route.site))

    before = resident()
    each_once()
    kept, grown = len(paths), resident() - before  # what was forgotten included
    show("choose: a new destination", f"{best(each_once) / len(to) * 1e6:.1f} us")
    known = to[: min(len(to), 300)]

    def again() -> None:
        for _ in range(100):
            for n, route in enumerate(known):
                paths.choose(pools[n % POOLS], route, 0.0, MAIL._replace(site=route.site))

    show("choose: a known destination", f"{best(again) / 100 / len(known) * 1e6:.1f} us")
    show(f"memory after them, {kept:,} queues kept", f"{grown / 2**20:.1f} MiB")


def crowd(settings: Settings, to: list[Route]) -> None:
    """Measure the choice while more paths have mail than are remembered, and what an action costs then."""
    paths, content = make_paths(settings), delivery(b"")
    pool, others = paths.pools["p0"], [route for route in to if route.shaping.name == "default"][: CROWD + 2000]
    if len(others) < CROWD + 2000:
        return

    def fill(part: list[Route]) -> None:
        for route in part:
            job = Job(replace(content, destination=route.hosts[0].name), None, place=MAIL)
            paths.choose(pool, route, 0.0, MAIL._replace(site=route.site)).add(job)

    fill(others[:CROWD])
    show(f"choose: a new one, {CROWD:,} paths busy", f"{best(lambda: fill(others[CROWD:]), 1) / 2000 * 1e6:.1f} us")
    now = datetime.now(UTC)
    scope = ActionScope(source="s0", site="own0")
    made = [
        ShapingAction(n, "a", "a", scope, Effect.LIMIT, "", "", "", now, now + timedelta(hours=1), connections=1)
        for n in range(20)
    ]
    show("actions: 20 limits taken over", f"{best(lambda: paths.take_over(ActionsInForce(made))) * 1e3:.0f} ms")
    show("gauges of a second", f"{best(lambda: (paths.busy, paths.in_backoff(0.0))) * 1e3:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sources", type=int, default=1000)
    parser.add_argument("--destinations", type=int, default=100_000)
    given = parser.parse_args()
    settings = configuration(given.sources)
    to = routes(settings, given.destinations)
    choose(settings, to)
    crowd(settings, to)


if __name__ == "__main__":
    main()

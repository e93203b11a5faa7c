"""``python -m bench.web``: how much the web processes serve: one-click unsubscriptions, messages over the API, pages.

* *one click*: POSTs to ``/u/TOKEN`` (RFC 8058), each for another recipient with a consent in the account's ledger. The
  whole service, PostgreSQL included, has one core, and this benchmark the other.
* *messages*: POSTs of JSON or of whole messages to ``/v1/messages``, the shipped rules and signing. Either the workers
  deliver meanwhile, or they are stopped until all is accepted. Source, sink and resolver share the machine with the
  service.
* *pages*: the operator's pages with a million messages, one after another (``bench.web_pages``).

Prints tables for RESULTS.md; ``--json FILE`` writes the figures.

Invariants: a rate counts successful answers only; after the one-click run each recipient must be suppressed, and after
the messages each accepted one must have arrived once.
Limitations: the resolver needs port 53 of 127.0.0.54.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import asyncpg

from bench import processes, report, web_pages
from bench.contenders import DOMAIN, Ours, Site, make_key
from bench.http_source import Answers, HttpLoad, HttpSource, post
from bench.marketing import OursMarketing
from bench.rig import RESOLVER, Rig, machine, rig
from bench.service import Service, free_port, signal_all
from bench.sink import ID_FIELD
from bench.source import recipient
from config.load import load_file
from mta.mail.address import Address
from mta.service.composition import open_tokens
from mta.store.postgres.secrets import Secrets
from policy.permission.tokens import UNSUBSCRIBE, Claim

_LINE = "The quick brown fox jumps over the lazy dog; pack my box with five dozen jugs.\n"
_PATIENCE = 60.0  # seconds without another message at the sink
WARM_UP = 300  # requests


@dataclass(frozen=True, slots=True)
class WebResult:
    """One load. ``cpu_ms``: per request, by kind of process; ``wrong``: requests without success, and what is missing
    afterwards."""

    name: str
    count: int
    connections: int
    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: dict[str, float]
    source_ms: float
    wrong: int


def main() -> None:
    chosen = _options()
    about = machine()
    print(report.describe(about))
    results: list[WebResult] = []
    pages: list[web_pages.PageTime] = []
    with tempfile.TemporaryDirectory(prefix="imprimatur-web-") as work:
        directory = Path(work)
        directory.chmod(0o755)  # the database runs as another user
        if "one_click" in chosen.only:
            results += one_click(directory, chosen.clicks, chosen.clicking)
            print(*map(_row, results), sep="\n", flush=True)
        if "messages" in chosen.only:
            for raw, delivering in ((False, True), (False, False), (True, True), (True, False)):
                results.append(messages(directory, chosen, raw=raw, delivering=delivering))
                print(_row(results[-1]), flush=True)
        if "pages" in chosen.only:
            pages = web_pages.measure(directory, chosen.rows, chosen.queued)
    print(_tables(results), web_pages.table(pages) if pages else "", sep="\n")
    if chosen.json:
        written = {"machine": about, "loads": [asdict(each) for each in results], "pages": [asdict(p) for p in pages]}
        chosen.json.write_text(json.dumps(written, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.web", description=__doc__.split("\n\n")[0])
    parts = ["one_click", "messages", "pages"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--clicks", type=int, default=20_000)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--clicking", type=int, default=64, help="connections for one click (64)")
    parser.add_argument("--connections", type=int, default=32, help="connections for messages (32)")
    parser.add_argument("--processes", type=int, default=2, help="web processes for messages (2)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="messages in the store for the pages")
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


# --- one click


def one_click(directory: Path, count: int, connections: int) -> list[WebResult]:
    """Measure unsubscriptions, with the service on one core: on kept connections, then on a connection for each."""
    key = make_key(directory)
    contender = OursMarketing(Site(directory, key, RESOLVER, 53, free_port()), consents=count)
    service, port = contender.service, free_port()
    limits = {"rate": 1_000_000, "burst": 1_000_000}
    service.settings = {**service.settings, "web": {"public": {"port": port, **limits}}}
    with _on_core(0):
        contender.start()
    try:
        with _on_core(1):
            requests = _clicks(service, count)
            first, kept, each = requests[:WARM_UP], requests[WARM_UP : -count // 4], requests[-count // 4 :]
            HttpSource(HttpLoad(port, first, connections)).run()
            results = [
                _measured("one click", service, HttpLoad(port, kept, connections)),
                _measured("one click, a connection for each", service, HttpLoad(port, each, connections, 1)),
            ]
            missing = count - asyncio.run(_suppressed(service))
        return [results[0], replace(results[1], wrong=results[1].wrong + missing)]
    except Exception:
        print(service.output())
        raise
    finally:
        contender.stop()


def _clicks(service: Service, count: int) -> list[bytes]:
    """Return a request for each of ``count`` recipients that have agreed."""
    settings = load_file(service.config)
    secrets = Secrets.load_or_create(service.data / "secret")
    tokens = open_tokens(settings, secrets)
    numbers = [*range(10_000_000, 10_000_200), *range(count - 200)]  # those of the contender's warm-up first
    keys = (secrets.address_key(Address.parse(recipient(n, 50))) for n in numbers)
    return [
        post(
            f"/u/{tokens.make(Claim(UNSUBSCRIBE, 1, key, 'bench-1', 'aanbiedingen'))}",
            b"List-Unsubscribe=One-Click",
            "application/x-www-form-urlencoded",
        )
        for key in keys
    ]


async def _suppressed(service: Service) -> int:
    connection = await asyncpg.connect(web_pages.dsn(service))
    try:
        found: int = await connection.fetchval("select count(*) from suppression where rule = 'unsubscribe_one_click'")
        return found
    finally:
        await connection.close()


# --- messages


def messages(directory: Path, chosen: argparse.Namespace, *, raw: bool, delivering: bool) -> WebResult:
    """Measure ``POST /v1/messages`` with 10 kB. ``delivering``: workers deliver meanwhile, and their CPU time counts;
    else they are stopped until all is accepted."""
    with rig() as stage:
        contender = Ours(Site(directory, make_key(directory), RESOLVER, 53, stage.sink_port))
        service = contender.service
        web = {"admin": {"rate": 1_000_000, "burst": 1_000_000}, "processes": chosen.processes}
        limits = {"credential_rate": 1_000_000, "credential_burst": 1_000_000}  # or the token's own is what is measured
        service.settings = {**service.settings, "web": web, "rate_limits": limits}
        contender.start()
        try:
            add = ("token", "add", "bench", "--role", "account", "--account", "bench", "--json")
            token = json.loads(service.cli(*add))["token"]
            render = _raw if raw else _json
            first = [render(token, 10_000_000 + n) for n in range(WARM_UP)]
            HttpSource(HttpLoad(service.admin_port, first, chosen.connections)).run()
            _arrived(stage, WARM_UP)
            load = HttpLoad(service.admin_port, [render(token, n) for n in range(chosen.messages)], chosen.connections)
            workers = set() if delivering else signal_all(set(service.workers()), signal.SIGSTOP)

            def after(answers: Answers) -> int:
                signal_all(workers, signal.SIGCONT)
                return _arrived(stage, answers.succeeded)

            how = f"{'raw' if raw else 'JSON'}, {'delivered meanwhile' if delivering else 'accepted only'}"
            return _measured(f"messages, {how}", service, load, after, to_the_end=delivering)
        except Exception:
            print(service.output())
            raise
        finally:
            contender.stop()


def _text(size: int = 10_240) -> str:
    return _LINE * (size // len(_LINE))


def _json(token: str, n: int) -> bytes:
    body = {
        "from": f"Bench <sender@{DOMAIN}>",
        "to": [recipient(n, 50)],
        "subject": "Your order has been shipped",
        "text": _text(),
        "headers": {ID_FIELD.decode().rstrip(": "): str(n)},
    }
    return post("/v1/messages", json.dumps(body).encode(), "application/json", f"Authorization: Bearer {token}")


def _raw(token: str, n: int) -> bytes:
    head = (
        f"From: Bench <sender@{DOMAIN}>\r\nTo: {recipient(n, 50)}\r\nSubject: Your order has been shipped\r\n"
        f"Date: Sat, 21 Nov 2026 20:00:00 +0000\r\nMessage-ID: <bench.{n}@{DOMAIN}>\r\nMIME-Version: 1.0\r\n"
        f"Content-Type: text/plain; charset=us-ascii\r\n{ID_FIELD.decode()}{n}\r\n\r\n"
    )
    path = f"/v1/messages?from=sender@{DOMAIN}&to={recipient(n, 50)}"
    body = (head + _text().replace("\n", "\r\n")).encode()
    return post(path, body, "message/rfc822", f"Authorization: Bearer {token}")


def _arrived(stage: Rig, expected: int) -> int:
    """Wait for ``expected`` messages at the sink; return how many are missing or came twice."""
    seen, since = -1, time.monotonic()
    while (now := stage.arrived()) < expected and time.monotonic() - since < _PATIENCE:
        if now != seen:
            seen, since = now, time.monotonic()
        time.sleep(0.05)
    copies = Counter(stage.take().ids)
    return abs(expected - len(copies)) + copies.total() - len(copies)


# --- what both do


def _measured(
    name: str,
    service: Service,
    load: HttpLoad,
    after: Callable[[Answers], int] = lambda _: 0,
    *,
    to_the_end: bool = False,
) -> WebResult:
    """``after``: what follows, and how much of it is wrong; ``to_the_end``: its CPU time counts too."""
    before = _cpu(service)
    answers = HttpSource(load).run()
    spent = _cpu(service)
    wrong = after(answers)
    if to_the_end:
        spent = _cpu(service)
    used = {kind: seconds - before.get(kind, 0.0) for kind, seconds in spent.items()}
    count = len(load.requests)
    for answer in answers.kept:
        print(answer.decode(errors="replace"))
    return WebResult(
        name=name,
        count=count,
        connections=load.connections,
        rate=answers.succeeded / (answers.ended - answers.started),
        p50_ms=answers.percentile(0.5),
        p95_ms=answers.percentile(0.95),
        p99_ms=answers.percentile(0.99),
        cpu_ms={kind: seconds / count * 1000 for kind, seconds in used.items()},
        source_ms=answers.cpu / count * 1000,
        wrong=count - answers.succeeded + wrong,
    )


def _cpu(service: Service) -> dict[str, float]:
    """Return the seconds of CPU time by kind of process."""
    used: Counter[str] = Counter()
    database = processes.tree(filter(None, [service.postmaster()]))
    for pid in processes.tree(service.roots()):
        name = processes.name(pid)
        kind = "PostgreSQL" if pid in database else "web" if name.startswith("mta web") else "workers"
        kind = kind if name.startswith("mta w") or pid in database else "supervisor"
        used[kind] += processes.cpu_seconds([pid], children=pid == service.postmaster())
    return dict(used)


@contextmanager
def _on_core(core: int) -> Iterator[None]:
    """Let this process, and what it starts, use one core only, if there are several."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(own)[core % len(own)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def _row(result: WebResult) -> str:
    cpu = ", ".join(f"{kind} {ms:.2f}" for kind, ms in sorted(result.cpu_ms.items(), key=lambda one: -one[1]))
    cells = (
        f"{result.name} ({result.count} on {result.connections} connections)",
        f"**{result.rate:.0f}**",
        f"{result.p50_ms:.0f} / {result.p95_ms:.0f} / {result.p99_ms:.0f}",
        f"{sum(result.cpu_ms.values()):.2f} ({cpu})",
        f"{result.source_ms:.2f}",
        str(result.wrong),
    )
    return f"| {' | '.join(cells)} |"


def _tables(results: list[WebResult]) -> str:
    head = [
        "| | per second | ms p50 / p95 / p99 | CPU ms per request | source | wrong |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    return "\n".join([*head, *map(_row, results)]) if results else ""


if __name__ == "__main__":
    main()

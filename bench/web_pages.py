"""Pages of a store with a million messages: filled by SQL, each page loaded as an operator.

Limitations: one request after another on one connection, to a service that does nothing else.
"""

from __future__ import annotations

import asyncio
import html
import http.client
import re
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import asyncpg

from bench.rig import RESOLVER, rig
from bench.service import Service
from mta.mail.identity import format_id
from mta.store.accounts import web_sessions
from mta.store.postgres.embedded import EmbeddedPostgres
from mta.web.pages.sessions import COOKIE

DOMAIN = "bench.example"
LOADS = 20  # of each page
WARM = 3  # before
_ACCOUNTS, _DOMAINS = 50, 2000  # the first domains are those of the rig
_TOKEN = "a-session-of-the-benchmark"  # of a database that lives for minutes
_FOLLOWING = re.compile(r'href="([^"]*cursor=[^"]*)"')

# Ids of version 7 over thirty days; account 1 has nearly everything, as in an installation for one sender.
_MESSAGES = """
insert into message (id, account_id, sender, size, recipients, received_at, record)
select
    overlay(overlay(lpad(to_hex(($2::bigint + n * 2592)), 12, '0') || md5(n::text) placing '7' from 13 for 1)
        placing '8' from 17 for 1)::char(32)::uuid,
    case when n % 20 = 0 then 1 + n % $4 else 1 end,
    case when n % 20 = 0 then 'news@s' || n % $4 || '.example' else 'shop@bench.example' end,
    10240, 1, to_timestamp(($2::bigint + n * 2592) / 1000.0),
    jsonb_build_object(
        'envelope', jsonb_build_object('body', '7BIT'),
        'recipients', jsonb_build_array('User' || n || '@d' || to_char(n % $3, 'FM9900') || '.example'),
        'origin', jsonb_build_object('account', 'bench', 'credential', 'app', 'client', '192.0.2.1', 'hello', 'app',
            'session', md5((n / 10)::text), 'protocol', 'ESMTPS', 'tls', 'TLSv1.3'),
        'summary', jsonb_build_object('subject', 'Your order ' || n || ' has been shipped',
            'from', 'Shop <shop@bench.example>', 'message-id', '<' || n || '@bench.example>'),
        'findings', '[["size", "pass", "ok"], ["loops", "pass", "ok"]]'::jsonb,
        'expires_at', now() + interval '5 days', 'stream', 'transactional', 'mailing', null, 'topic', null,
        'profile', 'default', 'certified', false, 'mark', null
    )
from generate_series(1::bigint, $1::bigint) n"""

_EVENTS = """
insert into event (at, message_id, recipient_index, kind, data)
select received_at + interval '3 seconds', id, 0,
    case when hashtext(id::text) % 20 = 0 then 'failed' else 'delivered' end,
    case when hashtext(id::text) % 20 = 0
        then '{"code": 550, "status": "5.1.1", "text": "User unknown"}'::jsonb
        else '{"code": 250, "status": "2.0.0", "text": "OK queued"}'::jsonb end
    || '{"host": "mx.example", "stage": "final_dot", "source": "192.0.2.9", "address": "192.0.2.10", "seconds": 0.1,
        "provider": "mx.example", "tls": null}'::jsonb
from message"""

# The newest are queued; a hundredth of them held.
_QUEUE = """
insert into queue (message_id, recipient_index, account_id, destination, address, address_key, due_at, expires_at,
    attempts, last_reply, holds)
select id, 0, account_id, split_part(record -> 'recipients' ->> 0, '@', 2), record -> 'recipients' ->> 0,
    sha256(id::text::bytea), now() + interval '1 day' + random() * interval '1 day', now() + interval '5 days', 1,
    '451 4.3.0 try again later', case when hashtext(id::text) % 100 = 0 then 1 else 0 end
from message order by id desc limit $1"""

_HOLDS = """
insert into hold (message_id, recipient_index, source, ref, account_id, text)
select message_id, recipient_index, 'operator', 'bench', account_id, 'the benchmark holds it' from queue
where holds > 0"""

_SUPPRESSIONS = """
insert into suppression (address_key, account_id, topic, address, reason, rule, evidence)
select decode(md5(n::text), 'hex'), 1, '', 'gone' || n || '@d' || to_char(n % $2, 'FM9900') || '.example',
    'hard_bounce', 'mailbox', ''
from generate_series(1, $1::int) n"""

_SESSION = """
insert into web_session (digest, user_id, waits_for_code, expires_at, source, agent)
select $1, id, false, now() + interval '1 hour', '127.0.0.1', 'bench' from web_user where name = 'bench'"""


@dataclass(frozen=True, slots=True)
class PageTime:
    """Milliseconds from the request to the last octet."""

    path: str
    octets: int
    p50_ms: float
    p95_ms: float


def dsn(service: Service) -> str:
    """Return the address of the service's own database, which must be running."""
    found = EmbeddedPostgres(service.data / "postgres").running()
    assert found, "the database is not running"
    return found


def measure(directory: Path, rows: int, queued: int) -> list[PageTime]:
    """Fill a store and load each page. Raises RuntimeError if a page fails."""
    with rig():
        settings = {"server": {"workers": 1}, "dns": {"servers": [f"{RESOLVER}:53"]}}
        service = Service(directory / "pages", settings)
        service.configure()
        service.cli("account", "add", "bench", "--domain", DOMAIN, "--approve", "a benchmark", "--verified")
        service.cli("user", "add", "bench", "--role", "operator")
        service.start()
        try:
            began = time.monotonic()
            message = asyncio.run(_fill(service, rows, queued))
            print(f"{rows} messages, {queued} queued: filled in {time.monotonic() - began:.0f} s", flush=True)
            return [each for path in _paths(message, rows) for each in _loaded(service, path)]
        except Exception:
            print(service.output())
            raise
        finally:
            service.stop()


async def _fill(service: Service, rows: int, queued: int) -> str:
    """Return the id of a queued message, as text."""
    connection = await asyncpg.connect(dsn(service))
    try:
        newest = int(time.time() * 1000) - rows * 2592 - 60_000
        for statement, *values in (
            (_MESSAGES, rows, newest, _DOMAINS, _ACCOUNTS),
            (_EVENTS,),
            (_QUEUE, queued),
            (_HOLDS,),
            (_SUPPRESSIONS, rows // 10, _DOMAINS),
            (_SESSION, web_sessions.digest(_TOKEN)),
        ):
            await connection.execute(statement, *values, timeout=1200)
        await connection.execute("vacuum analyze", timeout=600)
        return format_id(await connection.fetchval("select message_id from queue order by message_id limit 1"))
    finally:
        await connection.close()


def _paths(message: str, rows: int) -> list[str]:
    def search(**given: str) -> str:
        return f"/search?{urlencode(given)}"

    old = f"user{rows // 10}@d{rows // 10 % _DOMAINS:02}.example"
    return [
        "/", "/queue", "/queue/list", "/queue/list?state=held", "/destinations/d07.example", "/held", "/breakers",
        "/shaping", "/rejections", f"/messages/{message}",
        search(recipient=old), search(recipient="nobody@d07.example"), search(recipient="@d07.example"),
        search(recipient=f"user{rows // 10}"), search(sender="news@s20.example"), search(sender="shop@bench.example"),
        search(sender="nobody@else.example"), search(subject=f"order {rows // 10} "), search(subject="shipped"),
        search(reply="5.1.1"), search(reply="never said"), search(recipient="@d07.example", reply="5.1.1"),
        "/suppressions", "/suppressions?address=gone7@d07.example", "/accounts", "/accounts/bench", "/mailings",
        "/complaints", "/domains", "/sources", "/webhooks", "/users", "/audit", "/health", "/configuration",
        "/test/bounce", "/test/message", "/me",
    ]  # fmt: skip


def _loaded(service: Service, path: str) -> list[PageTime]:
    """Load a page, and the one that follows it if it is a list with more."""
    found, content = _timed(service, path)
    print(_row(found), flush=True)
    following = _FOLLOWING.search(content.decode())
    if following is None:
        return [found]
    after, _ = _timed(service, html.unescape(following[1]), f"{path} (second page)")
    print(_row(after), flush=True)
    return [found, after]


def _timed(service: Service, path: str, name: str = "") -> tuple[PageTime, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", service.admin_port, timeout=60)
    seconds, content = [], b""
    for n in range(WARM + LOADS):
        began = time.monotonic()
        connection.request("GET", path, headers={"Cookie": f"{COOKIE}={_TOKEN}", "Accept": "text/html"})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status not in (200, 303):  # what is found alone is led to
            raise RuntimeError(f"{path}: {answer.status} {content[:300]!r}")
        if n >= WARM:
            seconds.append(time.monotonic() - began)
    connection.close()
    seconds.sort()
    at95 = seconds[int(len(seconds) * 0.95) - 1]
    return PageTime(name or path, len(content), seconds[len(seconds) // 2] * 1000, at95 * 1000), content


def table(pages: list[PageTime]) -> str:
    """Return the pages as a Markdown table."""
    slow = [each.path for each in pages if each.p95_ms > 200]
    rows = ["| page | kB | ms p50 | p95 |", "| --- | ---: | ---: | ---: |", *map(_row, pages)]
    return "\n".join([*rows, "", f"Over 200 ms: {', '.join(slow) or 'none'}."])


def _row(page: PageTime) -> str:
    return f"| `{page.path}` | {page.octets // 1024} | {page.p50_ms:.0f} | {page.p95_ms:.0f} |"

"""The service: health, configuration with its origins, the audit, and the users of these pages."""

from __future__ import annotations

import asyncio
import os
import time
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from config.document import to_toml
from config.toml import DEFAULTS, read_text
from config.toml_positions import locate
from mta.admin import users
from mta.admin.errors import InvalidValue
from mta.admin.permissions import Role
from mta.admin.senders import keys
from mta.admin.senders.keys import CheckedKey
from mta.delivery.mx import Resolver
from mta.delivery.name_servers import DnsError
from mta.store.journal.audit import AuditRow
from mta.web.api.listing import Cursor
from mta.web.pages import tables
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView, QueryValues, Redirect
from mta.web.pages.senders.domain_pages import report_of
from mta.web.pages.tables import Cell, PageTable

routes = PageRoutes()

_CURSOR: Cursor[int] = Cursor(int)
OUTCOMES = {"done": "ok", "refused": "warn", "failed": "bad", "begun": "warn"}
MAX_KEYS = 50  # looked up
LOOK_UP = 4.0  # seconds for all of them
ROLES = [(each.value, each.value.replace("_", " ")) for each in Role]


# health


@routes.get("/health", "service:read", operator=True)
async def health(page: PageRequest) -> PageView:
    """Show whether mail can be taken now, and what the outside sees of us: PTR, DKIM, SPF, blocklists."""
    store = page.context.store
    checks = await page.services["readiness"].checks()
    sources = await store.source_checks.list()
    listings = await store.blocklist_listings.find()
    dns, signing = await _looked_up(page)
    accounts = await store.accounts.list()
    domains = [
        (details.account.name, domain)
        for details in accounts
        for domain in details.domains
        if domain.verified_at is None or _troubled(domain.report)
    ]
    values = {
        "checks": checks,
        "ok": all(each.ok for each in checks),
        "sources": sources,
        "listings": [each for each in listings if each.confirmed_at],
        "unconfirmed": [each for each in listings if not each.confirmed_at],
        "dns": dns,
        "signing": signing,
        "report_of": report_of,
        "domains": domains,
        "certificates": list(_certificates(page)),
        "backlog": await store.report_queue.backlog(),
    }
    return PageView("health.html", "Health", values)


async def _looked_up(page: PageRequest) -> tuple[tuple[bool, str], list[CheckedKey]]:
    """Return whether the name servers answer, and what the DNS has of the keys that sign."""
    settings, resolver = page.context.settings, Resolver(page.context.settings)
    active = [each for each in await keys.list_all(page.context) if each.signs][:MAX_KEYS]
    began = time.monotonic()
    try:
        async with asyncio.timeout(LOOK_UP):
            await resolver.records(settings.server.hostname, "A")
            took = f"{(time.monotonic() - began) * 1000:.0f} ms for {settings.server.hostname}"
            return (True, took), list(await asyncio.gather(*(keys.examine(each, resolver) for each in active)))
    except (DnsError, TimeoutError) as error:
        why = str(error) or f"no answer within {LOOK_UP:g} s"
        return (False, why), [CheckedKey(each, (), "the DNS could not be asked") for each in active]
    finally:
        await resolver.close()


def _troubled(report: Any) -> bool:
    return any(str(value).startswith(("missing", "wrong", "bad", "fail")) for value in report.values())


def _certificates(page: PageRequest) -> Iterator[tuple[str, str, datetime | None, str]]:
    """Yield each certificate that we show: where, its file, when it ends, how that is."""
    settings = page.context.settings
    places = [
        ("submission", settings.submission.tls.certificate),
        ("public pages", settings.web.public.certificate),
        ("this port", settings.web.admin.certificate),
    ]
    for where, file in places:
        if file is None:
            continue
        try:
            ends = x509.load_pem_x509_certificates(Path(file).read_bytes())[0].not_valid_after_utc
        except (OSError, ValueError, IndexError):
            yield where, os.fspath(file), None, "bad"
            continue
        left = (ends - datetime.now(UTC)).days
        yield where, os.fspath(file), ends, "bad" if left < 7 else "warn" if left < 21 else "ok"


# configuration


@routes.get("/configuration", "service:read", operator=True)
async def configuration(page: PageRequest) -> Answer:
    """Show every setting in effect, and the line that sets it; without secrets."""
    file: Path | None = page.services["config_file"]
    own = DEFAULTS / "mta.toml" if file is None else file
    try:
        lines = locate(read_text(own))
    except (OSError, ValueError):
        lines = {}
    wanted = page.query("search").lower()
    changed = bool(page.query("changed"))
    titles = tables.columns(key=("Setting", "mono"), value=("Value", "wide"), origin="Set by")
    rows = []
    for path, value in _leaves(tomllib.loads(to_toml(page.context.settings))):
        key = ".".join(str(each) for each in path)
        line = _line(lines, path)
        if (changed and not line) or (wanted and wanted not in f"{key} {value}".lower()):
            continue
        rows.append([tables.text(key), tables.text(value), tables.text(f"{own.name}:{line}" if line else "default")])
    table = PageTable.sorted(page, "Settings in effect", titles, rows, empty="No setting fits.")
    if tables.wants_csv(page):
        return table.to_csv("configuration")
    values = {"table": table, "file": str(own), "wanted": page.query("search"), "changed": changed}
    return PageView("configuration.html", "Configuration", values)


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    match value:
        case dict():
            for key, below in value.items():
                yield from _leaves(below, (*path, key))
        case list() if any(isinstance(each, dict) for each in value):
            for n, below in enumerate(value):
                yield from _leaves(below, (*path, n))
        case list():
            yield path, ", ".join(str(each) for each in value)
        case _:
            yield path, str(value).lower() if isinstance(value, bool) else str(value)


def _line(lines: Any, path: tuple[str | int, ...]) -> int | None:
    """Return the line that sets a setting, or the table that it is in."""
    found = lines.get(path)
    return int(found) if found is not None else None


# the audit


@routes.get("/audit", "audit:read", operator=True)
async def audit(page: PageRequest) -> Answer:
    """List what was changed, by whom, from where and why."""
    given = QueryValues({name: page.query(name) for name in ("account", "actor", "action") if page.query(name)})
    account_id = await page.context.account_filter(given["account"] or None)
    size = tables.most_rows(page)
    before = _CURSOR.decode(page.query("cursor")) if page.query("cursor") else None
    rows = await page.context.store.audit.list(
        account_id=account_id,
        actor=given["actor"] or None,
        action=given["action"] or None,
        before=before,
        limit=size + 1,
    )
    titles = tables.columns(
        at=("When", "time"), outcome="Outcome", action=("Action", "name"), subject="What", who="Who", reason="Why",
        change="Change",
    )  # fmt: skip
    table = PageTable("Audit", titles, [_audit_row(each) for each in rows[:size]], "Nothing was changed yet.")
    table.cut = len(rows) > size
    table.following = page.here(cursor=_CURSOR.encode(rows[size - 1].id)) if table.cut else ""
    table.first = page.here(cursor=None) if before else ""
    table.csv = page.here(format="csv", cursor=None)
    if tables.wants_csv(page):
        return table.to_csv("audit", "GET /v1/audit has them")
    return PageView("audit.html", "Audit", {"table": table, "given": given})


def _given(state: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (state or {}).items() if value not in (None, "", [])}


def _audit_row(row: AuditRow) -> list[Cell]:
    before, after = _given(row.before), _given(row.after)
    changes = [
        f"{key}: {before[key]} → {after[key]}" if key in before and key in after
        else f"{key}: {after[key]}" if key in after
        else f"was {key}: {before[key]}"
        for key in dict.fromkeys([*before, *after])
    ]  # fmt: skip
    return [
        tables.at(row.at),
        tables.badge(row.outcome, OUTCOMES.get(row.outcome, "")),
        tables.text(row.action, row.account or ""),
        tables.text(row.subject),
        tables.text(row.actor, f"{row.role.replace('_', ' ')}, {row.via} {row.source}".strip()),
        tables.text(row.reason),
        tables.text("; ".join(changes)),
    ]


# users


@routes.get("/users", "users:read", operator=True)
async def user_list(page: PageRequest) -> Answer:
    """List users, and add one."""
    found = await users.list_all(page.context)
    titles = tables.columns(
        name="Name", role="Role", account="Account", ways="Logs in by", last=("Last login", "time"), state="State"
    )
    rows = []
    for each in found:
        ways = [
            *(["password and code"] if each.has_password else []),
            *([f"{each.passkeys} passkeys"] if each.passkeys else []),
        ]
        state = tables.badge("disabled", "bad") if each.disabled_at else tables.badge("locked", "warn")
        rows.append(
            [
                tables.link(each.name, f"/users/{each.name}"),
                tables.text(each.role.replace("_", " ")),
                tables.text(each.account),
                tables.text(", ".join(ways) or "link only"),
                tables.at(each.last_login_at) if each.last_login_at else tables.text("never"),
                state if each.disabled_at or each.locked else tables.badge("active", "ok"),
            ]
        )
    table = PageTable.sorted(page, "Users", titles, rows)
    if tables.wants_csv(page):
        return table.to_csv("users")
    return PageView("users.html", "Users", {"table": table, "roles": ROLES})


@routes.post("/users", "users:write", again=user_list, operator=True)
async def add_user(page: PageRequest) -> Answer:
    """Add a user."""
    user = await users.add(
        page.context, page.text("name"), page.choice("role", Role), account=page.text("account") or None
    )
    return Redirect(f"/users/{user.name}", f"User {user.name} added. Make a link, and hand it over.")


@routes.get("/users/{name}", "users:read", operator=True)
async def user_page(page: PageRequest) -> PageView:
    """Show a user: how they log in, where they are logged in."""
    user = await users.get(page.context, page.path_text("name"))
    sessions = await page.context.store.web_sessions.of(user.id)
    values = {"user": user, "sessions": sessions, "link": ""}
    return PageView("user.html", user.name, values, [("Users", "/users")])


@routes.post("/users/{name}/link", "users:write", again=user_page, operator=True)
async def make_link(page: PageRequest) -> Answer:
    """Make a one-time link and show it, once."""
    token = await users.link(page.context, page.path_text("name"))
    view = await user_page(page)
    assert isinstance(view, PageView)
    address = f"{page.context.settings.web.admin.base_url}/login/link?token={token}"
    return PageView(view.template, view.title, {**view.values, "link": address}, view.crumbs)


@routes.post("/users/{name}/{what}", "users:write", again=user_page, operator=True)
async def change_user(page: PageRequest) -> Answer:
    """Reset, disable or enable a user."""
    name, reason = page.path_text("name"), page.text("reason")
    match page.path_text("what"):
        case "reset":
            await users.reset(page.context, name, reason=reason)
            done = "Password, code and passkeys are forgotten, and the sessions ended. Make a link, and hand it over."
        case "disable":
            await users.disable(page.context, name, reason=reason)
            done = "Disabled: out at once, and in no more."
        case "enable":
            await users.enable(page.context, name)
            done = "Enabled."
        case _:
            raise InvalidValue("what", "there is no such change")
    return Redirect(f"/users/{name}", done)

"""The overview: what needs a person, how much is sent and queued, what comes back, and what went wrong recently."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mta.mail.identity import format_id
from mta.mail.message import Stream
from mta.observe.labels import QueueState
from mta.store.queue.queue import By, QueueFilter
from mta.store.reputation.delivery_figures import AccountFigures, HourFigures, ProviderFigures
from mta.web.pages import tables
from mta.web.pages.frame import PageRequest, PageRoutes, PageView
from mta.web.pages.tables import Cell, PageTable
from policy.accounts.account import AccountStatus
from policy.profile import UnknownProfile
from policy.reputation.breaker import DeliveryCounts, Thresholds
from policy.reputation.complaint import CaseState

routes = PageRoutes()

DAY = timedelta(days=1)
TROUBLES = 12
SOON = timedelta(hours=6)  # before a deadline
BAD_SHARE, POOR_SHARE = 0.08, 0.03  # of hard bounces at a provider, as the built-in thresholds


@dataclass(frozen=True, slots=True)
class Todo:
    """Something that waits for a person."""

    text: str
    href: str
    tone: str


@dataclass(frozen=True, slots=True)
class Against:
    """A rate beside its thresholds. ``share``: of what stops, for the meter."""

    account: str
    complaints: int
    delivered: int
    rate: float
    floored: bool
    warn: float
    stop: float
    tone: str


@routes.get("/", "messages:read")
async def show(page: PageRequest) -> PageView:
    """Show the overview: of the service, or of the user's account."""
    own, store = page.context.actor.account_id, page.context.store
    since = datetime.now(UTC) - DAY
    figures = store.delivery_figures
    hours, providers, accounts, todo, queue = await asyncio.gather(
        figures.by_hour(since, own),
        figures.by_provider(since, own),
        figures.by_account(since, own),
        _todo(page),
        _queue(page),
    )
    names = await page.context.account_names() if own is None else {own: page.context.actor.account or ""}
    history = page.services["rates"]
    values: dict[str, Any] = {
        "todo": todo,
        "queue": queue,
        "rates": history.lately() if own is None else None,
        "hour": history.over(step=6) if own is None else (),
        "hours": _hours(hours),
        "providers": _providers(page, providers),
        "against": [
            found for each in accounts if (found := await _against(page, each, names.get(each.account_id, "")))
        ],
        "troubles": await _troubles(page),
    }
    return PageView("overview.html", "Overview", values)


def _hours(figures: Sequence[HourFigures]) -> list[tuple[datetime, int, int, int]]:
    """Return a row for each of the last 24 hours; none if nothing happened in them."""
    if not figures:
        return []
    counts = {each.hour: each.counts for each in figures}
    last = max(max(counts), datetime.now(UTC).replace(minute=0, second=0, microsecond=0))
    hours = [last - timedelta(hours=n) for n in range(24, -1, -1)]
    rows = [(hour, counts.get(hour, DeliveryCounts())) for hour in hours]
    return [(hour, each.delivered, each.soft, each.hard + each.refused) for hour, each in rows]


async def _queue(page: PageRequest) -> dict[str, Any]:
    store, own = page.context.store, page.context.actor.account_id
    if own is None:
        states, oldest, late = await asyncio.gather(
            store.queue.count_states(), store.queue.oldest_unexpired_age(), store.queue.late()
        )
        return {**states, "oldest": oldest, "late": late}
    groups = await store.queue.summary(By.STATE, QueueFilter(account_id=own))
    counts = {each.key: each.recipients for each in groups}
    oldest_at = min((each.oldest for each in groups), default=None)
    oldest = (datetime.now(UTC) - oldest_at).total_seconds() if oldest_at else 0.0
    return {**{state.value: counts.get(state.value, 0) for state in QueueState}, "oldest": oldest, "late": None}


async def _todo(page: PageRequest) -> list[Todo]:
    """Return what waits for a person, the most urgent first."""
    found = [*await _complaints_to_do(page)]
    if not page.is_operator:
        return found
    store = page.context.store
    for check in await page.services["readiness"].checks():
        if not check.ok:
            found.insert(0, Todo(f"{check.name}: {check.detail}", "/health", "bad"))
    for tripped in await store.breakers.list():
        found.append(Todo(f"Breaker open: {tripped.words}", f"/breakers/{tripped.name}", "bad"))
    for account in (each.account for each in await store.accounts.list()):
        if account.status is AccountStatus.REVIEW:
            found.append(Todo(f"Account {account.name} waits for its review", f"/accounts/{account.name}", "warn"))
    for listing in await store.blocklist_listings.find():
        if listing.confirmed_at:
            found.append(Todo(f"{listing.subject} is on the blocklist {listing.list}", "/health", "bad"))
    return found


async def _complaints_to_do(page: PageRequest) -> list[Todo]:
    cases = await page.context.store.cases.list(
        page.context.actor.account_id,
        states=[each for each in CaseState if each is not CaseState.CLOSED],
        limit=100,
    )
    now = datetime.now(UTC)
    found = []
    for case in cases:
        if page.is_operator and case.waits_for_desk:
            found.append(
                Todo(f"{case.number} was answered by {case.account}: decide", f"/complaints/{case.id}", "warn")
            )
        elif not page.is_operator and case.state in (CaseState.SENT, CaseState.OVERDUE, CaseState.SUSPENDED):
            text = f"{case.number} waits for your answer: {case.summary}"
            found.append(Todo(text, f"/complaints/{case.id}", "bad"))
        elif case.state in (CaseState.OVERDUE, CaseState.SUSPENDED):
            text = f"{case.number} of {case.account} is {case.state.value}"
            found.append(Todo(text, f"/complaints/{case.id}", "bad"))
        elif case.due_at and case.due_at - now < SOON:
            found.append(Todo(f"{case.number} of {case.account} is due soon", f"/complaints/{case.id}", "warn"))
    return found


def _providers(page: PageRequest, figures: Sequence[ProviderFigures]) -> PageTable:
    titles = tables.columns(
        provider=("Provider", "name"),
        delivered=("Delivered", "number"),
        hard=("Hard", "number"),
        share=("Hard share", "number"),
        soft=("Soft", "number"),
        refused=("Refused us", "number"),
        complaints=("Complaints", "number"),
    )
    rows = []
    for each in figures:
        counts = each.counts
        share = counts.hard / counts.tried if counts.tried else 0.0
        tone = "bad" if share >= BAD_SHARE else "warn" if share >= POOR_SHARE else None
        href = f"/destinations/{each.provider}" if each.provider and page.is_operator else ""
        rows.append(
            [
                tables.link(each.provider, href) if href else tables.text(each.provider or "not known"),
                tables.number(counts.delivered),
                tables.number(counts.hard),
                Cell(f"{share:.1%}", tone=tone, sort=share),
                tables.number(counts.soft),
                tables.number(counts.refused),
                tables.number(counts.complaints),
            ]
        )
    empty = "Nothing was sent in the last 24 hours."
    table = PageTable.sorted(page, "Results by provider, last 24 hours", titles, rows, empty=empty)
    table.csv = ""
    return table


async def _against(page: PageRequest, figures: AccountFigures, name: str) -> Against | None:
    """Return an account's complaints beside the thresholds of its profile; None for transactional mail."""
    if figures.stream is not Stream.MARKETING:
        return None
    account = page.context.store.accounts.by_id(figures.account_id)
    try:
        limits: Thresholds = page.context.profiles().get(account.profile if account else "").breakers
    except UnknownProfile:
        return None
    counts = figures.counts
    rate = counts.complaints / max(counts.delivered, limits.complaints_floor)
    tone = "bad" if rate >= limits.complaints_stop else "warn" if rate >= limits.complaints_warn else "ok"
    return Against(
        name or str(figures.account_id), counts.complaints, counts.delivered, rate,
        counts.delivered < limits.complaints_floor, limits.complaints_warn, limits.complaints_stop, tone,
    )  # fmt: skip


async def _troubles(page: PageRequest) -> PageTable:
    found = await page.context.store.events.troubles(TROUBLES, page.context.actor.account_id)
    titles = tables.columns(at=("When", "time"), what="What", to=("Recipient", "name"), reply=("Reply", "wide"))
    rows = []
    for recipient, event in found:
        reply = " ".join(str(event.data[key]) for key in ("code", "status", "text") if event.data.get(key))
        href = f"/messages/{format_id(event.message_id)}" if event.message_id else ""
        tone = "warn" if event.kind == "deferred" else "bad"
        rows.append(
            [tables.at(event.at), tables.badge(event.kind, tone), tables.link(recipient, href), tables.text(reply)]
        )
    return PageTable("What went wrong recently", titles, rows, "Nothing went wrong with the newest messages.")

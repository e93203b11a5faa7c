"""What ``mta events`` does, step by step.

It must never print past an event that is still to come: it reads as the sender of webhooks does.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from mta.cli.options import parse_span
from mta.cli.output import fail
from mta.cli.webhook_steps import refusable
from mta.observe.account_events import AccountEvent, fields, line
from mta.store.store import Store

PAGE = 500
LOOK_EVERY = 0.5  # seconds

_ID = re.compile(r"\d{1,18}")


@dataclass(frozen=True, slots=True)
class Wanted:
    account: str
    start: str | None
    kinds: tuple[str, ...]
    follow: bool
    as_json: bool


async def show(store: Store, wanted: Wanted) -> None:
    """Print them; with ``follow`` for ever."""
    account = (await refusable(store.accounts.find(wanted.account))).account
    if not await store.webhooks.list(account.id):
        fail(
            f"{account.name} has no webhook, so its events are not kept. Make one that only keeps them:\n"
            f"    mta webhook add {account.name} URL --paused"
        )
    at = 0 if wanted.start is None else await place(store, account.id, wanted.start)
    last = await store.outbox.newest(account.id)
    while True:
        upto = await store.outbox.horizon()
        events = await store.outbox.read(account.id, at, upto, wanted.kinds, PAGE)
        for event in events:
            print(line(account.name, event).decode() if wanted.as_json else describe(event), flush=wanted.follow)
        at = events[-1].id if len(events) == PAGE else max(at, upto)
        if len(events) == PAGE:
            continue
        if not wanted.follow and at >= last:
            return
        await asyncio.sleep(LOOK_EVERY if wanted.follow else 0.05)


async def replay(store: Store, number: int, start: str, by: str) -> str:
    known = await refusable(store.webhooks.find(number))
    after = min(await place(store, known.account_id, start), known.cursor)
    await refusable(store.webhooks.replay(number, after, by=by))
    count = (await refusable(store.webhooks.find(number))).waiting
    return f"Webhook {number} gets everything after event {after} again: {count} events wait."


async def place(store: Store, account_id: int, start: str) -> int:
    """The id behind which ``start`` begins."""
    if _ID.fullmatch(start):
        return max(0, int(start) - 1)
    return await store.outbox.before(account_id, parse_start(start, datetime.now(UTC)))


def parse_start(text: str, now: datetime) -> datetime:
    """A moment, or a length of time before ``now``; else exit status 2."""
    try:
        return now - parse_span(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{text!r} is no event id, no time like 2026-03-01T12:00 and no length of time like 2h", status=2)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def describe(event: AccountEvent) -> str:
    """One line for people."""
    told = fields(event)
    reply = " ".join(str(told[name]) for name in ("code", "enhanced_code", "reply") if name in told)
    parts = [told.get("message", ""), told.get("recipient", ""), reply]
    more = told.get("data", {}).get("reason")
    if more:
        parts.append(f"({more})")
    elif not any(parts):
        parts.append(json.dumps(told.get("data", {})))
    return f"{told['time']} {event.id:>8} {event.kind:12} " + " ".join(part for part in parts if part)

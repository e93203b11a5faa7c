"""``mta events``: an account's events as its webhooks get them; and sending a webhook events again.

Invariants: events are read as the sender of webhooks reads them: never past one that is still to come. Nothing is
changed but where a webhook continues, and that only backwards.

Limitations: events are kept for accounts with a webhook only (a paused one will do), for as long as ``retention`` says.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.context import load_settings, with_admin, with_store
from mta.cli.options import ByOption, ConfigOption, JsonLinesOption, group, parse_span
from mta.cli.output import fail, to_json
from mta.observe.account_events import fields, line

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.observe.account_events import AccountEvent
    from mta.store.store import Store

PAGE = 500
POLL = 0.5  # seconds

_ID = re.compile(r"\d{1,18}")
_FROM = "An event's id, a time such as 2026-03-01T12:00 (UTC), or how long ago: 2h."


def register(app: typer.Typer) -> None:
    commands = group("Events of an account, as its webhooks get them.", ("list", list_), ("replay", replay))
    app.add_typer(commands, name="events")


def list_(
    account: Annotated[str, typer.Option("--account", "-a", metavar="NAME", help="Account whose events to list.")],
    start: Annotated[str | None, typer.Option("--from", metavar="ID|TIME", help=f"{_FROM} Default: all.")] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only events of this kind; repeatable.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue with new events until Ctrl-C.")] = False,
    as_json: JsonLinesOption = False,
    config: ConfigOption = None,
) -> None:
    """Print an account's events in order."""
    with suppress(KeyboardInterrupt, BrokenPipeError):
        with_store(
            load_settings(config),
            lambda store: show(store, account, start, tuple(kind or ()), follow=follow, as_json=as_json),
        )


def replay(
    webhook: Annotated[int, typer.Option("--webhook", min=1, help="Its number; see `mta webhook list`.")],
    start: Annotated[str, typer.Option("--from", metavar="ID|TIME", help=f"{_FROM} That event is included.")],
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Send a webhook everything from an event on again, with the same ids."""

    from mta.admin import webhooks

    async def work(context: AdminContext) -> str:
        known = await webhooks.find(context, webhook)
        rewound = await webhooks.replay(context, webhook, await _place(context.store, known.account_id, start))
        return f"Webhook {webhook} rewound to event {rewound.cursor}; {rewound.waiting} events waiting."

    print(with_admin(load_settings(config), work, by=by))


async def show(
    store: Store, account: str, start: str | None, kinds: tuple[str, ...], *, follow: bool, as_json: bool
) -> None:
    """Print an account's events; with ``follow``, for ever."""
    owner = (await store.accounts.find(account)).account
    if not await store.webhooks.list(owner.id):
        fail(
            f"{owner.name} has no webhook, so its events are not kept. Create one that only keeps them:\n"
            f"    mta webhook add {owner.name} URL --paused"
        )
    at = 0 if start is None else await _place(store, owner.id, start)
    last = await store.outbox.newest(owner.id)
    while True:
        upto = await store.outbox.watermark()
        events = await store.outbox.read(owner.id, at, upto, kinds, PAGE)
        for event in events:
            print(line(owner.name, event).decode() if as_json else describe(event), flush=follow)
        at = events[-1].id if len(events) == PAGE else max(at, upto)
        if len(events) == PAGE:
            continue
        if not follow and at >= last:
            return
        await asyncio.sleep(POLL if follow else 0.05)


async def _place(store: Store, account_id: int, start: str) -> int:
    """Return the id after which ``start`` begins."""
    if _ID.fullmatch(start):
        return max(0, int(start) - 1)
    return await store.outbox.before(account_id, _parse_start(start, datetime.now(UTC)))


def _parse_start(text: str, now: datetime) -> datetime:
    """Return a moment, or a duration before ``now``; else exit status 2."""
    with suppress(ValueError):
        return now - parse_span(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{text!r} is not an event id, a time such as 2026-03-01T12:00 or a duration such as 2h", status=2)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def describe(event: AccountEvent) -> str:
    """Return an event on one line, for people."""
    told = fields(event)
    reply = " ".join(str(told[name]) for name in ("code", "enhanced_code", "reply") if name in told)
    parts = [told.get("message", ""), told.get("recipient", ""), reply]
    if reason := told.get("data", {}).get("reason"):
        parts.append(f"({reason})")
    elif not any(parts):
        parts.append(to_json(told.get("data", {}), indent=False))
    return f"{told['time']} {event.id:>8} {event.kind:12} " + " ".join(part for part in parts if part)

"""Show the demo: a live table with the outcome of each recipient, and the event log in readable lines.

Limitations: One row per recipient. Other results (signatures, DSN, suppression) are ``BoardCheck`` lines below.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from mta.demo.cases import DemoCase, DemoOutcome, Expected, Submitted
from mta.mail.identity import MessageId
from mta.mail.reply import Reply
from mta.store.journal.events import Event
from mta.store.store import Store

WIDE = 110  # columns needed for the whole table
FOLLOW_EVERY = 0.2  # seconds
_COLUMNS = ("case", "recipient", "reply to client", "outcome", "attempts", "reason")
_STYLES = {
    DemoOutcome.PENDING: "dim",
    DemoOutcome.DELIVERED: "green",
    DemoOutcome.DEFERRED: "yellow",
    DemoOutcome.HELD: "yellow",
    DemoOutcome.FAILED: "red",
    DemoOutcome.REJECTED: "magenta",
}
_OUTCOMES = {
    "delivered": DemoOutcome.DELIVERED,
    "deferred": DemoOutcome.DEFERRED,
    "failed": DemoOutcome.FAILED,
    "expired": DemoOutcome.FAILED,
}
_EVENT_STYLES = {"accepted": "cyan", "delivered": "green", "deferred": "yellow", "failed": "red", "rejected": "magenta"}


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of one recipient. ``reason``: the deciding reply, and the bounce rule if one matched."""

    outcome: DemoOutcome = DemoOutcome.PENDING
    status: str = ""
    reason: str = ""
    attempts: int = 0


@dataclass(slots=True)
class BoardRow:
    case: DemoCase
    expected: Expected
    client: Reply | None = None
    id: MessageId | None = None
    seen: Seen = Seen()

    @property
    def as_expected(self) -> bool:
        expected = self.expected
        return (
            self.seen.outcome is expected.outcome
            and self.seen.attempts >= expected.attempts
            and (not expected.status or self.seen.status == expected.status)
        )


@dataclass(frozen=True, slots=True)
class BoardCheck:
    """The result of another check."""

    what: str
    ok: bool
    evidence: str


class Board:
    """The rows and checks of the table."""

    def __init__(self, cases: Sequence[DemoCase]) -> None:
        self.rows = [BoardRow(case, expected) for case in cases for expected in case.expected]
        self.checks: list[BoardCheck] = []
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds; it is checked after each change."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    @property
    def complete(self) -> bool:
        """Whether all rows are as expected."""
        return all(row.as_expected for row in self.rows)

    def ended(self, title: str) -> bool:
        """Whether all rows of the case are as expected."""
        return all(row.as_expected for row in self.rows if row.case.title == title)

    def open_ids(self) -> set[MessageId]:
        """Return the messages that are not yet as expected."""
        return {row.id for row in self.rows if row.id and not row.as_expected}

    def submitted(self, case: DemoCase, result: Submitted) -> None:
        for row in self.rows:
            if row.case is case:
                row.client = reply = result.replies[row.expected.recipient]
                row.id = result.id if reply.code == 250 else None
                if reply.code != 250:
                    row.seen = Seen(DemoOutcome.REJECTED, reply.status, str(reply))
        self._changed.set()

    def see(self, message: MessageId, recipient: str, seen: Seen) -> None:
        for row in self.rows:
            if row.id == message and row.expected.recipient == recipient:
                row.seen = seen
        self._changed.set()

    def differences(self) -> Iterator[str]:
        """Yield a line for each result that is not as expected."""
        for row in self.rows:
            if not row.as_expected:
                expected, seen = row.expected, row.seen
                yield (
                    f"{row.case.title}: {expected.recipient}: "
                    + f"expected {expected.outcome.value} {expected.status}".rstrip()
                    + f" after at least {expected.attempts} attempts, "
                    + f"got {seen.outcome.value} {seen.status} after {seen.attempts}: {seen.reason or 'no result yet'}"
                )
        for check in self.checks:
            if not check.ok:
                yield f"{check.what}: {check.evidence}"

    def table(self, width: int) -> RenderableType:
        """Return the table and the checks below it, for a screen ``width`` columns wide."""
        table = Table(title="Outcome of each message", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        shown = [name for name in _COLUMNS if width >= WIDE or name not in ("case", "reply to client")]
        for name in shown:
            if name == "reason":
                table.add_column(name, overflow="fold", ratio=1)
            else:
                table.add_column(name, no_wrap=True)
        previous: DemoCase | None = None
        for row in self.rows:
            values = {
                "case": row.case.title if row.case is not previous else "",
                "recipient": row.expected.recipient,
                "reply to client": f"{row.client.code} {row.client.status}" if row.client else "",
                "outcome": f"[{_STYLES[row.seen.outcome]}]{row.seen.outcome.value}[/]",
                "attempts": str(row.seen.attempts) if row.seen.attempts else "",
                "reason": escape(row.seen.reason),
            }
            previous = row.case
            table.add_row(*(values[name] for name in shown))
        return Group(table, *(_line(check) for check in self.checks))


def _line(check: BoardCheck) -> str:
    mark = "[green]✓[/]" if check.ok else "[red]✗[/]"
    return f"{mark} {check.what}: [dim]{escape(check.evidence)}[/]"


# --- what the service has recorded about a message


async def look(store: Store, message: MessageId) -> dict[str, Seen]:
    """Return the state of each recipient from the service's own record. Raises StoreUnavailable."""
    story = await store.explain.message(message)
    seen: dict[str, Seen] = {}
    if story is None:
        return seen
    for event in story.events:
        if event.recipient_index is not None and event.kind in _OUTCOMES:
            recipient = story.recipients[event.recipient_index]
            attempts = seen.get(recipient, Seen()).attempts + 1
            seen[recipient] = Seen(_OUTCOMES[event.kind], str(event.data["status"]), _reason(event), attempts)
    for queued in story.queued:
        if queued.holds:
            reason = "; ".join(map(str, queued.holds))
            seen[story.recipients[queued.recipient_index]] = Seen(DemoOutcome.HELD, reason=reason)
    return seen


def _reason(event: Event) -> str:
    data = event.data
    reply = f"{data['code']} {data['status']} {data['text']}"
    if rule := data.get("rule"):
        return f"{reply} (rule {rule})"
    return f"{reply} ({data['host']}, {data['tls'] or 'not encrypted'})" if "host" in data else reply


# --- the event log


async def follow(path: Path, console: Console) -> None:
    """Print the events added to the log from now on, until cancelled."""
    with open(path, "rb") as file:  # noqa: ASYNC230  a local file, a few lines at a time
        file.seek(0, 2)
        rest = b""
        while True:
            *lines, rest = (rest + file.read()).split(b"\n")
            for line in lines:
                if text := describe(json.loads(line)):
                    console.print(text)
            await asyncio.sleep(FOLLOW_EVERY)


def describe(event: dict[str, Any]) -> str | None:
    """Return the event as one line with markup; None if it is not about a message."""
    kind = event["event"]
    if kind not in _EVENT_STYLES:
        return None
    if kind == "accepted":
        what = f"{event['id']} from {event['sender']} for {event['recipients']} recipient(s)"
    else:
        subject = event.get("recipient") or event.get("sender") or event.get("client")
        what = f"{event.get('id', '')} {subject}: {event['code']} {event['status']} {event['text']}".lstrip()
    if rule := event.get("rule"):
        what += f" (rule {rule})"
    if until := event.get("until"):
        what += f", next attempt at {until[11:19]} UTC"
    return f"{event['at'][11:19]} [{_EVENT_STYLES[kind]}]{kind:9}[/] {escape(what)}"

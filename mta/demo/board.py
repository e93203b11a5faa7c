"""What has become of each of the demo's messages, beside what should become of it; and the table that shows both.

*Limits.* Row by row, one recipient each; extra facts (signatures, notice, suppression) are ``BoardCheck`` rows at the
end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from mta.demo.cases import DemoCase, DemoOutcome, Expected
from mta.demo.submit import Submitted
from mta.mail.identity import MessageId
from mta.mail.reply import Reply

WIDE = 110  # columns that the whole table needs; in fewer, the reasons matter most
_COLUMNS = ("case", "recipient", "client got", "outcome", "tries", "why")
_STYLES = {
    DemoOutcome.PENDING: "dim",
    DemoOutcome.DELIVERED: "green",
    DemoOutcome.DEFERRED: "yellow",
    DemoOutcome.HELD: "yellow",
    DemoOutcome.FAILED: "red",
    DemoOutcome.REFUSED: "magenta",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the service says of one recipient. ``why``: the deciding reply, and the bounce rule if one fired."""

    fate: DemoOutcome = DemoOutcome.PENDING
    status: str = ""
    why: str = ""
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
        wanted = self.expected
        return (
            self.seen.fate is wanted.fate
            and self.seen.attempts >= wanted.attempts
            and (not wanted.status or self.seen.status == wanted.status)
        )


@dataclass(frozen=True, slots=True)
class BoardCheck:
    """Something that must hold besides: ``what`` it is, whether it holds, and by what that was seen."""

    what: str
    holds: bool
    evidence: str


class Board:
    def __init__(self, cases: Sequence[DemoCase]) -> None:
        self.rows = [BoardRow(case, expected) for case in cases for expected in case.expected]
        self.proofs: list[BoardCheck] = []
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once ``condition`` holds; it is asked again after each change."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    @property
    def complete(self) -> bool:
        """Everything is as it should be, as far as the rows go."""
        return all(row.as_expected for row in self.rows)

    def ended(self, title: str) -> bool:
        """Whether the case has come to what it should come to."""
        return all(row.as_expected for row in self.rows if row.case.title == title)

    def open_ids(self) -> set[MessageId]:
        """The messages about which more should happen."""
        return {row.id for row in self.rows if row.id and not row.as_expected}

    def submitted(self, case: DemoCase, result: Submitted) -> None:
        for row in self.rows:
            if row.case is case:
                row.client = reply = result.replies[row.expected.recipient]
                row.id = result.id if reply.code == 250 else None
                if reply.code != 250:
                    row.seen = Seen(DemoOutcome.REFUSED, reply.status, str(reply))
        self._changed.set()

    def see(self, message: MessageId, recipient: str, seen: Seen) -> None:
        for row in self.rows:
            if row.id == message and row.expected.recipient == recipient:
                row.seen = seen
        self._changed.set()

    def differences(self) -> Iterator[str]:
        """One line for each thing that is not as it should be."""
        for row in self.rows:
            if not row.as_expected:
                wanted, seen = row.expected, row.seen
                yield (
                    f"{row.case.title}: {wanted.recipient}: expected {wanted.fate.value} {wanted.status}".rstrip()
                    + f" after {wanted.attempts} or more attempts, "
                    + f"saw {seen.fate.value} {seen.status} after {seen.attempts}: {seen.why or 'nothing yet'}"
                )
        for proof in self.proofs:
            if not proof.holds:
                yield f"{proof.what}: {proof.evidence}"

    def table(self, width: int) -> RenderableType:
        """What became of each recipient, line by line, and below it the proofs; for a screen ``width`` columns wide."""
        table = Table(title="What became of each message", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        shown = [name for name in _COLUMNS if width >= WIDE or name not in ("case", "client got")]
        for name in shown:
            table.add_column(name, no_wrap=True) if name != "why" else table.add_column(name, overflow="fold", ratio=1)
        previous: DemoCase | None = None
        for row in self.rows:
            cells = {
                "case": row.case.title if row.case is not previous else "",
                "recipient": row.expected.recipient,
                "client got": f"{row.client.code} {row.client.status}" if row.client else "",
                "outcome": f"[{_STYLES[row.seen.fate]}]{row.seen.fate.value}[/]",
                "tries": str(row.seen.attempts) if row.seen.attempts else "",
                "why": escape(row.seen.why),
            }
            previous = row.case
            table.add_row(*(cells[name] for name in shown))
        return Group(table, *(_line(proof) for proof in self.proofs))


def _line(proof: BoardCheck) -> str:
    mark = "[green]✓[/]" if proof.holds else "[red]✗[/]"
    return f"{mark} {proof.what}: [dim]{escape(proof.evidence)}[/]"

"""Tables: cells, columns that sort, pages by cursor, CSV.

Invariants: a cell that a spreadsheet would take for a formula begins with an apostrophe. CSV that lacks rows says so in
its last line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from starlette.responses import Response

from mta.admin.spreadsheet import no_formula
from mta.web.pages.frame import PageRequest

PAGE = 50  # rows
CSV_ROWS = 10_000  # at most in a file


@dataclass(frozen=True, slots=True)
class Act:
    """A button in a cell, which posts a form. ``reason``: it asks why first; ``danger``: it is red."""

    label: str
    to: str
    fields: Mapping[str, str] = field(default_factory=dict)
    reason: bool = False
    danger: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell shows. ``tone``: a badge with it; ``sub``: a smaller line below; ``sort``: what it is sorted by."""

    text: str = ""
    href: str = ""
    tone: str | None = None
    sub: str = ""
    at: datetime | None = None
    act: Act | None = None
    sort: float | str | None = None

    @property
    def key(self) -> tuple[int, float, str]:
        value = self.at.timestamp() if self.at else self.sort
        if isinstance(value, int | float):
            return (0, float(value), "")
        return (1, 0.0, (value if isinstance(value, str) else self.text).casefold())

    @property
    def plain(self) -> str:
        """The cell in CSV."""
        if self.at:
            return self.at.astimezone(UTC).isoformat(timespec="seconds")
        text = f"{self.text} ({self.sub})" if self.sub and self.text else self.text or self.sub
        return text if isinstance(self.sort, int | float) else no_formula(text)


def text(value: object, sub: str = "") -> Cell:
    return Cell("" if value is None else str(value), sub=sub)


def link(value: object, href: str, sub: str = "") -> Cell:
    return Cell(str(value), href=href, sub=sub)


def number(value: float | None, href: str = "") -> Cell:
    if value is None:
        return Cell()
    return Cell(f"{value:,}" if isinstance(value, int) else f"{value:,.2f}", href=href, sort=value)


def badge(value: str, tone: str = "", sub: str = "") -> Cell:
    return Cell(value, tone=tone, sub=sub)


def at(moment: datetime | None) -> Cell:
    return Cell(at=moment) if moment else Cell()


def act(label: str, to: str, *, reason: bool = False, danger: bool = False, **fields: str) -> Cell:
    return Cell(act=Act(label, to, fields, reason, danger))


@dataclass(frozen=True, slots=True)
class TableColumn:
    """``kind``: text, name (an address or the like), number, time, mono or wide."""

    key: str
    title: str
    kind: str = "text"


def columns(**titles: str | tuple[str, str]) -> list[TableColumn]:
    """Return columns by their keys: a title, or a title and a kind."""
    return [TableColumn(key, *((title,) if isinstance(title, str) else title)) for key, title in titles.items()]


@dataclass(slots=True)
class PageTable:
    """A table as it is shown. ``caption``: for screen readers, and above the table if ``says`` it.

    ``following``: the address of the next page; ``first``: that of the first one, if this is not it. ``cut``: there are
    more rows.
    """

    caption: str
    columns: Sequence[TableColumn]
    rows: Sequence[Sequence[Cell]]
    empty: str = "There is nothing here yet."
    sortable: bool = False
    sort: str = ""
    descending: bool = False
    following: str = ""
    first: str = ""
    csv: str = ""
    count: str = ""
    cut: bool = False

    @classmethod
    def sorted(
        cls,
        page: PageRequest,
        caption: str,
        columns: Sequence[TableColumn],
        rows: Sequence[Sequence[Cell]],
        *,
        empty: str = "There is nothing here yet.",
        name: str = "",
    ) -> PageTable:
        """Return a table that is complete, sorted as the query says. ``name``: tells tables of one page apart."""
        wanted, descending = page.query(f"{name}sort"), bool(page.query(f"{name}desc"))
        place = next((n for n, each in enumerate(columns) if each.key == wanted), None)
        if place is not None:
            rows = sorted(rows, key=lambda row: row[place].key, reverse=descending)
        return cls(caption, columns, rows, empty, True, wanted, descending, csv=page.here(format="csv", cursor=None))

    def to_csv(self, name: str, elsewhere: str = "") -> Response:
        """Return the table as a file. ``elsewhere``: what has all rows, if some are cut."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\r\n")
        shown = [n for n, each in enumerate(self.columns) if each.kind != "act"]
        writer.writerow([self.columns[n].title for n in shown])
        writer.writerows([row[n].plain for n in shown] for row in self.rows)
        if self.cut:
            further = elsewhere or (f"go on at {self.following}" if self.following else "the rest is left out")
            writer.writerow([f"These {len(self.rows):,} rows are not all: {further}"])
        headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
        return Response(file.getvalue().encode(), media_type="text/csv; charset=utf-8", headers=headers)


def wants_csv(page: PageRequest) -> bool:
    return page.query("format") == "csv"


def most_rows(page: PageRequest, shown: int = PAGE) -> int:
    """Return how many rows the answer has at most: ``shown`` on a page, more in a file."""
    return CSV_ROWS if wants_csv(page) else shown

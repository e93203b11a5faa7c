"""Suppression lists as CSV: read with every mistake and its line, written so that they can be read again.

With a header line, the columns ``address``, ``account``, ``topic`` and ``reason`` are found by name and others are
ignored; without one, the first column is the address. A line without an account is for everybody, unless the command
says otherwise; one without a topic is for all mail.

It must never guess at a line: what is no address is a mistake.

*Limits.* A file is checked whole before the first line of it is used, so all of it is in memory.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from mta.mail.address import Address, AddressError
from policy.base import Suppression

COLUMNS = ("address", "account", "topic", "reason", "rule", "since")
MAX_REASON = 200  # characters


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. ``account``: "" if it names none. ``topic``: as in ``policy.base.Suppression``."""

    line: int
    address: Address
    account: str
    reason: str
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Mistake:
    line: int
    text: str


def read(path: Path, reason: str) -> tuple[list[Entry], list[Mistake]]:
    """The entries of a UTF-8 file, and its mistakes. ``reason``: for lines without one. Raises OSError."""
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        lines = list(_lines(file, reason))
    return [line for line in lines if isinstance(line, Entry)], [line for line in lines if isinstance(line, Mistake)]


def _lines(file: TextIO, reason: str) -> Iterator[Entry | Mistake]:
    """Every line that is not empty, the header line left out."""
    reader = csv.reader(file)
    columns = ["address"]
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if reader.line_num == 1 and "address" in (names := [cell.lower() for cell in cells]):
                columns = names
            elif any(cells):
                yield _line(reader.line_num, dict(zip(columns, cells, strict=False)), reason)
    except csv.Error as error:
        yield Mistake(reader.line_num, f"is not CSV: {error}")


def _line(number: int, fields: Mapping[str, str], reason: str) -> Entry | Mistake:
    text = fields.get("address", "")
    try:
        address = Address.parse(text)
    except AddressError as error:
        return Mistake(number, f"{text[:80]!r}: {error}")
    why = (fields.get("reason") or reason)[:MAX_REASON]
    return Entry(number, address, fields.get("account", ""), why, fields.get("topic", ""))


def write(file: TextIO, suppressions: Iterable[Suppression], accounts: Mapping[int, str]) -> int:
    """One line for each, with a header line; the number written. ``accounts``: names by id."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for each in suppressions:
        account = "" if each.account_id is None else accounts.get(each.account_id, str(each.account_id))
        writer.writerow((str(each.address), account, each.topic, each.reason, each.rule, each.since.isoformat()))
        count += 1
    return count

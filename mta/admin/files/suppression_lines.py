"""Suppression lists as files: CSV and JSON lines, read line by line with every mistake, and written again.

How a file may be written is said in ``mta.admin.files.table_file``. With a header line, the columns of ``COLUMNS``
are found by name and others are ignored; without one, the first column is the address. Fields of JSON are the same
columns. A line without an account holds for all accounts, unless the import says otherwise; one without a topic for
all mail. A reason that is none of ours is kept as the text of a manual one. Where only the hash of an address is
known, ``key`` holds it: it is of use to the installation that wrote it.

Invariants: a file of any length is read in a bounded amount of memory.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

from mta.admin.files.json_lines import json_lines
from mta.admin.files.table_file import BadRow, TableFile, column_names, text_fault
from mta.mail.address import Address, AddressError
from mta.store.postgres.secrets import PLACEHOLDER_DOMAIN
from policy.base import Suppression
from policy.permission.suppression import Reason

COLUMNS = ("address", "account", "topic", "reason", "detail", "rule", "since", "until", "key")
MAX_DETAIL = 200  # characters

_KEY = re.compile(r"[0-9a-f]{32}")
_REASONS = {reason.value: reason for reason in Reason}


@dataclass(frozen=True, slots=True)
class SuppressionLine:
    """One line. ``address`` None: only its hash is known, ``key``. ``account``: "" if it names none. ``topic``: as in
    ``policy.base.Suppression``. ``until``: when it ends, None: never."""

    line: int
    address: Address | None
    account: str
    reason: Reason
    detail: str = ""
    topic: str = ""
    until: datetime | None = None
    key: bytes = b""


class _Wrong(ValueError):
    """What is wrong with a line."""


def read(source: TableFile, otherwise: str) -> Iterator[SuppressionLine | BadRow]:
    """Yield every line that is not empty, except the header line. ``otherwise``: the reason of those without one.

    Raises UnusableFile.
    """
    for line, fields in json_lines(source, COLUMNS) if source.begins_with(b"{") else _csv(source):
        yield fields if isinstance(fields, BadRow) else _line(line, fields, otherwise)


def _csv(source: TableFile) -> Iterator[tuple[int, Mapping[str, str] | BadRow]]:
    columns = ["address"]
    for n, row in enumerate(source.rows()):
        if isinstance(row, BadRow):
            yield row.line, row
        elif n == 0 and "address" in (names := column_names(row[1])):
            columns = names
        else:
            line, cells = row
            yield line, dict(zip(columns, cells, strict=False))


def _line(number: int, fields: Mapping[str, str], otherwise: str) -> SuppressionLine | BadRow:
    try:
        for name, text in fields.items():
            if fault := text_fault(text):
                raise _Wrong(f"{name}: {fault}")
        address, key = _address(fields)
        reason, detail = _reason(fields.get("reason") or otherwise, fields.get("detail", ""))
        until = _until(fields.get("until", ""), reason)
    except (_Wrong, AddressError) as error:
        return BadRow(number, str(error))
    account, topic = fields.get("account", ""), fields.get("topic", "")
    return SuppressionLine(number, address, account, reason, detail[:MAX_DETAIL], topic, until, key)


def _address(fields: Mapping[str, str]) -> tuple[Address | None, bytes]:
    text, key = fields.get("address", ""), fields.get("key", "").lower()
    if key and not text:
        if not _KEY.fullmatch(key):
            raise _Wrong(f"{key[:80]!r} is not a key: 32 hexadecimal digits, as `mta suppression export` writes them")
        return None, bytes.fromhex(key)
    try:
        return Address.parse(text), b""
    except AddressError as error:
        raise _Wrong(f"{text[:80]!r}: {error}") from None


def _reason(reason: str, detail: str) -> tuple[Reason, str]:
    if (known := _REASONS.get(reason.lower())) is not None:
        return known, detail
    return Reason.MANUAL, f"{reason}: {detail}" if detail else reason


def _until(text: str, reason: Reason) -> datetime | None:
    if not text:
        return None
    try:
        until = datetime.fromisoformat(text)
    except ValueError:
        raise _Wrong(f"until {text[:40]!r} is not a date: 2027-01-31 or 2027-01-31T12:00:00+00:00") from None
    if reason.permanent:
        raise _Wrong(f"a suppression for {reason.value} never expires: leave `until` empty")
    return until if until.tzinfo else until.replace(tzinfo=UTC)


def write(file: TextIO, suppressions: Iterable[Suppression], names: Mapping[int, str]) -> int:
    """Write a header line and one line for each; return how many. ``names``: of accounts, by id."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for each in suppressions:
        account = "" if each.account_id is None else names.get(each.account_id, str(each.account_id))
        hashed = each.address.domain == PLACEHOLDER_DOMAIN  # a stand-in: the address is not known
        writer.writerow(
            (
                "" if hashed else str(each.address),
                account,
                each.topic,
                each.reason.value,
                each.detail,
                each.rule,
                each.since.isoformat(),
                each.until.isoformat() if each.until else "",
                each.address.local if hashed else "",
            )
        )
        count += 1
    return count

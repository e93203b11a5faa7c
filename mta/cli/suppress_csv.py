"""Suppression lists as CSV: read with every mistake and its line, written so that they can be read again.

With a header line, the columns of ``COLUMNS`` are found by name and others are ignored; without one, the first column
is the address. A line without an account is for everybody, unless the command says otherwise; one without a topic is
for all mail. A reason that is none of ours is kept as the words of a manual one. Where only the hash of an address is
known, ``key`` holds it: it is of use to the installation that wrote it.

It must never guess at a line: what is no address is a mistake.

*Limits.* A file is checked whole before the first line of it is used, so all of it is in memory.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from mta.mail.address import Address, AddressError
from mta.store.journal.redaction import DOMAIN
from policy.base import Suppression
from policy.permission.suppression import Reason

COLUMNS = ("address", "account", "topic", "reason", "detail", "rule", "since", "until", "key")
MAX_DETAIL = 200  # characters

_KEY = re.compile(r"[0-9a-f]{32}")
_REASONS = {reason.value: reason for reason in Reason}


@dataclass(frozen=True, slots=True)
class Entry:
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


@dataclass(frozen=True, slots=True)
class Mistake:
    line: int
    text: str


class _Wrong(ValueError):
    """What is wrong with a line."""


def read(path: Path, reason: str) -> tuple[list[Entry], list[Mistake]]:
    """The entries of a UTF-8 file, and its mistakes. ``reason``: for lines without one. Raises OSError."""
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        lines = list(_lines(file, reason))
    return [line for line in lines if isinstance(line, Entry)], [line for line in lines if isinstance(line, Mistake)]


def digest(path: Path, *choices: str | None) -> bytes:
    """What a file is known by, read with these choices. Raises OSError."""
    with open(path, "rb") as file:
        content = hashlib.file_digest(file, "sha256")
    content.update(repr(choices).encode())
    return content.digest()


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


def _line(number: int, fields: Mapping[str, str], otherwise: str) -> Entry | Mistake:
    try:
        address, key = _who(fields)
        reason, detail = _why(fields.get("reason") or otherwise, fields.get("detail", ""))
        until = _until(fields.get("until", ""), reason)
    except (_Wrong, AddressError) as error:
        return Mistake(number, str(error))
    account, topic = fields.get("account", ""), fields.get("topic", "")
    return Entry(number, address, account, reason, detail[:MAX_DETAIL], topic, until, key)


def _who(fields: Mapping[str, str]) -> tuple[Address | None, bytes]:
    text, key = fields.get("address", ""), fields.get("key", "").lower()
    if key and not text:
        if not _KEY.fullmatch(key):
            raise _Wrong(f"{key[:80]!r} is no key: 32 hexadecimal digits, as `mta suppress export` writes them")
        return None, bytes.fromhex(key)
    try:
        return Address.parse(text), b""
    except AddressError as error:
        raise _Wrong(f"{text[:80]!r}: {error}") from None


def _why(reason: str, detail: str) -> tuple[Reason, str]:
    if (known := _REASONS.get(reason.lower())) is not None:
        return known, detail
    return Reason.MANUAL, f"{reason}: {detail}" if detail else reason


def _until(text: str, reason: Reason) -> datetime | None:
    if not text:
        return None
    try:
        until = datetime.fromisoformat(text)
    except ValueError:
        raise _Wrong(f"until {text[:40]!r} is no date; write 2027-01-31 or 2027-01-31T12:00:00+00:00") from None
    if reason.permanent:
        raise _Wrong(f"a suppression for {reason.value} never ends; leave `until` empty")
    return until if until.tzinfo else until.replace(tzinfo=UTC)


def write(file: TextIO, suppressions: Iterable[Suppression], accounts: Mapping[int, str]) -> int:
    """One line for each, with a header line; the number written. ``accounts``: names by id."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for each in suppressions:
        account = "" if each.account_id is None else accounts.get(each.account_id, str(each.account_id))
        hashed = each.address.domain == DOMAIN  # a stand-in: the address is not known
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

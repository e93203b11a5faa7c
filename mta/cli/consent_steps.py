"""What ``mta consent`` does to the ledger, step by step.

It must never report a record as written before it is.

*Limits.* The name noted is that of the operating system's user, who may have called himself so.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import Progress

from config.schema import Settings
from mta.cli import consent_file
from mta.cli.consent_fields import Habits
from mta.cli.consent_file import FileError, Mistake, Reading
from mta.cli.options import operator
from mta.cli.output import fail
from mta.cli.suppression.entries import require_liftable
from mta.mail.address import Address, AddressError
from mta.store.permission.consent_entries import Given
from mta.store.permission.consents import ConsentsRecorded
from mta.store.permission.import_progress import ImportProgress
from mta.store.permission.ledger import Verified
from mta.store.store import Store, StoreUnavailable
from policy.permission.consent import EVERY_TOPIC, Sign, TopicError, parse_topic
from policy.permission.dossier import Dossier
from policy.permission.ledger import Head
from policy.permission.suppression import Reason

CHUNK = 5000  # records in one transaction


@dataclass(slots=True)
class Tally:
    """What became of a file's records."""

    read: int = 0
    fresh: int = 0
    known: int = 0
    lifted: int = 0
    pulled: int = 0
    bad: int = 0
    lacking: Counter[str] = field(default_factory=Counter)

    def add(self, recorded: ConsentsRecorded) -> None:
        self.fresh += recorded.fresh
        self.known += recorded.known
        self.lifted += recorded.lifted
        self.pulled += recorded.pulled
        self.lacking.update(recorded.lacking)

    def print(self) -> None:
        print(f"{self.read} records read: {self.fresh} recorded, {self.known} known before, {self.bad} bad.")
        if self.pulled:
            print(f"{self.pulled} queued copies taken out for consents that were revoked.")
        if self.lifted:
            print(f"{self.lifted} suppressions lifted.")
        if self.lacking:
            reasons = ", ".join(f"{name} ({count})" for name, count in self.lacking.most_common())
            print(f"No mail can go by some of them as they are, for want of evidence or of a basis: {reasons}.")


async def import_file(
    store: Store,
    settings: Settings,
    reading: Reading,
    account: str,
    habits: Habits,
    *,
    lift: bool,
    again: bool,
    check_only: bool,
) -> Tally:
    """Record a file's consents; every bad record is told on standard error as ``file:line: what is wrong``.

    What was cut off goes on where it stopped. Ends the command if nothing of the file can be used.
    """
    account_id = await _account_id(store, account)
    if lift:
        await require_liftable(store, settings, account_id, Reason.UNSUBSCRIBE)
    mark = await _begin(store, account_id, reading, habits, again=again, check_only=check_only)
    tally = Tally(read=mark.records)
    by = f"{operator()}, {Path(reading.name).name}"
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("importing", total=reading.size)
        try:
            chunks = _chunks(consent_file.records(reading, habits, skip=mark.records))
            chunk = next(chunks, None)
            while chunk:
                good = _good(reading.name, chunk, tally)
                here = ImportProgress(mark.file, tally.read)
                ahead = asyncio.create_task(asyncio.to_thread(next, chunks, None))  # read while these are written
                try:
                    if not check_only:
                        tally.add(await store.consents.record(account_id, good, by=by, lift=lift, mark=here))
                finally:
                    chunk = await ahead
                bar.update(task, completed=reading.octets)
            if not check_only:
                await store.consents.record(
                    account_id, [], by=by, mark=ImportProgress(mark.file, tally.read, finished=True)
                )
        except FileError as error:
            fail(f"{reading.name}: {error}", status=2)
        except StoreUnavailable as error:
            fail(f"the database went away ({error}); import the file again: it goes on where it stopped")
    return tally


async def _begin(
    store: Store, account_id: int, reading: Reading, habits: Habits, *, again: bool, check_only: bool
) -> ImportProgress:
    """Where to begin."""
    if check_only:
        return ImportProgress(b"", 0)
    mark = await store.consents.begin_import(account_id, reading.digest(habits))
    if again:
        return ImportProgress(mark.file, 0)
    if mark.finished:
        fail(f"{reading.name} was imported before, all {mark.records} records (--again reads it once more)", status=0)
    if mark.records:
        print(f"Going on behind the first {mark.records} records, which were read before.", file=sys.stderr)
    return mark


def _chunks(found: Iterator[Given | Mistake]) -> Iterator[list[Given | Mistake]]:
    while chunk := list(islice(found, CHUNK)):
        yield chunk


def _good(file: str, chunk: Sequence[Given | Mistake], tally: Tally) -> list[Given]:
    """The records that can be used; the others are told."""
    good: list[Given] = []
    for record in chunk:
        tally.read += 1
        if isinstance(record, Mistake):
            tally.bad += 1
            print(f"{file}:{record.line}: {record.text}", file=sys.stderr)
        else:
            good.append(record)
    return good


async def add(store: Store, settings: Settings, account: str, given: Given, *, lift: bool) -> ConsentsRecorded:
    account_id = await _account_id(store, account)
    if lift:
        await require_liftable(store, settings, account_id, Reason.UNSUBSCRIBE)
    return await store.consents.record(account_id, [given], by=operator(), lift=lift)


async def revoke(store: Store, account: str, address: str, topic: str | None, reason: str) -> str:
    """Says what was done."""
    try:
        about = parse_topic(topic or EVERY_TOPIC)
    except TopicError as error:
        fail(str(error), status=2)
    parsed = parse_address(address)
    account_id = await _account_id(store, account)
    done = await store.consents.revoke(account_id, parsed, about, reason=reason, by=operator())
    named = "all topics" if about == EVERY_TOPIC else f'topic "{about}"'
    return (
        f"{parsed}: consent for {named} is revoked (ledger entry {done.entry}); the address is suppressed for that, "
        f"{done.pulled} queued copies were taken out."
    )


async def renew(store: Store, account: str, address: str, sign: Sign, at: datetime | None) -> str:
    """Says what was done."""
    parsed = parse_address(address)
    account_id = await _account_id(store, account)
    entry = await store.consents.renew(account_id, parsed, sign, by=operator(), at=at)
    return f"{parsed}: noted as ledger entry {entry}."


async def verify(store: Store, account: str | None, noted: Head | None) -> dict[str, Verified]:
    """Each account's chain, by its name, with a progress bar."""
    listed = {each.account.name: each.account.id for each in await store.accounts.list()}
    if account is not None:
        listed = {account: await _account_id(store, account)}
    results: dict[str, Verified] = {}
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        for name, account_id in listed.items():
            task = bar.add_task(name, total=(await store.consents.head(account_id)).number)
            async for step in store.consents.verify(account_id, noted):
                match step:
                    case int():
                        bar.update(task, completed=step)
                    case Verified():
                        results[name] = step
    return results


async def dossiers(store: Store, address: str, account: str | None) -> list[Dossier]:
    """What each account's ledger has about the address; of one account also if that is nothing."""
    parsed, now = parse_address(address), datetime.now(UTC)
    names = {account} if account else None
    known = {each.account_id: each for each in await store.consents.of(parsed)}
    suppressions = [each.suppression for each in await store.suppressions.of(parsed)]
    return [
        Dossier(
            str(parsed),
            details.account,
            now,
            found.proofs if found else (),
            found.consents if found else (),
            tuple(each for each in suppressions if each.account_id in (None, details.account.id)),
        )
        for details in await store.accounts.list()
        for found in (known.get(details.account.id),)
        if (found if names is None else details.account.name in names)
    ]


async def export(store: Store, account: str, file: TextIO, *, as_json: bool) -> int:
    """Write an account's consents; how many."""
    account_id = await _account_id(store, account)
    return await consent_file.write(file, store.consents.export(account_id), as_json=as_json)


def parse_address(text: str) -> Address:
    """Ends the command if it is none."""
    try:
        return Address.parse(text)
    except AddressError as error:
        fail(f"{text!r}: {error}", status=2)


async def _account_id(store: Store, name: str) -> int:
    found = next((each.account.id for each in await store.accounts.list() if each.account.name == name), None)
    if found is None:
        fail(f"there is no account {name!r}")
    return found

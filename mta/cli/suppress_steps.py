"""What ``mta suppress`` does, step by step; ``suppress_print`` shows the results.

It must never change a suppression without noting who did.

*Limits.* The name noted is that of the operating system's user, who may have called himself so.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from config.schema import Settings
from mta.cli import lifting
from mta.cli.options import fail, operator
from mta.cli.suppress_csv import Entry, Mistake
from mta.mail.address import Address, AddressError
from mta.store.permission.import_progress import ImportProgress
from mta.store.permission.suppressions import SuppressionRecord
from mta.store.store import Store, StoreUnavailable
from policy.base import Suppression
from policy.permission.suppression import Reason, SuppressionRequest

CHUNK = 500  # lines in one transaction
SHOWN_MISTAKES = 50
EVERYBODY = 0  # as the store writes it

_NO_CONSENT = "\nConsents that were taken back stay so: marketing mail needs a new one (`mta consent add`)."


@dataclass(frozen=True, slots=True)
class Listed:
    """``accounts``: names by id."""

    suppressions: Sequence[Suppression]
    accounts: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Found:
    """Everything about one address. ``accounts``: names by id."""

    recorded: Sequence[SuppressionRecord]
    accounts: Mapping[int, str]


async def find_all(
    store: Store,
    account: str | None,
    *,
    everybody: bool,
    limit: int | None = None,
    reason: Reason | None = None,
) -> Listed:
    """The suppressions of an account, those for everybody, or all; the newest ``limit``, oldest first."""
    names = await _names(store)
    scope = EVERYBODY if everybody else _account_id(names, account)
    return Listed(await store.suppressions.list(scope, limit=limit, reason=reason), names)


async def find(store: Store, address: str) -> Found:
    return Found(await store.suppressions.of(_address(address)), await _names(store))


async def add(
    store: Store, address: str, account: str | None, reason: Reason, detail: str, topic: str, until: datetime | None
) -> str:
    """Says what was done."""
    parsed, account_id = _address(address), _account_id(await _names(store), account)
    if until and reason.permanent:
        fail(f"a suppression for {reason.value} never ends; leave --for out, or choose another --as", status=2)
    who = operator()
    act = store.suppressions.act(
        account_id, parsed, reason, detail=detail, evidence=f"by {who}", topic=topic, by=who, expires_at=until
    )
    applied = await store.suppressions.apply([act])
    if not applied.changed:
        return f"{parsed} was suppressed {_for(account, topic)} before; its reason is kept."
    pulled = f" {applied.pulled} queued copies were taken out." if applied.pulled else ""
    ends = f" until {until:%Y-%m-%d}" if until else ""
    return f"{parsed} is suppressed {_for(account, topic)}{ends}.{pulled}"


async def remove(store: Store, settings: Settings, address: str, account: str | None, reason: str, topic: str) -> str:
    """Says what was done, and what still stands in the way. A profile may keep it for good."""
    if not reason.strip():
        fail("a suppression is not lifted without a reason: --reason", status=2)
    names = await _names(store)
    parsed, account_id = _address(address), _account_id(names, account)
    standing = [each.suppression for each in await store.suppressions.of(parsed)]
    for each in standing:
        if (each.account_id, each.topic) == (account_id, topic):
            await lifting.check(store, settings, account_id, each.reason)
    who = operator()
    lifted = await store.suppressions.remove(account_id, parsed, reason=f"{reason} (by {who})", topic=topic, by=who)
    left = [each.suppression for each in await store.suppressions.of(parsed)]
    others = ", ".join(
        _for(None if each.account_id is None else names.get(each.account_id, str(each.account_id)), each.topic)
        for each in left
    )
    if not lifted:
        fail(f"{parsed} is not suppressed {_for(account, topic)}" + (f"; it is {others}" if left else ""))
    return (
        f"{parsed} is suppressed {_for(account, topic)} no more."
        + (f" It still is {others}." if left else "")
        + (_NO_CONSENT if lifted.withdraws else "")
    )


async def import_all(
    store: Store,
    file: Path,
    digest: bytes,
    entries: Sequence[Entry],
    mistakes: Sequence[Mistake],
    account: str | None,
    *,
    skip_bad: bool,
) -> None:
    """Suppress the addresses of a file that was read, unless it has mistakes; prints progress, mistakes and the sum.

    An import that was cut off goes on where it stopped."""
    names = await _names(store)
    acts, unknown = _resolve(store, names, file, entries, _account_id(names, account))
    bad = sorted([*mistakes, *unknown], key=lambda mistake: mistake.line)
    _print_mistakes(file, bad)
    if bad and not skip_bad:
        fail(f"{file}: {len(bad)} of {len(entries) + len(mistakes)} lines are bad; nothing was imported (--skip-bad)")
    begun = await store.suppressions.begin_import(digest)
    if begun.records:
        print(f"Going on behind the first {begun.records} addresses, which were imported before.", file=sys.stderr)
    fresh, pulled, done = 0, 0, begun.records
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("importing", total=len(acts), completed=done)
        try:
            while done < len(acts):
                chunk = acts[done : done + CHUNK]
                mark = ImportProgress(begun.file, done + len(chunk), finished=done + len(chunk) == len(acts))
                applied = await store.suppressions.apply(chunk, mark)
                fresh, pulled, done = fresh + applied.fresh, pulled + applied.pulled, mark.records
                progress.update(task, completed=done)
        except StoreUnavailable as error:
            fail(f"the database went away after {done} of {len(acts)} addresses ({error}); import the file again")
    before = len(acts) - begun.records - fresh
    print(f"{fresh} addresses suppressed, {before} were before; {pulled} queued copies taken out.")
    if bad:
        fail(f"{file}: {len(bad)} bad lines were left out")


def _resolve(
    store: Store, names: Mapping[int, str], file: Path, entries: Sequence[Entry], account_id: int | None
) -> tuple[list[SuppressionRequest], list[Mistake]]:
    """The lines with their accounts' ids, and those whose account does not exist."""
    ids = {name: number for number, name in names.items()}
    acts: list[SuppressionRequest] = []
    unknown: list[Mistake] = []
    who = operator()
    for entry in entries:
        if entry.account and entry.account not in ids:
            unknown.append(Mistake(entry.line, f"there is no account {entry.account!r}"))
            continue
        scope = ids[entry.account] if entry.account else account_id
        evidence = f"by {who}, {file.name} line {entry.line}"
        key = entry.key if entry.address is None else store.suppressions.key(entry.address)
        acts.append(
            SuppressionRequest(
                key,
                scope or EVERYBODY,
                entry.reason,
                "import",
                entry.topic,
                entry.address,
                entry.detail,
                evidence,
                by=who,
                expires_at=entry.until,
            )
        )
    return acts, unknown


def _print_mistakes(file: Path, mistakes: Sequence[Mistake]) -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    for mistake in mistakes[:SHOWN_MISTAKES]:
        console.print(f"{file}:{mistake.line}: {mistake.text}")
    if len(mistakes) > SHOWN_MISTAKES:
        console.print(f"... and {len(mistakes) - SHOWN_MISTAKES} more")


async def _names(store: Store) -> dict[int, str]:
    return {each.account.id: each.account.name for each in await store.accounts.list()}


def _account_id(names: Mapping[int, str], account: str | None) -> int | None:
    if account is None:
        return None
    number = next((number for number, name in names.items() if name == account), None)
    if number is None:
        fail(f"there is no account {account!r}")
    return number


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except AddressError as error:
        fail(f"{text!r}: {error}", status=2)


def about(topic: str) -> str:
    """The part of a scope that is not about accounts."""
    match topic:
        case "":
            return ""
        case "*":
            return " (all marketing)"
        case _:
            return f" (marketing about {topic!r})"


def _for(account: str | None, topic: str) -> str:
    return ("for everybody" if account is None else f"for {account}") + about(topic)

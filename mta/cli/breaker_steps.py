"""What ``mta breaker`` does and shows.

It must never show a cancelled breaker as one that holds anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from mta.cli.output import fail, moment
from mta.mail.identity import parse_id
from mta.store.reputation.breakers import BreakerError, Tripped
from mta.store.store import Store
from policy.reputation.breaker import MailingScope


@dataclass(frozen=True, slots=True)
class Listed:
    tripped: Sequence[Tripped]
    accounts: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Found:
    """A breaker each time that it tripped, the last one first; ``held``: recipients that wait for it now."""

    history: Sequence[Tripped]
    account: str
    held: int


async def find_all(store: Store, every: bool, limit: int) -> Listed:
    return Listed(await store.breakers.list(cancelled=every, limit=limit), await _names(store))


async def find(store: Store, name: str) -> Found:
    history = await store.breakers.history(name)
    if not history:
        fail(f"no breaker called {name[:200]!r} has ever tripped; mta breaker list --all shows those that have")
    newest = history[0]
    held = await store.breakers.held(newest) if newest.cancelled_at is None else 0
    return Found(history, (await _names(store)).get(newest.scope.account_id, ""), held)


async def cancel(store: Store, name: str, by: str, because: str) -> str:
    try:
        cancelled = await store.breakers.cancel(name, by=by, reason=because)
    except BreakerError as error:
        fail(str(error))
    return f"The breaker {name} is cancelled by {by}. Recipients let go: {cancelled.released}."


async def trap(store: Store, message: str) -> str:
    try:
        message_id = parse_id(message)
    except ValueError as error:
        fail(str(error), status=2)
    if not await store.breakers.trap(message_id):
        fail(f"nothing is known of message {message[:100]} (any more)")
    return "The spam trap counts; the breakers look at it now."


def print_list(listed: Listed, *, as_json: bool) -> None:
    """A table of breakers."""
    if as_json:
        _print([_fields(each, listed.accounts.get(each.scope.account_id, "")) for each in listed.tripped])
        return
    if not listed.tripped:
        print("No breaker is open.")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("breaker", "account", "tripped (UTC)", "found", "state"):
        table.add_column(title, overflow="fold")
    for each in listed.tripped:
        account = listed.accounts.get(each.scope.account_id, str(each.scope.account_id))
        table.add_row(each.name, account, moment(each.tripped_at), each.words, _state(each))
    Console(markup=False, highlight=False).print(table)


def print_one(found: Found, *, as_json: bool) -> None:
    """Everything of one breaker."""
    newest = found.history[0]
    if as_json:
        _print([_fields(each, found.account) | {"held": found.held if each is newest else 0} for each in found.history])
        return
    print(f"Breaker {newest.name}  {_state(newest)}")
    print(f"  account  {found.account} ({newest.scope.account_id})")
    print(f"  found    {newest.words}")
    print(f"  holds    {found.held} recipients")
    if newest.case_id is not None:
        print(f"  case     C-{newest.case_id} (mta case show C-{newest.case_id})")
    print("\nWhen it tripped (UTC)")
    for each in found.history:
        end = (
            f"; cancelled {moment(each.cancelled_at)} by {each.cancelled_by}: {each.reset_reason}"
            if each.cancelled_at
            else ""
        )
        print(f"  {moment(each.tripped_at)}  {each.words}{end}")
    if newest.cancelled_at is None:
        print(f"\nTo let go of it: mta breaker cancel {newest.name} --because '...'")


def _state(tripped: Tripped) -> str:
    return "open" if tripped.cancelled_at is None else f"cancelled by {tripped.cancelled_by}"


def _fields(tripped: Tripped, account: str) -> dict[str, Any]:
    scope = tripped.scope
    place = (
        {"mailing": scope.mailing}
        if isinstance(scope, MailingScope)
        else {"provider": scope.provider, "stream": scope.stream.value}
    )
    return {
        "name": tripped.name,
        "account": account,
        "account_id": scope.account_id,
        **place,
        "kind": tripped.kind.value,
        "cases": tripped.cases,
        "volume": tripped.volume,
        "rate": tripped.rate,
        "ceiling": tripped.ceiling,
        "words": tripped.words,
        "case": None if tripped.case_id is None else f"C-{tripped.case_id}",
        "tripped_at": tripped.tripped_at,
        "cancelled_at": tripped.cancelled_at,
        "cancelled_by": tripped.cancelled_by,
        "reset_reason": tripped.reset_reason,
    }


async def _names(store: Store) -> Mapping[int, str]:
    return {each.account.id: each.account.name for each in await store.accounts.list()}


def _print(value: object) -> None:
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())

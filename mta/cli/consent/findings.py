"""``mta consent findings`` and ``dismiss-finding``: signs that a list was not collected by its owner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.context import account_id, load_settings, with_store
from mta.cli.options import (
    AccountOption,
    ByOption,
    ConfigOption,
    JsonOption,
    LimitOption,
    ReasonOption,
    operator,
    require_text,
)
from mta.cli.output import Column, fail, minute, plain, print_json, print_table

if TYPE_CHECKING:
    from mta.store.permission.address_lists import RecordedFinding
    from mta.store.store import Store

_COLUMNS = (Column("finding", whole=True), "account", "list", "found (UTC)", "state", "what")


def findings(
    account: AccountOption = None,
    every: Annotated[bool, typer.Option("--all", help="Include dismissed ones.")] = False,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List what was found in imported lists: addresses that another account has too, role addresses, traps."""

    async def work(store: Store) -> Sequence[RecordedFinding]:
        return await store.address_lists.list(await account_id(store, account), every=every, limit=limit)

    found = with_store(load_settings(config), work)
    if as_json:
        print_json([plain(each) for each in found])
        return
    rows = [
        (str(each.id), each.account, each.file[:12] or "single records", minute(each.found_at), state(each), each.text)
        for each in found
    ]
    print_table(_COLUMNS, rows, empty="Nothing was found.", limit=limit)


def dismiss_finding(
    number: Annotated[int, typer.Argument(metavar="FINDING", help="Its number in `mta consent findings`.")],
    reason: ReasonOption,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Dismiss a finding after a look at the list. Mailings of the account no longer wait for it."""
    from mta.store.permission.address_lists import ListFindingError

    reason, who = require_text(reason, "--reason"), by or operator()

    async def work(store: Store) -> None:
        try:
            await store.address_lists.dismiss(number, by=who, reason=reason)
        except ListFindingError as error:
            fail(str(error))

    with_store(load_settings(config), work)
    print(f"Finding {number} dismissed by {who}: {reason}.")


def state(finding: RecordedFinding) -> str:
    """Return what follows from a finding."""
    if finding.dismissed_by is not None:
        return f"dismissed by {finding.dismissed_by}"
    return "mailings wait" if finding.hold else "noted"

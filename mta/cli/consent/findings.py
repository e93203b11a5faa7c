"""``mta consent findings`` and ``dismiss-finding``: signs that a list was not collected by its owner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.context import load_settings, with_admin
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
from mta.cli.output import Column, minute, plain, print_json, print_table

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.store.permission.address_lists import RecordedFinding

_COLUMNS = (Column("finding", whole=True), "account", "list", "found (UTC)", "state", "what")


def findings(
    account: AccountOption = None,
    every: Annotated[bool, typer.Option("--all", help="Include dismissed ones.")] = False,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List what was found in imported lists: addresses that another account has too, role addresses, traps."""

    from mta.admin.desk import list_findings

    async def work(context: AdminContext) -> Sequence[RecordedFinding]:
        return await list_findings.list_all(context, account, dismissed=every, limit=limit)

    found = with_admin(load_settings(config), work)
    if as_json:
        print_json([plain(each) for each in found])
        return
    rows = [
        (
            str(each.id),
            each.account,
            each.file[:12] or "single records",
            minute(each.found_at),
            state(each),
            text_of(each),
        )
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
    from mta.admin.desk import list_findings

    reason = require_text(reason, "--reason")
    with_admin(load_settings(config), lambda context: list_findings.dismiss(context, number, reason=reason), by=by)
    print(f"Finding {number} dismissed by {by or operator()}: {reason}.")


def text_of(finding: RecordedFinding) -> str:
    """Return what was found, with the other account."""
    return finding.text + (f" ({finding.other})" if finding.other else "")


def state(finding: RecordedFinding) -> str:
    """Return what follows from a finding."""
    if finding.dismissed_by is not None:
        return f"dismissed by {finding.dismissed_by}"
    return "mailings wait" if finding.hold else "noted"

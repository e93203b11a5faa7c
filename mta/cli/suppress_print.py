"""How suppressions look, to people and (``--json``) to machines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from mta.cli.suppress_steps import Found, Listed, about
from mta.mail.identity import format_id
from policy.base import Suppression

EVERYBODY = "everybody"


def print_list(listed: Listed, *, limit: int, as_json: bool) -> None:
    """A table of suppressions."""
    if as_json:
        _print_json([_fields(each, listed.accounts) for each in listed.suppressions])
        return
    if not listed.suppressions:
        print("There are no suppressions.")
        return
    table = Table("address", "for", "reason", "rule", "since", "until")
    for each in listed.suppressions:
        since = f"{each.since:%Y-%m-%d %H:%M}"
        table.add_row(str(each.address), _scope(each, listed.accounts), each.why, each.rule, since, _day(each.until))
    Console(markup=False).print(table)
    if len(listed.suppressions) == limit:
        print(f"These are the newest {limit}; there may be more (--limit, or `mta suppress export`).")


def print_shown(address: str, found: Found, *, as_json: bool) -> None:
    """All that is known of one address."""
    if as_json:
        _print_json(
            [
                _fields(each.suppression, found.accounts)
                | {"evidence": each.evidence, "message": format_id(each.message_id) if each.message_id else None}
                for each in found.recorded
            ]
        )
        return
    if not found.recorded:
        print(f"{address} is not suppressed.")
    for each in found.recorded:
        suppression = each.suppression
        print(f"{suppression.address} is suppressed for {_scope(suppression, found.accounts)}")
        print(f"  since     {suppression.since:%Y-%m-%d %H:%M:%S} UTC")
        if suppression.until:
            print(f"  until     {suppression.until:%Y-%m-%d %H:%M:%S} UTC")
        print(f"  reason    {suppression.why}")
        print(f"  rule      {suppression.rule}")
        if each.evidence:
            print(f"  evidence  {each.evidence}")
        if each.message_id:
            print(f"  message   {format_id(each.message_id)}  (mta explain)")


def _scope(suppression: Suppression, accounts: Mapping[int, str]) -> str:
    number = suppression.account_id
    who = EVERYBODY if number is None else accounts.get(number, f"account {number}")
    return who + about(suppression.topic)


def _day(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d}"


def _fields(suppression: Suppression, accounts: Mapping[int, str]) -> dict[str, Any]:
    number = suppression.account_id
    return {
        "address": str(suppression.address),
        "account": None if number is None else accounts.get(number, str(number)),
        "topic": suppression.topic,
        "reason": suppression.reason.value,
        "detail": suppression.detail,
        "rule": suppression.rule,
        "since": suppression.since.isoformat(),
        "until": suppression.until.isoformat() if suppression.until else None,
    }


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))

"""What ``mta subject`` does, step by step; ``subject_print`` shows the results.

It must never erase without noting who did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mta.cli.consent_steps import dossiers, parse_address
from mta.cli.options import operator
from mta.cli.output import fail
from mta.mail.identity import format_id
from mta.store.privacy.data_subjects import Erased
from mta.store.store import Store
from policy.permission.dossier import as_json


@dataclass(frozen=True, slots=True)
class Done:
    """``accounts``: names by id."""

    erased: Erased
    accounts: Mapping[int, str]


async def find(store: Store, address: str) -> dict[str, Any]:
    """Everything that is kept of an address, ready for JSON."""
    subject = await store.data_subjects.find(parse_address(address))
    names = await _names(store)
    return {
        "address": str(subject.address),
        "consents": [as_json(each) for each in await dossiers(store, address, None)],
        "suppressions": [
            {
                "account": _named(names, each.suppression.account_id),
                "topic": each.suppression.topic,
                "reason": each.suppression.why,
                "rule": each.suppression.rule,
                "since": each.suppression.since.isoformat(),
                "evidence": each.evidence,
                "message": format_id(each.message_id) if each.message_id else None,
            }
            for each in subject.suppressions
        ],
        "contact_of": [_named(names, number) for number in subject.contact_of],
        **{
            name: [_with_account(names, row) for row in getattr(subject, name)]
            for name in ("contacts", "queued", "messages", "refusals", "events", "cases")
        },
    }


async def erase(store: Store, address: str, account: str | None, reason: str, keep_proof: float | None) -> Done:
    """Ends the command if the reason is empty, or the account or the address is none."""
    if not reason.strip():
        fail("nothing is erased without a reason: --reason", status=2)
    names = await _names(store)
    account_id = next((number for number, name in names.items() if name == account), None)
    if account is not None and account_id is None:
        fail(f"there is no account {account!r}")
    by = f"{operator()}: {reason.strip()[:200]}"
    erased = await store.data_subjects.erase(
        parse_address(address), by=by, account_id=account_id, keep_proof=keep_proof
    )
    return Done(erased, names)


async def _names(store: Store) -> dict[int, str]:
    return {each.account.id: each.account.name for each in await store.accounts.list()}


def _named(names: Mapping[int, str], number: int | None) -> str | None:
    return None if number is None else names.get(number, str(number))


def _with_account(names: Mapping[int, str], row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its account's name for the number."""
    told = dict(row)
    if "account_id" in told:
        told["account"] = _named(names, told.pop("account_id"))
    return told

"""How accounts look, to people and (``--json``) to machines.

It must never show what verifies a secret, and a secret only when it has just been made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from mta.cli.account_steps import Login, Made, no_key
from mta.store.accounts import Details


def print_made(made: Made, *, as_json: bool) -> None:
    """A new account, with its secret."""
    if as_json:
        _print_json(_fields(made.details) | _login(made.login) | {"unsigned_domains": list(made.unsigned)})
        return
    print(f"The account {made.details.account.name} is made.\n")
    _print_details(made.details)
    print()
    print_login(made.login, as_json=False)
    for domain in made.unsigned:
        print(no_key(domain))


def print_login(login: Login, *, as_json: bool) -> None:
    """A new credential."""
    if as_json:
        _print_json(_login(login))
        return
    print(f"  user name   {login.username}")
    print(f"  secret      {login.secret}\n")
    print("The secret is shown this once and kept nowhere.")


def print_list(accounts: Sequence[Details], *, as_json: bool) -> None:
    """A table of accounts."""
    if as_json:
        _print_json([_fields(each) for each in accounts])
        return
    if not accounts:
        print("There are no accounts; `mta account add NAME --domain example.com` makes one.")
        return
    table = Table("account", "standing", "domains", "user names", "networks")
    for each in accounts:
        table.add_row(
            each.account.name,
            each.account.standing.value,
            "\n".join(_domains(each)),
            "\n".join(login.username for login in each.credentials if not login.revoked_at),
            "\n".join(str(network) for network in each.networks),
        )
    Console(markup=False).print(table)


def print_shown(details: Details, *, as_json: bool) -> None:
    """One account."""
    if as_json:
        _print_json(_fields(details))
        return
    _print_details(details)


def print_credentials(details: Details, *, as_json: bool) -> None:
    """A table of one account's credentials."""
    if as_json:
        _print_json(_fields(details)["credentials"])
        return
    table = Table("user name", "state")
    for login in details.credentials:
        table.add_row(login.username, f"revoked {login.revoked_at:%Y-%m-%d %H:%M}" if login.revoked_at else "active")
    Console(markup=False).print(table)


def _domains(details: Details) -> list[str]:
    return [each.domain if each.verified_at else f"{each.domain} (not yet)" for each in details.domains]


def _print_details(details: Details) -> None:
    account = details.account
    rows = (
        ("account", [f"{account.name} (number {account.id}, since {details.created_at:%Y-%m-%d %H:%M})"]),
        ("standing", [f"{account.standing.value}: {account.reason}" if account.reason else account.standing.value]),
        ("profile", [account.profile]),
        ("sends for", sorted(account.domains)),
        ("unverified", sorted(account.unverified)),
        ("logs in as", [login.username for login in details.credentials if not login.revoked_at]),
        ("revoked", [login.username for login in details.credentials if login.revoked_at]),
        ("networks", [str(network) for network in details.networks]),
        ("failures", [account.notices]),
    )
    for name, values in rows:
        if values:
            print(f"  {name:10}  {', '.join(values)}")


def _fields(details: Details) -> dict[str, Any]:
    account = details.account
    return {
        "id": account.id,
        "name": account.name,
        "notices": account.notices,
        "standing": account.standing.value,
        "reason": account.reason,
        "profile": account.profile,
        "domains": sorted(account.domains),
        "unverified_domains": sorted(account.unverified),
        "networks": [str(network) for network in details.networks],
        "credentials": [
            {"username": login.username, "revoked_at": login.revoked_at.isoformat() if login.revoked_at else None}
            for login in details.credentials
        ],
        "created_at": details.created_at.isoformat(),
    }


def _login(login: Login) -> dict[str, str]:
    return {"username": login.username, "secret": login.secret}


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))

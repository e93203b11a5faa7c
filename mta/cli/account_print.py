"""How accounts look, to people and (``--json``) to machines.

It must never show what verifies a secret, and a secret only when it has just been made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from mta.cli.account_steps import Login, Made, no_key, to_publish
from mta.store.accounts import credentials
from mta.store.accounts.account_copy import AccountDetails, CredentialDetails, DomainDetails
from mta.store.journal.account_changes import AccountChange, AccountChangeKind
from policy.accounts.account import AccountStatus, Grant, Stream
from policy.accounts.sender_domain import DomainCheck, owner_name, owner_text


def print_made(made: Made, *, as_json: bool) -> None:
    """A new account, with its secret."""
    if as_json:
        _print_json(_fields(made.details) | _login(made.login) | {"unsigned_domains": list(made.unsigned)})
        return
    print(f"The account {made.details.account.name} is made.\n")
    _print_details(made.details)
    print()
    print_login(made.login, as_json=False)
    for domain in made.details.domains:
        if domain.verified_at is None:
            print("\n" + "\n".join(to_publish(made.details.account.name, domain)))
    for name in made.unsigned:
        print(no_key(name))
    if made.details.account.status is not AccountStatus.ACTIVE:
        print(f"It may not send yet; mta account check {made.details.account.name} says what is missing.")


def print_login(login: Login, *, as_json: bool) -> None:
    """A new credential."""
    if as_json:
        _print_json(_login(login))
        return
    print(f"  user name   {login.username}")
    print(f"  secret      {login.secret}\n")
    print("The secret is shown this once and kept nowhere.")


def print_list(accounts: Sequence[AccountDetails], *, as_json: bool) -> None:
    """A table of accounts."""
    if as_json:
        _print_json([_fields(each) for each in accounts])
        return
    if not accounts:
        print("There are no accounts; `mta account add NAME --domain example.com` makes one.")
        return
    table = Table("account", "status", "domains", "user names", "networks")
    for each in accounts:
        table.add_row(
            each.account.name,
            each.account.status.value,
            "\n".join(_domains(each)),
            "\n".join(login.username for login in each.credentials if _works(login)),
            "\n".join(str(network) for network in each.networks),
        )
    Console(markup=False).print(table)


def print_shown(details: AccountDetails, *, as_json: bool) -> None:
    """One account."""
    if as_json:
        _print_json(_fields(details))
        return
    _print_details(details)


def print_credentials(details: AccountDetails, *, as_json: bool) -> None:
    """A table of one account's credentials."""
    if as_json:
        _print_json(_fields(details)["credentials"])
        return
    table = Table("user name", "state", "may send")
    for login in details.credentials:
        table.add_row(login.username, _ending(login), scope_of(login.grant))
    Console(markup=False).print(table)


def print_domains(details: AccountDetails, *, as_json: bool) -> None:
    """A table of one account's domains, with what the last look into the DNS found."""
    if as_json:
        _print_json([_domain(each) for each in details.domains])
        return
    table = Table("domain", "verified", "looked for", "bad or unknown")
    for each in details.domains:
        bad = [f"{subject}: {text}" for subject, text in each.report.items() if not text.startswith(("good", "weak"))]
        table.add_row(each.domain, _day(each.verified_at), _day(each.checked_at), "\n".join(bad))
    Console(markup=False).print(table)


def print_identities(details: AccountDetails, *, as_json: bool) -> None:
    """Who stands behind an account."""
    identities = details.account.identities
    if as_json:
        _print_json([asdict(each) for each in identities])
        return
    if not identities:
        print(f"{details.account.name} has no identity registered; see mta account identity set --help")
    for each in identities:
        print(f"{each.language}:")
        for name, value in asdict(each).items():
            if value and name != "language":
                print(f"  {name:14}  {', '.join(value) if name == 'names' else value}")


def print_sources(details: AccountDetails, *, as_json: bool) -> None:
    """Where an account's lists come from."""
    if as_json:
        _print_json([_plain(asdict(each)) for each in details.sources])
        return
    table = Table("list", "origin", "approved")
    for each in details.sources:
        approved = f"{_day(each.approved_at)} by {each.approved_by}" if each.approved_by else "no"
        table.add_row(each.name, each.origin, approved)
    Console(markup=False).print(table)


def print_history(changes: Sequence[AccountChange], *, as_json: bool) -> None:
    """Who changed what, when and why."""
    if as_json:
        _print_json([_plain(asdict(each)) | {"kind": each.kind.value} for each in changes])
        return
    for each in changes:
        print(f"{each.at:%Y-%m-%d %H:%M} {each.by or 'unknown':12} {each.kind.value:10} {_told(each)}")


def scope_of(grant: Grant) -> str:
    """What a credential may do, in words."""
    streams = " and ".join(stream.value for stream in Stream if stream in grant.streams)
    domains = f" for {', '.join(sorted(grant.domains))}" if grant.domains is not None else ""
    rate = f", {grant.rate:g}/s" if grant.rate is not None else ""
    burst = f", {grant.burst} at once" if grant.burst is not None else ""
    return f"{streams}{domains}{rate}{burst}"


def _ending(login: CredentialDetails) -> str:
    if login.revoked_at is None:
        return "active"
    return f"{'until' if _works(login) else 'revoked'} {login.revoked_at:%Y-%m-%d %H:%M}"


def _day(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d}" if at else "no"


def _told(change: AccountChange) -> str:
    """A change in one line."""
    data = change.data
    if change.kind is AccountChangeKind.STATUS:
        case = f" (case {data['case']})" if data.get("case") else ""
        because = f": {data['reason']}{case}" if data["reason"] else ""
        queued = f"; {data['recipients']} queued recipients" if data.get("recipients") else ""
        return f"{data['from'] or 'new'} -> {data['to']}{because}{queued}"
    if "found" in data:
        marks = ", ".join(
            f"{subject.value} {data['found'][subject.value].partition(':')[0]}" for subject in DomainCheck
        )
        return f"{data['looked for']}: {'verified' if data['verified'] else 'not verified'}; {marks}"
    return "; ".join(f"{name} {_words(value)}" for name, value in data.items() if value not in ("", [], None))


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _works(login: CredentialDetails) -> bool:
    return login.revoked_at is None or login.revoked_at > datetime.now(UTC)


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """With moments as text."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in fields.items()}


def _domain(each: DomainDetails) -> dict[str, Any]:
    return _plain(
        {
            "domain": each.domain,
            "verified_at": each.verified_at,
            "checked_at": each.checked_at,
            "receives": each.receives,
            "record": f'{owner_name(each.domain)}. IN TXT "{owner_text(each.token)}"',
            "report": dict(each.report),
        }
    )


def _domains(details: AccountDetails) -> list[str]:
    return [each.domain if each.verified_at else f"{each.domain} (not yet)" for each in details.domains]


def _print_details(details: AccountDetails) -> None:
    account = details.account
    terms, quotas = account.terms, ((account.quotas.day, "day"), (account.quotas.month, "month"))
    rows = (
        ("account", [f"{account.name} (number {account.id}, since {details.created_at:%Y-%m-%d %H:%M})"]),
        ("status", [f"{account.status.value}: {account.reason}" if account.reason else account.status.value]),
        ("case", [account.case] if account.case else []),
        ("profile", [account.profile]),
        ("contact", [account.contact] if account.contact else []),
        ("terms", [f"version {terms.version}, {terms.at:%Y-%m-%d} by {terms.by}"] if terms else []),
        ("identity", [each.language for each in account.identities]),
        ("lists", sorted(account.lists)),
        ("quotas", [f"{n} recipients a {span}" for n, span in quotas if n is not None]),
        ("roles", sorted(account.role_exceptions)),
        ("sends for", sorted(account.domains)),
        ("unverified", sorted(account.unverified)),
        ("logs in as", [login.username for login in details.credentials if _works(login)]),
        ("revoked", [login.username for login in details.credentials if not _works(login)]),
        ("networks", [str(network) for network in details.networks]),
        ("failures", [account.bounce_notifications]),
    )
    for name, values in rows:
        if values:
            print(f"  {name:10}  {', '.join(values)}")


def _fields(details: AccountDetails) -> dict[str, Any]:
    account = details.account
    return {
        "id": account.id,
        "name": account.name,
        "bounce_notifications": account.bounce_notifications,
        "status": account.status.value,
        "reason": account.reason,
        "case": account.case,
        "profile": account.profile,
        "contact": account.contact,
        "terms": _plain(asdict(account.terms)) if account.terms else None,
        "quota_day": account.quotas.day,
        "quota_month": account.quotas.month,
        "role_exceptions": sorted(account.role_exceptions),
        "lists": sorted(account.lists),
        "domains": sorted(account.domains),
        "unverified_domains": sorted(account.unverified),
        "networks": [str(network) for network in details.networks],
        "credentials": [
            {"username": login.username, "revoked_at": login.revoked_at.isoformat() if login.revoked_at else None}
            | credentials.fields(login.grant)
            for login in details.credentials
        ],
        "created_at": details.created_at.isoformat(),
    }


def _login(login: Login) -> dict[str, str]:
    return {"username": login.username, "secret": login.secret}


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))

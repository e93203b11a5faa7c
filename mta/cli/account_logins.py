"""``mta account credential``: how an account logs in, and what each login may do.

It must never show a secret but once, when it is made: only what verifies it is kept.

*Limits.* A change reaches live sessions at their next MAIL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from enum import Enum
from typing import Annotated

import typer

from mta.cli import account_print
from mta.cli.account_options import CredentialArgument, JsonOption, NameArgument, UsernameOption, group
from mta.cli.account_steps import Login, add_credential, find, free_username, new_login, parse_sender_domain, refusable
from mta.cli.context import load_settings, with_store
from mta.cli.options import ConfigOption, operator
from mta.cli.output import fail
from mta.store.accounts.account_copy import CredentialDetails
from mta.store.store import Store
from policy.accounts.account import Grant, Stream

_SPAN = re.compile(r"(\d{1,6})\s*(m|h|d)?\Z")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), None: timedelta(0)}


class StreamWord(Enum):
    """A stream, as operators write it."""

    MARKETING = "marketing"
    TRANSACTIONAL = "transactional"


StreamOption = Annotated[
    list[StreamWord] | None, typer.Option("--stream", help="Only this stream; may be given twice.")
]
DomainOption = Annotated[
    list[str] | None, typer.Option("--domain", help="Only this domain of the account; may be given several times.")
]
RateOption = Annotated[
    float | None, typer.Option("--rate", help="Messages per second; default: rate_limits.credential_rate.")
]
BurstOption = Annotated[
    int | None, typer.Option("--burst", help="Messages at once; default: rate_limits.credential_burst.")
]


def register(parent: typer.Typer) -> None:
    credentials = group("User names and secrets of an account, and what each may do.")
    credentials.command("add")(add)
    credentials.command("scope")(scope)
    credentials.command("rotate")(rotate)
    credentials.command("revoke")(revoke)
    credentials.command("list")(list_)
    parent.add_typer(credentials, name="credential")


def add(
    name: NameArgument,
    username: UsernameOption = None,
    stream: StreamOption = None,
    domain: DomainOption = None,
    rate: RateOption = None,
    burst: BurstOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make another credential. The secret is shown once and kept nowhere."""
    grant = _grant(stream, domain, rate, burst)
    login = with_store(load_settings(config), lambda store: add_credential(store, name, username, grant))
    account_print.print_login(login, as_json=as_json)


def scope(
    username: CredentialArgument,
    stream: StreamOption = None,
    domain: DomainOption = None,
    rate: RateOption = None,
    burst: BurstOption = None,
    config: ConfigOption = None,
) -> None:
    """Change what a credential may do. What is not given is no longer limited, or as the service has it."""
    grant = _grant(stream, domain, rate, burst)
    with_store(
        load_settings(config), lambda store: refusable(store.credentials.set_grant(username, grant, by=operator()))
    )
    print(f"{username} may now send {account_print.scope_of(grant)}.")


def rotate(
    username: CredentialArgument,
    overlap: Annotated[str, typer.Option(help="How long the old one still works: 30m, 24h, 7d, or 0.")] = "24h",
    new_name: Annotated[str | None, typer.Option("--username", help="User name of the new one.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Replace a credential by a new one with the same scope. The secret is shown once and kept nowhere."""
    span = _span(overlap)

    async def work(store: Store) -> Login:
        everybody = await store.accounts.list()
        owner = next((each for each in everybody if username in _working(each.credentials)), None)
        if owner is None:
            fail(f"there is no credential {username!r}, or it was revoked before")
        login, argon2, scram = await new_login(new_name or free_username(owner, everybody))
        until = await refusable(
            store.credentials.rotate(username, login.username, argon2=argon2, scram=scram, overlap=span, by=operator())
        )
        if not as_json:
            print(f"{username} works until {until:%Y-%m-%d %H:%M} UTC; from now on there is also:\n")
        return login

    account_print.print_login(with_store(load_settings(config), work), as_json=as_json)


def revoke(
    username: CredentialArgument,
    reason: Annotated[str, typer.Option("--reason", metavar="WHY", help="Why; it is kept.")] = "",
    config: ConfigOption = None,
) -> None:
    """Let a credential log in no more, and live sessions with it send no more. Its name is never given again."""
    with_store(
        load_settings(config), lambda store: refusable(store.credentials.revoke(username, by=operator(), reason=reason))
    )
    print(f"{username} can log in no more.")


def list_(name: NameArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List an account's user names, revoked ones included."""
    details = with_store(load_settings(config), lambda store: find(store, name))
    account_print.print_credentials(details, as_json=as_json)


def _grant(streams: list[StreamWord] | None, domains: list[str] | None, rate: float | None, burst: int | None) -> Grant:
    wanted = frozenset(Stream(each.value) for each in streams) if streams else frozenset(Stream)
    return Grant(wanted, frozenset(parse_sender_domain(each) for each in domains) if domains else None, rate, burst)


def _working(credentials: Iterable[CredentialDetails]) -> set[str]:
    return {each.username for each in credentials if each.revoked_at is None}


def _span(text: str) -> timedelta:
    """A length of time; else exit status 2."""
    found = _SPAN.match(text.strip())
    if not found or (found[2] is None and int(found[1])):
        fail(f"{text!r}: a length of time is written as 30m, 24h or 7d", status=2)
    return int(found[1]) * _UNITS[found[2]]

"""``mta token add``, ``list`` and ``revoke``: who may use the API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from mta.admin.permissions import Role
from mta.cli.context import load_settings, with_admin
from mta.cli.options import (
    AccountOption,
    ConfigOption,
    DryRunOption,
    JsonOption,
    YesOption,
    confirm,
    group,
    require_span,
)
from mta.cli.output import Column, minute, print_json, print_table

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.store.accounts.api_tokens import ApiToken

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the token; never given twice.")]

_COLUMNS = (
    Column("name", whole=True),
    "role",
    Column("account", optional=True),
    Column("scopes", optional=True),
    "created",
    "last used",
    Column("from", optional=True),
    "valid until",
)


def register(app: typer.Typer) -> None:
    commands = group(
        "Tokens of the REST API (docs/api.md): each has a role and may be confined to some of its scopes.",
        ("list", list_),
        ("add", add),
        ("revoke", revoke),
    )
    app.add_typer(commands, name="token")


def list_(account: AccountOption = None, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List tokens with their last use."""
    from mta.admin import tokens

    async def work(context: AdminContext) -> list[ApiToken]:
        return await tokens.list_page(context, account=account, limit=100_000)

    found = with_admin(load_settings(config), work)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each.name,
            each.role,
            each.account or "",
            " ".join(each.scopes or ()),
            minute(each.created_at),
            minute(each.last_used_at) or "never",
            each.last_used_from or "",
            _validity(each),
        )
        for each in found
    ]
    print_table(_COLUMNS, rows, empty="No tokens.")


def add(
    name: NameArgument,
    role: Annotated[Role, typer.Option("--role", help="What it may do.")],
    account: Annotated[
        str | None, typer.Option("--account", "-a", metavar="NAME", help="For the role account: whose.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="NOUN:VERB", help="Only this, e.g. `messages:write`; may be repeated."),
    ] = None,
    expire: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Until it expires, e.g. 24h or 90d; default: never.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a token and print it. It cannot be shown again."""
    from mta.admin import tokens

    until = datetime.now(UTC) + require_span(expire, "--expire") if expire else None

    async def work(context: AdminContext) -> tuple[ApiToken, str]:
        return await tokens.add(context, name, role, account=account, scopes=scope, expires_at=until)

    token, text = with_admin(load_settings(config), work, new=True)
    if as_json:
        print_json({"name": token.name, "role": token.role, "account": token.account, "token": text})
    else:
        print(text)


def revoke(
    name: NameArgument,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the audit.")] = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """End a token now."""
    from mta.admin import tokens

    settings = load_settings(config)
    if not dry_run:
        confirm(f"Revoke the token {name}?", yes=yes)

    async def work(context: AdminContext) -> str:
        if dry_run:
            await tokens.get(context, name)
            return f"Token {name} would be revoked."
        await tokens.revoke(context, name, reason=reason)
        return f"Token {name} revoked."

    print(with_admin(settings, work))


def _validity(token: ApiToken) -> str:
    if token.revoked_at:
        return f"revoked {minute(token.revoked_at)}"
    return minute(token.expires_at) if token.expires_at else "revoked"

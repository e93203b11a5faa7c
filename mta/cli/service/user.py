"""``mta user``: the people who log in to the pages."""

from __future__ import annotations

from datetime import timedelta
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
from mta.mail.spans import span

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.admin.context import AdminContext
    from mta.store.accounts.web_users import WebUser

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the user.")]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the audit.")]
ForOption = Annotated[str, typer.Option("--valid", metavar="DURATION", help="How long the link can be used.")]

_COLUMNS = (Column("name", whole=True), "role", Column("account", optional=True), "logs in by", "last login", "state")


def register(app: typer.Typer) -> None:
    commands = group(
        "People who log in to the pages (docs/operations.md): operators, the abuse desk, users of an account.",
        ("add", add),
        ("list", list_),
        ("login", login),
        ("reset", reset),
        ("disable", disable),
        ("enable", enable),
    )
    app.add_typer(commands, name="user")


def add(
    name: NameArgument,
    role: Annotated[Role, typer.Option("--role", help="What the user may do.")],
    account: Annotated[
        str | None, typer.Option("--account", "-a", metavar="NAME", help="For the role account: whose user.")
    ] = None,
    valid: ForOption = "30m",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Add a user and print a link that logs in once, to set up a passkey or a password."""
    from mta.admin import users

    settings, lifetime = load_settings(config), require_span(valid, "--valid")

    async def work(context: AdminContext) -> str:
        user = await users.add(context, name, role, account=account)
        return await users.link(context, user.name, lifetime=lifetime)

    token = with_admin(settings, work, new=True)
    _print_link(settings, name, token, lifetime, as_json)


def login(
    name: NameArgument, valid: ForOption = "30m", as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Print a link that logs a user in once."""
    from mta.admin import users

    settings, lifetime = load_settings(config), require_span(valid, "--valid")
    token = with_admin(settings, lambda context: users.link(context, name, lifetime=lifetime))
    _print_link(settings, name, token, lifetime, as_json)


def list_(account: AccountOption = None, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List users with their last login."""
    from mta.admin import users

    async def work(context: AdminContext) -> list[WebUser]:
        return list(await users.list_all(context, account=account))

    found = with_admin(load_settings(config), work)
    if as_json:
        shown = (
            "name",
            "role",
            "account",
            "disabled_at",
            "locked_until",
            "created_at",
            "last_login_at",
            "last_login_from",
        )
        print_json(
            [
                {**{key: getattr(each, key) for key in shown}, "password": each.has_password, "passkeys": each.passkeys}
                for each in found
            ]
        )
        return
    rows = [
        (each.name, each.role, each.account or "", ways(each), minute(each.last_login_at) or "never", state(each))
        for each in found
    ]
    print_table(_COLUMNS, rows, empty="No users. mta user add NAME --role operator")


def reset(
    name: NameArgument,
    reason: ReasonOption = "",
    valid: ForOption = "30m",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Forget password, code and passkeys of a user, end the sessions, and print a link that logs in once."""
    from mta.admin import users

    settings, lifetime = load_settings(config), require_span(valid, "--valid")
    if not dry_run:
        confirm(f"Forget how {name} logs in, and log {name} out?", yes=yes)

    async def work(context: AdminContext) -> str:
        if dry_run:
            await users.get(context, name)
            return ""
        await users.reset(context, name, reason=reason)
        return await users.link(context, name, lifetime=lifetime)

    token = with_admin(settings, work)
    if dry_run:
        print(f"User {name} would be reset.")
    else:
        _print_link(settings, name, token, lifetime, as_json)


def disable(
    name: NameArgument,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Let a user in no more, and end the sessions."""
    from mta.admin import users

    settings = load_settings(config)
    if not dry_run:
        confirm(f"Let {name} in no more?", yes=yes)

    async def work(context: AdminContext) -> str:
        if dry_run:
            await users.get(context, name)
            return f"User {name} would be disabled."
        await users.disable(context, name, reason=reason)
        return f"User {name} disabled."

    print(with_admin(settings, work))


def enable(name: NameArgument, config: ConfigOption = None) -> None:
    """Let a disabled user in again."""
    from mta.admin import users

    async def work(context: AdminContext) -> str:
        await users.enable(context, name)
        return f"User {name} enabled."

    print(with_admin(load_settings(config), work))


def _print_link(settings: Settings, name: str, token: str, lifetime: timedelta, as_json: bool) -> None:
    address = f"{settings.web.admin.base_url}/login/link?token={token}"
    if as_json:
        print_json({"name": name, "link": address, "seconds": lifetime.total_seconds()})
    else:
        print(f"Log in as {name}, once, within {span(lifetime.total_seconds())}:\n{address}")


def ways(user: WebUser) -> str:
    """Return how a user can log in."""
    keys = f"{user.passkeys} passkey{'' if user.passkeys == 1 else 's'}" if user.passkeys else ""
    return ", ".join(filter(None, ("password and code" if user.has_password else "", keys))) or "link only"


def state(user: WebUser) -> str:
    if user.disabled_at:
        return f"disabled {minute(user.disabled_at)}"
    return f"locked until {minute(user.locked_until)}" if user.locked else "active"

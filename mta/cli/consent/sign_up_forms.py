"""``mta form put``, ``list``, ``show`` and ``close``: forms by which people sign up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.context import load_settings, with_admin
from mta.cli.options import AccountOption, ConfigOption, DryRunOption, JsonOption, YesOption, confirm, group
from mta.cli.output import Column, minute, plain, print_details, print_json, print_table

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.store.permission.sign_ups import KeptForm

OwnerOption = Annotated[str, typer.Option("--account", "-a", metavar="NAME", help="Whose form it is.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the form.")]

_COLUMNS = (
    Column("form", whole=True),
    "account",
    "languages",
    "asked",
    "confirmed",
    "state",
    Column("page", whole=True, optional=True),
)


def register(app: typer.Typer) -> None:
    commands = group(
        "Sign-up forms (docs/consents.md): pages of the service, or HTML to copy, that ask for consent and prove it.",
        ("list", list_),
        ("put", put),
        ("show", show),
        ("close", close),
    )
    app.add_typer(commands, name="form")


def list_(account: AccountOption = None, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List forms, with the requests of the last 30 days."""
    from mta.admin import sign_up_forms

    async def work(context: AdminContext) -> tuple[list[KeptForm], list[str | None]]:
        found = await sign_up_forms.list_page(context, account=account, limit=100_000)
        return found, [sign_up_forms.page_of(context, each) for each in found]

    forms, pages = with_admin(load_settings(config), work)
    if as_json:
        print_json([{**plain(form), "page": page} for form, page in zip(forms, pages, strict=True)])
        return
    rows = [
        (
            form.form.name,
            form.account,
            " ".join(form.form.languages),
            str(form.asked),
            str(form.confirmed),
            f"closed {minute(form.closed_at)}" if form.closed_at else "open",
            page or "",
        )
        for form, page in zip(forms, pages, strict=True)
    ]
    print_table(_COLUMNS, rows, empty="No forms.")


def put(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="TOML file that describes it.", dir_okay=False)],
    account: OwnerOption,
    config: ConfigOption = None,
) -> None:
    """Make a form, or change the one of the same name. Requests keep the texts that their person saw."""
    from config.toml import read_text
    from mta.admin import sign_up_forms

    async def work(context: AdminContext) -> str:
        form = await sign_up_forms.read_form(context, account, read_text(file), str(file))
        kept = await sign_up_forms.put(context, account, form)
        page = sign_up_forms.page_of(context, kept)
        return page or f"Form {form.name} is kept; it has no page before web.public.url is set."

    print(with_admin(load_settings(config), work))


def show(
    name: NameArgument,
    account: OwnerOption,
    html: Annotated[
        str | None, typer.Option("--html", metavar="LANGUAGE", help="Print HTML to copy into a page, in this language.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show a form, or print it as HTML to copy into a page."""
    from mta.admin import sign_up_forms

    async def work(context: AdminContext) -> tuple[KeptForm, str | None, str]:
        form = await sign_up_forms.get(context, account, name)
        return form, sign_up_forms.page_of(context, form), sign_up_forms.embedding(context, form, html) if html else ""

    form, page, text = with_admin(load_settings(config), work)
    if html:
        print(text, end="")
    elif as_json:
        print_json({**plain(form), "page": page})
    else:
        print_details(f"Form {name} of {account}", _details(form, page))


def close(
    name: NameArgument,
    account: OwnerOption,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the audit.")] = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Take no more requests. Links that were sent stay good."""
    from mta.admin import sign_up_forms

    if not dry_run:
        confirm(f"Close the form {name} of {account}?", yes=yes)

    async def work(context: AdminContext) -> str:
        if dry_run:
            await sign_up_forms.get(context, account, name)
            return f"Form {name} would be closed."
        await sign_up_forms.close(context, account, name, reason=reason)
        return f"Form {name} is closed."

    print(with_admin(load_settings(config), work))


def _details(kept: KeptForm, page: str | None) -> list[tuple[str, str]]:
    form = kept.form
    return [
        ("page", page or "none before web.public.url is set"),
        ("state", f"closed {minute(kept.closed_at)} by {kept.closed_by}" if kept.closed_at else "open"),
        ("requests", f"{kept.asked} in 30 days, {kept.confirmed} confirmed"),
        ("sender", form.sender),
        ("version", form.version),
        ("topics", ", ".join(topic.name for topic in form.topics)),
        *((f"statement {language}", text) for language, text in form.statements.items()),
        ("sponsors", ", ".join(form.sponsors)),
        ("shown at", form.page or "its own page"),
        ("embedded by", ", ".join(form.sites)),
    ]

"""``mta mailing preview`` and ``mta mailing reference``: what was confirmed of a mailing.

Invariants: a reference that was removed is still shown: it is evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.context import load_settings, with_admin, with_store
from mta.cli.mailing.lookup import MailingAccountOption, MailingArgument, find_mailing
from mta.cli.mailing.mailing_details import reference_fields, reference_line
from mta.cli.options import (
    ByOption,
    ConfigOption,
    DryRunOption,
    JsonOption,
    ReasonOption,
    YesOption,
    confirm,
    operator,
    require_text,
)
from mta.cli.output import fail, print_json, print_lines

if TYPE_CHECKING:
    from mta.store.mailings.references import ReferenceContent, ReferenceRecord
    from mta.store.store import Store
    from policy.accounts.mailing import Mailing

NumberArgument = Annotated[int, typer.Argument(min=1, metavar="NUMBER", help="Number of the reference.")]


def preview(
    which: MailingArgument,
    number: NumberArgument = 1,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Write the message, its text and its picture there instead."
        ),
    ] = None,
    account: MailingAccountOption = None,
    config: ConfigOption = None,
) -> None:
    """Show a message that was confirmed, as its readers see it."""
    settings = load_settings(config)

    async def work(store: Store) -> tuple[Mailing, ReferenceRecord, ReferenceContent]:
        mailing = await find_mailing(settings, store, which, account)
        records = {each.number: each for each in await store.mailings.references(mailing.id)}
        contents = {each.number: each for each in await store.mailings.reference_contents(mailing.id)}
        if number not in records:
            fail(f'mailing "{mailing.name}" has no reference {number}')
        return mailing, records[number], contents[number]

    mailing, record, content = with_store(settings, work)
    if output is None:
        print_lines([(reference_line(record).strip(), "dim"), ("", ""), (record.preview, "")])
        return
    files = {"eml": content.outgoing, "txt": record.preview.encode()}
    files |= {"png": record.picture} if record.picture else {}
    for ending, octets in files.items():
        path = output / f"{mailing.id}-{number}.{ending}"
        path.write_bytes(octets)
        print(path)


def list_(
    which: MailingArgument,
    account: MailingAccountOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the messages that were confirmed for a mailing."""
    settings = load_settings(config)

    async def work(store: Store) -> Sequence[ReferenceRecord]:
        return await store.mailings.references((await find_mailing(settings, store, which, account)).id)

    found = with_store(settings, work)
    if as_json:
        print_json([reference_fields(each) for each in found])
    else:
        print_lines([(reference_line(each).strip(), "") for each in found] or [("No references.", "dim")])


def remove(
    which: MailingArgument,
    number: NumberArgument,
    reason: ReasonOption,
    account: MailingAccountOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Withdraw a confirmed message: others like it are held or rejected from now on."""
    from mta.admin import mailings

    settings, reason = load_settings(config), require_text(reason, "--reason")

    async def look(store: Store) -> Mailing:
        mailing = await find_mailing(settings, store, which, account)
        if number not in mailing.references:
            fail(f'mailing "{mailing.name}" has no reference {number}')
        return mailing

    mailing = with_store(settings, look)
    told = f'reference {number} of mailing "{mailing.name}"'
    if dry_run:
        print(f"{told} would be removed.".capitalize())
        return
    confirm(f"Remove {told}?", yes=yes)
    with_admin(settings, lambda context: mailings.remove_reference(context, mailing.id, number, reason=reason), by=by)
    print(f'Reference {number} of mailing "{mailing.name}" removed by {by or operator()}.')

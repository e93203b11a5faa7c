"""``mta mailing add``, ``list``, ``release`` and ``stop``.

Invariants: no mailing is released or stopped without the name of who decides.

Limitations: a change reaches the workers within moments; a delivery attempt in progress is not stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli import options
from mta.cli.context import account_id, account_names, load_settings, with_admin, with_store
from mta.cli.mailing import confirmation, mailing_details, references
from mta.cli.mailing.lookup import MailingAccountOption, MailingArgument, find_mailing
from mta.cli.mailing.mailing_details import mailing_fields, moved_text, state_of
from mta.cli.options import (
    AccountArgument,
    AccountOption,
    ByOption,
    ConfigOption,
    DryRunOption,
    JsonOption,
    LimitOption,
    ReasonOption,
    YesOption,
    group,
    operator,
    require_text,
)
from mta.cli.output import Column, minute, plain, print_json, print_table

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.store.mailings.mailing_holds import QueueMoved
    from mta.store.mailings.mailings import MailingRecord
    from mta.store.store import Store
    from policy.accounts.mailing import Mailing

_COLUMNS = (Column("id", whole=True), "account", "name", "state", "created (UTC)", "topic", "list")


def register(app: typer.Typer) -> None:
    commands = group(
        "Mailings: one dispatch to one list about one topic. It is sent once it has been confirmed.",
        ("add", add),
        ("list", list_),
        ("show", mailing_details.show),
        ("confirm", confirmation.confirm),
        ("preview", references.preview),
        ("release", release),
        ("stop", stop),
    )
    commands.add_typer(
        group(
            "References: the messages that a mailing was confirmed with.",
            ("list", references.list_),
            ("remove", references.remove),
        ),
        name="reference",
    )
    app.add_typer(commands, name="mailing")


def add(
    account: AccountArgument,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The account's name for it; messages carry the name or the id.")
    ],
    topic: Annotated[str, typer.Option(help="What it is about; recipients must have consented to it.")],
    list_name: Annotated[str, typer.Option("--list", help="The list it is sent to.")],
    category: Annotated[
        str,
        typer.Option(help="The kind of goods it is about, for recipients who bought such goods. Default: the topic."),
    ] = "",
    sample: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Send N messages and hold the others until `release`; 0: hold none. Default: see the profile.",
        ),
    ] = None,
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Create a mailing. It is sent once it is confirmed."""
    from mta.admin import mailings

    async def work(context: AdminContext) -> Mailing:
        return await mailings.add(
            context, account, name, topic=topic, list_name=list_name, category=category, sample=sample
        )

    mailing, owner = with_admin(load_settings(config), work, by=by), account
    if as_json:
        fields: dict[str, Any] = plain(mailing)
        print_json({"id": mailing.id, "account": owner} | fields)
        return
    print(f'Mailing "{mailing.name}" of {owner} created: {mailing.id}')
    if mailing.sample:
        print(f"{mailing.sample.size} messages are sent as a sample, the others held until `mta mailing release`.")
    if not mailing.approved:
        missing = "is not recorded" if mailing.origin is None else "is not approved"
        print(f'The source of list "{mailing.list}" {missing} (mta account source).')
    print(f"Name it in X-MTA-Mailing. To have it sent: mta mailing confirm {mailing.id}")


def list_(
    account: AccountOption = None, limit: LimitOption = 50, as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """List the newest mailings."""

    async def work(store: Store) -> tuple[Sequence[MailingRecord], Mapping[int, str]]:
        return await store.mailings.list(await account_id(store, account), limit=limit), await account_names(store)

    found, names = with_store(load_settings(config), work)
    if as_json:
        print_json([mailing_fields(each, names.get(each.mailing.account_id, "")) for each in found])
        return
    rows = [
        (
            each.mailing.id,
            names.get(each.mailing.account_id, str(each.mailing.account_id)),
            each.mailing.name,
            state_of(each.mailing),
            minute(each.created_at),
            each.mailing.topic,
            each.mailing.list,
        )
        for each in found
    ]
    print_table(_COLUMNS, rows, empty="No mailings.", limit=limit)


def release(
    which: MailingArgument, account: MailingAccountOption = None, by: ByOption = None, config: ConfigOption = None
) -> None:
    """Send the remaining messages, after a look at the sample or after a stop. What is not confirmed stays held."""
    settings, who = load_settings(config), by or operator()

    async def work(context: AdminContext) -> str:
        from mta.admin import mailings

        mailing = await find_mailing(settings, context.store, which, account)
        moved = await mailings.release(context, mailing.id)
        if mailing.confirmation is None:
            return f'Mailing "{mailing.name}" released; it still has to be confirmed: mta mailing confirm {mailing.id}'
        return f'Mailing "{mailing.name}" released by {who}. {moved_text(moved)}'

    print(with_admin(settings, work, by=who))


def stop(
    which: MailingArgument,
    reason: ReasonOption,
    bounce: Annotated[
        bool, typer.Option("--bounce/--hold", help="Bounce what is queued, or hold it until `release`.")
    ] = False,
    account: MailingAccountOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Accept no more messages of a mailing, and hold what is queued. Clients that submit more get the reason."""
    from mta.admin import mailings

    reason, who, settings = require_text(reason, "--reason"), by or operator(), load_settings(config)

    async def count(context: AdminContext) -> tuple[Mailing, int]:
        mailing = await find_mailing(settings, context.store, which, account)
        moved = await mailings.stop(context, mailing.id, reason=reason, bounce=bounce, dry_run=True)
        return mailing, moved.held + moved.bounced

    async def work(context: AdminContext) -> QueueMoved:
        return await mailings.stop(context, mailing.id, reason=reason, bounce=bounce)

    mailing, recipients = with_admin(settings, count)
    queued = f"{recipients} queued recipients {'bounced' if bounce else 'held'}"
    if dry_run:
        print(f'Mailing "{mailing.name}" would be stopped, {queued}.')
        return
    if bounce:
        options.confirm(f'Stop mailing "{mailing.name}" with {queued}? This cannot be undone.', yes=yes)
    print(f'Mailing "{mailing.name}" stopped by {who}: {reason}. {moved_text(with_admin(settings, work, by=who))}')

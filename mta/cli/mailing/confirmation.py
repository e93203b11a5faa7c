"""``mta mailing confirm``: somebody confirms a mailing, and the messages that it consists of.

Invariants: no mailing is confirmed without the name of who decides.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.context import load_settings, with_store
from mta.cli.mailing.lookup import MailingAccountOption, MailingArgument, find_mailing
from mta.cli.mailing.mailing_details import moved_text
from mta.cli.message.message_file import choose_profiles, open_preparer, read_message, submitted
from mta.cli.options import ByOption, ConfigOption, operator
from mta.cli.output import fail

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.store.store import Store
    from mta.submission.mailing_confirmation import ConfirmationContext


def confirm(
    which: MailingArgument,
    message: Annotated[
        list[str] | None,
        typer.Option(
            "--message",
            "-m",
            metavar="FILE.eml",
            help="A message of the mailing, as the application submits it; repeatable, for variants. Each message of "
            "the mailing must match one of them.",
        ),
    ] = None,
    account: MailingAccountOption = None,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Confirm that a mailing keeps to the rules and the current terms. What is held for that is released."""
    settings, who = load_settings(config), by or operator()
    files = [read_message(file, [], None) for file in message or ()]

    async def work(store: Store) -> str:
        from mta.submission.mailing_confirmation import ConfirmationRefused, Handed, confirm_mailing

        mailing = await find_mailing(settings, store, which, account)
        owner = store.accounts.by_id(mailing.account_id)
        assert owner is not None, "a mailing has an account"
        handed = [Handed(file.name, submitted(file, owner)) for file in files]
        context = await _context(store, settings)
        try:
            moved = await confirm_mailing(context, owner, mailing, handed, by=who, at=datetime.now(UTC))
        except ConfirmationRefused as error:
            fail(f'mailing "{mailing.name}" is not confirmed:\n{error}')
        said = f'Mailing "{mailing.name}" confirmed by {who} under version {context.terms} of the terms.'
        return f"{said} {moved_text(moved)}"

    print(with_store(settings, work))


async def _context(store: Store, settings: Settings) -> ConfirmationContext:
    from mta.submission.mailing_confirmation import ConfirmationContext
    from mta.submission.rate_limit import RateLimit

    preparer = await open_preparer(store, settings, choose_profiles(settings, None).profiles)
    return ConfirmationContext(
        store, preparer, RateLimit(store.quotas, settings.rate_limits), settings.policy.terms.version
    )

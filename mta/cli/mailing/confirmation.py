"""``mta mailing confirm``: somebody confirms a mailing, and the messages that it consists of.

Invariants: no mailing is confirmed without the name of who decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.context import load_settings, with_admin
from mta.cli.mailing.lookup import MailingAccountOption, MailingArgument, find_mailing
from mta.cli.mailing.mailing_details import moved_text
from mta.cli.message.message_file import read_message
from mta.cli.options import ByOption, ConfigOption, operator, parse_message_id, require_text
from mta.cli.output import fail

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from policy.mailing.reference import Reference


def confirm(
    which: MailingArgument,
    message: Annotated[
        list[str] | None,
        typer.Option(
            "--message",
            metavar="FILE.eml",
            help="A message of the mailing, as the application submits it; repeatable, for variants. Each message of "
            "the mailing must match one of them.",
        ),
    ] = None,
    sample: Annotated[
        list[str] | None,
        typer.Option(
            "--sample",
            metavar="FILE.eml",
            help="Another copy of a confirmed message, for another recipient: what differs may vary; repeatable.",
        ),
    ] = None,
    queued: Annotated[
        list[str] | None,
        typer.Option(
            "--queued", metavar="MESSAGE-ID", help="A queued message of the mailing, in place of a file; repeatable."
        ),
    ] = None,
    skip_link_check: Annotated[
        bool,
        typer.Option(
            "--skip-link-check", help="Accept the pages behind the links unseen, with a --reason that is kept."
        ),
    ] = False,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why the pages are not looked at.")
    ] = None,
    account: MailingAccountOption = None,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Confirm that a mailing keeps to the rules and the current terms. What is held for that is released.

    The pages behind the unsubscribe links of its messages are looked at, and that of a linked imprint if the profile
    takes one.
    """
    settings, who = load_settings(config), by or operator()
    files = [(read_message(file, [], None), False) for file in message or ()]
    files += [(read_message(file, [], None), True) for file in sample or ()]
    ids = [parse_message_id(text) for text in queued or ()]
    if skip_link_check != (reason is not None):
        fail("--skip-link-check needs a --reason, and nothing else does", status=2)
    skipped = require_text(reason, "--reason") if reason is not None else None

    async def work(context: AdminContext) -> str:
        from mta.admin import mailings

        mailing = await find_mailing(settings, context.store, which, account)
        handed = [(file.name, file.content, is_sample) for file, is_sample in files]
        confirmed = await mailings.confirm(context, mailing.id, messages=handed, queued=ids, skip_pages=skipped)
        told = (
            f'Mailing "{mailing.name}" confirmed by {who} under version {settings.policy.terms.version} of the terms.'
        )
        references = [_reference_text(each) for each in confirmed.references if confirmed.added]
        return "\n".join([f"{told} {moved_text(confirmed.moved)}", *references])

    print(with_admin(settings, work, by=who))


def _reference_text(reference: Reference) -> str:
    """Return what may vary in a reference, so that the confirmer sees it."""
    from policy.mailing.variables import VariableKind

    said = dict.fromkeys(
        f"{each.kind.value} {text!r}" for text, each in reference.variables if each.kind is not VariableKind.TOKEN
    )
    tokens = sum(1 for _, each in reference.variables if each.kind is VariableKind.TOKEN)
    varies = [*said, *([f"{tokens} tokens in links"] if tokens else [])]
    return f"Reference {reference.number}: may vary: {', '.join(varies) or 'nothing'}."

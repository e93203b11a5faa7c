"""``mta mailing confirm``: somebody confirms a mailing, and the messages that it consists of.

Invariants: no mailing is confirmed without the name of who decides.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.context import load_settings, with_store
from mta.cli.mailing.lookup import MailingAccountOption, MailingArgument, find_mailing
from mta.cli.mailing.mailing_details import moved_text
from mta.cli.message.message_file import choose_profiles, message_of, open_preparer, read_message, submitted
from mta.cli.options import ByOption, ConfigOption, operator, parse_message_id, require_text
from mta.cli.output import fail
from mta.mail.identity import format_id
from mta.mail.message import Stream

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.mail.identity import MessageId
    from mta.store.store import Store
    from mta.submission.mailing_confirmation import ConfirmationContext, Handed
    from policy.accounts.account import Account
    from policy.accounts.mailing import Mailing
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

    async def work(store: Store) -> str:
        from mta.submission.mailing_confirmation import ConfirmationRefused, Handed, confirm_mailing

        mailing = await find_mailing(settings, store, which, account)
        owner = store.accounts.by_id(mailing.account_id)
        assert owner is not None, "a mailing has an account"
        handed = [await _queued(store, owner, mailing, each) for each in ids]
        handed += [Handed(file.name, submitted(file, owner), is_sample) for file, is_sample in files]
        async with _context(store, settings, owner, who, skipped) as context:
            try:
                confirmed = await confirm_mailing(context, owner, mailing, handed, by=who, at=datetime.now(UTC))
            except ConfirmationRefused as error:
                fail(f'mailing "{mailing.name}" is not confirmed:\n{error}')
        told = f'Mailing "{mailing.name}" confirmed by {who} under version {context.terms} of the terms.'
        references = [_reference_text(each) for each in confirmed.references if confirmed.added]
        return "\n".join([f"{told} {moved_text(confirmed.moved)}", *references])

    print(with_store(settings, work))


@asynccontextmanager
async def _context(
    store: Store, settings: Settings, account: Account, by: str, skipped: str | None
) -> AsyncIterator[ConfirmationContext]:
    """What a mailing is confirmed with. ``skipped``: why its pages are accepted unseen, or None."""
    from mta.submission.mailing_confirmation import ConfirmationContext
    from mta.submission.page_check import PageCheck, PageLookup, SkippedPageCheck
    from mta.submission.preview_picture import find_browser
    from mta.submission.rate_limit import RateLimit
    from policy.rules.mailing.confirmation import Confirmed

    profiles = choose_profiles(settings, None).profiles
    preparer = await open_preparer(store, settings, profiles)
    rate_limit, terms = RateLimit(store.quotas, settings.rate_limits), settings.policy.terms.version
    rules = profiles.get(account.profile).streams.get(Stream.MARKETING)
    asked = rules.settings.get(Confirmed.name) if rules else None
    needs_message = isinstance(asked, Confirmed.Settings) and asked.reference == "required"
    browser = find_browser(settings.policy.preview_browser)

    def with_pages(pages: PageLookup) -> ConfirmationContext:
        return ConfirmationContext(store, preparer, pages, rate_limit, terms, needs_message, browser)

    if skipped is not None:
        yield with_pages(SkippedPageCheck(profiles, by, skipped))
        return
    async with PageCheck(profiles, allow_private=settings.testing.private_webhooks) as pages:
        yield with_pages(pages)


async def _queued(store: Store, account: Account, mailing: Mailing, message_id: MessageId) -> Handed:
    """Return a message that was submitted to the mailing, as it would leave."""
    from mta.store.queue.content import ContentMissing, whole
    from mta.submission.mailing_confirmation import Handed

    name = format_id(message_id)
    story = await store.explain.message(message_id)
    if story is None or story.account_id != account.id or story.mailing != mailing.id:
        fail(f'message {name} is not one of mailing "{mailing.name}"')
    try:
        octets = await whole(await store.messages.content(message_id))
    except ContentMissing:
        fail(f"message {name} is no longer queued; hand over a file (--message FILE.eml)")
    file = message_of(name, octets, story.recipients[:1], story.sender)
    return Handed(name, submitted(file, account), was_queued=True)


def _reference_text(reference: Reference) -> str:
    """Return what may vary in a reference, so that the confirmer sees it."""
    from policy.mailing.variables import VariableKind

    said = dict.fromkeys(
        f"{each.kind.value} {text!r}" for text, each in reference.variables if each.kind is not VariableKind.TOKEN
    )
    tokens = sum(1 for _, each in reference.variables if each.kind is VariableKind.TOKEN)
    varies = [*said, *([f"{tokens} tokens in links"] if tokens else [])]
    return f"Reference {reference.number}: may vary: {', '.join(varies) or 'nothing'}."

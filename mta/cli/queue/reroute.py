"""``mta queue reroute``: another pool, or another time, for queued mail.

A pool is for mail that comes later, too: it is a shaping action. A time is for what is queued now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.context import load_settings, with_admin
from mta.cli.options import (
    AccountOption,
    ConfigOption,
    DryRunOption,
    ReasonOption,
    YesOption,
    confirm,
    require_text,
)
from mta.cli.output import fail, moment
from mta.cli.queue.selection import (
    DestinationOption,
    IdsArgument,
    MailingOption,
    OlderThanOption,
    QueueSelection,
    RecipientOption,
    ReplyOption,
    SenderOption,
    StreamOption,
    TopicOption,
)
from mta.cli.shaping.scope import ForOption, ScopeWords, SiteOption, UntilOption, parse_moment, queued, span_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

    from config.schema import Settings
    from mta.admin.context import AdminContext

    Work = Callable[[AdminContext, bool], Awaitable[str]]  # with whether it only counts; returns what to print


def reroute(
    reason: ReasonOption,
    ids: IdsArgument = None,
    destination: DestinationOption = None,
    account: AccountOption = None,
    stream: StreamOption = None,
    mailing: MailingOption = None,
    site: SiteOption = None,
    topic: TopicOption = None,
    sender: SenderOption = None,
    recipient: RecipientOption = None,
    older_than: OlderThanOption = None,
    reply: ReplyOption = None,
    pool: Annotated[str | None, typer.Option(metavar="NAME", help="The pool that it leaves from.")] = None,
    until: UntilOption = None,
    span: ForOption = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="The time of its next attempt: 2026-03-01T14:00, in UTC.")
    ] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Let mail leave from another pool until some time, or let queued mail wait until another time.

    With --pool, mail that comes later is meant as well, chosen by --destination, --account, --stream, --mailing and
    --site.
    """
    reason, settings = require_text(reason, "--reason"), load_settings(config)
    if (pool is None) == (at is None):
        fail("say where to: --pool NAME or --at TIME", status=2)
    if pool is not None:
        if ids or topic or sender or recipient or older_than or reply:
            fail(
                "--pool is for later mail, too: choose by --destination, --account, --stream, --mailing, --site",
                status=2,
            )
        words = ScopeWords(None, site, destination, account, mailing, stream)
        work = _to_pool(settings, words, pool, span_until(until, span), reason)
    else:
        if site or until or span:
            fail("--site, --until and --for go with --pool", status=2)
        selection = QueueSelection(
            ids or (), destination, account, stream, topic, mailing, sender, recipient, None, older_than, reply, None
        )
        work = _to_time(selection, at or "", reason)
    if not dry_run:
        confirm(with_admin(settings, lambda context: work(context, True)) + " Continue?", yes=yes)
    print(with_admin(settings, lambda context: work(context, dry_run)))


def _to_pool(settings: Settings, words: ScopeWords, pool: str, span: timedelta, reason: str) -> Work:
    from mta.admin import shaping
    from mta.delivery.egress.pools import SourcePools

    names = SourcePools(settings.egress).names
    if pool not in names:
        fail(f"there is no pool {pool!r}; there are {', '.join(names)}", status=2)

    async def work(context: AdminContext, count: bool) -> str:
        scope = await words.scope(settings, context.store)
        concerned = f"{await queued(settings, context.store, scope)} queued recipients are concerned"
        if count:
            return f"Mail in {scope} would leave from pool {pool}; {concerned}."
        action = await shaping.reroute(context, scope, pool, span=span, reason=reason)
        end = moment(action.expires_at)
        return f"Action {action.id}: mail in {scope} leaves from pool {pool} until {end} UTC; {concerned}."

    return work


def _to_time(selection: QueueSelection, at: str, reason: str) -> Work:
    from mta.admin import queue

    when = parse_moment(at, "--at")

    async def work(context: AdminContext, count: bool) -> str:
        which = await selection.chosen(context)
        changed = await queue.put_off(context, which, when, reason=reason, dry_run=count)
        text = f"{changed.recipients} recipients {'would be ' if count else ''}put off to {moment(when)} UTC."
        return text + (f" {changed.leased} are leased, and stay as they are." if changed.leased else "")

    return work

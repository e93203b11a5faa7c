"""``mta shaping suspend`` and ``resume``: nothing is sent for a while, mail that comes later included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.context import load_settings, with_admin
from mta.cli.options import (
    AccountOption,
    ByOption,
    ConfigOption,
    DryRunOption,
    ReasonOption,
    require_text,
)
from mta.cli.output import fail, moment
from mta.cli.queue.selection import MailingOption
from mta.cli.shaping.scope import (
    DomainOption,
    ForOption,
    ScopeWords,
    SiteOption,
    SourceOption,
    UntilOption,
    queued,
    span_until,
)

if TYPE_CHECKING:
    from mta.admin.context import AdminContext


def suspend(
    reason: ReasonOption,
    source: SourceOption = None,
    site: SiteOption = None,
    domain: DomainOption = None,
    account: AccountOption = None,
    mailing: MailingOption = None,
    until: UntilOption = None,
    span: ForOption = None,
    by: ByOption = None,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
) -> None:
    """Send nothing that fits all that is given, now and later, until the end, or `mta shaping resume`."""
    from mta.admin import shaping

    reason, settings = require_text(reason, "--reason"), load_settings(config)
    words, length = ScopeWords(source, site, domain, account, mailing), span_until(until, span)

    async def work(context: AdminContext) -> str:
        scope = await words.scope(settings, context.store)
        count = await queued(settings, context.store, scope)
        concerned = f"{'up to ' if scope.source else ''}{count} queued recipients are concerned"
        if dry_run:
            return f"{scope} would be suspended; {concerned}."
        action = await shaping.pause(context, scope, span=length, reason=reason)
        return f"Action {action.id}: {scope} suspended until {moment(action.expires_at)} UTC; {concerned}."

    print(with_admin(settings, work, by=by))


def resume(
    reason: ReasonOption,
    source: SourceOption = None,
    site: SiteOption = None,
    domain: DomainOption = None,
    account: AccountOption = None,
    mailing: MailingOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All suspensions.")] = False,
    by: ByOption = None,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
) -> None:
    """End the suspension of exactly what is given; mail that waits for it is due at once."""
    from mta.admin import shaping

    reason, settings = require_text(reason, "--reason"), load_settings(config)
    words = ScopeWords(source, site, domain, account, mailing)

    async def work(context: AdminContext) -> str:
        scope = None if everything else await words.scope(settings, context.store)
        found = await shaping.suspensions(context, scope)
        if not found:
            fail("nothing is suspended" if scope is None else f"{scope} is not suspended by an operator")
        if dry_run:
            waiting = sum(each.waiting for each in found)
            return f"{_count(len(found))} would be ended; {waiting} recipients wait for it."
        ended = await shaping.cancel(context, found, reason=reason)
        return f"{_count(len(ended.actions))} ended; {ended.due} recipients due now."

    print(with_admin(settings, work, by=by))


def _count(actions: int) -> str:
    return "1 suspension" if actions == 1 else f"{actions} suspensions"

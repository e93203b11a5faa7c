"""``mta shaping suspend`` and ``resume``: nothing is sent for a while, mail that comes later included."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.context import load_settings, with_store
from mta.cli.options import (
    AccountOption,
    ByOption,
    ConfigOption,
    DryRunOption,
    ReasonOption,
    operator,
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
    seconds_until,
)
from mta.mail.shaping_action import OPERATOR, Effect, NewAction

if TYPE_CHECKING:
    from mta.mail.shaping_action import ActionScope, ShapingAction
    from mta.store.store import Store

NAME = "suspend"


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
    reason, who, settings = require_text(reason, "--reason"), by or operator(), load_settings(config)
    words, seconds = ScopeWords(source, site, domain, account, mailing), seconds_until(until, span)

    async def work(store: Store) -> str:
        scope = await words.scope(settings, store)
        count = await queued(settings, store, scope)
        concerned = f"{'up to ' if scope.source else ''}{count} queued recipients are concerned"
        if dry_run:
            return f"{scope} would be suspended; {concerned}."
        action = await store.shaping_actions.begin(NewAction(NAME, scope, Effect.PAUSE, reason, who, seconds))
        if action is None:
            fail(f"{scope} is suspended already; see mta shaping actions list")
        return f"Action {action.id}: {scope} suspended until {moment(action.expires_at)} UTC; {concerned}."

    print(with_store(settings, work))


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
    reason, who, settings = require_text(reason, "--reason"), by or operator(), load_settings(config)
    words = ScopeWords(source, site, domain, account, mailing)

    async def work(store: Store) -> str:
        scope = None if everything else await words.scope(settings, store)
        found = _suspensions(await store.shaping_actions.list(limit=10_000), scope)
        if not found:
            fail("nothing is suspended" if scope is None else f"{scope} is not suspended by an operator")
        if dry_run:
            waiting = [await store.shaping_actions.waiting(each) for each in found]
            return f"{_count(found)} would be ended; {sum(waiting)} recipients wait for it."
        ended = await store.shaping_actions.cancel(found, by=who, reason=reason)
        return f"{_count(ended.actions)} ended; {ended.due} recipients due now."

    print(with_store(settings, work))


def _suspensions(actions: Sequence[ShapingAction], scope: ActionScope | None) -> list[ShapingAction]:
    """Return the suspensions by operators in force: of this scope, or all."""
    now = datetime.now(UTC)
    return [
        each for each in actions
        if each.rule == OPERATOR and each.effect is Effect.PAUSE and each.in_force(now) and scope in (None, each.scope)
    ]  # fmt: skip


def _count(actions: Sequence[ShapingAction]) -> str:
    return "1 suspension" if len(actions) == 1 else f"{len(actions)} suspensions"

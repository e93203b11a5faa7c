"""Which mail ``mta shaping suspend`` and ``mta queue reroute`` mean, for how long, and how much of it is queued.

Limitations: which source queued mail will leave from is not known; the sites are those that this machine's DNS leads to
now.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from mta.admin.backoffs import MAX_DESTINATIONS, sites_of
from mta.cli.context import account_id
from mta.cli.options import parse_domain, require_span
from mta.cli.output import fail
from mta.mail.message import Stream
from mta.mail.shaping_action import ActionScope

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.store.store import Store

SourceOption = Annotated[str | None, typer.Option(metavar="NAME", help="Only from this source.")]
SiteOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only to this provider or site, as `mta shaping explain` names it.")
]
DomainOption = Annotated[str | None, typer.Option(metavar="DOMAIN", help="Only to recipients in this domain.")]
UntilOption = Annotated[
    str | None, typer.Option(metavar="TIME", help="The end: 2026-03-01T14:00, UTC unless it says otherwise.")
]
ForOption = Annotated[str | None, typer.Option("--for", metavar="DURATION", help="How long: 30m, 2h, 5d.")]

LONGEST = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class ScopeWords:
    """The values of the options, as typed."""

    source: str | None = None
    site: str | None = None
    domain: str | None = None
    account: str | None = None
    mailing: str | None = None
    stream: Stream | None = None

    async def scope(self, settings: Settings, store: Store) -> ActionScope:
        """Return the scope; exit status 2 if nothing is given, or there is no such source."""
        from mta.delivery.egress.sources import configured

        names = [source.name for source in configured(settings.egress)]
        if self.source is not None and self.source not in names:
            fail(f"there is no source {self.source!r}; there are {', '.join(names)}", status=2)
        account = await account_id(store, self.account)
        made = ActionScope(
            source=self.source,
            site=self.site,
            domain=parse_domain(self.domain) if self.domain else None,
            account_id=account,
            mailing=None if self.mailing is None else await _mailing_id(store, account, self.mailing),
            stream=self.stream,
        )
        if made == ActionScope():
            fail("say which mail: --source, --site, --domain, --account or --mailing", status=2)
        return made


async def queued(settings: Settings, store: Store, scope: ActionScope) -> int:
    """Return how many queued recipients are in a scope, whatever source they will leave from."""
    from mta.store.queue.queue import By, QueueFilter

    which = QueueFilter(
        account_id=scope.account_id, destination=scope.domain, mailing=scope.mailing, stream=scope.stream
    )
    groups = await store.queue.summary(By.DESTINATION, which)
    if scope.site is None:
        return sum(group.recipients for group in groups)
    groups = groups[:MAX_DESTINATIONS]  # the largest
    sites = await sites_of(settings, {group.key for group in groups})
    return sum(group.recipients for group in groups if sites.get(group.key) == scope.site)


def span_until(until: str | None, span: str | None) -> timedelta:
    """Return how long --until or --for means; exit status 2 unless it is one of them, and at most 30 days."""
    if (until is None) == (span is None):
        fail("say how long: --until TIME or --for DURATION", status=2)
    left = parse_moment(until, "--until") - datetime.now(UTC) if until else require_span(span or "", "--for")
    if not timedelta(0) < left <= LONGEST:
        fail("the end must lie in the future, at most 30 days from now", status=2)
    return left


def parse_moment(text: str, option: str) -> datetime:
    """Read a time, in UTC unless it says otherwise; end the command with status 2 if it is none."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option}: {text!r} is not a time, such as 2026-03-01T14:00", status=2)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


async def _mailing_id(store: Store, account: int | None, name: str) -> str:
    """Return the id of the mailing with this name; a name that no mailing has is taken for an id."""
    named = [record.mailing for record in await store.mailings.named(name)]
    found = [mailing.id for mailing in named if account in (None, mailing.account_id)]
    if len(found) > 1:
        fail(f"several accounts have a mailing {name[:100]!r}; name the --account", status=2)
    return found[0] if found else name

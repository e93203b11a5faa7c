"""``mta account check``: what an account lacks, with a fresh look at its domains in the DNS.

Invariants: an account is never called complete while one of its domains could not be looked up.

Limitations: the configured resolvers are asked; other parts of the world may still see older records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mta.cli.account import domains
from mta.cli.context import load_profiles, load_settings, with_store
from mta.cli.options import AccountArgument, ConfigOption, JsonOption
from mta.cli.output import print_json
from policy.accounts.account import AccountStatus, Stream
from policy.accounts.sender_domain import is_fit

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.store.accounts.account_cache import AccountDetails
    from mta.store.store import Store
    from policy.accounts.review import Lack
    from policy.accounts.sender_domain import CheckResult

HasMarketing = Callable[[str], bool | None]  # by profile; None: there is no such profile


@dataclass(frozen=True, slots=True)
class Readiness:
    """``domains``: what was just found of each."""

    details: AccountDetails
    lacks: tuple[Lack, ...]
    domains: dict[str, tuple[CheckResult, ...]] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether the account can do all that its profile allows."""
        fit = all(is_fit(self.domains[each.domain], proved=bool(each.verified_at)) for each in self.details.domains)
        return self.details.account.status is AccountStatus.ACTIVE and not self.lacks and fit


def check(name: AccountArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show what an account lacks, with the command that fixes it; its domains are checked in the DNS.

    Exit status 1 if something is missing. A domain with all its records is verified by this.
    """
    settings, marketing = load_settings(config), has_marketing(config)
    ready = with_store(settings, lambda store: _look(settings, store, name, marketing))
    if as_json:
        print_json(_fields(ready))
    else:
        _print(ready)
    if not ready.is_complete:
        raise typer.Exit(1)


def has_marketing(config: Path | None) -> HasMarketing:
    """Return a function that says whether a profile allows marketing mail; None for a profile that does not exist."""
    from policy.profile import UnknownProfile

    profiles = load_profiles(config)

    def has(profile: str) -> bool | None:
        try:
            return profiles.chain(profile, Stream.MARKETING) is not None
        except UnknownProfile:
            return None

    return has


async def recall(settings: Settings, store: Store, name: str, marketing: HasMarketing) -> Readiness:
    """Return what the store knows of an account's readiness, without asking the DNS. Raises AccountError."""
    from policy.accounts.review import lacks

    details = await store.accounts.find(name)
    found = lacks(
        details.account,
        may_submit=bool(details.networks) or any(login.revoked_at is None for login in details.credentials),
        marketing=marketing(details.account.profile),
        terms=settings.policy.terms.version,
        sources=[source.name for source in details.sources],
    )
    return Readiness(details, found)


async def _look(settings: Settings, store: Store, name: str, marketing: HasMarketing) -> Readiness:
    """Return the same after a look into the DNS, which may have verified domains."""
    from mta.delivery.mx import Resolver

    details = await store.accounts.find(name)
    ring, resolver = await domains.open_ring(settings, store), Resolver(settings)
    found = await asyncio.gather(
        *(domains.look_at(settings, store, resolver, ring, details.account.id, each) for each in details.domains)
    )
    state = await recall(settings, store, name, marketing)
    by_domain = {each.domain: results for each, results in zip(details.domains, found, strict=True)}
    return Readiness(state.details, state.lacks, by_domain)


def _print(ready: Readiness) -> None:
    account = ready.details.account
    reason = f" ({account.reason})" if account.reason else ""
    print(f"Account {account.name}: {account.status.value}{reason}, profile {account.profile}")
    for lack in ready.lacks:
        print(f"\n  missing  {lack.text}\n           {lack.remedy}")
    for each in ready.details.domains:
        print(f"\n{each.domain}: {'verified' if each.verified_at else 'not verified'}")
        for result in ready.domains.get(each.domain, ()):
            domains.print_check(result)
    if ready.is_complete:
        print("\nNothing is missing.")


def _fields(ready: Readiness) -> dict[str, object]:
    return {
        "account": ready.details.account.name,
        "status": ready.details.account.status,
        "complete": ready.is_complete,
        "missing": [{"matter": each.matter, "text": each.text, "fix": each.remedy} for each in ready.lacks],
        "domains": {
            each.domain: {
                "verified": each.verified_at is not None,
                "found": {
                    result.subject.value: {"mark": result.mark, "text": result.text}
                    for result in ready.domains.get(each.domain, ())
                },
            }
            for each in ready.details.domains
        },
    }

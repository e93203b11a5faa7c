"""What an account lacks: its papers as ``policy.accounts.review`` sees them, its domains as the DNS shows them now.

It must never call an account complete while a domain of it could not be looked up.

*Limits.* It asks through the configured resolvers; other parts of the world may still see older records.
"""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field

from config.schema import Settings
from config.toml import ConfigError
from mta.cli.account_steps import find, refusable
from mta.cli.output import fail
from mta.delivery.mx import Resolver
from mta.dkim import KeyRing
from mta.service.jobs.domain_verification import look as look_for
from mta.service.jobs.domain_verification import open_ring
from mta.store.accounts.account_copy import AccountDetails, DomainDetails
from mta.store.store import Store
from policy.accounts.account import AccountStatus
from policy.accounts.review import Lack, lacks
from policy.accounts.sender_domain import CheckResult, is_fit

HasMarketing = Callable[[str], bool | None]  # by profile; None: there is no such profile


@dataclass(frozen=True, slots=True)
class State:
    """``domains``: what was just found of each."""

    details: AccountDetails
    lacks: tuple[Lack, ...]
    domains: dict[str, tuple[CheckResult, ...]] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether it can do all that its profile allows."""
        fit = all(is_fit(self.domains[each.domain], proved=bool(each.verified_at)) for each in self.details.domains)
        return self.details.account.status is AccountStatus.ACTIVE and not self.lacks and fit


async def recall(settings: Settings, store: Store, name: str, marketing: HasMarketing) -> State:
    """As the store knows it. ``marketing``: whether a profile has that stream."""
    details = await find(store, name)
    found = lacks(
        details.account,
        may_submit=bool(details.networks) or any(login.revoked_at is None for login in details.credentials),
        marketing=marketing(details.account.profile),
        terms=settings.policy.terms.version,
        sources=[source.name for source in details.sources],
    )
    return State(details, found)


async def look(settings: Settings, store: Store, name: str, marketing: HasMarketing) -> State:
    """The same after a look into the DNS, which may have verified domains."""
    details = await find(store, name)
    ring, resolver = await ring_of(settings, store), Resolver(settings)
    found = await asyncio.gather(
        *(look_at(store, resolver, ring, details.account.id, each) for each in details.domains)
    )
    state = await recall(settings, store, name, marketing)
    domains = {each.domain: judged for each, judged in zip(details.domains, found, strict=True)}
    return State(state.details, state.lacks, domains)


async def ring_of(settings: Settings, store: Store) -> KeyRing:
    """The keys that sign; mistakes in key files are exit status 2."""
    try:
        return await open_ring(settings, store)
    except ConfigError as error:
        fail("\n".join(error.lines), status=2)


async def look_at(
    store: Store, resolver: Resolver, ring: KeyRing, account_id: int, domain: DomainDetails
) -> tuple[CheckResult, ...]:
    """Look for one domain and keep what was found."""
    judged = await look_for(resolver, ring, domain.domain, domain.token)
    await refusable(store.domains.record(account_id, domain.domain, judged, by="dns"))
    return judged


def show(state: State, *, as_json: bool) -> None:
    """Everything that was found, with how to mend it."""
    if as_json:
        print(json.dumps(_fields(state), indent=2))
        return
    account = state.details.account
    because = f" ({account.reason})" if account.reason else ""
    print(f"{account.name} is {account.status.value}{because}, profile {account.profile}.")
    for lack in state.lacks:
        print(f"\n  missing  {lack.text}\n           {lack.mend}")
    for each in state.details.domains:
        print(f"\n{each.domain}: {'verified' if each.verified_at else 'not verified'}")
        for judged in state.domains.get(each.domain, ()):
            show_judged(judged)
    if state.is_complete:
        print("\nNothing is missing.")


def show_judged(judged: CheckResult) -> None:
    """One line, or as many as it takes."""
    head = f"  {judged.subject.value:6} {judged.mark.value:8} "
    text = judged.text
    if " IN TXT " in text:  # a record is to be copied: it stays on its line
        said, _, record = text.partition(": _")
        print(head + said + ":")
        print(" " * len(head) + "_" + record)
        return
    print(textwrap.fill(text, 100, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False))


def _fields(state: State) -> dict[str, object]:
    return {
        "account": state.details.account.name,
        "status": state.details.account.status.value,
        "complete": state.is_complete,
        "missing": [{"matter": each.matter.value, "text": each.text, "mend": each.mend} for each in state.lacks],
        "domains": {
            each.domain: {
                "verified": each.verified_at is not None,
                "found": {
                    judged.subject.value: {"mark": judged.mark.value, "text": judged.text}
                    for judged in state.domains.get(each.domain, ())
                },
            }
            for each in state.details.domains
        },
    }

"""``mta account check``: what an account lacks, with a fresh look at its domains in the DNS.

Invariants: an account is never called complete while one of its domains could not be looked up.

Limitations: the configured resolvers are asked; other parts of the world may still see older records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import typer

from mta.cli.account import domains
from mta.cli.context import load_settings, with_admin
from mta.cli.options import AccountArgument, ConfigOption, JsonOption
from mta.cli.output import print_json
from policy.accounts.account import AccountStatus
from policy.accounts.sender_domain import is_fit

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.store.accounts.account_cache import AccountDetails
    from policy.accounts.review import Lack
    from policy.accounts.sender_domain import CheckResult


@dataclass(frozen=True, slots=True)
class Readiness:
    """``domains``: what was just found of each."""

    details: AccountDetails
    lacks: Sequence[Lack]
    domains: Mapping[str, Sequence[CheckResult]] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether the account can do all that its profile allows."""
        fit = all(is_fit(self.domains[each.domain], proved=bool(each.verified_at)) for each in self.details.domains)
        return self.details.account.status is AccountStatus.ACTIVE and not self.lacks and fit


def check(name: AccountArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show what an account lacks, with the command that fixes it; its domains are checked in the DNS.

    Exit status 1 if something is missing. A domain with all its records is verified by this.
    """
    ready = with_admin(load_settings(config), lambda context: _look(context, name))
    if as_json:
        print_json(_fields(ready))
    else:
        _print(ready)
    if not ready.is_complete:
        raise typer.Exit(1)


async def _look(context: AdminContext, name: str) -> Readiness:
    """Return what an account lacks, after a look into the DNS, which may have verified domains."""
    from mta.admin.senders import accounts, domains

    found = await domains.verify_all(context, name)
    lacks = await accounts.missing(context, name)
    return Readiness(await context.account(name), lacks, found)


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

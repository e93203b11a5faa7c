"""Whether a suppression may be lifted, as the profiles of the accounts say whom it concerns.

It must never let a command lift what a profile keeps for good.

*Limits.* A suppression that holds for everybody is kept if the profile of any account keeps it.
"""

from __future__ import annotations

from config.schema import Settings
from config.toml import ConfigError
from mta.cli.options import fail
from mta.service.config_validation import validate_profiles
from mta.store.store import Store
from policy.accounts.account import Account, AccountStatus
from policy.permission.suppression import Reason
from policy.profile import UnknownProfile


async def check(store: Store, settings: Settings, account_id: int | None, reason: Reason) -> None:
    """Ends the command if a suppression for ``reason`` must stay. ``account_id`` None: it holds for everybody."""
    listed = [each.account for each in await store.accounts.list()]
    concerned = [
        account
        for account in listed
        if account.status is not AccountStatus.TERMINATED and account_id in (None, account.id)
    ]
    if keeper := _keeper(settings, concerned, reason):
        fail(
            f'profile "{keeper.profile}" of account {keeper.name} keeps a suppression for {reason.value} for good '
            '([suppressions] after_unsubscribe = "never")'
        )


def _keeper(settings: Settings, accounts: list[Account], reason: Reason) -> Account | None:
    try:
        profiles = validate_profiles(settings)
        return next((each for each in accounts if profiles.get(each.profile).suppressions.forbids(reason)), None)
    except (ConfigError, UnknownProfile) as error:
        fail(str(error))

"""Who does something, with what, and its row in the audit.

Invariants: an actor of an account reaches nothing of another account. Nothing is changed without a row in the audit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from config.schema import Settings
from mta.admin.errors import AdminError, Forbidden, NotFound
from mta.admin.permissions import Role, Scope
from mta.mail.address import Address
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.store.accounts.account_cache import AccountDetails
from mta.store.journal.account_changes import AccountError
from mta.store.journal.audit import AuditOutcome, AuditStart
from mta.store.postgres.errors import StoreUnavailable
from mta.store.store import Store
from policy.profile import Profiles

log = get_logger()


class Via(Enum):
    """How something is done."""

    CLI = "cli"
    API = "api"
    PAGE = "page"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does it. ``account_id``: the account that it acts for, and is confined to; ``source``: its IP address."""

    name: str
    role: Role
    via: Via
    source: str = ""
    account_id: int | None = None
    account: str | None = None
    scopes: frozenset[Scope] = frozenset()

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes


def operator_actor(name: str) -> Actor:
    """Return a user of this machine, who may do everything."""
    return Actor(name, Role.OPERATOR, Via.CLI, scopes=Role.OPERATOR.scopes)


@dataclass(slots=True)
class AuditEntry:
    """The row of one change: set what was there before and after, where the change itself does not say it all."""

    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    account_id: int | None = None


@dataclass(frozen=True, slots=True)
class AdminContext:
    """What every action works with. ``profiles`` may take a second to read, and most actions do not need them.
    ``metrics``: those of the process; a command's are seen by nobody."""

    store: Store
    settings: Settings
    profiles: Callable[[], Profiles]
    actor: Actor
    metrics: Metrics = field(default_factory=Metrics)

    async def account(self, name: str) -> AccountDetails:
        """Return an account by its name. Raises NotFound, also if it is not the actor's; StoreUnavailable."""
        if self.actor.account is not None and name != self.actor.account:
            raise NotFound(f"there is no account {name!r}")
        try:
            return await self.store.accounts.find(name)
        except AccountError as error:
            raise NotFound(str(error)) from None

    async def account_filter(self, name: str | None) -> int | None:
        """Return the id of the account that a list is confined to: the actor's own, the named one, None for all.

        Raises NotFound, StoreUnavailable.
        """
        if name is None:
            return self.actor.account_id
        return (await self.account(name)).account.id

    async def account_names(self) -> Mapping[int, str]:
        """Return the names of all accounts by their ids. Raises StoreUnavailable."""
        return await self.store.accounts.names_by_id()

    def require_operator(self) -> None:
        """Raises Forbidden for an actor of an account."""
        if self.actor.account_id is not None:
            raise Forbidden("only an operator can do this")

    @asynccontextmanager
    async def audited(
        self,
        action: str,
        subject: object = "",
        *,
        account_id: int | None = None,
        address: Address | None = None,
        reason: str = "",
    ) -> AsyncIterator[AuditEntry]:
        """Write the audit's row before the change that is made inside, and complete it afterwards.

        Raises StoreUnavailable; then nothing was done.
        """
        actor, store = self.actor, self.store
        account_id = account_id if account_id is not None else actor.account_id
        key = store.suppressions.key(address) if address else None
        number = await store.audit.begin(
            AuditStart(
                actor.name,
                actor.role.value,
                actor.via.value,
                actor.source,
                action,
                str(subject),
                account_id,
                key,
                reason,
            )
        )
        entry = AuditEntry()
        try:
            yield entry
        except Exception as error:
            expected = isinstance(error, AdminError | ValueError)
            outcome = AuditOutcome.REFUSED if expected else AuditOutcome.FAILED
            why = str(error) if expected else type(error).__name__
            await self._complete(number, outcome, {"error": why}, None, entry.account_id)
            raise
        await self._complete(number, AuditOutcome.DONE, entry.after, entry.before, entry.account_id)

    async def _complete(
        self,
        number: int,
        outcome: AuditOutcome,
        after: Mapping[str, Any],
        before: Mapping[str, Any] | None,
        account_id: int | None,
    ) -> None:
        """Complete a row. The change is made or not made by now, so a failure here is logged, not raised."""
        try:
            await self.store.audit.end(
                number, outcome, before=before or None, after=after or None, account_id=account_id
            )
        except StoreUnavailable as error:
            log.error("audit row not completed", row=number, outcome=outcome.value, reason=str(error))

"""Who may submit mail: accounts, their credentials, sender domains and client networks.

Every process keeps them all in memory, so that a login, a MAIL command, a new connection or a look-up by name needs no
query. The copy is reloaded when the database announces a change, and every half minute in case that was missed.

Invariants: never answers from a copy that was never read: until then every question raises StoreUnavailable.

Limitations: thousands of accounts, not millions: a change reloads them all. While the database is unavailable the last
copy counts, so a credential revoked in that time works until the database is back.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import asyncpg

from mta.mail.address import parse_domain
from mta.mail.message import IPAddress
from mta.observe.labels import BackgroundTask
from mta.store.accounts import account_cache
from mta.store.accounts.account_cache import AccountCache, AccountDetails, Credential, IPNetwork
from mta.store.accounts.domains import insert as insert_domains
from mta.store.journal import account_changes
from mta.store.journal.account_changes import (
    CHANNEL,
    AccountChange,
    AccountChangeKind,
    AccountError,
    lock_alive,
    note,
)
from mta.store.postgres.cache_refresh import Freshness
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.errors import StoreUnavailable
from policy.accounts.account import Account, AccountStatus, Grant

__all__ = ["CHANNEL", "AccountDetails", "AccountError", "Accounts", "Credential"]

T = TypeVar("T")

_ADD = """
insert into account (name, bounce_notifications, profile, status, reason) values ($1, $2, $3,
    $4::text::account_status, $5)
returning id"""


class Accounts:
    """Made by ``Store``; ``start`` reads the copy and keeps it fresh."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._copy: AccountCache | None = None
        self._fresh = Freshness(database.tasks, BackgroundTask.ACCOUNTS, self._read)
        self.start, self.stop, self.changed = self._fresh.start, self._fresh.stop, self._fresh.changed
        self.refresh = self._fresh.now

    # questions, answered from memory

    def by_credential(self, username: str) -> Credential | None:
        """The credential, unless it does not exist or was revoked. Raises StoreUnavailable."""
        credential = self._known.by_username.get(username)
        return None if credential is None or _has_ended(credential) else credential

    def by_network(self, address: IPAddress) -> Account | None:
        """The account whose narrowest network holds ``address``. Raises StoreUnavailable."""
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return self._known.by_network(address)

    def grant(self, username: str) -> Grant | None:
        """What the credential may do; None once it was revoked. Raises StoreUnavailable."""
        credential = self.by_credential(username)
        return credential.grant if credential else None

    def by_id(self, account_id: int) -> Account | None:
        """Raises StoreUnavailable."""
        return self._known.by_id.get(account_id)

    def name_of(self, account_id: int) -> str | None:
        """Return the account's name, None if it is gone, or if the accounts were never read."""
        account = self._copy.by_id.get(account_id) if self._copy else None
        return account.name if account else None

    def names(self, most: int) -> list[str]:
        """Return the names of all accounts, none if there are more than ``most``. Raises StoreUnavailable."""
        known = self._known.by_id
        return sorted(each.name for each in known.values()) if len(known) <= most else []

    async def names_by_id(self) -> Mapping[int, str]:
        """Return the names of all accounts by their ids. Raises StoreUnavailable."""
        if self._copy is None:
            await self.refresh()
        return {number: each.name for number, each in self._known.by_id.items()}

    async def find(self, name: str) -> AccountDetails:
        """Return the account called ``name``; one that is not known may be new, and is asked for.

        Raises AccountError, StoreUnavailable.
        """
        if self._copy is None or name not in self._copy.by_name:
            await self.refresh()
        found = self._known.by_name.get(name)
        if found is None:
            raise AccountError(f"there is no account {name!r}")
        return found

    @property
    def _known(self) -> AccountCache:
        if self._copy is None:
            raise StoreUnavailable("the accounts could not be read yet")
        return self._copy

    # changes

    async def add(
        self,
        name: str,
        *,
        domains: Iterable[str] = (),
        networks: Iterable[IPNetwork] = (),
        bounce_notifications: str = "dsn",
        profile: str = "transactional",
        status: AccountStatus = AccountStatus.PENDING,
        verified: bool = False,
        by: str = "",
        reason: str = "",
    ) -> Account:
        """A new account. ``by`` and ``reason``: who says that it starts as ``status``, with ``verified`` domains
        (else they are to be verified first), and why. Raises AccountError, AddressError, StoreUnavailable."""
        if not name or len(name) > 64 or not name.isprintable() or name != name.strip():
            raise AccountError(f"{name!r}: an account's name is 1 to 64 printable characters")
        checked = sorted({parse_domain(domain) for domain in domains})

        async def work(connection: Connection) -> int:
            try:
                account_id: int = await connection.fetchval(
                    _ADD, name, bounce_notifications, profile, status.value, reason
                )
            except asyncpg.UniqueViolationError:
                raise AccountError(f"there is an account {name!r} already") from None
            await insert_domains(connection, account_id, checked, verified=verified)
            await _add_networks(connection, account_id, networks)
            made = {"from": None, "to": status.value, "reason": reason, "verified": checked if verified else []}
            await note(connection, account_id, by, AccountChangeKind.STATUS, made)
            return account_id

        account_id = await self.change(work)
        return self._known.by_id[account_id]

    async def add_network(self, account_id: int, network: IPNetwork, *, by: str = "") -> None:
        """Raises AccountError, StoreUnavailable."""

        async def work(connection: Connection) -> None:
            await lock_alive(connection, account_id)
            await _add_networks(connection, account_id, [network])
            await note(connection, account_id, by, AccountChangeKind.NETWORK, {"added": str(network)})

        await self.change(work)

    async def remove_network(self, account_id: int, network: IPNetwork, *, by: str = "", reason: str = "") -> None:
        """Raises AccountError, StoreUnavailable."""

        async def work(connection: Connection) -> None:
            statement = "delete from client_network where account_id = $1 and network = $2 returning 1"
            if not await connection.fetchval(statement, account_id, network):
                raise AccountError(f"{network} is not a network of this account")
            detail = {"removed": str(network), "reason": reason}
            await note(connection, account_id, by, AccountChangeKind.NETWORK, detail)

        await self.change(work)

    async def change(self, work: Callable[[Connection], Awaitable[T]], *, seconds: float | None = None) -> T:
        """Do ``work`` in one transaction, tell all processes, and see the change ourselves. Raises what it raises,
        and StoreUnavailable."""

        async def told(connection: Connection) -> T:
            result = await work(connection)
            await connection.execute("select pg_notify($1, '')", CHANNEL)
            return result

        result = await self._database.retried(told, seconds=seconds)
        await self.refresh()
        return result

    async def list(self) -> Sequence[AccountDetails]:
        """All accounts by name, as the database has them now. Raises StoreUnavailable."""
        await self.refresh()
        return self._known.details

    async def history(self, account_id: int, limit: int = 100) -> Sequence[AccountChange]:
        """Who changed what, when and why: the last ``limit`` changes, the oldest first. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return await account_changes.history(connection, account_id, limit)

    # keeping the copy

    async def _read(self) -> None:
        async with self._database.session() as connection:
            self._copy = await account_cache.read_accounts(connection)


def _has_ended(credential: Credential) -> bool:
    return credential.ends_at is not None and credential.ends_at <= datetime.now(UTC)


async def _add_networks(connection: Connection, account_id: int, networks: Iterable[IPNetwork]) -> None:
    for network in networks:
        owner = await connection.fetchval(
            "select a.name from client_network n join account a on a.id = n.account_id where n.network = $1", network
        )
        if owner is not None:
            raise AccountError(f"{network} belongs to the account {owner!r} already; remove it there first")
        await connection.execute(
            "insert into client_network (network, account_id) values ($1, $2)", network, account_id
        )

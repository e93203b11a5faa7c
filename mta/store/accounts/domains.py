"""Sender domains: their account, whether they are verified, and what the last DNS check found.

Invariants: one domain never belongs to two accounts.

Limitations: a verified domain stays verified whatever later checks find; the results are kept, and changes are written
to the account's history. Removing a domain is an operator's decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from mta.mail.address import parse_domain
from mta.store.journal.account_changes import (
    CHANNEL,
    AccountChangeKind,
    AccountError,
    Changes,
    lock_alive,
    note,
)
from mta.store.postgres.database import Connection, Database
from policy.accounts.sender_domain import CheckResult, is_fit, receives

_ADD = """
insert into sender_domain (domain, account_id, verified_at) values ($1, $2, case when $3 then now() end)"""

_OWNER = "select a.name from sender_domain d join account a on a.id = d.account_id where d.domain = $1"

# Whoever looks says so first, so that no two machines look for the same. New domains are looked for often: somebody
# has just published a record and is waiting.
_CLAIM = """
update sender_domain set checked_at = now() where domain in (
    select d.domain from sender_domain d join account a on a.id = d.account_id
    where a.status <> 'terminated' and (
        d.checked_at is null
        or d.checked_at < now() - interval '1 day'
        or d.verified_at is null and d.checked_at < now() - interval '10 minutes'
            and d.created_at > now() - interval '3 days'
    )
    order by d.checked_at nulls first limit $1 for update of d skip locked
)
returning domain, account_id, token"""

_KNOWN = """
select verified_at is not null as verified, receives, report from sender_domain
where domain = $1 and account_id = $2 for update"""

_RECORD = """
update sender_domain set
    verified_at = case when $3 then coalesce(verified_at, now()) else verified_at end,
    receives = $4, report = $5, checked_at = now()
where domain = $1 and account_id = $2"""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A domain that is to be looked for."""

    domain: str
    account_id: int
    token: str


class Domains:
    """Made by ``Store``."""

    def __init__(self, database: Database, changes: Changes) -> None:
        self._database = database
        self._changes = changes

    async def add(self, account_id: int, domain: str, *, verified: bool = False, by: str = "") -> None:
        """``verified``: ``by`` vouches for it; else it is to be verified first. Raises AccountError, AddressError,
        StoreUnavailable."""
        checked = parse_domain(domain)

        async def work(connection: Connection) -> None:
            await lock_alive(connection, account_id)
            await insert(connection, account_id, [checked], verified=verified)
            await note(connection, account_id, by, AccountChangeKind.DOMAIN, {"added": checked, "verified": verified})

        await self._changes.change(work)

    async def remove(self, account_id: int, domain: str, *, by: str = "", reason: str = "") -> None:
        """Raises AccountError, AddressError, StoreUnavailable."""
        checked = parse_domain(domain)

        async def work(connection: Connection) -> None:
            statement = "delete from sender_domain where account_id = $1 and domain = $2 returning 1"
            if not await connection.fetchval(statement, account_id, checked):
                raise _not_its(checked)
            await note(connection, account_id, by, AccountChangeKind.DOMAIN, {"removed": checked, "reason": reason})

        await self._changes.change(work)

    async def vouch(self, account_id: int, domain: str, *, by: str, reason: str) -> None:
        """Take a domain as verified whatever the DNS says. Raises AccountError, AddressError, StoreUnavailable."""
        checked = parse_domain(domain)

        async def work(connection: Connection) -> None:
            await lock_alive(connection, account_id)
            statement = (
                "update sender_domain set verified_at = coalesce(verified_at, now())"
                " where account_id = $1 and domain = $2 returning 1"
            )
            if not await connection.fetchval(statement, account_id, checked):
                raise _not_its(checked)
            await note(connection, account_id, by, AccountChangeKind.DOMAIN, {"verified": checked, "reason": reason})

        await self._changes.change(work)

    async def claim(self, limit: int) -> Sequence[Claimed]:
        """Domains whose turn it is to be looked for, for this process alone. Raises StoreUnavailable."""
        rows = await self._database.retried(lambda connection: connection.fetch(_CLAIM, limit))
        return [Claimed(row["domain"], row["account_id"], row["token"]) for row in rows]

    async def record(self, account_id: int, domain: str, judged: Sequence[CheckResult], *, by: str) -> bool:
        """Keep what a look found; whether the domain may be used now. Trouble with the DNS changes nothing.

        Raises AccountError, StoreUnavailable.
        """

        async def work(connection: Connection) -> tuple[bool, bool]:
            before = await connection.fetchrow(_KNOWN, domain, account_id)
            if before is None:
                raise _not_its(domain)
            known: dict[str, str] = orjson.loads(before["report"])
            report = {each.subject.value: f"{each.mark.value}: {each.text}" for each in judged}
            hears = receives(judged)
            verified = before["verified"] or is_fit(judged)
            takes_mail = before["receives"] if hears is None else hears
            await connection.execute(_RECORD, domain, account_id, verified, takes_mail, orjson.dumps(report).decode())
            is_other = (verified, takes_mail) != (before["verified"], before["receives"])
            if is_other or _marks(known) != _marks(report):
                data = {"looked for": domain, "verified": verified, "found": report}
                await note(connection, account_id, by, AccountChangeKind.DOMAIN, data)
            is_news = is_other or known != report
            if is_news:
                await connection.execute("select pg_notify($1, '')", CHANNEL)
            return verified, is_news

        verified, is_news = await self._database.retried(work)
        if is_news:
            await self._changes.refresh()
        return verified


async def insert(connection: Connection, account_id: int, domains: Iterable[str], *, verified: bool) -> None:
    """Give domains (lower-case A-labels) to an account. Raises AccountError."""
    for domain in domains:
        owner = await connection.fetchval(_OWNER, domain)
        if owner is not None:
            raise AccountError(f"{domain} belongs to the account {owner!r} already; remove it there first")
        await connection.execute(_ADD, domain, account_id, verified)


def _marks(report: dict[str, str]) -> dict[str, str]:
    return {subject: text.partition(":")[0] for subject, text in report.items()}


def _not_its(domain: str) -> AccountError:
    return AccountError(f"{domain} is not a domain of this account")

"""Unsubscribing by what a token of ours says: by one click, by the page behind the link, by mail.

The suppression, the end of the consents in the account's ledger, the removal of queued copies and the events are one
transaction (``suppression_writer.apply``). A token that is not ours makes the same statements about an account and an
address
that nobody has, undone before the commit: neither the answer nor the time it takes tells the two apart.

What is kept as evidence: the moment, the way, the mailing, and the beginning of what the program calls itself. The
network address is not kept: with one click it is the mail provider's, and the signed token proves more.

It must never change anything for a token that is not ours, and never write a token or an address key into a log.

*Limits.* A second click finds nothing left to change, and is therefore a little faster than the first.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum

from mta.mail.address import Address
from mta.mail.reply import sanitise
from mta.store.permission import suppression_writer
from mta.store.permission.consent_entries import read
from mta.store.postgres.database import Connection, Database
from policy.permission.consent import EVERY_TOPIC
from policy.permission.suppression import Reason, SuppressionRequest
from policy.permission.tokens import UNSUBSCRIBE, Claim

AGENT = 120  # characters kept of what a program calls itself
SECONDS = 10.0  # rather late than not at all: a mail program may not come again

# An account that nobody has, for a token that names none of ours: made for the length of the transaction.
_NOBODY = """
insert into account (id, name) overriding system value
select $2::bigint, 'nobody ' || $2::bigint where not exists (select from account where id = $1)
returning id"""

# The token holds a hash; the address is what the account itself has written down.
_EVIDENCE = """
select evidence from consent_entry where account_id = $1 and address_key = $2 and evidence is not null
order by entry desc limit 1"""


class UnsubscribeVia(Enum):
    """How somebody unsubscribed."""

    ONE_CLICK = "one_click"  # the mail program, by RFC 8058
    PAGE = "page"  # the person, on our page
    MAIL = "mail"  # the address in List-Unsubscribe


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """``fresh``: not unsubscribed before; ``pulled``: queued copies that were taken out."""

    fresh: bool
    pulled: int


class _Nobody(Exception):
    """What was done is undone."""


class Unsubscribes:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, claim: Claim | None, way: UnsubscribeVia, agent: str = "") -> Unsubscribed | None:
        """Unsubscribe whom ``claim`` names from its topic, from all marketing if it has none.

        None, after as much work, if the claim is None, was made for something else, or names no account of ours.
        ``agent``: what the program calls itself. Raises StoreUnavailable; then nothing was changed.
        """
        if claim is None or claim.purpose != UNSUBSCRIBE:
            claim = Claim(UNSUBSCRIBE, _unused(), os.urandom(16), "", "")
        act = suppression_of(claim, way, datetime.now(UTC), agent)

        async def work(connection: Connection) -> Unsubscribed | None:
            try:
                async with connection.transaction():
                    nobody = await connection.fetchval(_NOBODY, act.account_id, _unused())
                    done = await _apply(connection, replace(act, account_id=nobody) if nobody else act)
                    if nobody:
                        raise _Nobody
            except _Nobody:
                return None
            return done

        return await self._database.retried(work, seconds=SECONDS)


def suppression_of(claim: Claim, way: UnsubscribeVia, now: datetime, agent: str = "") -> SuppressionRequest:
    """Return the suppression that an unsubscription with ``claim`` means."""
    evidence = f"{way.value} at {now:%Y-%m-%dT%H:%M:%SZ}"
    if claim.mailing:
        evidence += f", mailing {claim.mailing}"
    if agent:
        evidence += f", by {sanitise(agent, AGENT)!r}"
    return SuppressionRequest(
        address_key=claim.address_key,
        account_id=claim.account_id,
        reason=Reason.UNSUBSCRIBE,
        rule=f"unsubscribe_{way.value}",
        topic=claim.topic or EVERY_TOPIC,
        evidence=evidence,
        by="the recipient",
        at=now,
    )


def _unused() -> int:
    """An account id that none of ours has; another one each time, so that nobody waits for anybody's locks."""
    return -1 - int.from_bytes(os.urandom(7))


async def with_address(connection: Connection, request: SuppressionRequest) -> SuppressionRequest:
    """Return ``request`` with the address behind its hash, as far as the account's ledger has it."""
    address = _address(await connection.fetchval(_EVIDENCE, request.account_id, request.address_key))
    return replace(request, address=address)


async def _apply(connection: Connection, act: SuppressionRequest) -> Unsubscribed:
    applied = await suppression_writer.apply(connection, [await with_address(connection, act)])
    return Unsubscribed(bool(applied.fresh), applied.pulled)


def _address(evidence: bytes | None) -> Address | None:
    local, _, domain = str(read(evidence).get("address", "") if evidence else "").rpartition("@")
    return Address(local, domain) if local else None

"""Unsubscribe by a signed token: one-click, web page or mail.

The suppression, the end of the consents in the account's ledger, the cancellation of queued copies and the events are
one transaction (``suppression_writer.apply``). A token of an account that is gone runs the same statements for an
unused one, and they are rolled back: neither the answer nor its timing tells whether the account is known.

The evidence contains the time, the method, the mailing and the start of the User-Agent. The network address is not
stored: with one-click it is that of the mail provider, and the signed token proves more.

Invariants: a token of an unknown account changes nothing. Tokens and address keys are never logged.

Limitations: a second request with the same token has nothing left to change, and is a little faster than the first.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum

from mta.mail.address import Address
from mta.mail.reply import sanitise
from mta.store.permission import suppression_writer
from mta.store.permission.ledger import read_evidence
from mta.store.postgres.database import Connection, Database
from policy.permission.consent import EVERY_TOPIC
from policy.permission.suppression import Reason, SuppressionRequest
from policy.permission.tokens import Claim

AGENT = 120  # characters of the User-Agent kept
SECONDS = 10.0  # long, because a mail program may not retry

# Unused account, in place of one that is gone: created only within the transaction that is rolled back.
_NOBODY = """
insert into account (id, name) overriding system value
select $2::bigint, 'nobody ' || $2::bigint where not exists (select from account where id = $1)
returning id"""

# The token has only a hash; the address itself is in the account's ledger.
_EVIDENCE = """
select evidence from consent_entry where account_id = $1 and address_key = $2 and evidence is not null
order by entry desc limit 1"""


_TOPICS = """
select topic from consent c
where account_id = $1 and address_key = $2 and revoked_at is null and not exists (
    select from suppression s
    where s.account_id = $1 and s.address_key = $2 and s.topic in ('', '*', c.topic)
        and coalesce(s.expires_at > now(), true)
)
order by topic limit 100"""


class UnsubscribeVia(Enum):
    """How a recipient unsubscribed."""

    ONE_CLICK = "one_click"  # one-click by the mail program, RFC 8058
    PAGE = "page"  # the web page
    MAIL = "mail"  # the address in List-Unsubscribe


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """The result. ``fresh``: not unsubscribed before; ``pulled``: queued copies cancelled."""

    fresh: bool
    pulled: int


class _Nobody(Exception):
    """Rolls back the transaction for an unknown account."""


class Unsubscribes:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def topics(self, claim: Claim) -> list[str]:
        """Return the topics that the recipient has agreed to and not withdrawn from. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return [row["topic"] for row in await connection.fetch(_TOPICS, claim.account_id, claim.address_key)]

    async def take(self, claim: Claim, way: UnsubscribeVia, agent: str = "") -> Unsubscribed | None:
        """Unsubscribe the recipient that ``claim`` names from its topic, or from all marketing if it has none.

        Return None, after the same work, if its account is unknown. ``agent``: the User-Agent. Raises StoreUnavailable;
        then nothing was changed.
        """
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
    """Return an unused account id, different each time, to avoid waiting for locks."""
    return -1 - int.from_bytes(os.urandom(7))


async def with_address(connection: Connection, request: SuppressionRequest) -> SuppressionRequest:
    """Return ``request`` with the address of its hash, if it is in the account's ledger."""
    if request.address:
        return request
    return replace(request, address=await address_of(connection, request.account_id, request.address_key))


async def address_of(connection: Connection, account_id: int, address_key: bytes) -> Address | None:
    """Return the address that has the keyed hash ``address_key``, None if the account's ledger has none."""
    return _address(await connection.fetchval(_EVIDENCE, account_id, address_key))


async def _apply(connection: Connection, act: SuppressionRequest) -> Unsubscribed:
    applied = await suppression_writer.apply(connection, [await with_address(connection, act)])
    return Unsubscribed(bool(applied.fresh), applied.pulled)


def _address(evidence: bytes | None) -> Address | None:
    local, _, domain = str(read_evidence(evidence).get("address", "") if evidence else "").rpartition("@")
    return Address(local, domain) if local else None

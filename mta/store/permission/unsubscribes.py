"""Unsubscribe by a signed token: one-click, web page or mail.

The suppression, the end of the consents in the account's ledger, the cancellation of queued copies and the events are
one transaction (``suppression_writer.apply``), shared by the requests that came while the one before it ran. A token of
an account that is gone runs the same statements for an unused one, and they are rolled back: neither the answer nor its
timing tells whether the account is known.

The evidence contains the time, the method, the mailing and the start of the User-Agent. The network address is not
stored: with one-click it is that of the mail provider, and the signed token proves more.

Invariants: a token of an unknown account changes nothing. Tokens and address keys are never logged.

Limitations: a second request with the same token has nothing left to change, and is a little faster than the first.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum

from mta.mail.address import Address
from mta.mail.reply import sanitise
from mta.store.permission import suppression_writer
from mta.store.permission.ledger import read_evidence
from mta.store.postgres.batch import Batch
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.errors import StoreUnavailable
from policy.permission.consent import EVERY_TOPIC
from policy.permission.suppression import Reason, SuppressionRequest
from policy.permission.tokens import Claim

AGENT = 120  # characters of the User-Agent kept
BATCH_ITEMS = 200  # requests in one transaction
SECONDS = 10.0  # long, because a mail program may not retry

_KNOWN = "select id from account where id = any($1::bigint[])"

# Unused account, in place of those that are gone: created only within the transaction that is rolled back.
_NOBODY = """
insert into account (id, name) overriding system value
select $1::bigint, 'nobody ' || $1::bigint where $2::bool"""

# The token has only a hash; the address itself is in the account's ledger.
_EVIDENCE = """
select one.account_id, one.address_key, entry.evidence
from unnest($1::bigint[], $2::bytea[]) as one (account_id, address_key)
cross join lateral (
    select evidence from consent_entry e
    where e.account_id = one.account_id and e.address_key = one.address_key and evidence is not null
    order by entry desc limit 1
) entry"""

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


class _Nobody(Exception):
    """Rolls back what was done for unknown accounts."""


class Unsubscribes:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._requests: Batch[SuppressionRequest, bool] = Batch(self._flush, items=BATCH_ITEMS)

    async def topics(self, claim: Claim) -> list[str]:
        """Return the topics that the recipient has agreed to and not withdrawn from. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return [row["topic"] for row in await connection.fetch(_TOPICS, claim.account_id, claim.address_key)]

    async def take(self, claim: Claim, way: UnsubscribeVia, agent: str = "") -> bool:
        """Unsubscribe the recipient that ``claim`` names from its topic, or from all marketing if it has none.

        Return False, after the same work, if its account is unknown. ``agent``: the User-Agent. Raises
        StoreUnavailable; then nothing was changed.
        """
        return await self._requests.do(suppression_of(claim, way, datetime.now(UTC), agent))

    async def _flush(self, requests: list[SuppressionRequest], since: float) -> Sequence[bool | Exception]:
        """Apply requests in one transaction; each in its own if that fails, so that only the one at fault does."""
        left = SECONDS - (asyncio.get_running_loop().time() - since)
        try:
            return await self._database.retried(lambda connection: _apply(connection, requests), seconds=left)
        except StoreUnavailable:
            raise
        except Exception:
            if len(requests) == 1:
                raise
            return [await self._alone(each, since) for each in requests]

    async def _alone(self, request: SuppressionRequest, since: float) -> bool | Exception:
        try:
            return (await self._flush([request], since))[0]
        except Exception as error:
            return error


async def _apply(connection: Connection, requests: Sequence[SuppressionRequest]) -> list[bool]:
    """Apply requests; return which of them are of known accounts."""
    wanted = sorted({each.account_id for each in requests})
    accounts = {row["id"] for row in await connection.fetch(_KNOWN, wanted)}
    known = [each for each in requests if each.account_id in accounts]
    unknown = [each for each in requests if each.account_id not in accounts]
    for group, is_known in ((known, True), (unknown, False)):
        if group:
            await _apply_group(connection, group, is_known=is_known)
    return [each.account_id in accounts for each in requests]


async def _apply_group(connection: Connection, requests: Sequence[SuppressionRequest], *, is_known: bool) -> None:
    nobody = _unused()
    if not is_known:
        requests = [replace(each, account_id=nobody) for each in requests]
    try:
        async with connection.transaction():
            await connection.execute(_NOBODY, nobody, not is_known)
            await _suppress(connection, requests)
            if not is_known:
                raise _Nobody
    except _Nobody:
        pass


async def _suppress(connection: Connection, requests: Sequence[SuppressionRequest]) -> None:
    """Write requests; of several for the same scope the first."""
    different = {each.scope: each for each in reversed(requests)}
    await suppression_writer.apply(connection, await with_addresses(connection, list(different.values())))


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


async def with_addresses(connection: Connection, requests: Sequence[SuppressionRequest]) -> list[SuppressionRequest]:
    """Return ``requests`` with the addresses of their hashes, where they are in the accounts' ledgers."""
    hashes = sorted({(each.account_id, each.address_key) for each in requests if not each.address})
    found = await addresses_of(connection, hashes)
    return [
        each if each.address else replace(each, address=found.get((each.account_id, each.address_key)))
        for each in requests
    ]


async def addresses_of(
    connection: Connection, hashes: Sequence[tuple[int, bytes]]
) -> dict[tuple[int, bytes], Address | None]:
    """Return the addresses that have these keyed hashes, given with their accounts, as far as the ledgers have them."""
    if not hashes:
        return {}
    rows = await connection.fetch(_EVIDENCE, *zip(*hashes, strict=True))
    return {(row["account_id"], row["address_key"]): _address(row["evidence"]) for row in rows}


def _address(evidence: bytes) -> Address | None:
    local, _, domain = str(read_evidence(evidence).get("address", "")).rpartition("@")
    return Address(local, domain) if local else None

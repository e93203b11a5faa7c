"""Suppressing addresses, and pulling the copies to them that are already queued: one transaction.

A suppression has a scope: an account or everybody; and all mail (topic ""), all marketing (``*``), or marketing about
one topic.

It must never remove a copy that is not within the scope of the suppression.

*Limits.* A copy that is being transmitted at this moment is not called back; the outcome of its attempt is recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mta.mail.identity import MessageId
from mta.store.database import Connection
from mta.store.rows import Row

CHANNEL = "suppressed"
GLOBAL = 0  # account_id of a suppression that holds for everybody

_PAYLOAD = 200  # keys in one notification, which may have 8000 octets

_INSERT = """
insert into suppression (address_key, account_id, topic, address, reason, rule, evidence, message_id)
select * from unnest($1::bytea[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[])
on conflict do nothing"""

_IN_SCOPE = """
q.address_key = one.address_key and (one.account_id = 0 or q.account_id = one.account_id)
and (one.topic = '' or q.stream = 'marketing' and (one.topic = '*' or q.topic = one.topic))"""

_COPIES = f"""
select distinct q.message_id
from unnest($1::bytea[], $2::bigint[], $3::text[]) as one (address_key, account_id, topic)
join queue q on {_IN_SCOPE}"""  # noqa: S608 - our own text

_PULL = f"""
with pulled as (
    delete from queue q
    using unnest($1::bytea[], $2::bigint[], $3::text[], $5::text[], $6::text[])
        as one (address_key, account_id, topic, reason, rule)
    where {_IN_SCOPE}
        and q.message_id = any($4::uuid[])
    returning q.message_id, q.n, one.reason, one.rule
)
insert into event (message_id, n, kind, data)
select message_id, n, 'suppressed', jsonb_build_object('reason', reason, 'rule', rule, 'pulled', true) from pulled
returning id"""  # noqa: S608 - our own text


@dataclass(frozen=True, slots=True)
class Suppressed:
    """An address to be suppressed. ``row``: the queue row whose failure is the reason, if one is."""

    address_key: bytes
    account_id: int
    address: str
    reason: str
    rule: str
    evidence: str
    row: Row | None = None
    topic: str = ""


async def copies(connection: Connection, suppressed: Sequence[Suppressed]) -> set[MessageId]:
    """The messages that have queued copies to these addresses. The caller locks them before ``suppress``."""
    scopes = [(each.address_key, each.account_id, each.topic) for each in suppressed]
    rows = await connection.fetch(_COPIES, *zip(*scopes, strict=True))
    return {row["message_id"] for row in rows}


async def suppress(connection: Connection, suppressed: Sequence[Suppressed], locked: Iterable[MessageId]) -> int:
    """Write suppressions down, pull the copies within the messages in ``locked``, tell all workers.

    How many copies were pulled. The caller deletes the content of messages that have no row left.
    """
    keys, accounts = [each.address_key for each in suppressed], [each.account_id for each in suppressed]
    topics = [each.topic for each in suppressed]
    reasons, rules = [each.reason for each in suppressed], [each.rule for each in suppressed]
    await connection.execute(
        _INSERT,
        keys,
        accounts,
        topics,
        [each.address for each in suppressed],
        reasons,
        rules,
        [each.evidence for each in suppressed],
        [each.row[0] if each.row else None for each in suppressed],
    )
    pulled = await connection.fetch(_PULL, keys, accounts, topics, sorted(locked), reasons, rules)
    for first in range(0, len(keys), _PAYLOAD):
        payload = ",".join(key.hex() for key in keys[first : first + _PAYLOAD])
        await connection.execute("select pg_notify($1, $2)", CHANNEL, payload)
    return len(pulled)

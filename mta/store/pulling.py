"""Pulling the queued copies that a suppression covers.

A suppression has a scope: an account or everybody; and all mail (topic ""), all marketing (``*``), or marketing about
one topic.

It must never remove a copy that is not within the scope of the suppression.

*Limits.* A copy that is being transmitted at this moment is not called back; the outcome of its attempt is recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mta.mail.identity import MessageId
from mta.store.database import Connection

CHANNEL = "suppressed"
GLOBAL = 0  # account_id of a suppression that holds for everybody

Scope = tuple[bytes, int, str]  # address_key, account_id, topic

_PAYLOAD = 200  # keys in one notification, which may have 8000 octets

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
    using unnest($1::bytea[], $2::bigint[], $3::text[], $4::text[], $5::text[])
        as one (address_key, account_id, topic, reason, rule)
    where {_IN_SCOPE}
        and q.message_id = any($6::uuid[])
    returning q.message_id, q.n, one.reason, one.rule
)
insert into event (message_id, n, kind, data)
select message_id, n, 'suppressed', jsonb_build_object('reason', reason, 'rule', rule, 'pulled', true) from pulled
returning id"""  # noqa: S608 - our own text


async def copies(connection: Connection, scopes: Sequence[Scope]) -> set[MessageId]:
    """The messages that have queued copies within these scopes. The caller locks them before ``pull``."""
    if not scopes:
        return set()
    rows = await connection.fetch(_COPIES, *zip(*scopes, strict=True))
    return {row["message_id"] for row in rows}


async def pull(
    connection: Connection,
    scopes: Sequence[Scope],
    reasons: Sequence[str],
    rules: Sequence[str],
    locked: Iterable[MessageId],
) -> int:
    """Take the copies in scope out, within the messages in ``locked``; how many. ``reasons`` and ``rules``: for the
    event of each scope. The caller deletes the content of messages that have no row left."""
    if not scopes:
        return 0
    return len(await connection.fetch(_PULL, *zip(*scopes, strict=True), reasons, rules, sorted(locked)))


async def tell(connection: Connection, keys: Iterable[bytes]) -> None:
    """Tell all workers, once this is committed, that these addresses were suppressed."""
    told = sorted(set(keys))
    for first in range(0, len(told), _PAYLOAD):
        payload = ",".join(key.hex() for key in told[first : first + _PAYLOAD])
        await connection.execute("select pg_notify($1, $2)", CHANNEL, payload)

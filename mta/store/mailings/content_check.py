"""Compare what is held of a mailing with the messages that were confirmed for it.

What was queued while the mailing was not confirmed, or differed from what was confirmed then, is compared as it would
leave. Its hold then says that it matches, and ``mailing_holds`` releases it; or that it does not, and how.

Invariants: a hold is changed only after the comparison of its own message.

Limitations: each message is read; ``BATCH`` of them between two commits. What was held until ``LATE`` after a reference
came is compared again with each ``settle``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from mta.mail.address import Address, AddressError
from mta.mail.headers import HeaderError, Headers
from mta.mail.hold import Hold, HoldSource
from mta.mail.identity import MessageId
from mta.store.mailings import references
from mta.store.postgres.database import Connection, Database
from mta.store.queue import content, holds
from policy.accounts.mailing import MailingObstacle, mailing_hold, unmatched_hold, unmatched_text
from policy.mailing.reference import Matched, ReadMessage, References, Unmatched, compile_references
from policy.text.message_text import MessageText

BATCH = 200  # messages
LATE = "2 minutes"  # a worker may have seen the references of a moment ago

_MAILING = """
select m.id, m.account_id, m.name, now() as now, s.origin is not null as known, s.approved_at is not null as approved,
    (select max(at) from mailing_reference where mailing = m.id) as referenced_at
from mailing m left join list_source s on s.account_id = m.account_id and s.name = m.list
where m.id = $1 and m.confirmed_at is not null and m.stopped is null"""

_HELD = f"""
select h.message_id, array_agg(distinct q.address) as recipients
from hold h join queue q using (message_id, recipient_index)
where h.mailing = $1 and h.account_id = $2 and h.source = 'mailing' and h.ref = any($3::text[]) and h.held_at < $4
    and (h.ref <> '{MailingObstacle.UNMATCHED.value}' or h.held_at < $5::timestamptz + interval '{LATE}')
group by 1 limit {BATCH}"""  # noqa: S608 - our own text

MATCHED = mailing_hold(MailingObstacle.MATCHED, "the message is one that was confirmed")


async def compare_held(database: Database, mailing_id: str) -> None:
    """Compare all that is held of a mailing whose confirmation has references. Raises StoreUnavailable."""
    async with database.session() as connection:
        mailing = await connection.fetchrow(_MAILING, mailing_id)
        if mailing is None or mailing["referenced_at"] is None:
            return
        held = await _held(connection, mailing)
    if not held:
        return
    compiled = await _as_sent(database, mailing_id)
    while held:
        verdicts: dict[Hold, list[MessageId]] = {}
        for row in held:
            compared = await _compare(database, compiled, row["message_id"], row["recipients"])
            verdicts.setdefault(_hold(mailing, compared), []).append(row["message_id"])
        await database.retried(lambda connection, verdicts=verdicts: _write(connection, mailing, verdicts))  # type: ignore[misc]
        async with database.session() as connection:
            held = await _held(connection, mailing)


async def compare_queued(
    database: Database, mailing_id: str, message_id: MessageId, recipients: Sequence[str]
) -> Matched | Unmatched:
    """Return which message confirmed for its mailing a queued one matches as it would leave, or how it differs. Raises
    StoreUnavailable."""
    return await _compare(database, await _as_sent(database, mailing_id), message_id, recipients)


async def _as_sent(database: Database, mailing_id: str) -> References:
    async with database.session() as connection:
        confirmed = await references.contents(connection, mailing_id)
    as_sent = [(each.number, each.sample_of, each.outgoing) for each in confirmed if each.counts]
    return await asyncio.to_thread(compile_references, as_sent)


def obstacles_of(mailing: Any) -> list[MailingObstacle]:
    """Return what a confirmation ends, by what is known of the list."""
    obstacles = [MailingObstacle.UNCONFIRMED]
    if mailing["known"]:
        obstacles.append(MailingObstacle.UNKNOWN_LIST)
    if mailing["approved"]:
        obstacles.append(MailingObstacle.UNAPPROVED_LIST)
    return obstacles


async def _held(connection: Connection, mailing: Any) -> Sequence[Any]:
    values = mailing["id"], mailing["account_id"], _refs(mailing), mailing["now"], mailing["referenced_at"]
    rows: Sequence[Any] = await connection.fetch(_HELD, *values)
    return rows


async def _compare(
    database: Database, compiled: References, message_id: MessageId, recipients: Sequence[str]
) -> Matched | Unmatched:
    try:
        octets = await content.whole(await content.read(database, message_id))
        headers, addresses = Headers.split(octets), [Address.parse(each) for each in recipients]
    except (content.ContentMissing, HeaderError, AddressError) as error:
        return Unmatched(0, f"it cannot be read ({error})")
    source = ReadMessage.of(headers, MessageText(octets), len(octets), addresses)
    return await asyncio.to_thread(compiled.compare, source)


def _hold(mailing: Any, compared: Matched | Unmatched) -> Hold:
    if isinstance(compared, Matched):
        return MATCHED
    return unmatched_hold(unmatched_text(mailing["id"], mailing["name"], compared.text))


async def _write(connection: Connection, mailing: Any, verdicts: dict[Hold, list[MessageId]]) -> None:
    for hold, messages in verdicts.items():
        await holds.change(connection, messages, HoldSource.MAILING, _refs(mailing), hold)


def _refs(mailing: Any) -> list[str]:
    return [each.value for each in (*obstacles_of(mailing), MailingObstacle.UNMATCHED)]

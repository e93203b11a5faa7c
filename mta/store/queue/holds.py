"""Holding back what a worker had taken, because its account may not send any more, or a breaker has tripped.

It must never hold what an account that has just been resumed, or a breaker that has just been cancelled, would then
leave waiting: account and breaker are locked and looked at once more, so that a resumption or cancellation either comes
first and is seen, or comes after and releases what is held here.
"""

from __future__ import annotations

from collections.abc import Sequence

from mta.mail.delivery import Delivery
from mta.mail.reply import sanitise
from mta.store.postgres.database import Connection
from policy.reputation.breaker import HELD

_LOCK = "select from account where id = any($1::bigint[]) order by id for share"

_IS_NAMED = "cancelled_at is null and starts_with($1, 'breaker: ' || name || ': ')"
_LOCK_BREAKER = f"select name from breaker where {_IS_NAMED} for share"  # noqa: S608

_HOLD = """
with back as (
    update queue q
    set lease = null,
        held = coalesce(q.held, case when (a.status <> 'active' or $5) and q.bounce is null then $4 end)
    from unnest($1::uuid[], $2::int[], $3::bigint[]) as one (message_id, recipient_index, lease), account a
    where q.message_id = any($1) and q.message_id = one.message_id and q.recipient_index = one.recipient_index
        and q.lease = one.lease
        and a.id = q.account_id
    returning q.message_id, q.recipient_index, q.held
)
insert into event (message_id, recipient_index, kind, data)
select message_id, recipient_index, 'held', jsonb_build_object('reason', held) from back where held = $4"""


async def hold(connection: Connection, deliveries: Sequence[Delivery], reason: str) -> None:
    """Free rows that are still ours and hold them back for as long as the reason stands. Within a transaction."""
    rows = [(each.message_id, recipient.index, each.lease) for each in deliveries for recipient in each.recipients]
    await connection.execute(_LOCK, list({each.account_id for each in deliveries}))
    reason = sanitise(reason, 500)
    tripped = reason.startswith(HELD) and await connection.fetchval(_LOCK_BREAKER, reason) is not None
    await connection.execute(_HOLD, *zip(*rows, strict=True), reason, tripped)

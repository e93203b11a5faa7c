"""Soft bounces: temporary failures, kept until they amount to a suppression or a message gets through.

Invariants: A failure counts once: there is one row for each address, category, mailing and day.

Limitations: Days are UTC. Several failures of one address in one batch are each weighed as if they were alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from bounce.suppression import SoftBounce, SoftBounceThresholds
from mta.store.postgres.database import Connection
from policy.permission.suppression import Reason, SuppressionRequest

KEPT = 400  # days; longer than the window of any threshold

_TODAY = "(now() at time zone 'utc')::date"

_WEIGH = f"""
select heap.count, heap.mailings
from unnest($1::bytea[], $2::bigint[], $3::text[], $4::text[], $5::interval[])
    with ordinality as one (address_key, account_id, category, mailing, within, place)
cross join lateral (
    select count(*) as count, count(distinct case when mailing = '' then day::text else mailing end) as mailings
    from (
        select mailing, day from soft_bounce s
        where s.address_key = one.address_key and s.account_id = one.account_id and s.category = one.category
            and s.day > {_TODAY} - one.within
        union select one.mailing, {_TODAY}
    ) known
) heap
order by one.place"""  # noqa: S608 - our own text

_RECORD = f"""
insert into soft_bounce (address_key, account_id, category, mailing, day)
select distinct address_key, account_id, category, mailing, {_TODAY}
from unnest($1::bytea[], $2::bigint[], $3::text[], $4::text[]) as one (address_key, account_id, category, mailing)
order by address_key, account_id, category, mailing
on conflict do nothing"""  # noqa: S608 - our own text

# Appended to a part ``gone (message_id, recipient_index, account_id, address_key, ...)`` of the same statement;
# ``$1``, ``$2`` and ``$5`` are the rows and the kinds of their outcomes.
DELIVERED = """
delete from soft_bounce s
using gone join unnest($1::uuid[], $2::int[], $5::text[]) as one (message_id, recipient_index, kind)
    using (message_id, recipient_index)
where kind = 'delivered' and s.address_key = gone.address_key and s.account_id = gone.account_id"""

_RESTART = """
delete from soft_bounce s using unnest($1::bytea[], $2::bigint[]) as one (address_key, account_id)
where s.address_key = one.address_key and s.account_id = one.account_id"""

SWEEP = """
delete from soft_bounce where ctid = any(array(select ctid from soft_bounce where day < $1 limit $2))"""


async def weigh(
    connection: Connection, bounces: Sequence[SoftBounce], thresholds: SoftBounceThresholds
) -> list[SuppressionRequest | None]:
    """Return the suppression that each bounce causes, if it is one too many. Writes nothing."""
    known = [each for each in bounces if each.category in thresholds.soft]
    if not known:
        return [None] * len(bounces)
    heaps = await connection.fetch(
        _WEIGH,
        *_columns(known),
        [thresholds.soft[each.category].within for each in known],
    )
    found: dict[SoftBounce, SuppressionRequest] = {}
    for each, heap in zip(known, heaps, strict=True):
        threshold = thresholds.soft[each.category]
        if heap["count"] >= threshold.count and heap["mailings"] >= threshold.mailings:
            found[each] = _request(each, heap["count"], thresholds)
    return [found.get(each) for each in bounces]


async def record(
    connection: Connection,
    bounces: Sequence[SoftBounce],
    thresholds: SoftBounceThresholds,
    ended: Sequence[tuple[bytes, int]],
) -> None:
    """Record ``bounces``, then restart the count of ``ended``: address keys and accounts that were delivered to or are
    suppressed. Bounces without a threshold are not recorded."""
    known = [each for each in bounces if each.category in thresholds.soft]
    if known:
        await connection.execute(_RECORD, *_columns(known))
    if ended:
        await connection.execute(_RESTART, *zip(*sorted(set(ended)), strict=True))


def _columns(bounces: Sequence[SoftBounce]) -> tuple[tuple[object, ...], ...]:
    rows = [(each.address_key, each.account_id, each.category, each.mailing) for each in bounces]
    return tuple(zip(*rows, strict=True))


def _request(bounce: SoftBounce, count: int, thresholds: SoftBounceThresholds) -> SuppressionRequest:
    lasts = thresholds.soft_lasts
    return SuppressionRequest(
        bounce.address_key,
        bounce.account_id,
        Reason.SOFT_BOUNCES,
        bounce.rule,
        address=bounce.address,
        detail=bounce.category,
        evidence=f"{count} soft bounces; last: {bounce.evidence}",
        message_id=bounce.message_id,
        expires_at=None if lasts is None else datetime.now(UTC) + lasts,
    )

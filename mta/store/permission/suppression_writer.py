"""Suppress addresses, with everything that follows from it, within the caller's transaction.

A suppression comes from a request of the recipient or from a reply of a receiver. Queued copies in its scope are
cancelled. If the recipient withdrew consent, the withdrawal is entered in the account's ledger and the consents end.
Events are written and all workers are notified. All suppressions are written here.

A request that changes nothing (a link used twice, a repeated report) writes nothing. A stronger reason replaces a
weaker one, never the reverse, and never with an earlier expiry.

Invariants: all of it is written or nothing. Nothing is lifted here. Locks are taken in one order: ledgers, messages,
rows.

Limitations: a caller that locks further messages passes them to ``lock`` instead of locking them itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from mta.mail.identity import MessageId
from mta.mail.reply import sanitise
from mta.store.permission import consents_in_force, ledger
from mta.store.permission.consents_in_force import Place, Withdrawal, Withdrawn
from mta.store.postgres.database import Connection
from mta.store.queue import removal
from mta.store.queue.removal import GLOBAL, SuppressionScope
from policy.permission.consent import EVERY_TOPIC
from policy.permission.ledger import Head
from policy.permission.suppression import RANKS, Reason, SuppressionRequest

DETAIL, EVIDENCE, RULE = 200, 500, 100  # characters kept

_OUTRANKS = """
(coalesce(excluded.expires_at, 'infinity'), array_position($10::text[], excluded.reason))
    > (coalesce(s.expires_at, 'infinity'), array_position($10::text[], s.reason))"""

_PUT = f"""
with put as (
    insert into suppression as s
        (address_key, account_id, topic, address, reason, detail, rule, evidence, message_id, expires_at)
    select address_key, account_id, topic, address, reason, detail, rule, evidence, message_id, expires_at from unnest(
        $1::bytea[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::uuid[],
        $11::timestamptz[]
    ) as one (address_key, account_id, topic, address, reason, detail, rule, evidence, message_id, expires_at)
    order by address_key, account_id, topic
    on conflict (address_key, account_id, topic) do update set
        address = coalesce(s.address, excluded.address), reason = excluded.reason, detail = excluded.detail,
        rule = excluded.rule, evidence = excluded.evidence, message_id = excluded.message_id,
        expires_at = excluded.expires_at, created_at = excluded.created_at
    where {_OUTRANKS} or s.expires_at <= now()
        or s.reason = excluded.reason and s.expires_at is null and excluded.reason = any($12::text[])
    returning address_key, account_id, topic, xmax = 0 as fresh
)
select * from put"""  # noqa: S608 - our own text

_KNOWN = """
select s.address_key, s.account_id, s.topic, s.reason from suppression s
join unnest($1::bytea[], $2::bigint[], $3::text[]) as one (address_key, account_id, topic)
    using (address_key, account_id, topic)
where s.expires_at is null"""

_NOTE = "insert into event (kind, data) select 'suppressed', unnest($1::jsonb[])"


@dataclass(frozen=True, slots=True)
class Applied:
    """The result. ``fresh``: requests that suppressed an address newly in their scope; ``pulled``: queued copies
    cancelled; ``changed``: scopes that are new or have a stronger reason; ``entries``: (account, number in the
    ledger)."""

    fresh: int = 0
    pulled: int = 0
    changed: frozenset[SuppressionScope] = frozenset()
    entries: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Locked:
    """The locks of a transaction: heads of ledgers, messages with copies to cancel, and accounts with consents for
    addresses that are suppressed for all accounts."""

    heads: Mapping[int, Head]
    messages: frozenset[MessageId]
    holders: Sequence[tuple[bytes, int]] = ()


async def apply(connection: Connection, acts: Sequence[SuppressionRequest]) -> Applied:
    """Lock and write. The transaction must not have locked messages or rows of the queue before."""
    if not acts:
        return Applied()
    return await write(connection, acts, await lock(connection, acts))


async def lock(
    connection: Connection,
    acts: Sequence[SuppressionRequest],
    *,
    also: Iterable[MessageId] = (),
    heads: Mapping[int, Head] | None = None,
) -> Locked:
    """Lock everything that these requests will change. ``also``: further messages; ``heads``: those of ledgers that
    the transaction has locked already."""
    withdrawals = [act for act in acts if act.reason.withdraws]
    holders = await consents_in_force.holders(
        connection, [act.address_key for act in withdrawals if act.account_id == GLOBAL]
    )
    held = dict(heads or {})
    wanted = {act.account_id for act in withdrawals} | {account_id for _, account_id in holders}
    for account_id in sorted(wanted - {GLOBAL} - held.keys()):
        held[account_id] = await ledger.lock(connection, account_id)
    messages = await removal.copies(connection, [act.scope for act in acts])
    await removal.lock_messages(connection, messages | set(also))
    return Locked(held, frozenset(messages), holders)


async def write(connection: Connection, acts: Sequence[SuppressionRequest], locked: Locked) -> Applied:
    """Write the requests that change something, under the locks taken for them."""
    acts = await _needed(connection, acts, locked)
    if not acts:
        return Applied()
    now = datetime.now(UTC)
    pairs = [(act, _withdrawals(act, locked, now)) for act in acts]
    withdrawals = [each for _, group in pairs for each in group]
    withdrawn = await consents_in_force.withdraw(connection, locked.heads, withdrawals, now)
    kept = _strongest([_with_entry(act, group, withdrawn) for act, group in pairs if _holds(act, group, withdrawn)])
    changed, fresh = await _put(connection, kept)
    await _note(connection, [act for act in kept if act.scope in changed])
    scopes = [act.scope for act in kept]
    reasons, rules = [act.reason.value for act in kept], [sanitise(act.rule, RULE) for act in kept]
    pulled = await removal.remove_copies(connection, scopes, reasons, rules, locked.messages)
    await removal.clear_content(connection, locked.messages)
    await removal.notify_workers(connection, [act.address_key for act in kept])
    entries = tuple((place[1], number) for place, number in withdrawn.entries.items())
    return Applied(fresh, pulled, frozenset(changed), entries)


async def _needed(
    connection: Connection, acts: Sequence[SuppressionRequest], locked: Locked
) -> list[SuppressionRequest]:
    """Drop withdrawals that change nothing: already suppressed at least as strongly, with no consent left in force.
    A revocation reported by the account is always entered."""
    unsure = [act for act in acts if act.reason.withdraws and act.reason is not Reason.REVOKED]
    if not unsure:
        return list(acts)
    found = await connection.fetch(_KNOWN, *zip(*(act.scope for act in unsure), strict=True))
    known = {(row["address_key"], row["account_id"], row["topic"]): Reason(row["reason"]) for row in found}
    firm = [act for act in unsure if act.scope in known and known[act.scope].rank >= act.reason.rank]
    consents = await consents_in_force.in_force(connection, [_place(act) for act in firm if act.account_id != GLOBAL])
    holders = {key for key, _ in locked.holders}
    idle = {
        act.scope
        for act in firm
        if not (
            act.address_key in holders
            if act.account_id == GLOBAL
            # Without a record of consent the withdrawal is needed, unless the suppression is permanent itself.
            else consents.get(_place(act), not known[act.scope].permanent)
        )
    }
    return [act for act in acts if act.scope not in idle]


def _place(act: SuppressionRequest) -> Place:
    """Return the place of the consents that it ends."""
    return act.address_key, act.account_id, act.topic or EVERY_TOPIC


def _withdrawals(act: SuppressionRequest, locked: Locked, now: datetime) -> tuple[Withdrawal, ...]:
    """Return the withdrawals to enter, one per ledger."""
    if not act.reason.withdraws:
        return ()
    accounts = (
        [account_id for key, account_id in locked.holders if key == act.address_key]
        if act.account_id == GLOBAL
        else [act.account_id]
    )
    said = act.evidence if act.reason is Reason.REVOKED else f"{act.reason.value}: {act.evidence or act.rule}"
    _, _, topic = _place(act)
    at, by = act.at or now, act.by or act.rule
    return tuple(
        Withdrawal(act.address_key, account_id, topic, at, by, sanitise(said, EVIDENCE), act.address)
        for account_id in accounts
    )


def _holds(act: SuppressionRequest, withdrawals: Sequence[Withdrawal], withdrawn: Withdrawn) -> bool:
    """Return whether no newer consent has overtaken the request."""
    return act.account_id == GLOBAL or not any(each.place in withdrawn.overtaken for each in withdrawals)


def _with_entry(act: SuppressionRequest, withdrawals: Sequence[Withdrawal], withdrawn: Withdrawn) -> SuppressionRequest:
    """Return the request with the number of its ledger entry in the evidence."""
    if act.account_id == GLOBAL or not withdrawals:
        return act
    entry = withdrawn.entries[withdrawals[0].place]
    return replace(act, evidence=f"ledger entry {entry}" + (f": {act.evidence}" if act.evidence else ""))


def _strongest(acts: Sequence[SuppressionRequest]) -> list[SuppressionRequest]:
    """Return the strongest request of each scope."""
    best: dict[SuppressionScope, SuppressionRequest] = {}
    for act in acts:
        if act.scope not in best or _strength(act) >= _strength(best[act.scope]):
            best[act.scope] = act
    return list(best.values())


def _strength(act: SuppressionRequest) -> tuple[bool, float, int]:
    return act.expires_at is None, act.expires_at.timestamp() if act.expires_at else 0.0, act.reason.rank


async def _put(connection: Connection, acts: Sequence[SuppressionRequest]) -> tuple[set[SuppressionScope], int]:
    """Store suppressions; return the scopes that are new or changed, and how many are new."""
    if not acts:
        return set(), 0
    keys, accounts, topics = zip(*(act.scope for act in acts), strict=True)
    put = await connection.fetch(
        _PUT,
        keys,
        accounts,
        topics,
        [str(act.address) if act.address else None for act in acts],
        [act.reason.value for act in acts],
        [sanitise(act.detail, DETAIL) for act in acts],
        [sanitise(act.rule, RULE) for act in acts],
        [sanitise(act.evidence, EVIDENCE) for act in acts],
        [act.message_id for act in acts],
        [reason.value for reason in RANKS],
        [act.expires_at for act in acts],
        [reason.value for reason in RANKS if reason.withdraws],
    )
    changed = {(row["address_key"], row["account_id"], row["topic"]) for row in put}
    return changed, sum(row["fresh"] for row in put)


async def _note(connection: Connection, acts: Sequence[SuppressionRequest]) -> None:
    if acts:
        await connection.execute(_NOTE, [orjson.dumps(_told(act)).decode() for act in acts])


def _told(act: SuppressionRequest) -> dict[str, Any]:
    told: dict[str, Any] = {
        "account_id": act.account_id or None,
        "topic": act.topic,
        "address": str(act.address) if act.address else None,
        "reason": act.reason.value,
        "rule": sanitise(act.rule, RULE),
        "evidence": sanitise(act.evidence, EVIDENCE),
    }
    if act.detail:
        told["detail"] = sanitise(act.detail, DETAIL)
    if act.address is None:
        told["key"] = act.address_key.hex()
    if act.by:
        told["by"] = act.by
    if act.expires_at:
        told["expires_at"] = act.expires_at
    return told

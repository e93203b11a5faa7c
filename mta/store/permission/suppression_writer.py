"""Suppressing addresses, with all that follows from it, in one transaction of the caller's.

What a person has said, and what receivers have answered, becomes a suppression; queued copies within its scope are
taken out; where the person has taken something back, the account's ledger says so and their consents end; the events
are written, and all workers are told. Whoever suppresses, by whatever way, does it here.

An act that changes nothing (the link that is pressed a second time, a report that comes again) writes nothing. A
stronger reason takes the place of a weaker one, never the other way round, and never one that ends sooner.

It must never leave half of this done, nor lift anything.

*Limits.* Locks are taken in one order: ledgers, messages, rows. A caller that locks messages of its own hands them to
``lock`` instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from mta.mail.identity import MessageId
from mta.mail.reply import sanitise
from mta.store.permission import consent_withdrawal, ledger
from mta.store.permission.consent_withdrawal import Place, Withdrawal, Withdrawn
from mta.store.postgres.database import Connection
from mta.store.queue import cancel_queued, rows
from mta.store.queue.cancel_queued import GLOBAL, Scope
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
    """``fresh``: acts by which an address became suppressed in their scope; ``pulled``: queued copies taken out;
    ``changed``: scopes that are new or have a stronger reason now; ``entries``: numbers in the ledger, by account."""

    fresh: int = 0
    pulled: int = 0
    changed: frozenset[Scope] = frozenset()
    entries: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Locked:
    """What a transaction holds: the heads of ledgers, the messages with copies that may be taken out, and which
    accounts have consents of addresses that are suppressed for everybody."""

    heads: Mapping[int, Head]
    messages: frozenset[MessageId]
    holders: Sequence[tuple[bytes, int]] = ()


async def apply(connection: Connection, acts: Sequence[SuppressionRequest]) -> Applied:
    """Do all of it. The transaction must not hold locks on messages or rows of the queue yet."""
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
    """Wait for everybody else who changes what these acts will. ``also``: further messages; ``heads``: of ledgers that
    the transaction holds already."""
    withdrawals = [act for act in acts if act.reason.withdraws]
    holders = await consent_withdrawal.holders(
        connection, [act.address_key for act in withdrawals if act.account_id == GLOBAL]
    )
    held = dict(heads or {})
    wanted = {act.account_id for act in withdrawals} | {account_id for _, account_id in holders}
    for account_id in sorted(wanted - {GLOBAL} - held.keys()):
        held[account_id] = await ledger.lock(connection, account_id)
    messages = await cancel_queued.copies(connection, [act.scope for act in acts])
    await rows.lock_messages(connection, messages | set(also))
    return Locked(held, frozenset(messages), holders)


async def write(connection: Connection, acts: Sequence[SuppressionRequest], locked: Locked) -> Applied:
    """The acts, or those of them that hold after all, under the locks that were taken for them."""
    acts = await _needed(connection, acts, locked)
    if not acts:
        return Applied()
    now = datetime.now(UTC)
    pairs = [(act, _withdrawals(act, locked, now)) for act in acts]
    withdrawals = [each for _, group in pairs for each in group]
    withdrawn = await consent_withdrawal.withdraw(connection, locked.heads, withdrawals, now)
    kept = _strongest([_with_entry(act, group, withdrawn) for act, group in pairs if _holds(act, group, withdrawn)])
    changed, fresh = await _put(connection, kept)
    await _note(connection, [act for act in kept if act.scope in changed])
    scopes = [act.scope for act in kept]
    reasons, rules = [act.reason.value for act in kept], [sanitise(act.rule, RULE) for act in kept]
    pulled = await cancel_queued.pull(connection, scopes, reasons, rules, locked.messages)
    await rows.clear_content(connection, locked.messages)
    await cancel_queued.tell(connection, [act.address_key for act in kept])
    entries = tuple((place[1], number) for place, number in withdrawn.entries.items())
    return Applied(fresh, pulled, frozenset(changed), entries)


async def _needed(
    connection: Connection, acts: Sequence[SuppressionRequest], locked: Locked
) -> list[SuppressionRequest]:
    """Without the withdrawals that change nothing: suppressed as firmly before, and no consent is left in force. What
    an account itself reports as revoked is entered each time."""
    unsure = [act for act in acts if act.reason.withdraws and act.reason is not Reason.REVOKED]
    if not unsure:
        return list(acts)
    found = await connection.fetch(_KNOWN, *zip(*(act.scope for act in unsure), strict=True))
    known = {(row["address_key"], row["account_id"], row["topic"]): Reason(row["reason"]) for row in found}
    firm = [act for act in unsure if act.scope in known and known[act.scope].rank >= act.reason.rank]
    consents = await consent_withdrawal.in_force(connection, [_place(act) for act in firm if act.account_id != GLOBAL])
    holders = {key for key, _ in locked.holders}
    idle = {
        act.scope
        for act in firm
        if not (
            act.address_key in holders
            if act.account_id == GLOBAL
            # Where nothing is recorded, the withdrawal is, unless the suppression itself is one.
            else consents.get(_place(act), not known[act.scope].permanent)
        )
    }
    return [act for act in acts if act.scope not in idle]


def _place(act: SuppressionRequest) -> Place:
    """Of the consents that it ends."""
    return act.address_key, act.account_id, act.topic or EVERY_TOPIC


def _withdrawals(act: SuppressionRequest, locked: Locked, now: datetime) -> tuple[Withdrawal, ...]:
    """In whose ledgers it is entered."""
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
    """Unless a consent that is newer than it has overtaken it."""
    return act.account_id == GLOBAL or not any(each.place in withdrawn.overtaken for each in withdrawals)


def _with_entry(act: SuppressionRequest, withdrawals: Sequence[Withdrawal], withdrawn: Withdrawn) -> SuppressionRequest:
    """Its evidence names the entry of the account's ledger."""
    if act.account_id == GLOBAL or not withdrawals:
        return act
    entry = withdrawn.entries[withdrawals[0].place]
    return replace(act, evidence=f"ledger entry {entry}" + (f": {act.evidence}" if act.evidence else ""))


def _strongest(acts: Sequence[SuppressionRequest]) -> list[SuppressionRequest]:
    """One of each scope."""
    best: dict[Scope, SuppressionRequest] = {}
    for act in acts:
        if act.scope not in best or _strength(act) >= _strength(best[act.scope]):
            best[act.scope] = act
    return list(best.values())


def _strength(act: SuppressionRequest) -> tuple[bool, float, int]:
    return act.expires_at is None, act.expires_at.timestamp() if act.expires_at else 0.0, act.reason.rank


async def _put(connection: Connection, acts: Sequence[SuppressionRequest]) -> tuple[set[Scope], int]:
    """The scopes that are new or changed, and how many are new."""
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

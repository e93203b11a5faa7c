"""Export and erase the data of one person (GDPR 15 and 17).

An erasure revokes every consent, suppresses the address permanently by its keyed hash, cancels queued mail, and removes
the address from all records. Evidence of consent is kept until claims are time-barred (GDPR 17(3)(e)) unless requested
otherwise; ``mta.store.privacy.erasure`` deletes it then.

Invariants: an address stays suppressed. Evidence is erased only together with a ledger entry that says so.

Limitations: one address at a time; a person with several must name each. Backups of the database are not covered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from config.schema import RetentionSettings
from mta.mail.address import Address
from mta.mail.identity import format_id
from mta.store.journal import audit, record_details
from mta.store.permission import ledger
from mta.store.permission.consents import Consents, LedgerExtract
from mta.store.permission.suppressions import SuppressionRecord, Suppressions
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.secrets import Secrets
from mta.store.privacy import erasure, redaction
from mta.store.privacy.erasure import Forgotten
from mta.store.privacy.redaction import Redacted
from mta.store.queue import holds
from policy.permission.consent import EVERY_TOPIC
from policy.permission.suppression import Reason

ERASED = "erased"  # the reason recorded in ledger and suppression
SECONDS = 600.0

_MESSAGES = """
select id, account_id, sender, received_at, record -> 'summary' as summary from message
where record::text ~* $1 or sender ~* $1 or id = any($2::uuid[]) order by id"""
_REJECTIONS = """
select id, account_id, received_at, record ->> 'reply' as reply from rejection where record::text ~* $1
order by id"""
_EVENTS = "select at, message_id, kind, data from event where data::text ~* $1 order by id"
_REFERENCES = f"""
select m.account_id, r.mailing, m.name, r.number, r.at, r.by, encode(r.digest, 'hex') as digest
from mailing_reference r join mailing m on m.id = r.mailing
where ($1::bigint is null or m.account_id = $1) and {redaction.REFERENCE_HAS} order by r.mailing, r.number"""  # noqa: S608
_QUEUED = (
    f"select message_id, account_id, due_at, expires_at, {holds.AS_JSON} as holds from queue q"  # noqa: S608
    " where address_key = $1 order by message_id"
)
_CONTACTS = """
select account_id, contacted_at, clicked_at, bought_at, accepted from recipient_activity where address_key = $1
order by account_id"""
_SIGN_UPS = """
select id as number, form_id, account_id, client, asked, at, sent_at, confirmed_at, confirm_client from sign_up
where address_key = $1 order by id"""
_ACCOUNTS = "select id from account where lower(contact) = lower($1) order by id"
_FORGET_CONTACT = "delete from recipient_activity where address_key = $1 and ($2::bigint is null or account_id = $2)"
_FORGET_BOUNCES = "delete from soft_bounce where address_key = $1 and ($2::bigint is null or account_id = $2)"
_FORGET_SIGN_UPS = "delete from sign_up where address_key = $1 and ($2::bigint is null or account_id = $2)"
_NOTE = "insert into event (kind, data) values ('subject_erased', $1)"


@dataclass(frozen=True, slots=True)
class DataSubject:
    """All data about an address: rows as stored, with ids and times as text.

    ``contacts``: when accounts mailed it; ``references``: confirmed messages of mailings
    in which it stands; ``sign_ups``: what was asked for with forms; ``contact_of``: ids of the accounts whose contact
    it is.
    """

    address: Address
    consents: Sequence[LedgerExtract]
    suppressions: Sequence[SuppressionRecord]
    contacts: Sequence[Mapping[str, Any]]
    queued: Sequence[Mapping[str, Any]]
    messages: Sequence[Mapping[str, Any]]
    refusals: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]
    cases: Sequence[Mapping[str, Any]]
    references: Sequence[Mapping[str, Any]]
    sign_ups: Sequence[Mapping[str, Any]]
    contact_of: Sequence[int]


@dataclass(frozen=True, slots=True)
class Kept:
    """Evidence that is kept: entries of an account's ledger, and until when."""

    account_id: int
    entries: tuple[int, ...]
    until: datetime


@dataclass(frozen=True, slots=True)
class Erased:
    """The result of an erasure. ``pulled``: queued copies cancelled; ``emptied``: ledger entries whose evidence was
    erased."""

    pulled: int
    emptied: int
    kept: tuple[Kept, ...]
    redacted: Redacted


class DataSubjects:
    """Made by ``Store``."""

    def __init__(self, database: Database, secrets: Secrets, consents: Consents, suppressions: Suppressions) -> None:
        self._database, self._secrets, self._consents, self._suppressions = database, secrets, consents, suppressions

    async def find(self, address: Address) -> DataSubject:
        """Return all data about ``address``. Scans whole tables. Raises StoreUnavailable."""
        key, search = self._secrets.address_key(address), redaction.pattern(address)
        consents, suppressions = await self._consents.of(address), await self._suppressions.of(address)
        async with self._database.session(SECONDS) as connection:
            return DataSubject(
                address,
                consents,
                suppressions,
                contacts=await _rows(connection, _CONTACTS, key),
                queued=await _rows(connection, _QUEUED, key),
                messages=await _rows(
                    connection, _MESSAGES, search, await record_details.containing(connection, None, search)
                ),
                refusals=await _rows(connection, _REJECTIONS, search),
                events=await _rows(connection, _EVENTS, search),
                cases=await _rows(connection, erasure.CASES_OF_SUBJECT, key),
                references=await _rows(connection, _REFERENCES, None, search),
                sign_ups=await _rows(connection, _SIGN_UPS, key),
                contact_of=[row["id"] for row in await connection.fetch(_ACCOUNTS, str(address))],
            )

    async def erase(
        self, address: Address, *, by: str, account_id: int | None = None, keep_proof: float | None
    ) -> Erased:
        """Erase the data about ``address``, for one account or for all (None).

        ``keep_proof``: seconds for which the evidence of its consents is kept; None: it is erased now. Can be repeated
        after a failure. Raises StoreUnavailable.
        """
        key = self._secrets.address_key(address)
        known = [
            each for each in await self._consents.of(address) if account_id is None or each.account_id == account_id
        ]
        pulled, emptied, kept = 0, 0, []
        for each in known:
            revoked = await self._consents.revoke(each.account_id, address, EVERY_TOPIC, reason=ERASED, by=by)
            pulled += revoked.pulled
            if keep_proof is None:
                emptied += await self._empty(each.account_id, key, by)
            else:
                entries = (*(proof.number for proof in each.proofs if proof.said is not None), revoked.entry)
                kept.append(Kept(each.account_id, entries, datetime.now(UTC) + timedelta(seconds=keep_proof)))
        blocked = self._suppressions.act(account_id, address, Reason.ERASED, rule=ERASED, topic=EVERY_TOPIC, by=by)
        pulled += (await self._suppressions.apply([blocked])).pulled
        redacted = await redaction.redact(self._database, account_id, address, key)
        async with self._database.session() as connection:
            await connection.execute(_FORGET_CONTACT, key, account_id)
            await connection.execute(_FORGET_BOUNCES, key, account_id)
            await connection.execute(_FORGET_SIGN_UPS, key, account_id)
            await erasure.erase_cases(connection, key, account_id)
            await audit.erase(connection, key, account_id)
            note = {"subject": key.hex(), "account_id": account_id, "by": by, "kept": len(kept)}
            await connection.execute(_NOTE, orjson.dumps(note).decode())
        return Erased(pulled, emptied, tuple(kept), redacted)

    async def _empty(self, account_id: int, address_key: bytes, by: str) -> int:
        """Erase the evidence in an account's ledger and append the entry that says so; return the number of entries
        erased."""

        async def work(connection: Connection) -> int:
            head = await ledger.lock(connection, account_id)
            emptied = await ledger.erase_evidence(connection, account_id, address_key)
            if emptied:
                draft = ledger.erasure_entry(address_key, by, "requested by the data subject")
                await ledger.append(connection, account_id, head, [draft], datetime.now(UTC))
            return len(emptied)

        return await self._database.retried(work)

    async def forget(self, keep: RetentionSettings) -> Forgotten:
        """Delete expired personal data; run periodically. Raises StoreUnavailable."""
        return await erasure.forget(self._database, datetime.now(UTC), keep)


async def _rows(connection: Connection, statement: str, *values: object) -> list[dict[str, Any]]:
    return [
        {name: _plain(name, value) for name, value in row.items()} for row in await connection.fetch(statement, *values)
    ]


def _plain(name: str, value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case list():
            return [_plain(name, each) for each in value]
        case str() if name in ("data", "summary", "holds", "asked"):
            return orjson.loads(value)
        case _ if name in ("id", "message_id") and value is not None:
            return format_id(value)
        case _:
            return value

"""Record, revoke and renew consents, with everything that follows in the same transaction; and read them again.

A revocation appends its ledger entry, ends the consents, suppresses the address for the topic and cancels queued
copies, all in one transaction. What is read is one address for its dossier, or one account for its export.

Invariants: the same consent is never recorded twice. A suppression is lifted only on request, and only by a newer
consent. Entries of one account are never shown as those of another.

Limitations: a suppression is lifted by a consent for its own topic or for every topic. A consent for a single topic
does not lift a suppression of all marketing. An entry whose evidence was erased has only its number, kind and time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import orjson

from mta.mail.address import Address
from mta.mail.reply import sanitise
from mta.store.permission import address_lists, consents_in_force, import_progress, ledger, suppression_writer
from mta.store.permission.import_progress import ImportProgress
from mta.store.permission.ledger import Draft, EntryWriter, Given, Verified, given_of
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.secrets import Secrets
from policy.permission.consent import ACCEPTABLE, EVERY_TOPIC, Basis, Consent, Sign
from policy.permission.dossier import LedgerProof
from policy.permission.evidence import Assessor, facts_of, load_assessor
from policy.permission.ledger import EntryKind, Head, LedgerEntry
from policy.permission.suppression import LIFTED_BY_CONSENT, Reason, SuppressionRequest
from policy.permission.traps import TrapAddresses

_ENTRIES_OF = """
select account_id, entry, at, kind, hash, evidence from consent_entry where address_key = $1
order by account_id, entry"""

_CONSENTS_OF = """
select c.account_id, topic, basis, given_at, confirmed_at, revoked_at, missing, facts, entry, contacted_at, clicked_at,
    bought_at
from consent c left join recipient_activity t using (address_key, account_id)
where address_key = $1 order by account_id, topic"""

_IN_FORCE = """
select topic, revoked_at, entry from consent where account_id = $1 and address_key = any($2::bytea[])"""


@dataclass(frozen=True, slots=True)
class LedgerExtract:
    """The entries about an address in the ledger of one account, and the consents that result from them."""

    account_id: int
    proofs: tuple[LedgerProof, ...]
    consents: tuple[Consent, ...]


async def extracts_of(database: Database, secrets: Secrets, address: Address) -> list[LedgerExtract]:
    """Return the extracts of all accounts about an address. Raises StoreUnavailable."""
    async with database.session() as connection:
        return await extracts_of_key(connection, secrets.address_key(address))


async def extracts_of_key(connection: Connection, key: bytes) -> list[LedgerExtract]:
    """Return the same for an address known only by its keyed hash, within the caller's transaction."""
    entries = await connection.fetch(_ENTRIES_OF, key)
    consents = await connection.fetch(_CONSENTS_OF, key)
    accounts = sorted({row["account_id"] for row in (*entries, *consents)})
    return [
        LedgerExtract(
            account_id,
            tuple(_proof_of(row) for row in entries if row["account_id"] == account_id),
            tuple(_consent_of(row) for row in consents if row["account_id"] == account_id),
        )
        for account_id in accounts
    ]


def _proof_of(row: Any) -> LedgerProof:
    said = ledger.read_evidence(row["evidence"]) if row["evidence"] is not None else None
    return LedgerProof(row["entry"], row["at"], EntryKind(row["kind"]), row["hash"], said)


def _consent_of(row: Any) -> Consent:
    return Consent(
        Basis(row["basis"]),
        frozenset({row["topic"]}),
        row["given_at"],
        row["confirmed_at"],
        row["entry"],
        tuple(row["missing"]),
        row["contacted_at"],
        row["revoked_at"],
        orjson.loads(row["facts"]),
        row["clicked_at"],
        row["bought_at"],
    )


async def consents_of_account(database: Database, account_id: int) -> AsyncIterator[list[Given]]:
    """Yield pages of the consents in force or revoked, each with the topics it applies to. Raises StoreUnavailable."""
    head = await ledger.read_head(database, account_id)
    async for page in ledger.pages(database, account_id, head):
        given = [entry for entry in page if entry.kind == EntryKind.GIVEN.value and entry.evidence is not None]
        async with database.session(ledger.SECONDS) as connection:
            rows = await connection.fetch(_IN_FORCE, account_id, [entry.address_key for entry in given])
        topics: dict[int, dict[datetime | None, list[str]]] = {}
        for row in rows:
            topics.setdefault(row["entry"], {}).setdefault(row["revoked_at"], []).append(row["topic"])
        yield [each for entry in given for each in _still(entry, topics.get(entry.number, {}))]


def _still(entry: LedgerEntry, topics: Mapping[datetime | None, Sequence[str]]) -> list[Given]:
    """Return what remains of a consent: one for the topics in force, one for each group of topics revoked together."""
    if not topics:
        return []
    assert entry.evidence is not None
    given = given_of(ledger.read_evidence(entry.evidence))
    return [replace(given, topics=tuple(sorted(names)), revoked_at=at) for at, names in topics.items()]


SECONDS = 60.0  # per transaction of several thousand entries

# One index probe per address (offset 0 keeps the planner from reading the whole ledger of the account).
_FINGERPRINTS = """
select found.fingerprint from unnest($1::bytea[]) as one (address_key) cross join lateral (
    select fingerprint from consent_entry e
    where e.address_key = one.address_key and e.account_id = $2 and e.fingerprint is not null offset 0
) found"""

_NAMES = """
select name from account where id = $1
union select domain from sender_domain where account_id = $1 and verified_at is not null
union select jsonb_array_elements_text(identity -> 'names') from account_identity where account_id = $1"""

_LIFT = """
delete from suppression s
using unnest($2::bytea[], $3::text[], $4::timestamptz[], $5::bigint[]) as one (address_key, topic, at, entry)
where s.address_key = one.address_key and s.account_id = $1 and s.reason = any($6) and s.created_at < one.at
    and (s.topic = one.topic or one.topic = '*' and s.topic <> '')
returning s.address, s.topic, s.reason, s.rule, s.created_at, one.entry"""

_NOTE = "insert into event (kind, data) values ('unsuppressed', $1)"

_COLUMN = {Sign.DELIVERED: "contacted_at", Sign.CLICK: "clicked_at", Sign.PURCHASE: "bought_at"}


@dataclass(frozen=True, slots=True)
class ConsentsRecorded:
    """The result of recording. ``fresh``: consents written; ``known``: recorded before; ``lifted``: suppressions
    lifted; ``pulled``: queued copies cancelled. ``lacking``: how many new consents cannot be used yet, by missing
    evidence or by basis."""

    fresh: int
    known: int
    lifted: int = 0
    pulled: int = 0
    lacking: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Revocation:
    """A revocation. ``entry``: its number in the ledger; ``pulled``: queued copies cancelled."""

    entry: int
    pulled: int


@dataclass(frozen=True, slots=True)
class _Written:
    """A consent and the number of its entry."""

    given: Given
    draft: Draft
    entry: int


class Consents:
    """Made by ``Store``."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database, self._secrets = database, secrets
        self._scribe = EntryWriter(secrets)

    @cached_property
    def _assessor(self) -> Assessor:
        return load_assessor()

    # changes

    async def record(
        self,
        account_id: int,
        given: Sequence[Given],
        *,
        by: str,
        lift: bool = False,
        mark: ImportProgress | None = None,
        traps: TrapAddresses | None = None,
    ) -> ConsentsRecorded:
        """Record consents, up to a few thousand in one transaction; those recorded before are skipped.

        ``by``: who records them, and from where. ``lift``: a complete consent also lifts a suppression for a revocation
        or unsubscription if it took effect later. ``mark``: the progress of the import. ``traps``: the known trap
        addresses. Raises StoreUnavailable; then nothing was written.
        """
        drafts = [self._scribe.given(each, by) for each in given]

        async def work(connection: Connection) -> ConsentsRecorded:
            head = await ledger.lock(connection, account_id)
            written = await self._fresh(connection, account_id, head, given, drafts)
            now = datetime.now(UTC)
            lifted = pulled = 0
            lacking: Counter[str] = Counter()
            if written:
                head = await ledger.append(connection, account_id, head, [each.draft for each in written], now)
                names = frozenset(row["name"] for row in await connection.fetch(_NAMES, account_id))
                await consents_in_force.put(connection, account_id, self._rows(written, names, lacking))
                lifted = await self._lift(connection, account_id, written, names) if lift else 0
                more = address_lists.counted([each.given.address for each in written], traps)
                hashes = [self._secrets.sketch_hash(each.draft.address_key) for each in written]
                await address_lists.extend(connection, account_id, mark.file if mark else b"", more, hashes)
            if gone := [
                self._revoked(account_id, each.given.address, topic, "as recorded", by, each.given.revoked_at)
                for each in written
                if each.given.revoked_at
                for topic in each.given.topics
            ]:
                locked = await suppression_writer.lock(connection, gone, heads={account_id: head})
                pulled = (await suppression_writer.write(connection, gone, locked)).pulled
            if mark:
                await import_progress.move(connection, account_id, mark)
            return ConsentsRecorded(len(written), len(given) - len(written), lifted, pulled, lacking)

        return await self._database.retried(work, seconds=SECONDS)

    async def revoke(
        self,
        account_id: int,
        address: Address,
        topic: str = EVERY_TOPIC,
        *,
        reason: str,
        by: str,
        at: datetime | None = None,
    ) -> Revocation:
        """Revoke consent for ``topic``, or for all, and cancel the queued copies concerned.

        The objection is recorded even if there was no consent. ``at``: default now. Raises StoreUnavailable; then
        nothing was changed.
        """

        act = self._revoked(account_id, address, topic, sanitise(reason, 200), by, at)

        async def work(connection: Connection) -> Revocation:
            applied = await suppression_writer.apply(connection, [act])
            ((_, entry),) = applied.entries
            return Revocation(entry, applied.pulled)

        return await self._database.retried(work, seconds=SECONDS)

    async def renew(self, account_id: int, address: Address, sign: Sign, *, by: str, at: datetime | None = None) -> int:
        """Record a contact, such as a purchase, that restarts the expiry of consents; return the number of the
        entry. Raises StoreUnavailable."""

        async def work(connection: Connection) -> int:
            head = await ledger.lock(connection, account_id)
            now = datetime.now(UTC)
            draft = self._scribe.other(
                EntryKind.RENEWED, address, by, sign=sign.value, seen_at=(at or now).astimezone(UTC)
            )
            head = await ledger.append(connection, account_id, head, [draft], now)
            await consents_in_force.renew(connection, account_id, draft.address_key, _COLUMN[sign], at or now)
            return head.number

        return await self._database.retried(work)

    async def begin_import(self, account_id: int, file: bytes) -> ImportProgress:
        """Return the progress of this file's import, creating it if it is new. Raises StoreUnavailable."""
        return await import_progress.begin(self._database, account_id, file)

    # queries

    def export(self, account_id: int) -> AsyncIterator[list[Given]]:
        """Yield the consents in force or revoked, in the order of the ledger. Raises StoreUnavailable."""
        return consents_of_account(self._database, account_id)

    async def of(self, address: Address) -> list[LedgerExtract]:
        """Return the ledger extracts of all accounts about an address. Raises StoreUnavailable."""
        return await extracts_of(self._database, self._secrets, address)

    def verify(self, account_id: int, noted: Head | None = None) -> AsyncIterator[int | Verified]:
        """Verify the chain of an account from its beginning: yield the number of entries checked, finally the result.

        ``noted``: an earlier head that was stored elsewhere. Raises StoreUnavailable.
        """
        return ledger.verify(self._database, account_id, noted)

    async def head(self, account_id: int) -> Head:
        """Return the head of the account's chain. Raises StoreUnavailable."""
        return await ledger.read_head(self._database, account_id)

    def _revoked(
        self, account_id: int, address: Address, topic: str, reason: str, by: str, at: datetime | None
    ) -> SuppressionRequest:
        key = self._secrets.address_key(address)
        return SuppressionRequest(
            key, account_id, Reason.REVOKED, "consent", topic, address, evidence=reason, by=by, at=at
        )

    # steps, each within a transaction that has locked the head

    async def _fresh(
        self, connection: Connection, account_id: int, head: Head, given: Sequence[Given], drafts: Sequence[Draft]
    ) -> list[_Written]:
        """Return the consents that are not in the ledger yet, without duplicates, with the numbers they will have."""
        found = await connection.fetch(_FINGERPRINTS, [draft.address_key for draft in drafts], account_id)
        known = {row["fingerprint"] for row in found}
        written: list[_Written] = []
        for each, draft in zip(given, drafts, strict=True):
            if draft.fingerprint not in known:
                known.add(draft.fingerprint)
                written.append(_Written(each, draft, head.number + len(written) + 1))
        return written

    def _rows(
        self, written: Sequence[_Written], names: frozenset[str], lacking: Counter[str]
    ) -> list[consents_in_force.ConsentRow]:
        """Return one row per topic; ``names``: the account's; ``lacking`` counts the missing evidence."""
        found: list[consents_in_force.ConsentRow] = []
        for each in written:
            given = each.given
            missing = self._assessor.missing(given.basis, given.evidence, given.confirmed_at, names)
            lacking.update(missing if given.basis in ACCEPTABLE else (f"basis {given.basis.value}",))
            facts = facts_of(given.evidence, self._assessor.statement(given.evidence, names).name)
            found += [
                consents_in_force.ConsentRow(
                    each.draft.address_key,
                    topic,
                    given.basis,
                    given.given_at,
                    given.confirmed_at,
                    missing,
                    facts,
                    each.entry,
                )
                for topic in given.topics
            ]
        return found

    async def _lift(
        self, connection: Connection, account_id: int, written: Sequence[_Written], names: frozenset[str]
    ) -> int:
        """Lift the suppressions that these consents answer, and record events; return how many."""
        good = [
            (each.draft.address_key, topic, each.given.effective_at, each.entry)
            for each in written
            for topic in each.given.topics
            if each.given.basis in ACCEPTABLE
            and each.given.revoked_at is None
            and not self._assessor.missing(each.given.basis, each.given.evidence, each.given.confirmed_at, names)
        ]
        if not good:
            return 0
        lifted = await connection.fetch(
            _LIFT, account_id, *zip(*good, strict=True), [reason.value for reason in LIFTED_BY_CONSENT]
        )
        notes = [
            {
                "account_id": account_id,
                "address": row["address"],
                "because": f"new consent: ledger entry {row['entry']}",
                "was": {name: row[name] for name in ("topic", "reason", "rule", "created_at")},
            }
            for row in lifted
        ]
        await connection.executemany(_NOTE, [(orjson.dumps(note).decode(),) for note in notes])
        return len(lifted)

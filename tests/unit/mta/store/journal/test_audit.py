"""The audit: rows by filter, and what is erased of them with a person."""

from __future__ import annotations

from datetime import timedelta

from config.schema import RetentionSettings
from mta.mail.address import Address
from mta.store.journal.audit import AuditOutcome, AuditStart
from mta.store.store import Store
from policy.accounts.account import AccountStatus
from tests.unit.mta.store.make import count

ANN = Address.parse("ann@example.net")


def start(action: str, subject: str, account_id: int | None = 1, address_key: bytes | None = None) -> AuditStart:
    return AuditStart("joe", "operator", "api", "192.0.2.1", action, subject, account_id, address_key, "because")


async def test_rows_are_written_before_and_completed_after(store: Store) -> None:
    await store.accounts.add("shop", domains=["acme.example"], status=AccountStatus.ACTIVE, verified=True)
    number = await store.audit.begin(start("suppression.add", "x"))
    (row,) = await store.audit.list()
    assert (row.outcome, row.account, row.before, row.after) == ("begun", "shop", None, None)
    await store.audit.end(number, AuditOutcome.DONE, before={"a": 1}, after={"b": timedelta(1)})
    other = await store.audit.begin(start("suppression.lift", "y", None))
    await store.audit.end(other, AuditOutcome.REFUSED, after={"error": "z" * 100_000})
    assert [each.action for each in await store.audit.list(action="suppression")] == [
        "suppression.lift",
        "suppression.add",
    ]
    assert [each.id for each in await store.audit.list(account_id=1, actor="joe", action="suppression.add")] == [number]
    assert await store.audit.list(before=number) == []
    newest = (await store.audit.list(limit=1))[0]
    assert newest.after == {"too_long": 100_012}


async def test_a_person_is_erased_and_old_rows_go(store: Store) -> None:
    key = store.suppressions.key(ANN)
    number = await store.audit.begin(start("suppression.add", str(ANN), None, key))
    await store.audit.end(number, AuditOutcome.DONE, after={"address": str(ANN)})
    await store.audit.begin(start("account.set", "shop", None))
    await store.data_subjects.erase(ANN, by="joe", keep_proof=None)
    rows = await store.audit.list()
    assert [(row.subject, row.after) for row in rows] == [("shop", None), ("(erased)", None)]
    async with store._database.session() as connection:
        await connection.execute("update audit set at = now() - interval '11 years'")
    await store.data_subjects.forget(RetentionSettings())
    assert await count(store, "audit") == 0

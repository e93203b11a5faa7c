"""What cases know of persons: shown to them, and gone with the case when its time is over or they ask for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from config.schema import RetentionSettings
from mta.mail.address import Address
from mta.store.postgres.secrets import Secrets
from mta.store.privacy import erasure
from mta.store.store import Store
from policy.reputation.complaint import Complaint, Source
from tests.unit.mta.store import make

RITA = Address.parse("rita@example.net")
OPEN, CLOSED = "m1", "m2"


@pytest.fixture
async def cases(store: Store, secrets: Secrets) -> Store:
    """Two of one person, with all that a case can hold; one of them is closed."""
    account = await store.accounts.add("shop")
    for mailing in (OPEN, CLOSED):
        await store.cases.open(
            Complaint(
                account.id, Source.RECIPIENT, "Rita never asked", mailing, str(RITA), secrets.address_key(RITA),
                evidence=b"From: rita", by="abuse desk",
            )
        )  # fmt: skip
    await store.cases.note(2, "Rita was called", by="desk")
    await make.execute(
        store, "update complaint_case set state = 'closed', closed_at = now(), upheld = true where id = 2"
    )
    return store


async def left(store: Store, case: int) -> str:
    """All text that is kept of a case."""
    row = await make.row(
        store,
        "select c::text || coalesce(string_agg(e::text, ''), '') as all from complaint_case c"
        " join case_event e on e.case_id = c.id where c.id = $1 group by c.*",
        case,
    )
    text: str = row["all"]
    return text.lower()


async def test_a_person_is_told_of_cases(cases: Store) -> None:
    found = (await cases.data_subjects.find(RITA)).cases
    assert [(each["case"], each["state"], each["complaint"]) for each in found] == [
        ("C-1", "open", "Rita never asked"), ("C-2", "closed", "Rita never asked"),
    ]  # fmt: skip


async def test_erasing_empties_what_is_closed(cases: Store) -> None:
    await cases.data_subjects.erase(RITA, by="desk", keep_proof=None)
    told = await cases.cases.show(2)
    assert (told.case.address, told.case.dossier, told.case.upheld) == (None, None, True)
    assert [entry.evidence for entry in told.history] == [None, None]
    assert "rita" not in await left(cases, 2)
    assert b"From: rita".hex() not in await left(cases, 2)
    assert (await cases.cases.show(1)).case.address == str(RITA), "an open one is needed for the claim itself"


async def test_in_time_closed_cases_name_nobody(cases: Store) -> None:
    database, keep = cases._database, RetentionSettings()
    soon = datetime.now(UTC) + timedelta(days=1000)
    assert (await erasure.forget(database, soon, keep)).cases == 0
    later = datetime.now(UTC) + timedelta(days=1100)
    assert (await erasure.forget(database, later, keep)).cases == 1
    assert "rita" not in await left(cases, 2)
    assert (await erasure.forget(database, later, keep)).cases == 0

"""Imported lists are sketched and counted as they are recorded; what is found holds mailings until dismissed."""

from __future__ import annotations

import orjson
import pytest

from mta.mail.address import Address
from mta.store.permission.address_lists import ListFindingError
from mta.store.permission.import_progress import ImportProgress
from mta.store.permission.ledger import Given
from mta.store.postgres.migrate import migrations
from mta.store.store import Store
from policy.permission.address_list import ListSign, ListThresholds
from policy.permission.consent import Basis
from policy.permission.evidence import Evidence
from policy.permission.traps import TrapAddresses
from tests.unit.mta.store import make

LIMITS = {"transactional": ListThresholds(overlap_floor=50, roles_floor=50)}
PEOPLE = [f"p{n}@example.net" for n in range(60)]
GIVEN = make.now()
CARD = Evidence(document="ab" * 32)


@pytest.fixture(autouse=True)
async def _accounts(store: Store) -> None:
    async with store._database.session() as connection:
        await connection.execute("insert into account (name, status) values ('one', 'active'), ('two', 'active')")


async def bring(store: Store, account_id: int, *addresses: str, file: bytes = b"f" * 32, traps: str = "") -> None:
    given = [Given(Address.parse(each), ("offers",), Basis.BUSINESS_CARD, GIVEN, None, CARD) for each in addresses]
    await store.consents.record(
        account_id, given, by="test", mark=ImportProgress(file, len(given)), traps=TrapAddresses(traps)
    )


async def test_one_list_in_two_accounts_is_found(store: Store) -> None:
    await bring(store, 1, *PEOPLE[:30])
    await bring(store, 1, *PEOPLE[30:])
    assert await store.address_lists.check(LIMITS) == []
    await bring(store, 2, *(each.upper() for each in PEOPLE), "another@example.net", file=b"g" * 32)
    (found,) = await store.address_lists.check(LIMITS)
    assert (found.account, found.sign, found.hold) == ("two", ListSign.OVERLAP, True)
    assert (found.text, found.other) == ("about 100% of 60 addresses are in a list of another account, too", "one")
    assert await store.address_lists.check(LIMITS) == []
    assert await make.count(store, "event where kind = 'list_finding'") == 1


async def test_roles_and_traps_are_counted_and_no_address_is_told(store: Store) -> None:
    await bring(store, 1, *PEOPLE[:40], *(f"info@c{n}.example" for n in range(10)), traps=f"{PEOPLE[0]}\n{PEOPLE[1]}")
    await bring(store, 1, *PEOPLE[:2], traps=PEOPLE[0])  # known already
    roles, traps = sorted(await store.address_lists.check(LIMITS), key=lambda each: each.sign.value)
    assert (roles.text, roles.hold) == ("10 role addresses among 50 (20.0%)", True)
    assert (traps.text, traps.hold) == ("2 trap addresses", True)


async def test_a_finding_holds_until_it_is_dismissed(store: Store) -> None:
    assert await store.address_lists.holding(1) is None
    await bring(store, 1, *PEOPLE[:2], traps="\n".join(PEOPLE[:2]))
    (found,) = await store.address_lists.check(LIMITS)
    assert await store.address_lists.holding(1) == (found.id, "2 trap addresses")
    assert await store.address_lists.holding(2) is None
    await store.address_lists.dismiss(found.id, by="rita", reason="tests of ours")
    assert await store.address_lists.holding(1) is None
    with pytest.raises(ListFindingError, match="no open finding"):
        await store.address_lists.dismiss(found.id, by="rita", reason="again")
    assert await store.address_lists.list(1) == []
    (dismissed,) = await store.address_lists.list(1, every=True)
    assert (dismissed.dismissed_by, dismissed.reason) == ("rita", "tests of ours")
    await bring(store, 1, PEOPLE[3], traps=PEOPLE[3])
    assert await store.address_lists.check(LIMITS) == []


async def test_addresses_that_came_one_by_one_are_a_list_too(store: Store) -> None:
    await bring(store, 1, *PEOPLE, file=b"")
    await bring(store, 2, *PEOPLE)
    found = await store.address_lists.check(LIMITS)
    assert {(each.account, each.file) for each in found} == {("one", ""), ("two", (b"f" * 32).hex())}


async def test_what_was_found_before_does_not_name_the_other_account_any_more(store: Store) -> None:
    old = "about 90% of 60 addresses are in a list of account one, too"
    (upgrade,) = [each for each in migrations() if each.version == 9]
    async with store._database.session() as connection:
        await connection.execute(
            "insert into list_finding (account_id, file, sign, other_id, hold, text)"
            " values (2, '', 'overlap', 1, true, $1)",
            old,
        )
        said = orjson.dumps({"finding": 1, "sign": "overlap", "hold": True, "text": old}).decode()
        await connection.execute(
            "insert into account_change (account_id, by, kind, data) values (2, 'service', 'list', $1)", said
        )
        await connection.execute(upgrade.sql)
    new = "about 90% of 60 addresses are in a list of another account, too"
    (found,) = await store.address_lists.list(2)
    assert (found.text, found.other) == (new, "one")
    (told,) = await store.accounts.history(2, 5)
    assert told.data["text"] == new

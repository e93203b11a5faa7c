"""Suppressing many addresses at once, and all that is known of one."""

from __future__ import annotations

from mta.mail.address import Address
from mta.store.permission.suppression_writer import Applied
from mta.store.store import Store
from policy.permission.suppression import Reason
from tests.unit.mta.store import make

ANN = Address.parse("ann@example.net")
BOB = Address.parse("bob@example.net")


async def test_many_are_added_at_once_and_what_was_there_keeps_its_reason(store: Store) -> None:
    await store.suppressions.add(None, ANN, detail="complained")
    await store.messages.enqueue(make.accepted("bob@example.net"), leased=False)
    act = store.suppressions.act
    applied = await store.suppressions.apply(
        [act(1, BOB, detail="list"), act(1, Address.parse("BOB@example.net"), detail="again"), act(None, ANN)]
    )
    assert (applied.fresh, applied.pulled, len(applied.changed)) == (1, 1, 1)
    ((ann,), (bob,)) = [await store.suppressions.of(address) for address in (ANN, BOB)]
    assert (ann.suppression.detail, ann.suppression.account_id) == ("complained", None)
    assert (bob.suppression.account_id, bob.suppression.rule) == (1, "operator")
    assert await store.suppressions.apply([]) == Applied()


async def test_all_scopes_of_an_address_are_told_with_their_evidence(store: Store) -> None:
    bounced = store.suppressions.act(2, ANN, Reason.HARD_BOUNCE, rule="no-user", evidence="550 5.1.1")
    await store.suppressions.apply([bounced])
    await store.suppressions.add(None, ANN, detail="complained")
    first, second = await store.suppressions.of(Address.parse("Ann@example.net"))
    assert (first.suppression.account_id, second.suppression.account_id) == (None, 2)
    assert (second.suppression.rule, second.evidence, second.message_id) == ("no-user", "550 5.1.1", None)
    assert await store.suppressions.of(BOB) == []

"""How much of what is due is claimed."""

from __future__ import annotations

from datetime import UTC, datetime

from mta.mail.delivery import DueDelivery
from mta.mail.identity import new_message_id
from mta.queue.claims import ClaimRoom
from mta.queue.ready_queue import UNKNOWN


def due(destination: str) -> DueDelivery:
    return DueDelivery(new_message_id(), destination, 1, None, datetime.now(UTC), ending=False)


def test_a_claim_asks_where_mail_goes_now_and_counts_by_place() -> None:
    site, new, elsewhere = ((name, "pool") for name in ("site", "new", "elsewhere"))
    places, left = {"a": site, "b": site, "c": new}, {site: 2, new: 1, elsewhere: 1}
    room = ClaimRoom(lambda due: places.get(due.destination), left.__getitem__)
    assert [room.wanted(due(domain)) for domain in "aab"] == [True, True, False]
    assert [room.wanted(due("unknown")) for _ in range(UNKNOWN + 1)] == [True] * UNKNOWN + [False]
    assert room.wanted(due("c"))
    places["a"] = elsewhere
    assert room.wanted(due("a"))

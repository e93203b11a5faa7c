"""The life of accounts: each move with who, when and why, and with the queue in the same transaction."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from mta.store.journal.account_changes import AccountChangeKind, AccountError
from mta.store.queue.queue import QueueFilter
from mta.store.store import Store
from policy.accounts.account import AccountStatus, StatusChange
from tests.unit.mta.store import make


async def active(store: Store, name: str = "acme") -> int:
    account = await store.accounts.add(name, status=AccountStatus.ACTIVE, verified=True, domains=[f"{name}.example"])
    return account.id


async def queue(store: Store, account_id: int) -> dict[str, tuple[list[str], str | None]]:
    """Address to texts of the holds, and why it is to fail."""
    await make.holds(store)
    entries = await store.queue.list(QueueFilter(account_id=account_id))
    return {each.address: ([hold.text for hold in each.holds], each.bounce) for each in entries}


async def test_a_new_account_is_reviewed_and_approved_and_all_of_it_is_kept(store: Store) -> None:
    account = await store.accounts.add("acme", by="ann")
    assert account.status is AccountStatus.PENDING
    await store.account_status.move(account.id, StatusChange.REVIEW, by="ann")
    moved = await store.account_status.move(account.id, StatusChange.APPROVE, by="rev", reason="papers seen")
    assert moved.status is AccountStatus.ACTIVE
    known = store.accounts.by_id(account.id)
    assert known
    assert (known.status, known.reason) == (AccountStatus.ACTIVE, "papers seen")
    history = [each for each in await store.accounts.history(account.id) if each.kind is AccountChangeKind.STATUS]
    assert [(each.by, each.data["to"], each.data["reason"]) for each in history] == [
        ("ann", "pending", ""), ("ann", "review", ""), ("rev", "active", "papers seen"),
    ]  # fmt: skip
    assert history == sorted(history, key=lambda each: each.at)


async def test_a_suspension_holds_what_is_queued_and_a_resumption_releases_just_that(store: Store) -> None:
    acme, other = await active(store), await active(store, "other")
    await store.messages.enqueue(make.accepted("a@one.example", account_id=acme), leased=False)
    await store.messages.enqueue(make.accepted("b@one.example", account_id=acme, hold=make.hold("look")), leased=False)
    await store.messages.enqueue(make.accepted("c@one.example", account_id=other), leased=False)
    moved = await store.account_status.move(acme, StatusChange.SUSPEND, by="rev", reason="complaints", case="C-17")
    assert (moved.status, moved.recipients) == (AccountStatus.SUSPENDED, 2)
    suspended = "account 'acme' is suspended (complaints, case C-17)"
    assert await queue(store, acme) == {
        "a@one.example": ([suspended], None),
        "b@one.example": (["look", suspended], None),
    }
    assert await queue(store, other) == {"c@one.example": ([], None)}
    known = store.accounts.by_id(acme)
    assert known
    assert (known.reason, known.case) == ("complaints", "C-17")

    moved = await store.account_status.move(acme, StatusChange.RESUME, by="rev", reason="settled")
    assert (moved.recipients, moved.still_held) == (2, 1)
    assert await queue(store, acme) == {"a@one.example": ([], None), "b@one.example": (["look"], None)}
    (message,) = {
        each.message_id for each in await store.queue.list(QueueFilter(account_id=acme, address="a@one.example"))
    }
    told = [each.kind for each in await store.events.of_message(message)]
    assert told[-2:] == ["held", "released"]


async def test_workers_are_told_to_give_back_what_they_hold_of_a_suspended_account(store: Store) -> None:
    acme = await active(store)
    heard: list[str | None] = []
    await store.listen("queue", heard.append)
    heard.clear()
    await make.put(store, "a@one.example", account_id=acme)  # leased
    await store.account_status.move(acme, StatusChange.SUSPEND, by="rev", reason="complaints")
    await make.until(lambda: heard)
    assert heard == [""]


async def test_a_termination_has_the_queue_fail_and_ends_the_credentials(store: Store) -> None:
    acme = await active(store)
    await store.credentials.add(acme, "acme-1", argon2="a", scram="s")
    await store.messages.enqueue(make.accepted("a@one.example", account_id=acme), leased=False)
    with pytest.raises(AccountError, match="terminate: it is active; what can be done is: suspend"):
        await store.account_status.move(acme, StatusChange.TERMINATE, by="rev", reason="spam")
    await store.account_status.move(acme, StatusChange.SUSPEND, by="rev", reason="spam")
    moved = await store.account_status.move(acme, StatusChange.TERMINATE, by="rev", reason="spam")
    assert moved.recipients == 1
    assert await queue(store, acme) == {"a@one.example": ([], "the account is terminated: spam")}
    assert store.accounts.by_credential("acme-1") is None
    for move in StatusChange:
        with pytest.raises(AccountError, match="terminated, for good"):
            await store.account_status.move(acme, move, by="rev", reason="again")
    with pytest.raises(AccountError, match="terminated, for good"):
        await store.credentials.add(acme, "acme-2", argon2="a", scram="s")


@pytest.mark.parametrize("move", [StatusChange.REQUEST_CHANGES, StatusChange.SUSPEND, StatusChange.TERMINATE])
async def test_some_moves_need_a_reason(store: Store, move: StatusChange) -> None:
    acme = await active(store)
    with pytest.raises(AccountError, match=f"{move.value}: say why"):
        await store.account_status.move(acme, move, by="rev", reason=" ")
    assert store.accounts.by_id(acme).status is AccountStatus.ACTIVE  # type: ignore[union-attr]


async def test_a_move_that_is_refused_changes_nothing(store: Store) -> None:
    acme = await active(store)
    before = await store.accounts.history(acme)
    with pytest.raises(AccountError, match="resume: it is active"):
        await store.account_status.move(acme, StatusChange.RESUME, by="rev")
    assert await store.accounts.history(acme) == before
    with pytest.raises(AccountError, match="there is no account 999"):
        await store.account_status.move(999, StatusChange.REVIEW, by="rev")


async def test_two_who_move_at_once_do_not_both_win(store: Store) -> None:
    acme = await active(store)
    results: list[Any] = await asyncio.gather(
        *(store.account_status.move(acme, StatusChange.SUSPEND, by=f"rev-{n}", reason="spam") for n in range(4)),
        return_exceptions=True,
    )
    assert sum(not isinstance(each, AccountError) for each in results) == 1


async def test_a_replaced_credential_works_until_its_end(store: Store) -> None:
    acme = await active(store)
    await store.credentials.add(acme, "acme-1", argon2="a", scram="s")
    until = await store.credentials.rotate("acme-1", "acme-2", argon2="b", scram="t", overlap=timedelta(hours=1))
    assert until - make.now() > timedelta(minutes=50)
    assert store.accounts.by_credential("acme-1")
    assert store.accounts.by_credential("acme-2")
    with pytest.raises(AccountError, match="used before"):
        await store.credentials.rotate("acme-2", "acme-1", argon2="b", scram="t", overlap=timedelta())
    await store.credentials.rotate("acme-2", "acme-3", argon2="b", scram="t", overlap=timedelta())
    assert store.accounts.grant("acme-2") is None
    assert store.accounts.grant("acme-3") is not None
    await store.credentials.revoke("acme-1", reason="leaked")
    assert store.accounts.by_credential("acme-1") is None

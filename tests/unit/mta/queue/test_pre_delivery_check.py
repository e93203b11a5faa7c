"""The check before an attempt: account status, and suppressions within their scope."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mta.mail.address import Address
from mta.mail.message import Stream
from mta.queue import claims
from mta.store.queue.queue import QueueFilter
from mta.store.store import Store
from policy.accounts.account import AccountStatus, suspension_hold
from tests.unit.mta.queue.rig import Rig, dispatching
from tests.unit.mta.store.make import accepted, execute, hold_texts, holds, leased, until

ANN = Address.parse("ann@example.net")


async def stand(rig: Rig, status: AccountStatus, reason: str = "") -> None:
    """Account 1 is in this status, in the database and in the worker's memory."""
    await execute(rig.store, "delete from account")
    await execute(
        rig.store,
        "insert into account (id, name, status, reason) overriding system value"
        " values (1, 'acme', ($1::text)::account_status, $2)",
        status.value,
        reason,
    )
    rig.accounts.account = replace(rig.accounts.account, status=status, reason=reason)


async def test_a_suspended_accounts_mail_is_held_not_sent(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        await stand(rig, AccountStatus.SUSPENDED, "complaints")
        message = await rig.submit("ann@example.net", "ben@example.net")
        await rig.settled()
        assert rig.courier.attempts == []
        assert await hold_texts(store) == ["account 'acme' is suspended (complaints)"] * 2
        assert await rig.queued("lease is null and holds = 1") == 2
        assert [kind for kind, _ in await rig.events(message)] == ["held", "held"]


@pytest.mark.parametrize("status", [AccountStatus.PENDING, AccountStatus.REVIEW])
async def test_so_is_that_of_an_account_that_is_not_active_yet(store: Store, status: AccountStatus) -> None:
    async with dispatching(store, takes=False) as rig:
        await stand(rig, status)
        await rig.submit("ann@example.net")
        await rig.settled()
        assert rig.courier.attempts == []
        assert await hold_texts(store) == ["account 'acme' is not active yet"]


async def test_an_account_that_was_resumed_meanwhile_is_not_left_waiting(store: Store) -> None:
    """The worker has not heard of it yet: what it holds back is free all the same, and sent once it has."""
    async with dispatching(store) as rig:
        await stand(rig, AccountStatus.ACTIVE)
        rig.accounts.account = replace(rig.accounts.account, status=AccountStatus.SUSPENDED)
        await rig.submit("ann@example.net")
        await until(lambda: rig.active_queue.deliveries == 0)
        assert await holds(store) == []
        rig.accounts.account = replace(rig.accounts.account, status=AccountStatus.ACTIVE)
        await until(lambda: rig.courier.attempts)
        await rig.settled()


async def test_an_operators_hold_stays(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        await stand(rig, AccountStatus.SUSPENDED)
        deliveries = leased(await rig.store.messages.enqueue(accepted("ann@example.net"), leased=True))
        await store.queue.hold(QueueFilter(), "the operator wants to look")
        await store.messages.hold(deliveries, suspension_hold("acme", "complaints"))
        assert await holds(store) == [("ann@example.net", "account_status", ""), ("ann@example.net", "operator", "")]


async def test_a_terminated_accounts_mail_fails(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        await stand(rig, AccountStatus.TERMINATED, "fraud")
        message = await rig.submit("ann@example.net")
        await rig.settled()
        assert rig.courier.attempts == []
        assert await rig.events(message) == [("failed", 0)]
        (event,) = await store.events.of_message(message)
        assert (event.data["code"], event.data["rule"]) == (554, "account-terminated")
        assert "fraud" in event.data["text"]
        assert await rig.queued() == 0


async def test_an_account_that_is_not_known_here_is_put_off(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async with dispatching(store, takes=False) as rig:
        monkeypatch.setattr(rig.accounts, "by_id", lambda _: None)
        await rig.submit("ann@example.net")
        await rig.settled()
        assert rig.courier.attempts == []
        assert await rig.queued("lease is null and holds = 0 and due_at > now() and attempts = 0") == 1


@pytest.mark.parametrize(
    ("topic", "sent"),
    [("offers", ["transactional", "news"]), ("*", ["transactional"]), ("", [])],
)
async def test_a_suppression_stops_what_it_covers(store: Store, topic: str, sent: list[str]) -> None:
    """Written without pulling: as if the copies had been accepted at the same moment."""
    async with dispatching(store, takes=False) as rig:
        await execute(
            store,
            "insert into suppression (address_key, account_id, topic, address, reason, rule, evidence)"
            " values ($1, 1, $2, 'ann@example.net', 'manual', 'operator', '')",
            store.suppressions._secrets.address_key(ANN),
            topic,
        )
        went: list[str] = []
        for name, more in (
            ("transactional", {}),
            ("offers", {"stream": Stream.MARKETING, "topic": "offers"}),
            ("news", {"stream": Stream.MARKETING, "topic": "news"}),
        ):
            before = len(rig.courier.attempts)
            await rig.submit("ann@example.net", checked_at=0.0, **more)
            await rig.settled()
            went += [name] * (len(rig.courier.attempts) - before)
        assert went == sent


@pytest.mark.parametrize("leased_first", [True, False])
@pytest.mark.parametrize(("reason", "topic"), [("unsubscribe", "offers"), ("objection", "*")])
async def test_what_looks_like_a_mailing_is_stopped_in_any_stream(
    store: Store, reason: str, topic: str, *, leased_first: bool
) -> None:
    async with dispatching(store) as rig:
        await execute(
            store,
            "insert into suppression (address_key, account_id, topic, address, reason, rule, evidence)"
            " values ($1, 1, $2, 'ann@example.net', $3, 'link', '')",
            store.suppressions._secrets.address_key(ANN),
            topic,
            reason,
        )
        messages = []
        for mark in (("list_id", "List-Id"), None):
            if leased_first:
                messages.append(await rig.submit("ann@example.net", checked_at=0.0, mark=mark))
            else:
                messages.append(await rig.queue("ann@example.net", mark=mark))
        await until(lambda: rig.courier.attempts)
        await rig.settled()
        assert len(rig.courier.attempts) == 1
        (event,) = await store.events.of_message(messages[0])
        assert "the message shows List-Id, so it counts as a mailing" in event.data["text"]


async def test_a_backlog_of_marketing_does_not_keep_transactional_mail_waiting(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million rows would do as well: marketing has filled its room with a site that stands still."""
    monkeypatch.setattr(claims, "CLAIM", 50)
    async with dispatching(store, active_deliveries=80) as rig:
        free = rig.courier.gate
        rig.courier.hold()
        stuck = rig.courier.gate
        for n in range(8):
            for _ in range(40):
                await rig.queue(f"ann@t{n}.example", stream=Stream.MARKETING, topic="offers")
        await until(lambda: rig.courier.running >= 8)
        rig.courier.gate = free
        await rig.queue("ann@waiting.example")
        await rig.submit("ann@fresh.example")
        await until(lambda: {("ann@waiting.example",), ("ann@fresh.example",)} <= set(rig.courier.attempts))
        for _ in range(400):
            stuck.release()

"""A DSN as a message of its own, from an attempt's outcomes to the queue."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from config.schema import QueueSettings, ServerSettings, Settings
from mta.mail.address import Address
from mta.mail.delivery import Attempt, Delivery, Outcome, QueuedRecipient
from mta.mail.identity import new_message_id
from mta.mail.message import Notify, SenderTls
from mta.queue.dsn import DsnComposer
from mta.store.store import Store
from policy.accounts.account import Account
from tests.unit.mta.store.make import HOST, deferred, delivered, execute, failed, now, put, result, write

ANN = QueuedRecipient(0, Address("ann", "example.net"))


class Accounts:
    def __init__(self, choice: str | None) -> None:
        self.choice = choice

    def by_id(self, account_id: int) -> Account | None:
        return Account(account_id, "acme", frozenset({"acme.example"}), self.choice) if self.choice else None


class Signer:
    def sign(self, _headers: object, _body: bytes, domain: str) -> bytes:
        return b"DKIM-Signature: d=%s\r\n" % domain.encode()


def made(choice: str | None = "dsn", **queue: Any) -> DsnComposer:
    settings = Settings(server=ServerSettings(hostname="mta.acme.example"), queue=QueueSettings(**queue))
    return DsnComposer(settings, Accounts(choice), Signer())  # type: ignore[arg-type]


def delivery(sender: str | None = "shop@acme.example", **more: Any) -> Delivery:
    address = Address.parse(sender) if sender else None
    return Delivery(new_message_id(), "example.net", address, (ANN,), 1, now(), now() + timedelta(days=5), 100, **more)


def attempt(of: Delivery, *outcomes: Outcome) -> Attempt:
    return Attempt(of, tuple(each.result for each in outcomes), now(), 0.1, HOST)


@pytest.mark.parametrize(
    ("choice", "sender", "told"),
    [
        ("dsn", "shop@acme.example", 1),
        ("event", "shop@acme.example", 0),
        ("none", "shop@acme.example", 0),
        (None, "shop@acme.example", 0),  # the account is gone
        ("dsn", None, 0),  # never about a message from the null sender
    ],
)
def test_who_is_told_of_a_failure(choice: str | None, sender: str | None, told: int) -> None:
    assert len(made(choice).wanted(attempt(delivery(sender), failed(ANN)), [failed(ANN)])) == told


@pytest.mark.parametrize(
    ("notify", "told"), [(None, 1), (Notify.NEVER, 0), (Notify.SUCCESS, 0), (Notify.FAILURE | Notify.DELAY, 1)]
)
def test_notify_is_honoured(notify: Notify | None, told: int) -> None:
    outcome = failed(replace(ANN, notify=notify))
    assert len(made().wanted(attempt(delivery(), outcome), [outcome])) == told


def test_success_is_told_only_if_asked_for() -> None:
    asked, silent = delivered(replace(ANN, notify=Notify.SUCCESS)), delivered(ANN)
    assert len(made().wanted(attempt(delivery(), asked), [asked])) == 1
    assert made().wanted(attempt(delivery(), silent), [silent]) == ()


def test_a_delay_is_told_once_and_not_at_once() -> None:
    composer, outcome, fresh = made(delay_dsn_after="1h"), deferred(ANN), delivery()
    old = replace(fresh, queued_at=now() - timedelta(hours=2))
    assert composer.wanted(attempt(fresh, outcome), [outcome]) == ()
    assert len(composer.wanted(attempt(old, outcome), [outcome])) == 1
    assert composer.wanted(attempt(replace(old, delay_dsn_sent=True), outcome), [outcome]) == ()
    assert made(delay_dsn_after="0s").wanted(attempt(old, outcome), [outcome]) == ()


@pytest.mark.parametrize("content", [b"Subject: Hello\r\n\r\nOne line.\r\n", None])
def test_it_goes_to_the_sender_from_nobody(content: bytes | None) -> None:
    about, outcome, composer = delivery(), failed(ANN), made(expire_after="2d")
    told = composer.wanted(attempt(about, outcome), [outcome])
    dsn = composer.compose(attempt(about, outcome), told, content)
    message = dsn.message
    assert message.envelope.sender is None
    assert [recipient.address for recipient in message.envelope.recipients] == [about.sender]
    assert message.id != about.message_id
    assert message.content.startswith(b"DKIM-Signature: d=mta.acme.example\r\n")
    assert b"Final-Recipient: rfc822; ann@example.net\r\n" in message.content
    assert (b"Subject: Hello" in message.content) is (content is not None)
    assert timedelta(days=2) - timedelta(minutes=1) < dsn.expires_at - now() <= timedelta(days=2)
    assert dsn.account_id == about.account_id


async def test_it_is_queued_with_the_outcome_and_causes_no_other(store: Store) -> None:
    composer, about = made(), await put(store, "ann@example.net")
    outcome = failed(about.recipients[0])
    told = composer.wanted(attempt(about, outcome), [outcome])
    dsn = composer.compose(attempt(about, outcome), told, about.content)
    await write(store, result(about, [outcome], dsn=dsn))
    await execute(store, "update queue set due_at = now() - interval '1 s'")
    [queued] = await store.messages.claim(deliveries=10, octets=10**9)
    assert (queued.sender, queued.destination) == (None, "acme.example")
    assert await store.messages.content(queued.message_id) == dsn.message.content
    again = failed(queued.recipients[0])
    assert composer.wanted(attempt(queued, again), [again]) == ()


def test_what_needed_verified_tls_is_returned_by_it_and_without_its_body() -> None:
    """RFC 8689 5."""
    content = b"From: shop@acme.example\r\nSubject: plans\r\n\r\nthe secret\r\n"
    for wish, returned in ((SenderTls.AS_POLICY, True), (SenderTls.REQUIRED, False), (SenderTls.OPTIONAL, True)):
        of = delivery(tls=wish)
        failure = failed(ANN)
        new = made().compose(attempt(of, failure), made().wanted(attempt(of, failure), [failure]), content)
        assert new.message.envelope.tls is wish
        assert b"Subject: plans" in new.message.content
        assert (b"the secret" in new.message.content) is returned

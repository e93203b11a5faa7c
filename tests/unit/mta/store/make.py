"""Messages, deliveries and outcomes for the tests of the store."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from mta.mail.address import Address
from mta.mail.delivery import (
    Action,
    Attempt,
    Classification,
    Deferred,
    Delivered,
    Delivery,
    Failed,
    Fault,
    Host,
    Outcome,
    QueuedRecipient,
    Result,
    Stage,
)
from mta.mail.hold import Hold, HoldSource
from mta.mail.identity import MessageId, new_message_id
from mta.mail.message import Envelope, Message, Origin, Recipient, Stream
from mta.mail.reply import Reply
from mta.store.queue.enqueue import Enqueued, Leased, NewMessage
from mta.store.results.delivery_results import DeliveryResult
from mta.store.store import Store
from policy.base import Finding

HOST = Host("mx1.example.net", "192.0.2.25", "TLSv1.3")
OK = Reply(250, "2.0.0", "queued as 4F2C1")
LATER = Reply(451, "4.7.1", "greylisted, come back later")
NO_USER = Reply(550, "5.1.1", "no such user")


def message(
    *to: str, size: int = 1000, sender: str | None = "shop@acme.example", subject: str = "Hello", **envelope: Any
) -> Message:
    content = f"From: {sender}\r\nSubject: {subject}\r\nMessage-ID: <1@acme.example>\r\n\r\n".encode()
    content += b"0123456789abcdef" * (max(0, size - len(content)) // 16) + b"\r\n"
    recipients = tuple(Recipient(Address.parse(each)) for each in to or ("ann@example.net",))
    return Message.of(
        new_message_id(),
        Envelope(Address.parse(sender) if sender else None, recipients, **envelope),
        Origin(1, "acme", "acme-1", ipaddress.ip_address("192.0.2.1"), "app.acme.example", "s1", "ESMTPSA", now()),
        content,
    )


def accepted(*to: str, account_id: int = 1, hours: float = 24, hold: Hold | None = None, **more: Any) -> NewMessage:
    mailing, topic = more.pop("mailing", None), more.pop("topic", None)
    stream, mark = more.pop("stream", Stream.TRANSACTIONAL), more.pop("mark", None)
    return NewMessage(
        message(*to, **more),
        account_id,
        now() + timedelta(hours=hours),
        (Finding("size", "pass", "small enough"),),
        mailing,
        (hold,) if hold else (),
        stream,
        topic,
        mark=mark,
    )


def hold(text: str, source: HoldSource = HoldSource.OPERATOR, ref: str = "") -> Hold:
    return Hold(source, ref, text)


def leased(queued: Enqueued) -> list[Delivery]:
    """The deliveries of a message that was queued as ours."""
    assert isinstance(queued, Leased), queued
    return list(queued.deliveries)


def now() -> datetime:
    return datetime.now(UTC)


def delivered(recipient: QueuedRecipient, reply: Reply = OK) -> Delivered:
    return Delivered(Result(recipient, Stage.FINAL_DOT, reply))


def deferred(recipient: QueuedRecipient, minutes: float = 10, reply: Reply = LATER) -> Deferred:
    return Deferred(
        Result(recipient, Stage.RECIPIENT, reply),
        Classification("greylisted", Fault.SITE, Action.RETRY, "greylisting"),
        now() + timedelta(minutes=minutes),
    )


def failed(recipient: QueuedRecipient, action: Action = Action.FAIL, reply: Reply = NO_USER) -> Failed:
    meaning = Classification("user_unknown", Fault.RECIPIENT, action, "no-such-user")
    return Failed(Result(recipient, Stage.RECIPIENT, reply), meaning)


def result(
    delivery: Delivery, outcomes: Sequence[Outcome] | None = None, provider: str = "", **more: Any
) -> DeliveryResult:
    """All delivered, if not said otherwise."""
    outcomes = tuple(outcomes if outcomes is not None else (delivered(each) for each in delivery.recipients))
    results = tuple(each.result for each in outcomes)
    attempt = Attempt(delivery, results, now(), 0.25, HOST, "192.0.2.1", provider=provider)
    return DeliveryResult(attempt, outcomes, **more)


async def until(condition: Callable[[], Any], seconds: float = 10) -> None:
    """Wait for what another process or task is about to do."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0.005)


async def count(store: Store, table: str) -> int:
    """Rows of a table, or of ``table where ...``; of ``content`` those that the ring leaves."""
    if table.split()[0] == "content":
        await turn_ring(store)
    async with store._database.session(60) as connection:
        number: int = await connection.fetchval(f"select count(*) from {table}")
        return number


async def turn_ring(store: Store, turns: int = 4, age: float = 120) -> None:
    """Let the slot of new content be over, for ``age`` seconds, and empty what may be emptied."""
    for _ in range(turns):
        await execute(store, "update content_ring set since = now() - make_interval(secs => $1)", age)
        await store.content_ring.turn()


async def contents(store: Store) -> set[MessageId]:
    """The messages whose content is kept when the ring has turned."""
    await turn_ring(store)
    async with store._database.session(60) as connection:
        return {row["message_id"] for row in await connection.fetch("select message_id from content")}


async def execute(store: Store, statement: str, *values: object) -> None:
    async with store._database.session(60) as connection:
        await connection.execute(statement, *values)


async def put(store: Store, *to: str, **more: Any) -> Delivery:
    """Queue a message for one destination; its delivery is leased to us."""
    (delivery,) = leased(await store.messages.enqueue(accepted(*to, **more), leased=True))
    return delivery


async def row(store: Store, statement: str, *values: object) -> Any:
    """What one ``statement`` finds: its first row, or None."""
    async with store._database.session(60) as connection:
        return await connection.fetchrow(statement, *values)


async def write(store: Store, *results: DeliveryResult) -> None:
    """Write results as one batch; raises what the database says of the first one that it refuses."""
    for error in await store.results.write(results):
        if error:
            raise error


async def holds(store: Store) -> list[tuple[str, str, str]]:
    """Address, source and ref of all holds; they agree with the numbers in the queue."""
    async with store._database.session(60) as connection:
        wrong = await connection.fetchval("""
            select count(*) from queue q where holds <> (
                select count(*) from hold h where h.message_id = q.message_id and h.recipient_index = q.recipient_index
            )""")
        rows = await connection.fetch("""
            select q.address, h.source::text, h.ref from hold h left join queue q using (message_id, recipient_index)
            order by 1, 2, 3""")
    assert wrong == 0
    return [tuple(row) for row in rows]


async def hold_texts(store: Store) -> list[str]:
    async with store._database.session(60) as connection:
        rows = await connection.fetch("select text from hold order by recipient_index, held_at")
    return [row["text"] for row in rows]

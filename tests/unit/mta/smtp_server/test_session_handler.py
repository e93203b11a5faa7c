"""Between a session and its handler: failures, rejections, commits, a client that goes away, shutdown."""

from __future__ import annotations

import asyncio
import socket
import struct
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import orjson
import pytest

from mta.mail.reply import Reply
from mta.observe.disk import DiskWatch
from mta.store.postgres.errors import StoreFull, StoreUnavailable
from policy.accounts.account import Account
from tests.unit.mta.observe.test_disk import a_disk
from tests.unit.mta.submission_rig import BEGIN, MAIL, MESSAGE, RCPT, Rig, Taken, submission

NO_STORAGE = "452 4.3.1 Insufficient system storage: a disk is nearly full, try again later"
INTERNAL = "451 4.3.0 Temporary internal error, try again later"


async def test_while_accounts_cannot_be_read_mail_is_put_off() -> None:
    def fail(_: Any) -> Account:
        raise StoreUnavailable

    async with submission(listeners=[{"tls": "none", "auth_without_tls": "loopback"}]) as rig:
        rig.accounts.by_network = rig.accounts.by_credential = fail  # type: ignore[method-assign]
        client = await rig.said_hello()
        assert await client.ask(MAIL) == INTERNAL
        assert await client.ask("AUTH PLAIN AGFwcAB4") == INTERNAL


@pytest.mark.usefixtures("internal_errors_expected")
@pytest.mark.parametrize(
    "error",
    [RuntimeError("password=hunter2 at db01"), StoreUnavailable("db01"), ConnectionResetError("db01"), TimeoutError()],
)
async def test_failures_of_the_handler_are_451_without_their_text(error: Exception) -> None:
    """aiosmtpd answers 500 with the exception's text: mail lost, and a secret told."""

    async def fail(_: Any) -> Reply:
        raise error

    async with submission() as rig:
        client = await rig.said_hello()
        rig.handler.sender = fail
        assert await client.ask(MAIL) == INTERNAL
        rig.handler.sender = rig.handler.recipient
        assert (await client.ask(MAIL))[:3] == "250"
        rig.handler.recipient = fail
        assert await client.ask(RCPT) == INTERNAL
        rig.handler.recipient = rig.handler.sender
        assert await client.codes(RCPT + b"DATA\r\n", 2) == ["250", "354"]
        rig.handler.message = fail
        assert await client.ask(MESSAGE + b".\r\n") == INTERNAL
        assert await client.codes(MAIL + RCPT + b"BDAT 6 LAST\r\nA: b\r\n", 3) == ["250", "250", "451"]
        assert b"hunter2" not in b"".join(rig.events.lines)


async def test_the_handler_may_reject_in_its_own_words() -> None:
    async def refuse(_: Any) -> Reply:
        return Reply(550, "5.7.1", "no: ünpassend\nsee \x1b[31mthe rules" + "!" * 600)

    async with submission() as rig:
        client = await rig.said_hello()
        rig.handler.sender = refuse
        reply = await client.ask(MAIL)
        assert all(line.startswith(("550-5.7.1 ", "550 5.7.1 ")) for line in reply.split("\n"))
        assert len(reply.split("\n")) == 3
        assert reply.isascii()
        assert "\x1b" not in reply
        assert max(map(len, reply.split("\n"))) <= 510
        assert await client.ask(RCPT) == "503 5.5.1 Bad sequence of commands: send MAIL first"


async def test_each_rejection_is_one_event_and_names_whom_it_concerns() -> None:
    async def reject(_: Any) -> Reply:
        return Reply(550, "5.7.1", "no")

    async with submission() as rig:
        client = await rig.said_hello()
        accept, rig.handler.sender = rig.handler.sender, reject
        await client.ask(MAIL)
        rig.handler.sender, rig.handler.recipient = accept, reject
        await client.codes(MAIL + RCPT, 2)
        rig.handler.recipient, rig.handler.message = accept, reject
        await client.codes(RCPT + b"BDAT 6 LAST\r\nA: b\r\n", 2)
        await client.codes(MAIL + RCPT + b"BDAT 6 LAST\r\nA: b\n\n", 3)
        events = [event for event in map(orjson.loads, rig.events.lines) if event["event"] == "rejected"]
    sender, recipient = "news@shop.example", "ann@customer.example"
    assert [(event["verb"], event.get("sender"), event.get("recipient")) for event in events] == [
        ("MAIL", sender, None),
        ("RCPT", sender, recipient),
        (".", sender, None),
        (".", sender, None),
    ]
    assert {event["account"] for event in events} == {"shop"}
    assert [event["code"] for event in events] == [550, 550, 550, 554]


class Commit:
    """An ``accept`` that waits until it is let go."""

    def __init__(self, rig: Rig) -> None:
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()
        self.cancelled = False
        rig.handler.message = self.accept

    async def accept(self, _: Taken) -> None:
        self.begun.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def test_a_commit_outlives_its_client() -> None:
    """aiosmtpd cancels the handler when the client goes, the commit with it."""
    async with submission() as rig:
        commit = Commit(rig)
        client = await rig.greeted()
        client.send(BEGIN + b"BDAT 6 LAST\r\nA: b\r\n")
        await commit.begun.wait()
        reset = struct.pack("ii", 1, 0)
        client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        client.writer.transport.abort()
        [session] = rig.listeners._context.sessions
        await asyncio.wait([session._closed])  # type: ignore[attr-defined]  # the loss is known
        commit.may_end.set()
        await rig.all_left()
        assert not commit.cancelled
        assert len(rig.taken) == 1


async def test_a_client_that_only_stops_talking_still_gets_its_answer() -> None:
    async with submission() as rig:
        commit = Commit(rig)
        client = await rig.greeted()
        client.send(BEGIN + b"BDAT 6 LAST\r\nA: b\r\n")
        client.writer.write_eof()
        await commit.begun.wait()
        commit.may_end.set()
        assert (await client.rest()).splitlines()[-1] == "250 2.0.0 OK: queued"


async def test_no_timer_runs_during_a_commit() -> None:
    """aiosmtpd's timer cuts the connection without a word while the handler works."""
    async with submission(limits={"command_timeout": "30ms", "data_timeout": "30ms"}) as rig:
        commit = Commit(rig)
        client = await rig.in_transaction()
        client.send(b"BDAT 6 LAST\r\nA: b\r\n")
        await commit.begun.wait()
        asyncio.get_running_loop().call_later(0.1, commit.may_end.set)
        assert await client.reply() == "250 2.0.0 OK: queued"
        assert (
            await client.rest() == "421 4.4.2 Timeout exceeded, closing connection\r\n"
        )  # and afterwards they run again


async def test_replies_that_wait_are_sent_before_a_commit() -> None:
    """RFC 2920 3.2: nothing is held back once the client's input is used up."""
    async with submission() as rig:
        commit = Commit(rig)
        client = await rig.said_hello()
        client.send(MAIL + RCPT + b"BDAT 6 LAST\r\nA: b\r\n")
        await commit.begun.wait()
        assert [reply[:3] for reply in await client.replies(2)] == ["250", "250"]
        commit.may_end.set()
        assert await client.reply() == "250 2.0.0 OK: queued"


# --- the end of the service


async def test_idle_sessions_are_told_and_closed() -> None:
    async with submission(networks=()) as rig:
        idle = [await rig.greeted(), await rig.said_hello()]
        await rig.listeners.stop(grace=60)
        for client in idle:
            assert await client.rest() == "421 4.3.2 Service shutting down, closing connection\r\n"
        with pytest.raises(ConnectionError):
            await rig.connect()
        assert b'"ending":"shutdown"' in rig.events.lines[-1]


async def test_a_transaction_may_be_finished() -> None:
    async with submission() as rig:
        client = await rig.in_transaction()
        stopping = asyncio.create_task(rig.listeners.stop(grace=60))
        assert (await client.ask("DATA"))[:3] == "354"
        client.send(MESSAGE + b".\r\n")
        assert await client.rest() == (
            "250 2.0.0 OK: queued\r\n421 4.3.2 Service shutting down, closing connection\r\n"
        )
        await stopping
        assert len(rig.taken) == 1


async def test_after_the_grace_transactions_are_cut_but_commits_are_not() -> None:
    async with submission() as rig:
        commit = Commit(rig)
        committing, dawdling = await rig.in_transaction(), await rig.in_transaction()
        committing.send(b"BDAT 6 LAST\r\nA: b\r\n")
        await commit.begun.wait()
        stopping = asyncio.create_task(rig.listeners.stop(grace=0.02))
        assert await dawdling.rest() == "421 4.3.2 Service shutting down, closing connection\r\n"
        assert not stopping.done()
        commit.may_end.set()
        await stopping
        assert (await committing.rest()).startswith("250 2.0.0 OK: queued\r\n421 4.3.2")
        assert not commit.cancelled


async def test_stopping_does_not_wait_for_a_client_that_does_not_read() -> None:
    async with submission() as rig:
        client = await rig.greeted()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        client.send(b"HELP\r\n" * 90_000)
        await client.writer.drain()
        await rig.listeners.stop(grace=0.02)
        assert not rig.listeners._context.sessions


async def test_a_full_disk_is_452_and_nothing_else() -> None:
    async def fail(_: Any) -> Reply:
        raise StoreFull("could not extend file")

    async with submission() as rig:
        client = await rig.said_hello()
        rig.handler.sender = fail
        assert await client.ask(MAIL) == NO_STORAGE
        rig.handler.sender = rig.handler.recipient
        assert await client.codes(MAIL + RCPT + b"DATA\r\n", 3) == ["250", "250", "354"]
        rig.handler.message = fail
        assert await client.ask(MESSAGE + b".\r\n") == NO_STORAGE
        assert rig.metrics.storage_rejections.value == 2


async def test_a_database_that_went_down_because_the_disk_is_full_is_452() -> None:
    full = DiskWatch([Path("/")], statvfs=lambda _: a_disk(size=10**10, free=0))

    async def fail(_: Any) -> Reply:
        raise StoreUnavailable("connection was closed")

    async with submission(disk=full) as rig:
        client = await rig.said_hello()
        await client.codes(MAIL + RCPT + b"DATA\r\n", 3)
        rig.handler.message = fail
        assert await client.ask(MESSAGE + b".\r\n") == NO_STORAGE


@pytest.mark.usefixtures("internal_errors_expected")
@pytest.mark.parametrize("error", [RuntimeError("a bug"), StoreUnavailable("db01"), StoreFull("full")])
async def test_our_own_trouble_is_not_an_error_of_the_client(error: Exception) -> None:
    async def fail(_: Any) -> Reply:
        raise error

    async def put_off(_: Any) -> Reply:
        return Reply(451, "4.7.1", "greylisted")

    async with submission(limits={"errors": 3}) as rig:
        client = await rig.said_hello()
        rig.handler.sender = fail
        assert set(await client.codes(MAIL * 9, 9)) <= {"451", "452"}
        rig.handler.sender = put_off
        assert set(await client.codes(MAIL * 9, 9)) == {"451"}
        rig.handler.sender = rig.handler.recipient
        rig.handler.message = fail
        for _ in range(9):
            await client.codes(MAIL + RCPT + b"DATA\r\n", 3)
            assert (await client.ask(MESSAGE + b".\r\n"))[:3] in ("451", "452")
        assert await client.codes(b"FOO\r\n" * 2, 2) == ["500"] * 2
        assert (await client.ask("NOOP"))[:3] == "250"


@pytest.mark.usefixtures("internal_errors_expected")
async def test_our_own_trouble_is_not_a_failed_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the session nor in the count of the client's address."""
    async with submission(listeners=[{"tls": "none", "auth_without_tls": "loopback"}], limits={"errors": 3}) as rig:
        monkeypatch.setattr(rig.authenticator, "_start", _no_thread)
        client = await rig.said_hello()
        for _ in range(12):
            assert await client.ask("AUTH PLAIN AGFwcAB4") == INTERNAL
        assert not rig.authenticator.limited("app", ip_address("127.0.0.1"))
        monkeypatch.setattr("mta.smtp_server.auth.authenticator.MAX_WAITING", 0)
        for _ in range(12):
            assert (await client.ask("AUTH PLAIN AGFwcAB4")).startswith("454 4.7.0 Temporary authentication failure")
        assert (await client.ask("NOOP"))[:3] == "250"


def _no_thread(*_: Any) -> Any:
    raise RuntimeError("can't start new thread")

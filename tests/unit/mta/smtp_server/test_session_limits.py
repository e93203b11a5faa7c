"""What a client may ask of us, and for how long: limits, timers, budgets."""

from __future__ import annotations

import asyncio

import pytest

from mta.mail.message import Recipient
from mta.mail.reply import Reply
from mta.smtp_server import connection
from tests.unit.mta.submission_rig import HELLO, MAIL, MESSAGE, RCPT, ListTrace, Rig, Talker, submission


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"NOOP " + b"x" * 505 + b"\r\n", "250 2.0.0 OK"),
        (b"NOOP " + b"x" * 506 + b"\r\n", "500 5.5.2 Command line too long"),
        (b"MAIL FROM:<" + b"x" * 64 + b"@shop.example>" + b" " * 1080 + b"\r\n", "250 2.1.0 Sender OK"),
        (b"MAIL FROM:<a@shop.example>" + b" " * 1300 + b"\r\n", "500 5.5.2 Command line too long"),
        (b"RCPT TO:<a@shop.example>" + b" " * 1100 + b"\r\n", "500 5.5.2 Command line too long"),
        (b"x" * 13_000 + b"\r\n", "500 5.5.2 Command line too long"),
        (b"x" * 1_000_000 + b"\r\n", "500 5.5.2 Command line too long"),
        (b"NOOP\n", "500 5.5.2 Protocol error: bare <LF> in command"),
        (b"MAIL FROM:<a@shop.example>\nRCPT TO:<b@shop.example>\r\n", "500 5.5.2 Protocol error: bare <LF> in command"),
        (b"NO\rOP\r\n", "500 5.5.2 Protocol error: bare <CR> or NUL in command"),
        (b"NOOP\r\r\n", "500 5.5.2 Protocol error: bare <CR> or NUL in command"),
        (b"MAIL FROM:<a@shop\0.example>\r\n", "500 5.5.2 Protocol error: bare <CR> or NUL in command"),
        (b"MAIL FROM:<\xff\xfe@shop.example>\r\n", "500 5.5.2 Syntax error: command is neither ASCII nor UTF-8"),
    ],
)
async def test_command_lines(line: bytes, reply: str) -> None:
    async with submission() as rig:
        client = await rig.said_hello()
        assert await client.ask(line) == reply


async def test_line_limits_are_not_shared_between_sessions() -> None:
    """aiosmtpd keeps them in its class: EHLO of one client widens them for all, a new connection resets them."""
    async with submission() as rig:
        client = await rig.greeted()
        for _ in range(9):
            await client.ask(HELLO)
        await rig.said_hello()
        assert (await client.ask(b"MAIL FROM:<a@shop.example>" + b" " * 1300 + b"\r\n"))[:3] == "500"
        assert connection.Connection.command_size_limits == {}


async def test_recipients_over_the_limit_are_put_off_and_the_others_kept() -> None:
    async with submission(limits={"recipients": 100}) as rig:
        client = await rig.said_hello()
        await client.ask(MAIL)
        assert await client.codes(RCPT * 101, 101) == ["250"] * 100 + ["452"]
        assert await client.ask(RCPT) == "452 4.5.3 Too many recipients; send the others in another message"
        await client.ask("DATA")
        await client.ask(MESSAGE + b".\r\n")
        assert len(rig.taken[0].envelope.recipients) == 100


async def test_too_many_errors_end_the_session() -> None:
    async with submission(limits={"errors": 3}) as rig:
        client = await rig.said_hello()
        client.send(b"FOO\r\nBAR\r\nBAZ\r\nNOOP\r\n")
        assert (await client.rest()).splitlines() == [
            *["500 5.5.2 Command not recognized"] * 3,
            "421 4.7.0 Too many errors, closing connection",
        ]


async def test_an_accepted_message_makes_good_for_errors() -> None:
    async with submission(limits={"errors": 3}) as rig:
        client = await rig.said_hello()
        for _ in range(3):
            assert await client.codes(b"FOO\r\nFOO\r\n" + MAIL + RCPT + b"DATA\r\n", 5) == [
                *("500", "500", "250"),
                *("250", "354"),
            ]
            assert (await client.ask(MESSAGE + b".\r\n"))[:3] == "250"


async def test_refused_recipients_of_an_account_are_no_errors() -> None:
    """A long list with many bad addresses would otherwise be cut in two for ever."""

    async def refuse(_: Recipient) -> Reply:
        return Reply(550, "5.1.1", "suppressed")

    async with submission(limits={"errors": 3}) as rig:
        rig.handler.recipient = refuse
        client = await rig.said_hello()
        await client.ask(MAIL)
        assert await client.codes(RCPT * 9, 9) == ["550"] * 9
        assert await client.codes(b"RCPT TO:<bad>\r\n" * 9, 9) == ["501"] * 9


async def test_too_many_commands_end_the_session() -> None:
    async with submission(limits={"commands": 10}) as rig:
        client = await rig.said_hello()
        client.send(b"NOOP\r\n" * 20)
        lines = (await client.rest()).splitlines()
        assert lines == ["250 2.0.0 OK"] * 9 + ["421 4.7.0 Too many commands in one session, closing connection"]


async def test_a_session_ends_between_transactions() -> None:
    async with submission() as rig:
        client = await rig.in_transaction()
        [running] = rig.listeners._context.sessions
        running._started -= 3601  # type: ignore[attr-defined]
        assert (await client.ask("DATA"))[:3] == "354"
        client.send(MESSAGE + b".\r\n" + MAIL)
        assert await client.rest() == (
            "250 2.0.0 OK: queued\r\n421 4.7.0 Session time limit exceeded, closing connection\r\n"
        )


async def test_a_transaction_has_a_time_limit() -> None:
    async with submission() as rig:
        client = await rig.in_transaction()
        [running] = rig.listeners._context.sessions
        running._started -= 7201  # type: ignore[attr-defined]
        client.send(b"NOOP\r\n")
        assert await client.rest() == ("250 2.0.0 OK\r\n421 4.7.0 Session time limit exceeded, closing connection\r\n")


async def test_too_many_connections() -> None:
    async with submission(limits={"connections": 2}) as rig:
        first = await rig.greeted()
        await rig.greeted()
        third = await rig.connect()
        assert await third.rest() == "421 4.7.0 Too many connections, try again later\r\n"
        await first.ask("QUIT")
        await first.rest()
        await rig.greeted()


async def test_too_many_connections_from_one_address() -> None:
    async with submission(limits={"connections_per_address": 1}) as rig:
        await rig.greeted()
        second = await rig.connect()
        assert await second.rest() == "421 4.7.0 Too many connections from your address, try again later\r\n"
        assert b'"verb":"CONNECT"' in b"".join(rig.events.lines)


# --- timers


async def test_a_silent_client_is_told_before_it_is_cut() -> None:
    async with submission(limits={"command_timeout": "50ms"}) as rig:
        client = await rig.greeted()
        assert await client.rest() == "421 4.4.2 Timeout exceeded, closing connection\r\n"
        await rig.all_left()
        assert b'"ending":"timeout"' in rig.events.lines[-1]


async def drip_until_the_end(rig: Rig, client: Talker, drop: bytes) -> None:
    """Send a little now and then until the session is over."""
    over = asyncio.ensure_future(rig.all_left())
    while not over.done():
        client.send(drop)
        await asyncio.wait([over], timeout=0.01)


async def test_a_command_has_no_more_time_for_coming_in_drops() -> None:
    async with submission(limits={"command_timeout": "100ms"}) as rig:
        await drip_until_the_end(rig, await rig.said_hello(), b"x")
        assert b'"ending":"timeout"' in rig.events.lines[-1]


async def test_a_drop_in_the_turn_of_the_timeout_does_not_cut_the_client() -> None:
    async with submission(limits={"command_timeout": "1m"}) as rig:
        client = await rig.said_hello()
        [session] = rig.listeners._context.sessions
        session.data_received(b"x")
        session._deadline = session._alarm = session.loop.time()
        session._timeout_cb()
        assert await client.rest() == "421 4.4.2 Timeout exceeded, closing connection\r\n"
        await rig.all_left()
        assert b'"ending":"timeout"' in rig.events.lines[-1]


async def test_a_message_has_the_time_of_its_pieces() -> None:
    """aiosmtpd's timer covers the whole of DATA and cuts a client that is still sending."""
    async with submission(limits={"data_timeout": "200ms", "command_timeout": "200ms"}) as rig:
        client = await rig.in_transaction()
        await client.ask("DATA")
        began = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < began + 0.5:
            client.send(b"A: b\r\n")
            await client.writer.drain()
            await asyncio.sleep(0.02)
        assert (await client.ask(b".\r\n"))[:3] == "250"


async def test_a_message_that_stops_is_cut() -> None:
    async with submission(limits={"data_timeout": "50ms"}) as rig:
        client = await rig.in_transaction()
        await client.ask("DATA")
        client.send(b"A: b\r\n")
        assert await client.rest() == "421 4.4.2 Timeout exceeded, closing connection\r\n"
        assert not rig.taken


async def test_a_message_must_keep_a_least_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SLOW_START", 0.05)
    async with submission(limits={"data_rate": "1MB"}) as rig:
        client = await rig.in_transaction()
        await client.ask("DATA")
        await drip_until_the_end(rig, client, b"A: b\r\n")
        assert b"data rate too low" in b"".join(rig.events.lines)


async def test_a_client_that_does_not_read_replies_is_cut() -> None:
    async with submission(limits={"command_timeout": "100ms"}) as rig:
        client = await rig.greeted()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        client.send(b"HELP\r\n" * 90_000)
        await rig.all_left()
        assert b'"ending":"' in rig.events.lines[-1]


async def test_a_client_that_sends_thousands_of_commands_at_once_does_not_keep_others_waiting() -> None:
    trace = ListTrace()
    async with submission(trace=trace) as rig:
        greedy, neighbour = await rig.said_hello(), await rig.said_hello()
        greedy.send(b"NOOP\r\n" * 5000)
        assert (await neighbour.ask("VRFY ann"))[:3] == "252"
        answered = trace.lines[: trace.lines.index("C: VRFY ann")].count("C: NOOP")
        assert answered <= 2 * connection.TURN
        assert await greedy.replies(5000) == ["250 2.0.0 OK"] * 5000


async def test_strangers_cannot_use_up_the_connections_of_customers() -> None:
    """Of four connections three may be strangers'; the last one is kept for who is known."""
    plain = [{"tls": "none", "auth_without_tls": "loopback"}]
    async with submission(listeners=plain, limits={"connections": 4}, networks=()) as rig:
        rig.accounts.add("app", "secret")
        strangers = [await rig.greeted() for _ in range(3)]
        refused = await rig.connect()
        assert await refused.rest() == "421 4.7.0 Too many connections, try again later\r\n"
        assert (await strangers[0].ask(HELLO)).startswith("250-")
        assert (await strangers[0].ask("AUTH PLAIN AGFwcABzZWNyZXQ="))[:3] == "235"
        await rig.greeted()
        assert rig.listeners._context.connections.strangers == 2

"""TLS and AUTH in a session: RFC 3207, 4954, 8314, and what attackers try there."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from scramp import ScramClient

from mta.mail.message import SenderTls
from tests.unit.mta.submission_rig import (
    BEGIN,
    HELLO,
    MAIL,
    MESSAGE,
    RCPT,
    ListTrace,
    Rig,
    Talker,
    certificates,
    submission,
)

STARTTLS = [{"tls": "starttls"}]
IMPLICIT = [{"tls": "implicit"}]
LOOPBACK = [{"tls": "none", "auth_without_tls": "loopback"}]
SECRET = "correct horse battery"
IN_TRANSACTION = "503 5.5.1 Bad sequence of commands: AUTH not permitted during a mail transaction"
LIMITED = "454 4.7.0 Temporary authentication failure: too many failed attempts, try again in 10 minutes at the latest"
MALFORMED = "501 5.5.2 Cannot decode authentication response"


def b64(text: str | bytes) -> str:
    return b64encode(text.encode() if isinstance(text, str) else text).decode()


PLAIN = f"AUTH PLAIN {b64(f'{chr(0)}app{chr(0)}{SECRET}')}"
WRONG = f"AUTH PLAIN {b64(f'{chr(0)}app{chr(0)}wrong')}"
NOBODY = f"AUTH PLAIN {b64(f'{chr(0)}nobody{chr(0)}{SECRET}')}"


async def logged_in(rig: Rig) -> Talker:
    rig.accounts.add("app", SECRET)
    client = await rig.said_hello()
    assert await client.ask(PLAIN) == "235 2.7.0 Authentication successful"
    return client


# --- TLS


async def test_starttls_begins_anew() -> None:
    _, trust = certificates()
    async with submission(listeners=STARTTLS, networks=()) as rig:
        rig.accounts.add("app", SECRET)
        client = await rig.greeted()
        hello = (await client.ask(HELLO)).split("\n")
        assert hello[-1] == "250 STARTTLS"
        assert not any("AUTH" in line for line in hello)
        assert await client.ask("STARTTLS now") == "501 5.5.4 Syntax error: command takes no argument"
        assert await client.ask("STARTTLS") == "220 2.0.0 Ready to start TLS"
        await client.start_tls(trust)
        assert await client.ask("MAIL FROM:<a@shop.example>") == "503 5.5.1 Bad sequence of commands: send EHLO first"
        hello = (await client.ask(HELLO)).split("\n")
        assert "250-STARTTLS" not in hello
        assert hello[-1] == "250 AUTH PLAIN LOGIN SCRAM-SHA-256"
        assert await client.ask("STARTTLS") == "503 5.5.1 TLS already active"
        assert await client.ask(PLAIN) == "235 2.7.0 Authentication successful"
        assert await client.codes(MAIL + RCPT + b"DATA\r\n", 3) == ["250", "250", "354"]
        assert (await client.ask(MESSAGE + b".\r\n"))[:3] == "250"
        known = rig.taken[0].client
        assert known.tls is not None
        assert known.tls.startswith("TLSv1.3 TLS_")
        assert known.protocol == "ESMTPSA"
        assert known.credential == "app"


async def test_requiretls_is_for_sessions_that_are_encrypted() -> None:
    _, trust = certificates()
    async with submission(listeners=STARTTLS) as rig:
        client = await rig.greeted()
        assert "REQUIRETLS" not in await client.ask(HELLO)
        answer = await client.ask("MAIL FROM:<news@shop.example> REQUIRETLS")
        assert answer == "530 5.7.10 REQUIRETLS needs TLS: send STARTTLS first"
        assert (await client.ask("STARTTLS"))[:3] == "220"
        await client.start_tls(trust)
        assert "250-REQUIRETLS" in (await client.ask(HELLO)).split("\n")
        assert (await client.ask("MAIL FROM:<news@shop.example> REQUIRETLS"))[:3] == "250"
        assert await client.codes(RCPT + b"DATA\r\n", 2) == ["250", "354"]
        assert (await client.ask(MESSAGE + b".\r\n"))[:3] == "250"
        assert rig.taken[0].envelope.tls is SenderTls.REQUIRED


async def test_commands_sent_before_tls_are_not_run_after_it() -> None:
    """CVE-2011-0411 and kin: commands in the packet of STARTTLS could have been put there by anyone."""
    async with submission(listeners=STARTTLS) as rig:
        client = await rig.said_hello()
        client.send(b"STARTTLS\r\nMAIL FROM:<evil@shop.example>\r\n")
        assert await client.rest() == "501 5.5.4 Protocol error: data sent between STARTTLS and the TLS handshake\r\n"
        assert rig.handler.sizes == []


async def test_plain_text_after_starttls_ends_the_connection() -> None:
    async with submission(listeners=STARTTLS) as rig:
        client = await rig.said_hello()
        assert (await client.ask("STARTTLS"))[:3] == "220"
        client.send(b"MAIL FROM:<evil@shop.example>\r\n")
        assert "250" not in await client.rest()
        assert rig.handler.sizes == []


async def test_a_transaction_does_not_survive_starttls() -> None:
    _, trust = certificates()
    async with submission(listeners=STARTTLS) as rig:
        client = await rig.in_transaction()
        await client.ask("STARTTLS")
        await client.start_tls(trust)
        await client.ask(HELLO)
        assert await client.ask("DATA") == "503 5.5.1 Bad sequence of commands: send MAIL first"


async def test_implicit_tls() -> None:
    _, trust = certificates()
    async with submission(listeners=IMPLICIT, networks=()) as rig:
        rig.accounts.add("app", SECRET)
        client = await rig.greeted(tls=trust)
        hello = (await client.ask(HELLO)).split("\n")
        assert hello[-1] == "250 AUTH PLAIN LOGIN SCRAM-SHA-256"
        assert "250-STARTTLS" not in hello
        assert await client.ask(PLAIN) == "235 2.7.0 Authentication successful"
        big = b"A: b\r\n\r\n" + b"x" * 70 + b"\r\n" + (b"y" * 98 + b"\r\n") * 20_000
        assert await client.codes(MAIL + RCPT + b"DATA\r\n", 3) == ["250", "250", "354"]
        assert (await client.ask(big + b".\r\n"))[:3] == "250"
        assert rig.taken[0].content == big
        assert await client.ask("QUIT") == "221 2.0.0 Bye"
        assert await client.rest() == ""


async def test_plain_text_on_an_implicit_tls_port_is_not_answered() -> None:
    async with submission(listeners=IMPLICIT) as rig:
        client = await rig.connect()
        client.send(HELLO)
        assert "250" not in await client.rest()
        await rig.all_left()


@pytest.mark.parametrize("listeners", [STARTTLS, IMPLICIT], ids=["starttls", "implicit"])
async def test_a_handshake_that_does_not_come_is_not_waited_for(
    listeners: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mta.smtp_server.connection.HANDSHAKE", 0.05)
    monkeypatch.setattr("mta.smtp_server.listener.HANDSHAKE", 0.05)
    async with submission(listeners=listeners) as rig:
        if listeners is STARTTLS:
            client = await rig.said_hello()
            assert (await client.ask("STARTTLS"))[:3] == "220"
        else:
            client = await rig.connect()
        client.send(b"\x16\x03\x01")  # the beginning of a handshake
        assert await client.rest() == ""
        await rig.all_left()
        assert rig.listeners._context.connections.total == 0


# --- AUTH


async def test_no_submission_without_an_account() -> None:
    async with submission(networks=()) as rig:
        client = await rig.said_hello()
        assert await client.ask(MAIL) == "530 5.7.0 Authentication required"
        assert await client.ask(RCPT) == "503 5.5.1 Bad sequence of commands: send MAIL first"
        assert await client.codes(b"MAIL FROM:<@a.example:x%y@shop.example>\r\nDATA\r\n", 2) == ["530", "503"]


async def test_a_network_may_answer_for_its_clients() -> None:
    async with submission() as rig:
        client = await rig.in_transaction()
        await client.ask("DATA")
        await client.ask(MESSAGE + b".\r\n")
        assert rig.taken[0].client.credential is None
        assert rig.taken[0].client.protocol == "ESMTP"


@pytest.mark.parametrize("initial", [True, False])
async def test_plain(initial: bool) -> None:
    async with submission(listeners=LOOPBACK, networks=()) as rig:
        rig.accounts.add("app", SECRET)
        client = await rig.said_hello()
        if initial:
            reply = await client.ask(PLAIN.replace("PLAIN", "plain"))  # mechanisms are named in any case
        else:
            assert await client.ask("AUTH PLAIN") == "334 "
            reply = await client.ask(PLAIN.removeprefix("AUTH PLAIN "))
        assert reply == "235 2.7.0 Authentication successful"
        assert await client.ask(PLAIN) == "503 5.5.1 Already authenticated"
        assert (await client.ask(MAIL))[:3] == "250"


@pytest.mark.parametrize("initial", [True, False])
async def test_login(initial: bool) -> None:
    async with submission(listeners=LOOPBACK, networks=()) as rig:
        rig.accounts.add("app", SECRET)
        client = await rig.said_hello()
        if initial:
            challenge = await client.ask(f"AUTH LOGIN {b64('app')}")
        else:
            assert b64decode((await client.ask("AUTH LOGIN")).removeprefix("334 ")) == b"Username:"
            challenge = await client.ask(b64("app"))
        assert b64decode(challenge.removeprefix("334 ")) == b"Password:"
        assert await client.ask(b64(SECRET)) == "235 2.7.0 Authentication successful"


async def scram(client: Talker, username: str, secret: str, *, initial: bool = True) -> str:
    """Log in as any client would; the last reply."""
    mine = ScramClient(["SCRAM-SHA-256"], username, secret)
    if initial:
        reply = await client.ask(f"AUTH SCRAM-SHA-256 {b64(mine.get_client_first())}")
    else:
        assert await client.ask("AUTH SCRAM-SHA-256") == "334 "
        reply = await client.ask(b64(mine.get_client_first()))
    mine.set_server_first(b64decode(reply.removeprefix("334 ")).decode())
    reply = await client.ask(b64(mine.get_client_final()))
    if not reply.startswith("334"):
        return reply
    mine.set_server_final(b64decode(reply.removeprefix("334 ")).decode())  # the server has proven itself too
    return await client.ask("")


@pytest.mark.parametrize("initial", [True, False])
async def test_scram(initial: bool) -> None:
    async with submission(listeners=LOOPBACK, networks=()) as rig:
        rig.accounts.add("app", SECRET)
        client = await rig.said_hello()
        assert await scram(client, "app", SECRET, initial=initial) == "235 2.7.0 Authentication successful"
        assert (await client.ask(MAIL))[:3] == "250"


async def test_an_unknown_user_cannot_be_told_from_a_wrong_secret() -> None:
    refused = "535 5.7.8 Authentication credentials invalid"
    async with submission(listeners=LOOPBACK, networks=(), limits={"auth_failures": 100}) as rig:
        rig.accounts.add("app", SECRET)
        client = await rig.said_hello()
        assert await client.ask(WRONG) == refused
        assert await client.ask(NOBODY) == refused
        assert await scram(client, "app", "wrong") == refused
        assert await scram(client, "nobody", SECRET) == refused
        salts = []
        for username in ("app", "app", "nobody", "nobody"):
            first = ScramClient(["SCRAM-SHA-256"], username, "x").get_client_first()
            reply = await client.ask(f"AUTH SCRAM-SHA-256 {b64(first)}")
            salts.append(b64decode(reply[4:]).decode().split(",", 1)[1])
            assert await client.ask("*") == "501 5.7.0 Authentication aborted"
        assert salts[0] == salts[1] != salts[2] == salts[3]
        assert [len(salt) for salt in salts] == [len(salts[0])] * 4


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        (["AUTH"], "504 5.5.4 Unrecognized authentication type"),
        (["AUTH CRAM-MD5"], "504 5.5.4 Unrecognized authentication type"),
        (["AUTH PLAIN !!!"], MALFORMED),
        (["AUTH PLAIN ="], MALFORMED),
        (["AUTH PLAIN AGFwcA=="], MALFORMED),
        (["AUTH PLAIN " + b64(b"\0a\xff\0b")], MALFORMED),
        (["AUTH PLAIN " + b64(f"root\0app\0{SECRET}")], "535 5.7.8 Authentication credentials invalid"),
        (["AUTH PLAIN", "*"], "501 5.7.0 Authentication aborted"),
        (["AUTH LOGIN", "*"], "501 5.7.0 Authentication aborted"),
        (["AUTH LOGIN", "YXBw", "*"], "501 5.7.0 Authentication aborted"),
        (["AUTH LOGIN", ""], MALFORMED),
        (["AUTH PLAIN", "A" * 12_288], "500 5.5.6 Authentication exchange line is too long"),
        (["AUTH PLAIN", "A" * 400_000], "500 5.5.6 Authentication exchange line is too long"),
        (["AUTH PLAIN " + "A" * 12_288], "500 5.5.2 Command line too long"),
        (["AUTH SCRAM-SHA-256 " + b64("nonsense")], MALFORMED),
        (["AUTH SCRAM-SHA-256 " + b64("n,a=root,n=app,r=abc")], MALFORMED),
        (["AUTH SCRAM-SHA-256 " + b64("p=tls-unique,,n=app,r=abc")], MALFORMED),
    ],
)  # fmt: skip
async def test_malformed_logins(lines: list[str], reply: str) -> None:
    async with submission(listeners=LOOPBACK, networks=()) as rig:
        rig.accounts.add("app", SECRET)
        client = await rig.said_hello()
        for line in lines[:-1]:
            assert (await client.ask(line)).startswith("334 ")
        assert await client.ask(lines[-1]) == reply
        assert await client.ask("NOOP") == "250 2.0.0 OK"
        assert (await client.ask(MAIL))[:3] == "530"


async def test_no_login_within_a_transaction() -> None:
    async with submission(listeners=LOOPBACK) as rig:
        client = await rig.in_transaction()
        assert await client.ask(PLAIN) == IN_TRANSACTION


async def test_a_session_has_three_guesses() -> None:
    async with submission(listeners=LOOPBACK, networks=()) as rig:
        rig.accounts.add("app", SECRET)
        client = await rig.said_hello()
        assert await client.codes(f"{WRONG}\r\n".encode() * 2, 2) == ["535", "535"]
        client.send(f"{WRONG}\r\n".encode())
        assert (
            await client.rest()
            == "535 5.7.8 Authentication credentials invalid\r\n421 4.7.0 Too many errors, closing connection\r\n"
        )


async def test_an_address_has_ten_guesses_at_a_name_over_all_sessions() -> None:
    now = [1000.0]
    async with submission(listeners=LOOPBACK, networks=(), limits={"errors": 100}, clock=lambda: now[0]) as rig:
        rig.accounts.add("app", SECRET)
        rig.accounts.add("other", SECRET)
        for _ in range(5):
            client = await rig.said_hello()
            assert await client.codes(f"{WRONG}\r\n".encode() * 2, 2) == ["535", "535"]
        client = await rig.said_hello()
        assert await client.ask(PLAIN) == LIMITED  # even with the right one
        assert await scram(await rig.said_hello(), "other", SECRET) == "235 2.7.0 Authentication successful"
        now[0] += 601
        assert await client.ask(PLAIN) == "235 2.7.0 Authentication successful"


async def test_scram_guesses_are_counted_too() -> None:
    async with submission(listeners=LOOPBACK, networks=(), limits={"auth_failures_per_address": 3}) as rig:
        rig.accounts.add("app", SECRET)
        client = await rig.said_hello()
        assert await scram(client, "app", "wrong") == "535 5.7.8 Authentication credentials invalid"
        assert await scram(client, "app", SECRET) == "235 2.7.0 Authentication successful"  # which counts for nothing
        client = await rig.said_hello()
        assert await scram(client, "app", "wrong") == "535 5.7.8 Authentication credentials invalid"
        assert await scram(client, "app", "wrong") == "535 5.7.8 Authentication credentials invalid"
        first = ScramClient(["SCRAM-SHA-256"], "app", "x").get_client_first()
        client = await rig.said_hello()
        assert (await client.ask(f"AUTH SCRAM-SHA-256 {b64(first)}"))[:9] == "454 4.7.0"


async def test_a_revoked_credential_ends_the_session_at_the_next_mail() -> None:
    async with submission(listeners=LOOPBACK, networks=()) as rig:
        client = await logged_in(rig)
        assert (await client.ask(MAIL))[:3] == "250"
        del rig.accounts.credentials["app"]
        assert await client.codes(RCPT + b"DATA\r\n", 2) == ["250", "354"]
        client.send(MESSAGE + b".\r\n" + MAIL)
        assert await client.rest() == (
            "250 2.0.0 OK: queued\r\n421 4.7.0 Credential changed or revoked, closing connection\r\n"
        )


async def test_a_new_secret_ends_the_session_at_the_next_mail() -> None:
    async with submission(listeners=LOOPBACK, networks=()) as rig:
        client = await logged_in(rig)
        rig.accounts.add("app", "another")
        assert (await client.ask(MAIL))[:9] == "421 4.7.0"


async def test_secrets_sent_out_of_turn_are_not_kept_either() -> None:
    """A client that does not wait for the answer to AUTH sends its secret as if it were a command."""
    trace = ListTrace()
    async with submission(networks=(), trace=trace) as rig:
        client = await rig.said_hello()
        client.send(f"AUTH LOGIN\r\n{b64('app')}\r\n{b64(SECRET)}\r\n".encode())
        assert [reply[:9] for reply in await client.replies(3)] == ["538 5.7.1", "500 5.5.2", "500 5.5.2"]
        told = "\n".join(trace.lines) + b"\n".join(rig.events.lines).decode()
        assert b64(SECRET).upper() not in told.upper()
        assert "C: ? ********" in trace.lines


async def test_secrets_are_neither_traced_nor_logged() -> None:
    trace = ListTrace()
    async with submission(listeners=LOOPBACK, networks=(), trace=trace, limits={"auth_failures": 9}) as rig:
        rig.accounts.add("app", SECRET)
        client = await rig.said_hello()
        await client.ask(WRONG)
        await client.ask("AUTH LOGIN")
        await client.ask(b64("app"))
        await client.ask(b64("wrong again"))
        await client.ask(PLAIN)
        await client.codes(BEGIN + b"DATA\r\n", 4)
        await client.ask(MESSAGE + b".\r\n")
        await client.ask("QUIT")
        await rig.all_left()
        assert "C: AUTH ********" in trace.lines
        assert "S: 334 ********" in trace.lines
        assert f"C: ({len(MESSAGE)} octets of message)" in trace.lines
        told = "\n".join(trace.lines) + b"\n".join(rig.events.lines).decode()
        for secret in (SECRET, "wrong", b64("wrong again"), WRONG.split()[2], PLAIN.split()[2], "Subject: hello"):
            assert secret not in told
        assert '"event":"auth_failed"' in told
        assert '"username":"app"' in told

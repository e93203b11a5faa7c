"""The demo's receiver: replies by local part, STARTTLS, and what it records."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.schema import Certificate
from mta.demo.receiver import DemoReceiver
from mta.smtp_server.tls import server_context


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    folder: Path = tmp_path_factory.mktemp("receiver")
    context = server_context(Certificate(), hostname="mx.example", data_dir=folder)
    assert context
    return context


@pytest.fixture
def receiver(tls: ssl.SSLContext) -> Iterator[DemoReceiver]:
    receiver = DemoReceiver("mx.example", tls)
    yield receiver
    receiver.stop()


@pytest.fixture
def client(receiver: DemoReceiver) -> Iterator[smtplib.SMTP]:
    client = smtplib.SMTP("127.0.0.1", receiver.start("127.0.0.1"), timeout=10)
    yield client
    client.close()


def test_a_message_over_tls_is_recorded_as_it_was_sent(receiver: DemoReceiver, client: smtplib.SMTP) -> None:
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    client.starttls(context=unverified)
    content = b"Subject: hi\r\n\r\n.dot\r\n" + b"x" * 500_000 + b"\r\n"
    client.sendmail("ann@a.example", ["bob@b.example", "cat@b.example"], content)
    (message,) = receiver.accepted
    assert (message.sender, message.recipients) == ("ann@a.example", ("bob@b.example", "cat@b.example"))
    assert message.content == content
    assert message.tls
    assert client.quit()[0] == 221


@pytest.mark.parametrize(
    ("local", "code"), [("unknown-2", 550), ("full", 452), ("blocked", 554), ("grey", 451), ("busy", 421)]
)
def test_recipients_get_the_reply_of_their_local_part(client: smtplib.SMTP, local: str, code: int) -> None:
    client.ehlo()
    client.mail("ann@a.example")
    assert client.rcpt(f"{local}@b.example")[0] == code


def test_greylisting_passes_the_second_attempt(receiver: DemoReceiver, client: smtplib.SMTP) -> None:
    client.ehlo()
    client.mail("")
    assert [client.rcpt("grey@b.example")[0] for _ in range(2)] == [451, 250]


@pytest.mark.parametrize(("local", "code"), [("spam", 550), ("later", 451)])
def test_messages_get_the_reply_of_their_recipient(
    receiver: DemoReceiver, client: smtplib.SMTP, local: str, code: int
) -> None:
    with pytest.raises(smtplib.SMTPDataError) as error:
        client.sendmail("ann@a.example", f"{local}@b.example", "hi")
    assert (error.value.smtp_code, receiver.accepted) == (code, [])


def test_a_lost_connection_after_the_dot(receiver: DemoReceiver, client: smtplib.SMTP) -> None:
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.sendmail("ann@a.example", "lost@b.example", "hi")
    assert receiver.accepted == []


def test_commands_out_of_order(client: smtplib.SMTP) -> None:
    assert client.docmd("DATA")[0] == client.docmd("RCPT TO:<a@b.example>")[0] == 503
    assert client.docmd("WHAT")[0] == 500

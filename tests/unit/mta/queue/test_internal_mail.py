"""What the service sends by itself keeps to the rules that it has for others."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from config.schema import ServerSettings, Settings
from mta.dkim import Signer
from mta.mail.address import Address
from mta.mail.identity import new_message_id
from mta.mail.message import Message
from mta.queue.internal_mail import InternalMailBuilder, InternalMailKind

ANN = Address.parse("ann@shop.example")


class NoKeys:
    def sign(self, *_: Any) -> bytes:
        return b""


def build(content: bytes) -> Message:
    builder = InternalMailBuilder(Settings(server=ServerSettings(hostname="mx.example.com")), cast("Signer", NoKeys()))
    return builder.build(
        InternalMailKind.FORWARD, new_message_id(), ANN, content, datetime.now(UTC), account_id=1, smtputf8=False
    ).message


def test_a_forwarded_reply_discloses_no_one_and_claims_nothing() -> None:
    message = build(
        b"Return-Path: <bob@example.net>\r\nAuthentication-Results: mx.example.com; dkim=pass\r\n"
        b"Authentication-Results: other.example; dkim=pass\r\nFeedback-ID: of:another:service\r\n"
        b"Bcc: hidden@example.org,\r\n more@example.org\r\nX-MTA-Stream: theirs\r\nSubject: Re: hello\r\n\r\nbody\r\n"
    )
    assert message.content == (
        b"Authentication-Results: other.example; dkim=pass\r\nFeedback-ID: of:another:service\r\n"
        b"X-MTA-Stream: theirs\r\nSubject: Re: hello\r\n\r\nbody\r\n"
    )
    assert message.content[message.headers.size :] == b"body\r\n"


def test_no_line_is_too_long_to_leave() -> None:
    references = b" ".join([b"<%d@example.net>" % number for number in range(200)])
    text = "ä" * 1200
    message = build(b"References: " + references + b"\r\nSubject: x\r\n\r\n" + text.encode() + b"\r\nend\r\n")
    assert max(map(len, message.content.split(b"\r\n"))) <= 998
    assert message.headers.value(b"references") == references.decode()
    assert message.headers.value(b"subject") == "x"
    assert message.content[message.headers.size :].replace(b"\r\n ", b"") == f"{text}\r\nend\r\n".encode()

"""Option fields in the header: read, removed, and never guessed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from mta.mail.address import Address
from mta.mail.identity import new_message_id
from mta.mail.message import Envelope, Message, Origin, Recipient, Stream
from mta.submission.control_headers import OptionError, SubmissionOptions, read_options, stream_of
from mta.submission.header_cleanup import clean_header
from policy.accounts.account import Grant
from policy.permission.marketing_signs import header_marks

REST = b"From: a@shop.example\r\nX-Mtalike: stays\r\n\r\nX-MTA-Topic: in the body\r\n"
BOTH = Grant(frozenset(Stream))


def message(fields: bytes) -> Message:
    content = fields + REST
    envelope = Envelope(None, (Recipient(Address.parse("bob@example.net")),))
    origin = Origin(1, "shop", None, ip_address("127.0.0.1"), "app", "s1", "ESMTP", datetime.now(UTC))
    return Message.of(new_message_id(), envelope, origin, content)


def test_all_are_read_and_none_is_left() -> None:
    fields = (
        b"X-MTA-Stream: Marketing\r\nx-mta-mailing: Spring\r\n sale\r\nX-MTA-TOPIC: Offers\r\nX-MTA-Expire: 90m\r\n"
    )
    options = read_options(message(fields).headers)
    assert options == SubmissionOptions(Stream.MARKETING, "Spring sale", "offers", timedelta(minutes=90))
    left, _ = clean_header(message(fields), frozenset())
    assert left.content == REST
    assert left.headers.count(b"x-mtalike") == 1


def test_a_message_without_options_is_not_touched() -> None:
    subject = message(b"")
    assert read_options(subject.headers) == SubmissionOptions()
    assert clean_header(subject, frozenset()) == (subject, "")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (b"X-MTA-Maling: x\r\n", "X-MTA-Maling is unknown; known fields: X-MTA-Stream, X-MTA-Mailing"),
        (b"X-MTA-Topic: a\r\nX-MTA-Topic: b\r\n", "X-MTA-Topic may appear only once"),
        (b"X-MTA-Mailing:\r\n", "X-MTA-Mailing must hold 1 to 100 printable characters"),
        (b"X-MTA-Mailing: " + b"x" * 101 + b"\r\n", "X-MTA-Mailing must hold 1 to 100 printable characters"),
        (b"X-MTA-Topic: a\xff\x00\r\n", "X-MTA-Topic must hold 1 to 100 printable characters"),
        (b"X-MTA-Stream: promo\r\n", "X-MTA-Stream must be `marketing` or `transactional`"),
        (b"X-MTA-Expire: 1.5h\r\n", "X-MTA-Expire must be a whole number with a unit"),
    ],
)
def test_what_cannot_be_understood_is_refused(fields: bytes, told: str) -> None:
    with pytest.raises(OptionError) as caught:
        read_options(message(fields).headers)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "sign",
    [
        b"List-Unsubscribe: <https://x.example/u>\r\n",
        b"List-Id: <x.example>\r\n",
        b"Feedback-ID: a:b:c:d\r\n",
        b"Precedence: Bulk\r\n",
        b"X-MTA-Mailing: spring\r\n",
        b"X-MTA-Topic: offers\r\n",
    ],
)
def test_list_mail_is_marketing_unless_it_says_otherwise(sign: bytes) -> None:
    headers = message(sign).headers
    marks, options = header_marks(headers), read_options(headers)
    assert stream_of(options, BOTH, marks) is Stream.MARKETING
    assert stream_of(replace(options, stream=Stream.TRANSACTIONAL), BOTH, marks) is Stream.TRANSACTIONAL


def test_the_stream_is_what_the_credential_is_for() -> None:
    assert stream_of(SubmissionOptions(), Grant(streams=frozenset({Stream.MARKETING})), ()) is Stream.MARKETING
    assert stream_of(SubmissionOptions(), BOTH, ()) is Stream.TRANSACTIONAL

"""What is forwarded is what came, from the null sender."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from config.schema import Settings
from mta.dkim import KeyRing, Signer
from mta.mail.address import Address
from mta.mail.message import Body
from mta.queue.internal_mail import InternalMailBuilder
from mta.reports.outgoing import OutgoingMail
from mta.store.queue.enqueue import NewMessage
from mta.store.results.report_actions import Forward, InboundReport
from tests.unit.mta.reports import rig

TO = Address.parse("desk@example.com")


def forward(content: bytes, client: str = "192.0.2.1", hello: str = "mx.example.com") -> NewMessage | None:
    settings = Settings.model_validate({"server": {"hostname": "mta.example.net"}})
    builder = InternalMailBuilder(settings, Signer(settings.signing, KeyRing([])))
    inbound = InboundReport(7, datetime.now(UTC), None, (), client, hello, content, 1)
    context = rig.context(lambda address: address.key.encode())
    return OutgoingMail(builder, inbound, context).forward(Forward(b"key", TO, 3))


def test_nothing_is_changed_but_the_trace() -> None:
    content = b"Subject: x\r\n\r\nbody\r\n"
    made = forward(content, "2001:db8::1")
    assert made
    message = made.message
    assert message.content.endswith(content)
    trace = message.content.removesuffix(content)
    assert trace.startswith(
        b"Received: from mx.example.com ([IPv6:2001:db8::1])\r\n\tby mta.example.net with ESMTP id "
    )
    assert trace.count(b"\r\n") == 3
    assert (message.envelope.sender, [each.address for each in message.envelope.recipients]) == (None, [TO])
    assert message.envelope.body is Body.SEVEN_BIT
    assert made.account_id == 3


@pytest.mark.parametrize(
    ("content", "body", "utf8"),
    [
        ("Subject: x\r\n\r\nh\u00e9\r\n".encode(), Body.EIGHT_BIT, False),
        ("Subject: h\u00e9\r\n\r\nx\r\n".encode(), Body.EIGHT_BIT, True),
    ],
)
def test_receivers_are_told_what_they_must_be_able_to_take(content: bytes, body: Body, utf8: bool) -> None:
    made = forward(content)
    assert made
    assert (made.message.envelope.body, made.message.envelope.smtputf8) == (body, utf8)


def test_mail_without_a_header_is_not_forwarded() -> None:
    assert forward(b"this is no header\r\n\r\n") is None

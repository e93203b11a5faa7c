"""Passing on what came back: to the sender whom it would have reached without our return path, or to people.

It must never change what it passes on, nor send it from anybody but the null sender: nothing can come back of it.

*Limits.* A report of one recipient is passed on once, as its mark is written down.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address

from mta.mail.address import Address
from mta.mail.headers import HeaderError, Headers
from mta.mail.identity import format_id, new_message_id
from mta.mail.message import Body, Envelope, Message, Origin, Recipient
from mta.store.queue.enqueue import NewMessage
from mta.store.results.report_queue import Arrived
from policy.base import Finding

FINDING = Finding("returned", "pass", "mail that came back, passed on; the policy chain does not apply")


class Forwarder:
    """``lifetime``: how long it is tried."""

    def __init__(self, hostname: str, lifetime: timedelta) -> None:
        self._hostname, self._lifetime = hostname, lifetime

    def compose(self, arrived: Arrived, to: Address, account_id: int) -> NewMessage | None:
        """``arrived`` as a message for ``to``; None if its header is too broken to be sent on."""
        now, message_id = datetime.now(UTC), new_message_id()
        content = self._received(arrived, format_id(message_id), now) + arrived.content
        try:
            headers = Headers.split(content)
        except HeaderError:
            return None
        utf8 = not content[: headers.size].isascii() or not to.is_ascii
        body = Body.SEVEN_BIT if content.isascii() else Body.EIGHT_BIT
        origin = Origin(
            account_id=account_id,
            account="",
            credential=None,
            client=ip_address(arrived.client),
            hello=arrived.hello,
            session="returned",
            protocol="ESMTP",
            received_at=now,
        )
        message = Message(message_id, Envelope(None, (Recipient(to),), body, utf8), origin, headers, content)
        return NewMessage(message, account_id, expires_at=now + self._lifetime, findings=(FINDING,))

    def _received(self, arrived: Arrived, number: str, now: datetime) -> bytes:
        address = ip_address(arrived.client)
        literal = f"IPv6:{address}" if address.version == 6 else str(address)
        return (
            f"Received: from {arrived.hello or 'unknown'} ([{literal}])\r\n"
            f"\tby {self._hostname} with ESMTP id {number};\r\n"
            f"\t{format_datetime(now)}\r\n"
        ).encode()

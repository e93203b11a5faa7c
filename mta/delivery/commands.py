"""What a receiver offers, and so what we may ask of it: the commands of a transaction, or the reason there can be none.

It must never put on the wire what could be read as two things: whatever is not plainly an address or a parameter is
refused here, wherever it came from.

*Limits.* Content is never converted: it is signed. A receiver that cannot take it as it is does not get it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mta.mail.address import Address
from mta.mail.delivery import Delivery, QueuedRecipient
from mta.mail.headers import Headers
from mta.mail.message import Notify
from mta.mail.reply import Reply

_SAFE = re.compile(r"[^\x00-\x20\x7f<>]+\Z")  # in a path: nothing that could end it (RFC 5321 4.1.2)
_XTEXT = re.compile(r"[\x21-\x7e]+\Z")  # RFC 3461 4
_LIMIT = re.compile(r"(?i)(RCPTMAX|MAILMAX)=([1-9][0-9]{0,5})\Z")  # RFC 9422 4
_DOT = re.compile(rb"\n\.")  # twice as fast as ``in``, and most messages have none
_TOO_MANY = re.compile(r"(?i)too many (?:recipients|rcpts)")

UNSAFE = Reply(553, "5.1.3", "this address cannot be put into an SMTP command")
NO_UTF8_ADDRESS = Reply(553, "5.6.7", "the receiver cannot take an address with characters beyond ASCII (no SMTPUTF8)")
NO_UTF8 = Reply(550, "5.6.7", "the receiver cannot take a message with headers beyond ASCII (no SMTPUTF8)")
NO_EIGHT_BIT = Reply(550, "5.6.3", "the message has octets beyond ASCII and the receiver offers no 8BITMIME")


@dataclass(frozen=True, slots=True)
class Extensions:
    """What EHLO offered. ``size``: octets of the largest message, None if it was not said."""

    pipelining: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    starttls: bool = False
    dsn: bool = False
    sizes: bool = False
    size: int | None = None
    auth: frozenset[str] = frozenset()
    recipients: int | None = None  # of one transaction
    transactions: int | None = None  # of one connection

    @classmethod
    def of(cls, offered: Mapping[str, str], mechanisms: list[str]) -> Extensions:
        """``offered``: parameters by lower-case keyword."""
        size = offered.get("size", "").strip()
        limits = {m[1].upper(): int(m[2]) for word in offered.get("limits", "").split() if (m := _LIMIT.match(word))}
        return cls(
            pipelining="pipelining" in offered,
            eight_bit="8bitmime" in offered,
            smtputf8="smtputf8" in offered,
            starttls="starttls" in offered,
            dsn="dsn" in offered,
            sizes="size" in offered,
            size=int(size) if size.isascii() and size.isdigit() and len(size) < 20 and int(size) > 0 else None,
            auth=frozenset(mechanisms),
            recipients=limits.get("RCPTMAX"),
            transactions=limits.get("MAILMAX"),
        )


def obstacle(delivery: Delivery, sender: Address | None, content: bytes, extensions: Extensions) -> Reply | None:
    """Why this receiver cannot take the message at all; None if it can. ``sender``: as it will be named to it."""
    if sender is not None and not _SAFE.match(sender.local):
        return UNSAFE
    if extensions.size is not None and len(content) > extensions.size:
        text = f"the message has {len(content)} octets, the receiver takes {extensions.size}"
        return Reply(552, "5.3.4", text)
    if not extensions.smtputf8:
        if sender is not None and not sender.is_ascii:
            return NO_UTF8_ADDRESS
        if delivery.smtputf8 and not content[: Headers.split(content).size].isascii():
            return NO_UTF8
    if not extensions.eight_bit and not content.isascii():
        return NO_EIGHT_BIT
    return None


def recipient_obstacle(recipient: QueuedRecipient, extensions: Extensions) -> Reply | None:
    """Why this receiver cannot be asked for ``recipient``; None if it can."""
    if not _SAFE.match(recipient.address.local):
        return UNSAFE
    if not extensions.smtputf8 and not recipient.address.is_ascii:
        return NO_UTF8_ADDRESS
    return None


def mail(delivery: Delivery, sender: Address | None, content: bytes, extensions: Extensions) -> bytes:
    """The MAIL command (RFC 5321 4.1.1.2) from ``sender``, for a delivery without an obstacle."""
    command = f"MAIL FROM:<{sender or ''}>"
    if extensions.sizes:
        command += f" SIZE={len(content)}"
    if extensions.eight_bit and not content.isascii():
        command += " BODY=8BITMIME"
    if extensions.smtputf8 and (delivery.smtputf8 or not _all_ascii(delivery, sender)):
        command += " SMTPUTF8"
    if extensions.dsn:
        if delivery.ret is not None:
            command += f" RET={delivery.ret.value}"
        if delivery.envid is not None and _XTEXT.match(delivery.envid):
            command += f" ENVID={delivery.envid}"
    return command.encode() + b"\r\n"


def rcpt(recipient: QueuedRecipient, extensions: Extensions) -> bytes:
    """The RCPT command (RFC 5321 4.1.1.3), with the recipient's own DSN parameters (RFC 3461 4)."""
    command = f"RCPT TO:<{recipient.address}>"
    if extensions.dsn:
        if recipient.notify is not None:
            wanted = ",".join(str(flag.name) for flag in Notify if flag in recipient.notify)
            command += f" NOTIFY={wanted or 'NEVER'}"
        if recipient.orcpt is not None and _XTEXT.match(recipient.orcpt):
            command += f" ORCPT={recipient.orcpt}"
    return command.encode() + b"\r\n"


def is_too_many(reply: Reply) -> bool:
    """Whether RCPT was refused only because the transaction has enough of them (RFC 5321 4.5.3.1.10)."""
    if reply.code not in (451, 452, 552):
        return False
    return reply.status.endswith(".5.3") or bool(_TOO_MANY.search(reply.text))


def wire_form(content: bytes) -> bytes:
    """The message as it goes behind DATA, final dot included (RFC 5321 4.5.2)."""
    if content.startswith(b"."):
        content = b"." + content
    if _DOT.search(content):
        content = content.replace(b"\r\n.", b"\r\n..")
    return content + (b".\r\n" if content.endswith(b"\r\n") or not content else b"\r\n.\r\n")


def _all_ascii(delivery: Delivery, sender: Address | None) -> bool:
    addresses: list[Address] = [recipient.address for recipient in delivery.recipients]
    return all(address.is_ascii for address in addresses) and (sender is None or sender.is_ascii)

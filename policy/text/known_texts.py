"""Messages whose body was read before, for another recipient."""

from __future__ import annotations

from mta.mail.known_bodies import KnownBodies
from mta.mail.message import Message
from policy.text.message_text import FEW_OCTETS, MessageText

LIMIT = 512 * 1024  # octets of bodies; what was read of one takes 10 (60 kB) to 30 times (10 kB) as much
_KNOWN: KnownBodies[MessageText] = KnownBodies(LIMIT)


def read_text(message: Message) -> MessageText:
    """Return what a message says, read once for all whose body and Content-* fields are the same. For one thread."""
    body = message.body
    if message.size > FEW_OCTETS:
        return MessageText(message.content)
    fields = tuple(raw for name, raw in message.headers.fields if name.startswith(b"content-"))
    text = _KNOWN.find(body, fields)
    if text is None:
        text = MessageText(message.content)
        _KNOWN.keep(text, body, fields)
    return text

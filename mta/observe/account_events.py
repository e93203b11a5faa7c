"""Events about an account's mail as its applications see them: in webhooks and in ``mta events list --json``.

``docs/webhooks.md`` documents the fields.

Invariants: Nothing internal is shown: no SMTP dialogue, no names of operators.
Limitations: The texts of receivers are passed on as they were kept, without control characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from mta.mail.identity import MessageId, format_id

# field in the database -> field in the JSON object
_FIELDS = {
    "recipient": "recipient",
    "address": "recipient",
    "mailing": "mailing",
    "topic": "topic",
    "category": "category",
    "fault": "fault",
    "status": "enhanced_code",
    "code": "code",
    "rule": "rule",
    "text": "reply",
    "host": "host",
}
_INTERNAL = frozenset({"transcript", "account_id", "by", "source", "tls", "message"})


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """One event. ``id``: grows with time, never changes. ``recipient``, ``mailing``, ``topic`` and ``stream`` are those
    of the message, if the event is about one."""

    id: int
    at: datetime
    kind: str
    message_id: MessageId | None = None
    recipient: str | None = None
    mailing: str | None = None
    topic: str | None = None
    stream: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


def fields(event: AccountEvent) -> dict[str, Any]:
    """Return the event as its receivers see it, without the fields that are unknown."""
    shown: dict[str, Any] = {
        "id": event.id,
        "kind": event.kind,
        "time": event.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "message": format_id(event.message_id) if event.message_id else event.data.get("message"),
        "recipient": event.recipient,
        "mailing": event.mailing,
        "topic": event.topic,
        "stream": event.stream,
    }
    # In an event about a message, `address` is that of the receiver's host.
    rest = {key: value for key, value in event.data.items() if event.message_id is None or key != "address"}
    for key, name in _FIELDS.items():
        if key in rest:
            value = rest.pop(key)
            if shown.get(name) is None:
                shown[name] = value
    more = {key: value for key, value in rest.items() if key not in _INTERNAL and value is not None}
    return {key: value for key, value in shown.items() if value not in (None, "")} | ({"data": more} if more else {})


def line(account: str, event: AccountEvent) -> bytes:
    """Return the event as one line of JSON, without line end."""
    return orjson.dumps({"account": account} | fields(event))

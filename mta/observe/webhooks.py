"""What goes out to an account about its mail: the form of an event, of a batch, its signature, and when to try again.

The same object is an element of a webhook's batch and a line of ``mta events list --json``. ``docs/webhooks.md``
documents it for those who receive it.

It must never hold what is not the account's to know: the dialogue with a receiver, the names of our operators.

*Limits.* Text that receivers said is passed on as it was kept: cleaned of control characters, otherwise theirs.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from mta.mail.identity import MessageId, format_id

SIGNATURE = "Imprimatur-Signature"
MOST_EVENTS, MOST_OCTETS = 500, 256 * 1024  # of one batch
FIRST_WAIT, LONGEST_WAIT = 5.0, 3600.0  # seconds before the first further try, and between tries at most

# what the database calls it -> what receivers of events know it by
_NAMED = {
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
_OURS = frozenset({"transcript", "account_id", "by", "source", "tls", "message"})


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One event of an account. ``id``: grows with time, and never changes. ``recipient``, ``mailing``, ``topic`` and
    ``stream`` are the message's, where it is about one."""

    id: int
    at: datetime
    kind: str
    message_id: MessageId | None = None
    recipient: str | None = None
    mailing: str | None = None
    topic: str | None = None
    stream: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WebhookBatch:
    """The body of one request. ``last``: the id of its last event; ``count``: how many events it has."""

    body: bytes
    last: int
    count: int


def fields(event: Occurrence) -> dict[str, Any]:
    """The event as its receivers see it; what is not known is left out."""
    told: dict[str, Any] = {
        "id": event.id,
        "kind": event.kind,
        "time": event.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "message": format_id(event.message_id) if event.message_id else event.data.get("message"),
        "recipient": event.recipient,
        "mailing": event.mailing,
        "topic": event.topic,
        "stream": event.stream,
    }
    # The address of a message's event is that of the host.
    rest = {key: value for key, value in event.data.items() if event.message_id is None or key != "address"}
    for key, name in _NAMED.items():
        if key in rest:
            value = rest.pop(key)
            if told.get(name) is None:
                told[name] = value
    more = {key: value for key, value in rest.items() if key not in _OURS and value is not None}
    return {key: value for key, value in told.items() if value not in (None, "")} | ({"data": more} if more else {})


def line(account: str, event: Occurrence) -> bytes:
    """The event as one line of JSON, without its end."""
    return orjson.dumps({"account": account} | fields(event))


def batch(account: str, events: Sequence[Occurrence]) -> WebhookBatch:
    """As many of ``events`` (at least one of at least one) as fit into a request, from the first on."""
    chosen: list[bytes] = []
    octets = 0
    for event in events[:MOST_EVENTS]:
        one = orjson.dumps(fields(event))
        octets += len(one) + 1
        if chosen and octets > MOST_OCTETS:
            break
        chosen.append(one)
    head = orjson.dumps({"account": account})[:-1]
    body = head + b',"events":[' + b",".join(chosen) + b"]}"
    return WebhookBatch(body, events[len(chosen) - 1].id, len(chosen))


def sign(keys: Sequence[str], at: int, body: bytes) -> str:
    """The value of ``Imprimatur-Signature``: ``t=<seconds>,v1=<hex>``, one ``v1`` for each secret that is in force.

    Each is HMAC-SHA256 (RFC 2104) of ``<seconds>.<body>`` under the octets of the secret as it was shown.
    """
    signed = b"%d." % at + body
    digests = [hmac.new(key.encode(), signed, hashlib.sha256).hexdigest() for key in keys]
    return ",".join([f"t={at}", *(f"v1={digest}" for digest in digests)])


def wait_after(failures: int, share: float) -> float:
    """Seconds until the next try after so many failures in a row (1 or more): doubled each time, up to an hour.

    ``share``: a random number from 0 to 1; the wait is three quarters to five quarters of the plan, an hour at most.
    """
    plan = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(failures - 1, 20))
    return min(LONGEST_WAIT, plan * (0.75 + 0.5 * share))

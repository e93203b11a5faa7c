"""What the service itself says of a message, read as any operator would: by its record and events."""

from __future__ import annotations

from mta.demo.board import Seen
from mta.demo.cases import DemoOutcome
from mta.mail.identity import MessageId
from mta.store.journal.events import Event
from mta.store.store import Store

_FATES = {
    "delivered": DemoOutcome.DELIVERED,
    "deferred": DemoOutcome.DEFERRED,
    "failed": DemoOutcome.FAILED,
    "expired": DemoOutcome.FAILED,
}


async def look(store: Store, message: MessageId) -> dict[str, Seen]:
    """What has become of each recipient so far. Raises StoreUnavailable."""
    story = await store.explain.message(message)
    seen: dict[str, Seen] = {}
    if story is None:
        return seen
    for event in story.events:
        if event.recipient_index is not None and event.kind in _FATES:
            recipient = story.recipients[event.recipient_index]
            before = seen.get(recipient, Seen())
            seen[recipient] = Seen(_FATES[event.kind], str(event.data["status"]), _why(event), before.attempts + 1)
    for queued in story.queued:
        if queued.held:
            seen[story.recipients[queued.recipient_index]] = Seen(DemoOutcome.HELD, why=queued.held)
    return seen


def _why(event: Event) -> str:
    data = event.data
    reply = f"{data['code']} {data['status']} {data['text']}"
    if rule := data.get("rule"):
        return f"{reply} (rule {rule})"
    return f"{reply} ({data['host']}, {data['tls'] or 'not encrypted'})" if "host" in data else reply

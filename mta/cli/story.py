"""A message's story as text: where it came from, what was found, every attempt with its reason, what comes next.

It must never leave anything out that is known, nor show a receiver's control characters (the store keeps none).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from mta.cli.output import moment, relative, size
from mta.mail.hold import Hold, HoldSource
from mta.mail.identity import format_id
from mta.observe.labels import QueueState
from mta.store.journal.events import Event
from mta.store.queue.explain import Story
from mta.store.queue.queue import QueueEntry
from policy.base import Suppression

Line = tuple[str, str]  # text, style of rich ("" for plain)

_STYLES = {
    "delivered": "green",
    "deferred": "yellow",
    "failed": "red",
    "expired": "red",
    "dropped": "magenta",
    "bounced_async": "red",
    "complained": "magenta",
}
_VERDICTS = {"refuse": "red", "error": "red", "hold": "yellow", "observe": "yellow", "amend": "cyan"}
_ATTEMPTS = frozenset({"delivered", "deferred", "failed", "expired"})
_WORDS = {
    "dsn": "a delivery status notification was sent to the sender",
    "bounced": "to be failed, an operator asked for it",
    "dropped": "removed from the queue: the address was suppressed meanwhile",
    "bounced_async": "bounced after it had been accepted by the receiver",
    "delay_reported": "a host further on reports a delay",
    "auto_reply": "an automatic reply was received",
    "complained": "the recipient complained",
}


def tell(story: Story, suppressions: Sequence[Suppression], now: datetime) -> Iterator[Line]:
    """The whole story, line by line. ``suppressions``: those that hold now for its recipients."""
    yield f"Message {format_id(story.message_id)}", "bold"
    yield from _origin(story)
    yield "", ""
    yield "What was checked", "bold"
    for finding in story.findings:
        whom = f" for {finding.recipient}" if finding.recipient else ""
        yield f"  {finding.policy}: {finding.verdict}{whom} ({finding.evidence})", _VERDICTS.get(finding.verdict, "")
    if not story.findings:
        yield "  nothing", "dim"
    yield "", ""
    yield "What happened (UTC)", "bold"
    if story.refused:
        yield f"  {moment(story.received_at)}  refused: {story.refused}".replace("\n", " / "), "red"
        return
    yield f"  {moment(story.received_at)}  accepted for {len(story.recipients)} recipient(s)", "cyan"
    tries: dict[int, int] = {}
    for event in story.events:
        if event.recipient_index is not None and event.kind in _ATTEMPTS:
            tries[event.recipient_index] = tries.get(event.recipient_index, 0) + 1
        yield from _event(event, _recipient(story, event.recipient_index), tries.get(event.recipient_index or 0, 0))
    yield "", ""
    yield "Now", "bold"
    yield from _now(story, suppressions, now)


def _origin(story: Story) -> Iterator[Line]:
    origin, summary = story.origin, story.summary
    yield f"  account     {story.account or 'deleted'} ({story.account_id})", ""
    yield f"  sender      {story.sender or '<>'}", ""
    for name in ("from", "subject", "message-id"):
        if name in summary:
            yield f"  {name:10}  {summary[name]}".replace("\n", " "), ""
    taken = f"{moment(story.received_at)} UTC, {size(story.size)}, {origin['protocol']} from {origin['client']}"
    yield f"  taken       {taken}", ""
    yield f"  by          {_spoke(origin)}, {origin['tls'] or 'not encrypted'}", ""
    yield f"  session     {origin['session']}, the client calls itself {origin['hello'] or 'nothing'}", ""
    asked = ", ".join(f"{name} {value}" for name, value in story.envelope.items())
    expires = f", expires {moment(story.expires_at)} UTC" if story.expires_at else ""
    yield f"  envelope    {asked}{expires}", ""
    purpose = [f"{name} {value}" for name in ("mailing", "topic", "profile") if (value := getattr(story, name))]
    yield f"  stream      {', '.join([story.stream or 'not known', *purpose])}", ""


def _spoke(origin: Mapping[str, Any]) -> str:
    return f"credential {origin['credential']}" if origin["credential"] else "the client's network, or ourselves"


def _recipient(story: Story, n: int | None) -> str:
    return story.recipients[n] if n is not None and n < len(story.recipients) else "the whole message"


def _event(event: Event, recipient: str, tries: int) -> Iterator[Line]:
    data, style = event.data, _STYLES.get(event.kind, "")
    head = f"  {moment(event.at)}  {recipient}: "
    if event.kind in ("held", "released"):
        yield head + _held(event.kind, data), style
        return
    if event.kind not in _ATTEMPTS:
        words = _WORDS.get(event.kind, event.kind)
        details = ", ".join(f"{name} {value}" for name, value in data.items() if value not in (None, "", True))
        yield head + words + (f" ({details})" if details else ""), style
        return
    stage = f" at stage {data['stage']}" if "stage" in data else ""
    yield f"{head}attempt {tries} {event.kind}{stage}", style
    if where := _where(data):
        yield f"      {where}", "dim"
    reply = " ".join(str(data[key]) for key in ("code", "status", "text") if data.get(key)).replace("\n", " / ")
    yield f"      {reply}", ""
    if rule := data.get("rule"):
        verdict = f"{data.get('category')}, at fault: {data.get('fault')}"
        yield f"      by rule {rule}: {verdict}" + _until(data), ""
    if stray := data.get("transcript"):
        yield f"      said besides: {stray}".replace("\n", " / "), "dim"
    if data.get("delivery_unknown"):
        yield "      the end was lost after the final dot: it may have been taken, and may arrive twice", "yellow"
    if data.get("pulled"):
        yield "      it had been taken out of the queue by then; this is for the record", "dim"


def _held(kind: str, data: Mapping[str, Any]) -> str:
    hold = data["hold"]
    if kind == "held":
        return f"held by {Hold(HoldSource(hold['source']), hold['ref'], hold['text'])}"
    ref = f" ({hold['ref']})" if hold["ref"] else ""
    reason = f": {data['reason']}" if data["reason"] else ""
    left = f", {data['other_holds']} other hold(s) left" if data["other_holds"] else ""
    return f"released from the hold by {hold['source']}{ref}{reason}{left}"


def _where(data: Mapping[str, Any]) -> str:
    """With whom, how, from where and for how long."""
    parts = []
    if "host" in data:
        parts += [f"{data['host']} [{data['address']}]", data.get("tls") or "not encrypted"]
    if source := data.get("source"):
        parts.append(f"from {source}")
    if "seconds" in data:
        parts.append(f"{data['seconds']} s")
    return ", ".join(parts)


def _until(data: Mapping[str, Any]) -> str:
    return f", to be tried again {data['until'][:19].replace('T', ' ')}" if data.get("until") else ""


def _now(story: Story, suppressions: Sequence[Suppression], now: datetime) -> Iterator[Line]:
    waiting = {queued.recipient_index: queued for queued in story.queued}
    last = {event.recipient_index: event.kind for event in story.events if event.kind in _STYLES}
    for n, recipient in enumerate(story.recipients):
        if n in waiting:
            yield f"  {recipient}: {_waits(waiting[n], now)}", "yellow"
        else:
            ended = last.get(n, "no longer queued")
            yield f"  {recipient}: {ended}", _STYLES.get(ended, "")
    for suppression in suppressions:
        scope = "for everybody" if suppression.account_id is None else "for this account"
        since = moment(suppression.since)
        yield f"  {suppression.address} is suppressed {scope} since {since}: {suppression.why}", "magenta"


def _waits(queued: QueueEntry, now: datetime) -> str:
    expires = f"expires {relative(queued.expires_at, now)}"
    if queued.bounce:
        return f"will be failed at once, as an operator asked: {queued.bounce}"
    match queued.state:
        case QueueState.LEASED:
            worker = f"{queued.worker[0]} (process {queued.worker[1]})" if queued.worker else "a worker that has ended"
            return f"in the hands of {worker}, attempt {queued.attempts + 1}, {expires}"
        case QueueState.HELD:
            return f"held by {'; by '.join(map(str, queued.holds))}; {expires}"
        case QueueState.READY:
            due = f"{relative(queued.due_at, now)} ({moment(queued.due_at)} UTC)"
            return f"attempt {queued.attempts + 1} {due}, {expires}"


def as_data(story: Story, suppressions: Sequence[Suppression]) -> dict[str, Any]:
    """The same as plain data, for ``--json``."""
    data = {name: getattr(story, name) for name in Story.__slots__ if name not in ("findings", "events", "queued")}
    return data | {
        "message_id": format_id(story.message_id),
        "findings": [finding._asdict() for finding in story.findings],
        "events": [
            {"at": event.at, "recipient_index": event.recipient_index, "kind": event.kind, **event.data}
            for event in story.events
        ],
        "queued": [
            asdict(queued)
            | {"message_id": format_id(queued.message_id), "state": queued.state.value}
            | {"holds": [asdict(hold) | {"source": hold.source.value} for hold in queued.holds]}
            for queued in story.queued
        ],
        "suppressed": [
            {
                "address": str(each.address),
                "account_id": each.account_id,
                "reason": each.reason,
                "rule": each.rule,
                "since": each.since,
            }
            for each in suppressions
        ],
    }

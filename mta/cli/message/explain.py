"""``mta explain``: everything known about one message: its origin, findings, attempts with their reasons, and state.

Invariants: nothing that is known is left out. No control character of a receiver is shown (the store keeps none).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import load_settings, with_admin
from mta.cli.options import ConfigOption, JsonOption, parse_message_id
from mta.cli.output import moment, plain, print_json, print_lines, relative, size
from mta.mail.hold import Hold, HoldSource
from mta.mail.identity import format_id
from mta.observe.labels import QueueState

if TYPE_CHECKING:
    from mta.admin.messages import MessageStory
    from mta.mail.shaping_action import ShapingAction
    from mta.store.journal.events import Event
    from mta.store.queue.backoffs import PathBackoff
    from mta.store.queue.explain import Story
    from mta.store.queue.queue import QueueEntry

_Line = tuple[str, str]  # text, style of rich ("" for plain)

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
    "dsn": "delivery status notification sent to the sender",
    "bounced": "bounced by an operator",
    "dropped": "removed from the queue: the address was suppressed meanwhile",
    "bounced_async": "bounced after the receiver had accepted it",
    "delay_reported": "a host further on reports a delay",
    "auto_reply": "automatic reply received",
    "complained": "the recipient complained",
}


def register(app: typer.Typer) -> None:
    app.command("explain")(explain)


def explain(
    message: Annotated[str, typer.Argument(metavar="ID", help="The ID in our reply `250 2.0.0 OK: queued as ID`.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show where a message came from, what was checked, every attempt with its reason, and what comes next."""
    from mta.admin import messages

    message_id = parse_message_id(message)
    told = with_admin(load_settings(config), lambda context: messages.explain(context, message_id))
    if as_json:
        print_json(_fields(told))
    else:
        print_lines(_tell(told, datetime.now(UTC)))


def _tell(told: MessageStory, now: datetime) -> Iterator[_Line]:
    """Yield the whole story, line by line."""
    story = told.story
    yield f"Message {format_id(story.message_id)}", "bold"
    yield from _origin(story)
    yield "", ""
    yield "Checks", "bold"
    for finding in story.findings:
        whom = f" for {finding.recipient}" if finding.recipient else ""
        yield f"  {finding.policy}: {finding.verdict}{whom} ({finding.evidence})", _VERDICTS.get(finding.verdict, "")
    if not story.findings:
        yield "  none", "dim"
    yield "", ""
    yield "History (UTC)", "bold"
    if story.refused:
        yield f"  {moment(story.received_at)}  rejected: {story.refused}".replace("\n", " / "), "red"
        return
    yield f"  {moment(story.received_at)}  accepted for {len(story.recipients)} recipient(s)", "cyan"
    tries: dict[int, int] = {}
    for event in story.events:
        if event.recipient_index is not None and event.kind in _ATTEMPTS:
            tries[event.recipient_index] = tries.get(event.recipient_index, 0) + 1
        yield from _event(event, _recipient(story, event.recipient_index), tries.get(event.recipient_index or 0, 0))
    yield "", ""
    yield "Now", "bold"
    yield from _now(told, now)


def _origin(story: Story) -> Iterator[_Line]:
    origin, summary = story.origin, story.summary
    yield f"  account     {story.account or 'deleted'} ({story.account_id})", ""
    yield f"  sender      {story.sender or '<>'}", ""
    for name in ("from", "subject", "message-id"):
        if name in summary:
            yield f"  {name:10}  {summary[name]}".replace("\n", " "), ""
    received = f"{moment(story.received_at)} UTC, {size(story.size)}, {origin['protocol']} from {origin['client']}"
    yield f"  received    {received}", ""
    client = f"credential {origin['credential']}" if origin["credential"] else "client network, or the service itself"
    yield f"  by          {client}, {origin['tls'] or 'not encrypted'}", ""
    yield f"  session     {origin['session']}, EHLO {origin['hello'] or '(none)'}", ""
    asked = ", ".join(f"{name} {value}" for name, value in story.envelope.items())
    expires = f", expires {moment(story.expires_at)} UTC" if story.expires_at else ""
    yield f"  envelope    {asked}{expires}", ""
    purpose = [f"{name} {value}" for name in ("mailing", "topic", "profile") if (value := getattr(story, name))]
    yield f"  stream      {', '.join([story.stream or 'unknown', *purpose])}", ""


def _recipient(story: Story, n: int | None) -> str:
    return story.recipients[n] if n is not None and n < len(story.recipients) else "the whole message"


def _event(event: Event, recipient: str, tries: int) -> Iterator[_Line]:
    data, style = event.data, _STYLES.get(event.kind, "")
    head = f"  {moment(event.at)}  {recipient}: "
    if event.kind in ("held", "released"):
        yield head + _hold(event.kind, data), style
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
        retry = f", next attempt {data['until'][:19].replace('T', ' ')}" if data.get("until") else ""
        yield f"      rule {rule}: {data.get('category')}, at fault: {data.get('fault')}{retry}", ""
    if stray := data.get("transcript"):
        yield f"      unexpected replies: {stray}".replace("\n", " / "), "dim"
    if data.get("delivery_unknown"):
        yield "      no reply to the final dot: the receiver may have accepted it, and may get it twice", "yellow"
    if data.get("pulled"):
        yield "      removed from the queue before; kept for the record", "dim"


def _hold(kind: str, data: Mapping[str, Any]) -> str:
    hold = data["hold"]
    if kind == "held":
        return f"held by {Hold(HoldSource(hold['source']), hold['ref'], hold['text'])}"
    ref = f" ({hold['ref']})" if hold["ref"] else ""
    reason = f": {data['reason']}" if data["reason"] else ""
    left = f", {data['other_holds']} other hold(s) left" if data["other_holds"] else ""
    return f"released from the hold by {hold['source']}{ref}{reason}{left}"


def _where(data: Mapping[str, Any]) -> str:
    """Return the receiving host, TLS, our source address and the duration, as far as known."""
    parts = []
    if "host" in data:
        parts += [f"{data['host']} [{data['address']}]", data.get("tls") or "not encrypted"]
    if source := data.get("source"):
        parts.append(f"from {source}")
    if "seconds" in data:
        parts.append(f"{data['seconds']} s")
    return ", ".join(parts)


def _now(told: MessageStory, now: datetime) -> Iterator[_Line]:
    story = told.story
    queued = {entry.recipient_index: entry for entry in story.queued}
    last = {event.recipient_index: event.kind for event in story.events if event.kind in _STYLES}
    for n, recipient in enumerate(story.recipients):
        if n in queued:
            yield f"  {recipient}: {_state(queued[n], now)}", "yellow"
            if action := told.actions.get(queued[n].waits_for or 0):
                yield f"      waits for {_action(action)}", "yellow"
            elif backoff := told.backoffs.get(queued[n].destination):
                yield f"      waits for {backoff.source} -> {backoff.site}, {_backoff(backoff)}", "yellow"
        else:
            ended = last.get(n, "no longer queued")
            yield f"  {recipient}: {ended}", _STYLES.get(ended, "")
    for suppression in told.suppressions:
        scope = "all accounts" if suppression.account_id is None else "this account"
        since = moment(suppression.since)
        yield f"  {suppression.address} is suppressed for {scope} since {since}: {suppression.why}", "magenta"


def _state(entry: QueueEntry, now: datetime) -> str:
    expires = f"expires {relative(entry.expires_at, now)}"
    if entry.bounce:
        return f"about to be bounced by an operator: {entry.bounce}"
    match entry.state:
        case QueueState.LEASED:
            worker = f"{entry.worker[0]} (process {entry.worker[1]})" if entry.worker else "a worker that has ended"
            return f"leased to {worker}, attempt {entry.attempts + 1}, {expires}"
        case QueueState.HELD:
            return f"held by {'; by '.join(map(str, entry.holds))}; {expires}"
        case QueueState.READY:
            due = f"{relative(entry.due_at, now)} ({moment(entry.due_at)} UTC)"
            return f"attempt {entry.attempts + 1} {due}, {expires}"
        case QueueState.DELAYED:
            from mta.admin.backoffs import DELAYS

            due = f"{relative(entry.due_at, now)} ({moment(entry.due_at)} UTC)"
            why = DELAYS[entry.delayed_by] if entry.delayed_by else "its time"
            return f"waits for {why}: attempt {entry.attempts + 1} {due}, {expires}"


def _backoff(backoff: PathBackoff) -> str:
    workers = "1 worker" if backoff.workers == 1 else f"{backoff.workers} workers"
    reply = backoff.reply.replace("\n", " / ")
    return f"in backoff until {moment(backoff.until)} UTC in {workers} after {reply}; mta queue retry ends it"


def _action(action: ShapingAction) -> str:
    words = f"shaping action {action.id} ({action.name}, by {action.author}) until {moment(action.expires_at)} UTC"
    return f"{words}: {action.reason}; mta shaping actions cancel {action.id} ends it"


def _fields(told: MessageStory) -> dict[str, Any]:
    fields: dict[str, Any] = plain(told.story)
    return fields | {
        "events": [
            {"at": event.at, "recipient_index": event.recipient_index, "kind": event.kind, **event.data}
            for event in told.story.events
        ],
        "backoffs": [{"destination": each, **plain(backoff)} for each, backoff in told.backoffs.items()],
        "suppressed": [
            {
                "address": each.address,
                "account_id": each.account_id,
                "reason": each.reason,
                "rule": each.rule,
                "since": each.since,
            }
            for each in told.suppressions
        ],
    }

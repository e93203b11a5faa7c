"""How mailings look, to people and (``--json``) to machines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from mta.cli.mailing_steps import Listed, Made
from mta.cli.output import moment
from mta.mail.identity import format_id
from mta.store.mailings.mailing_records import MailingEvent, MailingRecord, MailingStory
from policy.accounts.mailing import Mailing


def print_made(made: Made, *, as_json: bool) -> None:
    """The new mailing, and what comes next."""
    mailing = made.mailing
    if as_json:
        _print_json({"id": mailing.id, "account": made.account} | asdict(mailing))
        return
    print(f'Mailing "{mailing.name}" of {made.account}: {mailing.id}')
    if mailing.sample:
        print(
            f'The list "{mailing.list}" is new: the first {mailing.sample.size} messages go, the rest waits for a look.'
        )
    if not mailing.approved:
        missing = "nobody has said where it comes from" if mailing.origin is None else "no reviewer has approved of it"
        print(f'The list "{mailing.list}": {missing} (mta account source).')
    print(f"Messages name it in X-MTA-Mailing. Before it leaves: mta mailing confirm {mailing.id}")


def print_list(listed: Listed, *, as_json: bool) -> None:
    """A table of mailings."""
    if as_json:
        _print_json([_fields(each, listed.accounts.get(each.mailing.account_id, "")) for each in listed.records])
        return
    if not listed.records:
        print("There are no mailings.")
        return
    table = Table("id", "account", "name", "topic", "list", "made", "state")
    for each in listed.records:
        mailing = each.mailing
        account = listed.accounts.get(mailing.account_id, str(mailing.account_id))
        made = f"{each.created_at:%Y-%m-%d %H:%M}"
        table.add_row(mailing.id, account, mailing.name, mailing.topic, mailing.list, made, state_of(mailing))
    Console(markup=False).print(table)


def state_of(mailing: Mailing) -> str:
    """In a word or two, what it waits for."""
    if mailing.stopped is not None:
        return "stopped"
    if mailing.confirmation is None:
        return "not confirmed"
    if mailing.sample and mailing.sample.exhausted:
        return "sample sent"
    return "confirmed"


def print_story(story: MailingStory, *, as_json: bool) -> None:
    """All that is known of one mailing."""
    if as_json:
        _print_json(as_data(story))
        return
    for line in lines_of(story):
        print(line)


def lines_of(story: MailingStory) -> Iterator[str]:
    mailing = story.record.mailing
    yield f"Mailing {mailing.id}  {mailing.name}"
    yield f"  account     {story.account} ({mailing.account_id})"
    yield f"  topic       {mailing.topic}"
    yield f"  list        {mailing.list}: {_origin(mailing)}"
    yield f"  state       {state_of(mailing)}{_why(story.record)}"
    yield ""
    yield "Who did what (UTC)"
    for act in story.history:
        details = ", ".join(f"{name} {value}" for name, value in act.data.items() if name not in ("mailing", "act"))
        yield f"  {moment(act.at)}  {act.data.get('act')} by {act.by}" + (f" ({details})" if details else "")
    yield ""
    yield f'Permission of the account for "{mailing.topic}" now'
    for each in story.consents:
        yield f"  {each.basis}: {each.given} consents, {each.revoked} revoked, {each.incomplete} without full evidence"
    if not story.consents:
        yield "  no consent is known"
    yield ""
    yield "What became of it"
    yield f"  accepted    {story.messages} messages for {story.recipients} recipients{_span(story)}"
    for rule, count, example in story.refused:
        yield f"  refused     {count} messages by {rule.split()[-1]}, such as: {example[:200]}"
    for state, count in story.waiting:
        yield f"  {state:10}  {count} recipients"
    for hold, count in story.holds:
        yield f"  held by     {hold} ({count} recipients)"
    for kind, category, count in story.outcomes:
        yield f"  {kind:10}  {count}" + (f" ({category})" if category else "")
    if story.latest:
        yield ""
        yield f"The newest {len(story.latest)} events (UTC)"
        yield from map(_happening, story.latest)


def _origin(mailing: Mailing) -> str:
    if mailing.origin is None:
        return "nobody has said where it comes from"
    return f"{mailing.origin} ({'approved' if mailing.approved else 'not approved'})"


def _why(record: MailingRecord) -> str:
    mailing = record.mailing
    if mailing.stopped is not None:
        what = "made to fail" if record.stop_bounces else "held"
        return f": {mailing.stopped}; what is queued is {what}"
    if mailing.sample is None:
        return ""
    if mailing.sample.released_at is not None:
        return f", released after a sample of {mailing.sample.size}"
    return f", {mailing.sample.taken} of a sample of {mailing.sample.size} taken"


def _span(story: MailingStory) -> str:
    return f", {moment(story.first)} to {moment(story.last)}" if story.first and story.last else ""


def _happening(each: MailingEvent) -> str:
    hold = each.data.get("hold", {})
    said = each.data.get("text") or each.data.get("reason") or hold.get("text") or ""
    about = f"{each.kind} {each.recipient or ''}".rstrip()
    return f"  {moment(each.at)}  {format_id(each.message_id)}  {about}" + (f": {said[:200]}" if said else "")


def as_data(story: MailingStory) -> dict[str, Any]:
    """The same as plain data, for ``--json``."""
    return {
        "mailing": _fields(story.record, story.account),
        "history": [{"at": act.at, "by": act.by, **act.data} for act in story.history],
        "consents": [asdict(each) for each in story.consents],
        "messages": story.messages,
        "recipients": story.recipients,
        "first": story.first,
        "last": story.last,
        "refused": [{"rule": rule, "messages": count, "example": text} for rule, count, text in story.refused],
        "queued": [{"state": state, "recipients": count} for state, count in story.waiting],
        "holds": [
            {"source": hold.source.value, "ref": hold.ref, "text": hold.text, "recipients": count}
            for hold, count in story.holds
        ],
        "outcomes": [{"kind": kind, "category": what, "count": count} for kind, what, count in story.outcomes],
        "events": [
            {
                "at": each.at,
                "message_id": format_id(each.message_id),
                "kind": each.kind,
                "recipient": each.recipient,
                "data": dict(each.data),
            }
            for each in story.latest
        ],
    }


def _fields(record: MailingRecord, account: str) -> dict[str, Any]:
    return asdict(record.mailing) | {
        "account": account,
        "state": state_of(record.mailing),
        "created_at": record.created_at,
        "created_by": record.created_by,
        "released_by": record.released_by,
        "stopped_at": record.stopped_at,
        "stopped_by": record.stopped_by,
        "stop_bounces": record.stop_bounces,
    }


def _print_json(value: object) -> None:
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())

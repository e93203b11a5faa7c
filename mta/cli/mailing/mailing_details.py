"""``mta mailing show``: everything known about a mailing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import load_settings, with_store
from mta.cli.mailing.lookup import MailingAccountOption, MailingArgument, find_mailing
from mta.cli.options import ConfigOption, JsonOption
from mta.cli.output import fail, moment, plain, print_json, print_lines, size
from mta.mail.identity import format_id

if TYPE_CHECKING:
    from mta.store.mailings.mailing_holds import QueueMoved
    from mta.store.mailings.mailing_records import MailingEvent, MailingStory
    from mta.store.mailings.mailings import MailingRecord
    from mta.store.mailings.references import ReferenceRecord
    from mta.store.store import Store
    from policy.accounts.mailing import Mailing


def show(
    which: MailingArgument,
    account: MailingAccountOption = None,
    events: Annotated[
        int, typer.Option(min=0, max=100_000, metavar="N", help="Show at most N events (newest first).")
    ] = 20,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show a mailing: its account and list, who confirmed it, the consents, and what became of its messages."""
    settings = load_settings(config)

    async def work(store: Store) -> MailingStory:
        mailing = await find_mailing(settings, store, which, account)
        story = await store.mailings.story(mailing.id, events=events)
        if story is None:
            fail(f"there is no mailing {mailing.id}")
        return story

    story = with_store(settings, work)
    if as_json:
        print_json(_story_fields(story))
    else:
        print_lines((text, "") for text in _lines(story))


def state_of(mailing: Mailing) -> str:
    """Return the state of a mailing in a word or two."""
    if mailing.stopped is not None:
        return "stopped"
    if mailing.confirmation is None:
        return "not confirmed"
    if mailing.sample and mailing.sample.exhausted:
        return "sample sent"
    return "confirmed"


def moved_text(moved: QueueMoved) -> str:
    """Return what became of the queued recipients of a mailing."""
    counts = ((moved.released, "released"), (moved.held, "held"), (moved.bounced, "bounced"))
    told = ", ".join(f"{count} {what}" for count, what in counts if count)
    more = f"; {moved.still_held} of the released ones have other holds" if moved.still_held else ""
    return f"Queued recipients: {told or 'none concerned'}{more}."


def mailing_fields(record: MailingRecord, account: str) -> dict[str, Any]:
    """Return a mailing for JSON."""
    fields: dict[str, Any] = plain(record)
    mailing: dict[str, Any] = fields.pop("mailing")
    return mailing | {"account": account, "state": state_of(record.mailing)} | fields


def reference_fields(reference: ReferenceRecord) -> dict[str, Any]:
    """Return a reference for JSON, without its picture."""
    fields: dict[str, Any] = plain(replace(reference, picture=None))
    return fields | {"picture": reference.picture is not None}


def reference_line(reference: ReferenceRecord) -> str:
    """Return a reference in one line."""
    what = f" (sample of {reference.sample_of})" if reference.sample_of else ""
    gone = f", removed by {reference.removed_by} {moment(reference.removed_at)}" if reference.removed_at else ""
    gone += f", an address erased from it {moment(reference.redacted_at)}" if reference.redacted_at else ""
    confirmed = f"confirmed by {reference.by} {moment(reference.at)} under terms {reference.terms}"
    return f"  {reference.number:<3} sha256 {reference.digest[:16]}, {size(reference.size)}, {confirmed}{what}{gone}"


def _story_fields(story: MailingStory) -> dict[str, Any]:
    return {
        "mailing": mailing_fields(story.record, story.account),
        "history": [{"at": act.at, "by": act.by, **act.data} for act in story.history],
        "references": [reference_fields(each) for each in story.references],
        "consents": story.consents,
        "messages": story.messages,
        "recipients": story.recipients,
        "first": story.first,
        "last": story.last,
        "refused": [{"rule": rule, "messages": count, "example": text} for rule, count, text in story.refused],
        "queued": [{"state": state, "recipients": count} for state, count in story.waiting],
        "holds": [{**plain(hold), "recipients": count} for hold, count in story.holds],
        "outcomes": [{"kind": kind, "category": what, "count": count} for kind, what, count in story.outcomes],
        "events": story.latest,
    }


def _lines(story: MailingStory) -> Iterator[str]:
    mailing = story.record.mailing
    yield f"Mailing {mailing.id}  {mailing.name}"
    yield f"  account     {story.account} ({mailing.account_id})"
    yield f"  topic       {mailing.topic}"
    if mailing.category:
        yield f"  category    {mailing.category}"
    yield f"  list        {mailing.list}: {_source(mailing)}"
    yield f"  state       {state_of(mailing)}{_reason(story.record)}"
    for page in mailing.pages.pages:
        yield f"  page        {page.url}: {page} (rule {page.rule}, {moment(page.at)})"
    yield ""
    yield "History (UTC)"
    for act in story.history:
        details = ", ".join(f"{name} {value}" for name, value in act.data.items() if name not in ("mailing", "act"))
        yield f"  {moment(act.at)}  {act.data.get('act')} by {act.by}" + (f" ({details})" if details else "")
    if story.references:
        yield ""
        yield "References: the messages that were confirmed (mta mailing preview shows them)"
        yield from map(reference_line, story.references)
    yield ""
    yield f'Consents of the account for "{mailing.topic}" now'
    for each in story.consents:
        yield f"  {each.basis}: {each.given} consents, {each.revoked} revoked, {each.incomplete} without full evidence"
    if not story.consents:
        yield "  none recorded"
    yield ""
    yield "Messages"
    span = f", {moment(story.first)} to {moment(story.last)}" if story.first and story.last else ""
    yield f"  accepted    {story.messages} messages for {story.recipients} recipients{span}"
    for rule, count, example in story.refused:
        yield f"  rejected    {count} messages by {rule.split()[-1]}, for example: {example[:200]}"
    for state, count in story.waiting:
        yield f"  {state:10}  {count} recipients"
    for hold, count in story.holds:
        yield f"  held by     {hold} ({count} recipients)"
    for kind, category, count in story.outcomes:
        yield f"  {kind:10}  {count}" + (f" ({category})" if category else "")
    if story.latest:
        yield ""
        yield f"Newest {len(story.latest)} events (UTC)"
        yield from map(_event, story.latest)


def _source(mailing: Mailing) -> str:
    if mailing.origin is None:
        return "source not recorded"
    return f"{mailing.origin} ({'approved' if mailing.approved else 'not approved'})"


def _reason(record: MailingRecord) -> str:
    mailing = record.mailing
    if mailing.stopped is not None:
        return f": {mailing.stopped}; queued recipients are {'bounced' if record.stop_bounces else 'held'}"
    if mailing.sample is None:
        return ""
    if mailing.sample.released_at is not None:
        return f", released after a sample of {mailing.sample.size}"
    return f", {mailing.sample.taken} of a sample of {mailing.sample.size} sent"


def _event(each: MailingEvent) -> str:
    hold = each.data.get("hold", {})
    said = each.data.get("text") or each.data.get("reason") or hold.get("text") or ""
    about = f"{each.kind} {each.recipient or ''}".rstrip()
    return f"  {moment(each.at)}  {format_id(each.message_id)}  {about}" + (f": {said[:200]}" if said else "")

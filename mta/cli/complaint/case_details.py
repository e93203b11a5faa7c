"""A complaint case as commands show it: its fields as JSON, its text for people, and what it cost."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.output import fail, moment, plain, print_details, print_json, print_lines, relative
from mta.mail.identity import format_id
from mta.mail.spans import span
from policy.reputation.complaint import EVIDENCE, CaseEventKind, CaseState

if TYPE_CHECKING:
    from mta.store.reputation.cases import CaseChanged, CaseEntry, CaseStory, Closed
    from policy.reputation.complaint import Case

CaseArgument = Annotated[str, typer.Argument(metavar="CASE", help="Number of the case: C-17, or 17.")]

_NEXT = {
    CaseState.OPEN: "The running service notifies the account within moments.",
    CaseState.SENT: (
        "The account must answer; record it, also one by mail that is not proved to be the account's: "
        "mta complaint answer {case} --text TEXT"
    ),
    CaseState.ANSWERED: (
        "Decide on the answer: mta complaint accept {case} --text TEXT, or mta complaint reject {case} --reason TEXT"
    ),
    CaseState.AGREED: "When it is done: mta complaint close {case} --upheld, or --unfounded",
    CaseState.OVERDUE: (
        "No answer in time: mta account suspend {account} --reason TEXT, or mta complaint close {case} --upheld"
    ),
    CaseState.SUSPENDED: (
        "To resume the account: mta complaint answer {case} --text TEXT, then mta complaint accept {case} --text TEXT"
    ),
}


@dataclass(slots=True)
class CaseImpact:
    """What a case led to. Times in hours; ``held``, ``released``, ``bounced``: queued recipients."""

    answered_after: float | None = None
    suspended_for: float | None = None
    held: int = 0
    released: int = 0
    bounced: int = 0
    costs: dict[str, Decimal] = field(default_factory=dict)

    @property
    def money(self) -> str:
        return ", ".join(f"{amount} {currency}" for currency, amount in sorted(self.costs.items()))


def parse_case(text: str) -> int:
    """Return the id in ``C-17``, ``c17`` or ``17``; else exit status 2."""
    match = re.fullmatch(r"\s*(?:[cC]-?)?(\d{1,15})\s*", text)
    if not match:
        fail(f"{text!r} is not a case number such as C-1 (mta complaint list)", status=2)
    return int(match[1])


def read_evidence(path: Path | None) -> bytes:
    """Return as much of a file as is kept, nothing for None; a file that cannot be read is exit status 2."""
    if path is None:
        return b""
    try:
        with open(path, "rb") as file:
            return file.read(EVIDENCE)
    except OSError as error:
        fail(f"{path}: cannot be read: {error.strerror}", status=2)


def case_impact(story: CaseStory, now: datetime) -> CaseImpact:
    """Return what the history of a case adds up to."""
    found, since = CaseImpact(), None
    for entry in story.history:
        recipients = int(entry.data.get("recipients", 0))
        match entry.kind:
            case CaseEventKind.ANSWERED if found.answered_after is None:
                found.answered_after = _hours(story.case.told_at or story.case.opened_at, entry.at)
            case CaseEventKind.SUSPENDED:
                since, found.held = since or entry.at, found.held + recipients
            case CaseEventKind.RESUMED | CaseEventKind.TERMINATED:
                if since is not None:
                    found.suspended_for = (found.suspended_for or 0) + _hours(since, entry.at)
                since = None
                if entry.kind is CaseEventKind.RESUMED:
                    found.released += recipients
                else:
                    found.bounced += recipients
            case CaseEventKind.BOUNCED:
                found.bounced += recipients
            case _:
                pass
    if since is not None and story.case.state is CaseState.SUSPENDED:
        found.suspended_for = (found.suspended_for or 0) + _hours(since, now)
    for cost in story.case.costs:
        found.costs[cost["currency"]] = found.costs.get(cost["currency"], Decimal(0)) + Decimal(cost["amount"])
    return found


def _hours(since: datetime, until: datetime) -> float:
    return round((until - since).total_seconds() / 3600, 2)


def case_fields(case: Case) -> dict[str, Any]:
    """Return a case for JSON; ``remaining`` in seconds."""
    remaining = case.remaining.total_seconds() if case.remaining is not None else None
    fields: dict[str, Any] = plain(case)
    return fields | {"case": case.number, "remaining": remaining}


def story_fields(story: CaseStory) -> dict[str, Any]:
    """Return a case with its history and impact, for JSON."""
    history = [
        {"at": each.at, "by": each.by, "kind": each.kind, **each.data, "evidence_octets": len(each.evidence or b"")}
        for each in story.history
    ]
    return case_fields(story.case) | {"impact": case_impact(story, datetime.now(UTC)), "history": history}


def print_case(story: CaseStory, *, as_json: bool) -> None:
    """Print everything about a case, and what to do next."""
    if as_json:
        print_json(story_fields(story))
        return
    case, now = story.case, datetime.now(UTC)
    due = f"{moment(case.due_at)} UTC ({relative(case.due_at, now)})" if case.due_at else None
    left = case.remaining if case.waits_for_desk else None
    print_details(
        f"{case.number}  {case.summary}",
        (
            ("account", f"{case.account} ({case.account_id}), profile {case.profile}"),
            ("source", case.source.value.replace("_", " ") + (", urgent" if case.urgent else "")),
            ("state", case.state.value + _decision(case)),
            ("due", None if case.waits_for_desk else due),
            ("decide by", due if case.waits_for_desk else None),
            (
                "deadline",
                f"stopped with {span(max(left.total_seconds(), 0))} left" if left is not None else None,
            ),
            ("unproven answer", f"{moment(case.unproven_at)} UTC" if case.unproven_at else None),
            ("mailing", f"{case.mailing_name} ({case.mailing})" if case.mailing_name else case.mailing),
            ("recipient", case.address),
            ("message", f"{format_id(case.message_id)} (mta explain)" if case.message_id else None),
            ("complaints", case.complaints if case.complaints > 1 else None),
            ("cost", case_impact(story, now).money),
        ),
    )
    print_lines((text, "") for text in _below(story))


def _below(story: CaseStory) -> Iterator[str]:
    case = story.case
    if case.dossier is not None:
        yield ""
        yield "Consents when the case was opened"
        consents: Sequence[Any] = case.dossier["consents"]
        for each in consents:
            yield f"  {each['basis']} of {each['given_at'][:19]}, {', '.join(each['topics'])}: {each['state']}"
        if not consents:
            yield "  none recorded"
        if confirmed := case.dossier["confirmed"]:
            yield "Confirmed for the mailing"
            for each in confirmed:
                who = f"{each['at'][:19]} by {each['by']}"
                yield f"  reference {each['reference']} of {who}, sha256 {each['sha256'][:16]}"
        yield "  (whole dossier: --json, or mta consent show)"
    yield ""
    yield "History (UTC)"
    for entry in story.history:
        yield f"  {moment(entry.at)}  {entry.kind.value} by {entry.by}{_said(entry)}"
    if case.state in _NEXT:
        yield ""
        yield _NEXT[case.state].format(case=case.number, account=case.account)


def _decision(case: Case) -> str:
    if case.upheld is None:
        return ""
    return ", upheld" if case.upheld else ", unfounded"


def _said(entry: CaseEntry) -> str:
    data = entry.data
    said = next((str(data[name]) for name in ("text", "terms", "reason", "summary") if data.get(name)), "")
    if entry.kind is CaseEventKind.COST:
        said = f"{data['what']}: {data['amount']} {data['currency']}"
    more = [f"{data['recipients']} recipients"] if data.get("recipients") else []
    more += [f"{len(entry.evidence)} octets kept"] if entry.evidence else []
    return (f": {' '.join(said.split())}" if said else "") + (f" ({', '.join(more)})" if more else "")


def print_change(done: CaseChanged | Closed, what: str, *, as_json: bool) -> None:
    """Print what a decision led to."""
    from mta.store.reputation.cases import Closed

    case = done.case
    if as_json:
        fields = case_fields(case) | {"recipients": done.recipients}
        print_json(fields | ({"terminated": done.terminated} if isinstance(done, Closed) else {}))
        return
    due = f" Due {moment(case.due_at)} UTC." if case.due_at else ""
    released = f" Account resumed; {done.recipients} held recipients released." if done.recipients else ""
    print(f"{case.number} {what}; state: {case.state.value}.{due}{released}")
    if isinstance(done, Closed) and case.upheld:
        print(f"Upheld cases of {case.account} within the profile's period: {done.upheld}.")
        if done.terminated:
            print(f"Account {case.account} terminated for that; its queued mail is bounced.")

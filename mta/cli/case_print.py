"""How complaint cases look: to people, to machines (``--json``), and in an export with what they cost."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

import orjson
from rich.console import Console
from rich.table import Table

from mta.cli.output import moment, relative, span
from mta.mail.identity import format_id
from mta.store.reputation.cases import CaseChanged, CaseEntry, CaseStory, Closed
from policy.reputation.complaint import Case, CaseEventKind, CaseState

_WIDE = 60  # characters of a summary in the list

_NEXT = {
    CaseState.OPEN: "The account is told within moments, if the service runs.",
    CaseState.SENT: "The account must answer: mta complaint answer {case} --text ...",
    CaseState.ANSWERED: "Is the answer good? mta case agree {case} --terms ..., or mta case reject {case} --reason ...",
    CaseState.AGREED: "When it is done: mta case close {case} --upheld, or --unfounded.",
    CaseState.OVERDUE: "Nobody has answered in time: mta account suspend, or mta case close {case} --unfounded.",
    CaseState.SUSPENDED: "The account goes on after an answer (mta complaint answer {case}) and mta case agree {case}.",
}


@dataclass(slots=True)
class Impact:
    """What a case meant. Times in hours; recipients: queued ones that waited, went on, or failed."""

    answered_after: float | None = None
    suspended_for: float | None = None
    held: int = 0
    released: int = 0
    bounced: int = 0
    costs: dict[str, Decimal] = field(default_factory=dict)


def impact_of(told: CaseStory) -> Impact:
    """From the history of a case."""
    found, since = Impact(), None
    for entry in told.history:
        recipients = int(entry.data.get("recipients", 0))
        match entry.kind:
            case CaseEventKind.ANSWERED if found.answered_after is None:
                found.answered_after = _hours(told.case.told_at or told.case.opened_at, entry.at)
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
    if since is not None and told.case.state is CaseState.SUSPENDED:
        found.suspended_for = (found.suspended_for or 0) + _hours(since, datetime.now(UTC))
    for cost in told.case.costs:
        found.costs[cost["currency"]] = found.costs.get(cost["currency"], Decimal(0)) + Decimal(cost["amount"])
    return found


def print_list(cases: Sequence[Case], *, as_json: bool) -> None:
    if as_json:
        _print_json([as_data(case) for case in cases])
        return
    if not cases:
        print("There are no such cases.")
        return
    table = Table("case", "account", "source", "state", "due", "mailing", "recipient", "complaint")
    now = datetime.now(UTC)
    for case in cases:
        table.add_row(
            case.number,
            case.account,
            case.source.value,
            f"{case.state.value}{', urgent' if case.urgent else ''}",
            relative(case.due_at, now) if case.due_at else "-",
            case.mailing_name or case.mailing or "-",
            case.address or "-",
            case.summary[:_WIDE] + (f" (x{case.complaints})" if case.complaints > 1 else ""),
        )
    Console(markup=False).print(table)


def print_told(told: CaseStory, *, as_json: bool) -> None:
    if as_json:
        _print_json(told_as_data(told))
        return
    for line in _lines(told):
        print(line)


def print_done(done: CaseChanged | Closed, what: str, *, as_json: bool) -> None:
    """What an act came to."""
    if as_json:
        data = as_data(done.case) | {"recipients": done.recipients}
        _print_json(data | ({"terminated": done.terminated} if isinstance(done, Closed) else {}))
        return
    print(f"{done.case.number} {what}; it is {done.case.state.value} now.", end="")
    if done.case.due_at:
        print(f" Due {moment(done.case.due_at)} UTC.", end="")
    if done.recipients:
        print(f" The account goes on: {done.recipients} held recipients are released.", end="")
    print()
    if isinstance(done, Closed) and done.case.upheld:
        print(f"Upheld cases of {done.case.account} in the profile's window: {done.upheld}.")
        if done.terminated:
            print(f"{done.case.account} is terminated for that: what it had queued fails.")


def save_evidence(told: CaseStory, folder: Path) -> list[Path]:
    """Each complaint and answer as it came, in a file of its own. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for n, entry in enumerate(told.history, 1):
        if entry.evidence:
            path = folder / f"{told.case.number}.{n}.{entry.kind.value}"
            path.write_bytes(entry.evidence)
            written.append(path)
    return written


def write_export(file: TextIO, cases: Sequence[CaseStory], *, as_json: bool) -> None:
    """A line for each case: JSON with everything, or CSV for a spreadsheet."""
    if as_json:
        for told in cases:
            file.write(orjson.dumps(told_as_data(told)).decode() + "\n")
        return
    writer = csv.writer(file)
    writer.writerow(
        ["case", "account", "source", "state", "upheld", "mailing", "recipient", "summary", "complaints", "opened_at",
         "told_at", "answered_at", "closed_at", "answered_after_hours", "suspended_hours", "recipients_held",
         "recipients_released", "recipients_bounced", "costs"]
    )  # fmt: skip
    for told in cases:
        case, impact = told.case, impact_of(told)
        row = [
            case.number, case.account, case.source.value, case.state.value,
            "" if case.upheld is None else "yes" if case.upheld else "no",
            case.mailing_name or case.mailing or "", case.address or "", case.summary, case.complaints,
            *(at.isoformat() if at else "" for at in (case.opened_at, case.told_at, case.answered_at, case.closed_at)),
            _number(impact.answered_after), _number(impact.suspended_for), impact.held, impact.released,
            impact.bounced, _money(impact),
        ]  # fmt: skip
        writer.writerow([_harmless(cell) for cell in row])


def as_data(case: Case) -> dict[str, Any]:
    """Plain data, for ``--json``."""
    data = asdict(case) | {"case": case.number, "message_id": format_id(case.message_id) if case.message_id else None}
    data["remaining"] = case.remaining.total_seconds() if case.remaining is not None else None
    return data


def told_as_data(told: CaseStory) -> dict[str, Any]:
    impact = asdict(impact_of(told))
    impact["costs"] = {currency: str(amount) for currency, amount in impact["costs"].items()}
    return as_data(told.case) | {"impact": impact, "history": [_entry(entry) for entry in told.history]}


def _entry(entry: CaseEntry) -> dict[str, Any]:
    octets = len(entry.evidence) if entry.evidence else 0
    return {"at": entry.at, "by": entry.by, "kind": entry.kind.value, **entry.data, "evidence_octets": octets}


def _lines(told: CaseStory) -> Iterator[str]:
    case, impact = told.case, impact_of(told)
    yield f"{case.number}  {case.summary}"
    yield f"  account     {case.account} ({case.account_id}), profile {case.profile}"
    yield f"  source      {case.source.value.replace('_', ' ')}" + (", urgent" if case.urgent else "")
    yield f"  state       {case.state.value}" + _verdict(case)
    if case.due_at:
        yield f"  due         {moment(case.due_at)} UTC ({relative(case.due_at, datetime.now(UTC))})"
    elif case.remaining is not None:
        yield f"  clock       stands still with {span(case.remaining.total_seconds())} left"
    if case.mailing:
        yield "  mailing     " + (f"{case.mailing_name} ({case.mailing})" if case.mailing_name else case.mailing)
    if case.address:
        yield f"  recipient   {case.address}"
    if case.message_id:
        yield f"  message     {format_id(case.message_id)} (mta explain)"
    if case.complaints > 1:
        yield f"  complaints  {case.complaints}"
    if impact.costs:
        yield f"  cost        {_money(impact)}"
    if case.dossier is not None:
        yield ""
        yield "Consent in the ledger when the case was opened"
        yield from _consents(case)
    yield ""
    yield "What happened (UTC)"
    for entry in told.history:
        yield f"  {moment(entry.at)}  {entry.kind.value} by {entry.by}{_said(entry)}"
    if case.state in _NEXT:
        yield ""
        yield _NEXT[case.state].format(case=case.number)


def _verdict(case: Case) -> str:
    if case.upheld is None:
        return ""
    return ", upheld" if case.upheld else ", unfounded"


def _consents(case: Case) -> Iterator[str]:
    consents = case.dossier["consents"] if case.dossier else []
    for each in consents:
        yield f"  {each['basis']} of {each['given_at'][:19]}, {', '.join(each['topics'])}: {each['state']}"
    if not consents:
        yield "  nothing is recorded"
    yield "  (the whole dossier: --json, or mta consent show)"


def _said(entry: CaseEntry) -> str:
    data = entry.data
    said = next((str(data[name]) for name in ("text", "terms", "reason", "summary") if data.get(name)), "")
    if entry.kind is CaseEventKind.COST:
        said = f"{data['what']}: {data['amount']} {data['currency']}"
    more = [f"{data['recipients']} recipients"] if data.get("recipients") else []
    more += [f"{len(entry.evidence)} octets kept"] if entry.evidence else []
    return (f": {' '.join(said.split())}" if said else "") + (f" ({', '.join(more)})" if more else "")


def _money(impact: Impact) -> str:
    return ", ".join(f"{amount} {currency}" for currency, amount in sorted(impact.costs.items()))


def _hours(since: datetime, until: datetime) -> float:
    return round((until - since).total_seconds() / 3600, 2)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _harmless(cell: object) -> object:
    """A text that a spreadsheet would take for a formula, made a text: complaints are written by anybody."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t") else cell


def _print_json(value: object) -> None:
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())

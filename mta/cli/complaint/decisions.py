"""``mta complaint answer``, ``reject``, ``accept``, ``close``, ``cost`` and ``note``.

Invariants: closing a case terminates its account only after a confirmation.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.complaint.case_details import (
    CaseArgument,
    case_fields,
    parse_case,
    print_change,
    read_evidence,
)
from mta.cli.context import load_settings, with_store
from mta.cli.options import ByOption, ConfigOption, DryRunOption, JsonOption, YesOption, confirm, operator, require_text
from mta.cli.output import fail, print_json
from policy.accounts.account import AccountStatus
from policy.reputation import complaint
from policy.reputation.complaint import CaseState, StepRefused, is_persistent

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.store.reputation.cases import CaseChanged, Closed
    from mta.store.store import Store
    from policy.reputation.complaint import Case

MOST = 10**12  # of any currency
COUNTED = 1_000_000  # cases of one account


def register(commands: typer.Typer) -> None:
    for name, command in (
        ("answer", answer),
        ("reject", reject),
        ("accept", accept),
        ("close", close),
        ("cost", cost),
        ("note", note),
    ):
        commands.command(name)(command)


def answer(
    which: CaseArgument,
    text: Annotated[str, typer.Option(metavar="TEXT", help="What the account says.")],
    file: Annotated[Path | None, typer.Option(help="The answer as received; kept with the case.")] = None,
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Record the account's answer."""
    text, case_id, evidence = require_text(text, "--text"), parse_case(which), read_evidence(file)

    async def work(store: Store) -> CaseChanged:
        return await store.cases.answer(case_id, text=text, by=by or operator(), evidence=evidence)

    print_change(with_store(load_settings(config), work), "answered", as_json=as_json)


def reject(
    which: CaseArgument,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="What is wrong with the answer; sent to the account.")],
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Reject the account's answer. The deadline runs again."""
    from mta.service.jobs.complaints import ComplaintNotifier

    reason, case_id, settings = require_text(reason, "--reason"), parse_case(which), load_settings(config)

    async def work(store: Store) -> CaseChanged:
        desk = await ComplaintNotifier.open(settings, store)
        return await store.cases.reject(case_id, desk, reason=reason, by=by or operator())

    print_change(with_store(settings, work), "answer rejected", as_json=as_json)


def accept(
    which: CaseArgument,
    text: Annotated[str, typer.Option(metavar="TEXT", help="What was agreed; sent to the account.")],
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Accept the account's answer and what it will do; the account is told. One suspended for this case resumes."""
    from mta.service.jobs.complaints import ComplaintNotifier

    text, case_id, settings = require_text(text, "--text"), parse_case(which), load_settings(config)

    async def work(store: Store) -> CaseChanged:
        desk = await ComplaintNotifier.open(settings, store)
        return await store.cases.agree(case_id, desk, terms=text, by=by or operator())

    print_change(with_store(settings, work), "answer accepted", as_json=as_json)


def close(
    which: CaseArgument,
    upheld: Annotated[
        bool | None,
        typer.Option("--upheld/--unfounded", help="Whether the complaint was justified.", show_default=False),
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept in the history.")] = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Close a case. Too many upheld ones terminate the account: asked before, unless --yes."""
    from mta.service.jobs.complaints import ComplaintNotifier

    if upheld is None:
        fail("was the complaint justified? --upheld or --unfounded", status=2)
    case_id, settings = parse_case(which), load_settings(config)
    ends = with_store(settings, lambda store: _termination(settings, store, case_id, upheld=upheld))
    if dry_run:
        print(f"C-{case_id} would be closed{f', and {ends}' if ends else ''}.")
        return
    if ends:
        confirm(f"Close C-{case_id}? By that {ends}.", yes=yes)

    async def work(store: Store) -> Closed:
        desk = await ComplaintNotifier.open(settings, store)
        return await store.cases.close(
            case_id, desk, upheld=upheld, reason=reason.strip(), by=by or operator(), may_terminate=yes or bool(ends)
        )

    print_change(with_store(settings, work), "closed", as_json=as_json)


async def _termination(settings: Settings, store: Store, case_id: int, *, upheld: bool) -> str:
    """Return how closing a case would end its account, "" if it would not. Raises CaseError if it cannot be closed."""
    from mta.service.jobs.complaints import ComplaintNotifier
    from mta.store.reputation.cases import CaseError

    case = (await store.cases.show(case_id)).case
    account = (await store.accounts.find(case.account)).account
    terminated, now = account.status is AccountStatus.TERMINATED, datetime.now(UTC)
    try:
        complaint.close(case, upheld=upheld, now=now, terminated=terminated)
    except StepRefused as error:
        raise CaseError(f"{case.number}: {error}") from None
    clocks = (await ComplaintNotifier.open(settings, store)).clocks(case.profile)
    since = now - timedelta(seconds=clocks.upheld_within)
    closed = await store.cases.list(case.account_id, states=[CaseState.CLOSED], since=since, limit=COUNTED)
    count = sum(each.upheld is True for each in closed) + upheld
    if not upheld or terminated or not is_persistent(count, clocks):
        return ""
    days = f"{clocks.upheld_within / 86400:g} days"
    return f"account {case.account} terminated for good: it is upheld complaint number {count} within {days}"


def cost(
    which: CaseArgument,
    what: Annotated[str, typer.Argument(metavar="WHAT", help="What was paid for: delisting, a fine, an hour's work.")],
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="A number such as 250 or 99.95.")],
    currency: Annotated[str, typer.Option(help="Three letters.")] = "EUR",
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Record what a case has cost, to charge it to the account."""
    what, case_id = require_text(what, "WHAT"), parse_case(which)
    if not re.fullmatch(r"[A-Z]{3}", currency):
        fail(f"{currency!r} is not a currency: three capital letters, as in EUR", status=2)
    spent = {"what": what, "amount": str(_amount(amount)), "currency": currency}

    async def work(store: Store) -> Case:
        return await store.cases.cost(case_id, spent, by=by or operator())

    case = with_store(load_settings(config), work)
    if as_json:
        print_json(case_fields(case))
    else:
        print(f"{case.number}: {amount} {currency} for {what} recorded.")


def _amount(text: str) -> Decimal:
    try:
        exact = Decimal(text)
    except InvalidOperation:
        fail(f"{text!r} is not an amount: a number such as 250 or 99.95", status=2)
    if not exact.is_finite() or abs(exact) >= MOST:
        fail(f"{text!r} is not a plausible amount", status=2)
    return exact


def note(
    which: CaseArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A remark for the history; not sent to the account.")],
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Add a note to the history of a case."""
    text, case_id = require_text(text, "TEXT"), parse_case(which)
    with_store(load_settings(config), lambda store: store.cases.note(case_id, text, by=by or operator()))
    print(f"C-{case_id}: note added.")

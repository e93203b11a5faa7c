"""``mta complaint answer``, ``reject``, ``accept``, ``close``, ``cost`` and ``note``.

Invariants: closing a case terminates its account only after a confirmation.
"""

from __future__ import annotations

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
from mta.cli.context import load_settings, with_admin
from mta.cli.options import ByOption, ConfigOption, DryRunOption, JsonOption, YesOption, confirm, require_text
from mta.cli.output import fail, print_json

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.store.reputation.cases import CaseChanged, Closed
    from policy.reputation.complaint import Case


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

    from mta.admin import complaints

    async def work(context: AdminContext) -> CaseChanged:
        return await complaints.answer(context, case_id, text=text, evidence=evidence)

    print_change(with_admin(load_settings(config), work, by=by), "answered", as_json=as_json)


def reject(
    which: CaseArgument,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="What is wrong with the answer; sent to the account.")],
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Reject the account's answer. The deadline runs again."""
    from mta.admin import complaints

    reason, case_id = require_text(reason, "--reason"), parse_case(which)

    async def work(context: AdminContext) -> CaseChanged:
        return await complaints.reject(context, await complaints.open_desk(context), case_id, reason=reason)

    print_change(with_admin(load_settings(config), work, by=by), "answer rejected", as_json=as_json)


def accept(
    which: CaseArgument,
    text: Annotated[str, typer.Option(metavar="TEXT", help="What was agreed; sent to the account.")],
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Accept the account's answer and what it will do; the account is told. One suspended for this case resumes."""
    from mta.admin import complaints

    text, case_id = require_text(text, "--text"), parse_case(which)

    async def work(context: AdminContext) -> CaseChanged:
        return await complaints.accept(context, await complaints.open_desk(context), case_id, terms=text)

    print_change(with_admin(load_settings(config), work, by=by), "answer accepted", as_json=as_json)


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
    from mta.admin import complaints

    if upheld is None:
        fail("was the complaint justified? --upheld or --unfounded", status=2)
    case_id, settings = parse_case(which), load_settings(config)

    async def look(context: AdminContext) -> str:
        desk = await complaints.open_desk(context)
        account = (await complaints.story(context, case_id)).case.account
        if not upheld or not (ends := await complaints.termination(context, desk, case_id)):
            return ""
        within = f"{ends.number} within {ends.days:g} days"
        return f"account {account} terminated for good: it is upheld complaint number {within}"

    ends = with_admin(settings, look)
    if dry_run:
        print(f"C-{case_id} would be closed{f', and {ends}' if ends else ''}.")
        return
    if ends:
        confirm(f"Close C-{case_id}? By that {ends}.", yes=yes)

    async def work(context: AdminContext) -> Closed:
        desk = await complaints.open_desk(context)
        return await complaints.close(
            context, desk, case_id, upheld=upheld, reason=reason, may_terminate=yes or bool(ends)
        )

    print_change(with_admin(settings, work, by=by), "closed", as_json=as_json)


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
    from mta.admin import complaints

    what, case_id = require_text(what, "WHAT"), parse_case(which)

    async def work(context: AdminContext) -> Case:
        return await complaints.add_cost(context, case_id, what, amount, currency)

    case = with_admin(load_settings(config), work, by=by)
    if as_json:
        print_json(case_fields(case))
    else:
        print(f"{case.number}: {amount} {currency} for {what} recorded.")


def note(
    which: CaseArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A remark for the history; not sent to the account.")],
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Add a note to the history of a case."""
    from mta.admin import complaints

    text, case_id = require_text(text, "TEXT"), parse_case(which)
    with_admin(load_settings(config), lambda context: complaints.note(context, case_id, text), by=by)
    print(f"C-{case_id}: note added.")

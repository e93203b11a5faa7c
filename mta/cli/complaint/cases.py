"""``mta complaint list``, ``show``, ``open`` and ``export``.

Invariants: the account of a complaint is never guessed: it is named, or the complaint names one of our mailings.

Limitations: who signed a complaint file is not verified; the source is what the operator says. Mail about a case is
sent by the running service.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from mta.admin.spreadsheet import no_formula
from mta.cli.complaint import decisions
from mta.cli.complaint.case_details import (
    CaseArgument,
    case_fields,
    case_impact,
    parse_case,
    print_case,
    read_evidence,
    story_fields,
)
from mta.cli.context import account_id, load_settings, with_admin, with_store
from mta.cli.mailing.lookup import find_mailing, ids_in_tokens
from mta.cli.options import (
    AccountOption,
    ByOption,
    ConfigOption,
    JsonLinesOption,
    JsonOption,
    group,
    parse_address,
    parse_message_id,
)
from mta.cli.output import Column, fail, output_file, print_json, print_table, relative, to_json
from mta.mail.address import Address, AddressError
from policy.languages import TextLanguage
from policy.reputation.complaint import CaseState, Complaint, Source

if TYPE_CHECKING:
    from bounce.abuse_mail import AbuseMail
    from config.schema import Settings
    from mta.admin.context import AdminContext
    from mta.store.reputation.cases import CaseStory
    from mta.store.store import Store
    from policy.accounts.mailing import Mailing
    from policy.reputation.complaint import Case

EXPORTED = 1_000_000  # cases in an export

_OPEN = tuple(state for state in CaseState if state is not CaseState.CLOSED)
_COLUMNS = (
    Column("case", whole=True),
    "account",
    "source",
    "state",
    "due",
    "complaint",
    Column("recipient", optional=True),
    Column("mailing", optional=True),
)
_CSV = (
    "case", "account", "source", "state", "upheld", "mailing", "recipient", "summary", "complaints", "opened_at",
    "told_at", "answered_at", "closed_at", "answered_after_hours", "suspended_hours", "recipients_held",
    "recipients_released", "recipients_bounced", "costs",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    commands = group(
        "Complaint cases. The service notifies the account, which must answer before the deadline; you accept or "
        "reject the answer and close the case.",
        ("list", list_),
        ("show", show),
        ("open", open_),
    )
    decisions.register(commands)
    commands.command("export")(export)
    app.add_typer(commands, name="complaint")


def list_(
    account: AccountOption = None,
    state: Annotated[
        list[CaseState] | None, typer.Option("--state", help="Only cases in this state; repeatable.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Include closed cases.")] = False,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Show at most N (most urgent first).")] = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List open cases, the most urgent first."""
    states = tuple(state) if state else tuple(CaseState) if every else _OPEN

    async def work(store: Store) -> Sequence[Case]:
        return await store.cases.list(await account_id(store, account), states=states, limit=limit)

    cases, now = with_store(load_settings(config), work), datetime.now(UTC)
    if as_json:
        print_json([case_fields(case) for case in cases])
        return
    rows = [
        (
            case.number,
            case.account,
            case.source.value,
            case.state.value + (", urgent" if case.urgent else ""),
            relative(case.due_at, now) if case.due_at else "",
            case.summary + (f" ({case.complaints} complaints)" if case.complaints > 1 else ""),
            case.address,
            case.mailing_name or case.mailing,
        )
        for case in cases
    ]
    print_table(_COLUMNS, rows, empty="No such cases.", limit=limit)


def show(
    which: CaseArgument,
    evidence: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write complaints and answers, as received, to this folder.")
    ] = None,
    pdf: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the dossier of the consents when the case was opened, as PDF."),
    ] = None,
    language: Annotated[
        TextLanguage, typer.Option(help="Language of that dossier; evidence stays as it was recorded.")
    ] = TextLanguage.EN,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show a case: its deadline, the consents when it was opened, and its history."""
    from mta.admin import complaints

    case_id = parse_case(which)

    async def read(context: AdminContext) -> tuple[CaseStory, bytes]:
        story = await complaints.story(context, case_id)
        return story, await complaints.dossier_pdf(context, case_id, language) if pdf else b""

    story, dossier = with_admin(load_settings(config), read)
    try:
        if pdf is not None:
            pdf.write_bytes(dossier)
        if evidence is not None:
            _save_evidence(story, evidence)
    except OSError as error:
        fail(f"{error.filename}: cannot be written: {error.strerror}", status=2)
    print_case(story, as_json=as_json)


def _save_evidence(story: CaseStory, folder: Path) -> None:
    """Write each complaint and answer, as received, to a file of its own. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, entry in enumerate(story.history, 1):
        if entry.evidence:
            path = folder / f"{story.case.number}.{n}.{entry.kind.value}"
            path.write_bytes(entry.evidence)
            print(path, file=sys.stderr)


# Opening


@dataclass(frozen=True, slots=True)
class ComplaintSource:
    """What the operator says of a complaint; what is None is read from its file, ``mail``, as far as it says so."""

    account: str | None
    summary: str | None
    mailing: str | None
    recipient: str | None
    mail: AbuseMail | None


def open_(
    account: Annotated[
        str | None, typer.Option("--account", "-a", metavar="NAME", help="Default: the account of the mailing.")
    ] = None,
    source: Annotated[Source, typer.Option(help="Who complains.")] = Source.RECIPIENT,
    summary: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The complaint in a sentence; default: as the file says.")
    ] = None,
    mailing: Annotated[str | None, typer.Option(help="Id or name of the mailing, or a pasted header line.")] = None,
    recipient: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Address that was mailed.")] = None,
    message: Annotated[str | None, typer.Option(metavar="ID", help="Id of the message.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="The complaint as mail; mailing, recipient and summary are read from it.")
    ] = None,
    urgent: Annotated[
        bool, typer.Option("--urgent", help="The account is being used for spam: it is suspended at once.")
    ] = False,
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Open a case, or add a complaint to an open case about the same. A recipient who complains gets no more
    marketing mail of the account."""
    from mta.admin import complaints
    from mta.service.composition import open_abuse_mail_reader

    settings, evidence = load_settings(config), read_evidence(file)
    message_id = parse_message_id(message) if message else None
    mail = open_abuse_mail_reader().read(evidence, datetime.now(UTC)) if file else None
    given = ComplaintSource(account, summary, mailing, recipient, mail)

    async def work(context: AdminContext) -> CaseStory:
        about = await _mailing(settings, context.store, given)
        if account:
            owner = (await context.account(account)).account.id
        elif about:
            owner = about.account_id
        else:
            fail("which account is it about? Name it (--account), or the mailing (--mailing)", status=2)
        text = summary or (mail.summary if mail else "")
        if not text:
            fail("what is the complaint? Say it in a sentence: --summary 'never signed up'", status=2)
        address = _recipient(given)
        complaint = Complaint(
            owner,
            source,
            text,
            mailing=about.id if about else None,
            address=str(address) if address else None,
            message_id=message_id,
            evidence=evidence,
            urgent=urgent,
            by=context.actor.name,
        )
        return await complaints.story(context, await complaints.open_case(context, complaint))

    print_case(with_admin(settings, work, by=by), as_json=as_json)


async def _mailing(settings: Settings, store: Store, given: ComplaintSource) -> Mailing | None:
    if given.mailing:
        return await find_mailing(settings, store, given.mailing, given.account)
    if given.mail is None:
        return None
    for mailing_id in (*given.mail.mailings, *ids_in_tokens(settings, " ".join(given.mail.tokens))):
        if record := await store.mailings.show(mailing_id):
            return record.mailing
    return None


def _recipient(given: ComplaintSource) -> Address | None:
    """Return the address that was mailed; what the file names may be no address."""
    if given.recipient:
        return parse_address(given.recipient)
    named = (given.mail.recipient or given.mail.sender) if given.mail else None
    try:
        return Address.parse(named) if named else None
    except AddressError:
        return None


# Export


def export(
    account: AccountOption = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="Only cases opened since: 2026-01-31.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: standard output.")
    ] = None,
    as_json: JsonLinesOption = False,
    config: ConfigOption = None,
) -> None:
    """Export cases with their cost and impact as CSV; with --json also their history and dossier."""
    began = since.replace(tzinfo=UTC) if since else None

    async def work(store: Store) -> list[CaseStory]:
        cases = await store.cases.list(await account_id(store, account), since=began, limit=EXPORTED)
        return [await store.cases.show(case.id) for case in sorted(cases, key=lambda case: case.id)]

    stories = with_store(load_settings(config), work)
    with output_file(output) as opened:
        if as_json:
            opened.writelines(to_json(story_fields(story), indent=False) + "\n" for story in stories)
        else:
            _write_csv(opened, stories)
    if output is not None:
        print(f"{len(stories)} cases written to {output}.", file=sys.stderr)


def _write_csv(file: TextIO, stories: Sequence[CaseStory]) -> None:
    writer, now = csv.writer(file), datetime.now(UTC)
    writer.writerow(_CSV)
    for story in stories:
        case, impact = story.case, case_impact(story, now)
        hours = ["" if each is None else f"{each:g}" for each in (impact.answered_after, impact.suspended_for)]
        row = [
            case.number, case.account, case.source.value, case.state.value,
            "" if case.upheld is None else "yes" if case.upheld else "no",
            case.mailing_name or case.mailing or "", case.address or "", case.summary, case.complaints,
            *(at.isoformat() if at else "" for at in (case.opened_at, case.told_at, case.answered_at, case.closed_at)),
            *hours, impact.held, impact.released, impact.bounced, impact.money,
        ]  # fmt: skip
        writer.writerow([no_formula(cell) if isinstance(cell, str) else cell for cell in row])

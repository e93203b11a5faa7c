"""``mta case``: complaints that somebody must answer, and their clocks.

It must never end an account without being told to: a case that would asks for ``--yes``.

*Limits.* Letters leave by the running service; a rejection queues its own.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from mta.cli import case_print, case_steps
from mta.cli.context import load_settings, with_store
from mta.cli.options import ConfigOption, operator
from mta.cli.output import fail
from policy.reputation.complaint import CaseState, Source

WhichArgument = Annotated[str, typer.Argument(metavar="CASE", help="Its number: C-17, or 17.")]
AccountOption = Annotated[str | None, typer.Option("--account", "-a", help="Only those of this account.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who says so; else the user of this shell.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]

_OPEN = tuple(state for state in CaseState if state is not CaseState.CLOSED)


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Complaint cases: told to the account, answered by it, judged by you, with a clock.", no_args_is_help=True
    )
    for name, command in (
        ("list", list_),
        ("show", show),
        ("open", open_),
        ("answer", answer),
        ("reject", reject),
        ("agree", agree),
        ("close", close),
        ("cost", cost),
        ("note", note),
        ("export", export),
    ):
        group.command(name)(command)
    app.add_typer(group, name="case")


def list_(
    account: AccountOption = None,
    state: Annotated[
        list[CaseState] | None, typer.Option("--state", help="Only in this state; may be repeated.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the cases that are not closed, the most pressing first."""
    states = tuple(state) if state else tuple(CaseState) if everything else _OPEN
    cases = with_store(load_settings(config), lambda store: case_steps.find_all(store, account, states, limit))
    case_print.print_list(cases, as_json=as_json)


def show(
    which: WhichArgument,
    evidence: Annotated[
        Path | None, typer.Option(help="Write complaints and answers as they came into this folder.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show a case: its clock, the consent that the ledger had, and everything that happened."""
    told = with_store(load_settings(config), lambda store: case_steps.show(store, which))
    if evidence is not None:
        try:
            for path in case_print.save_evidence(told, evidence):
                print(path, file=sys.stderr)
        except OSError as error:
            fail(f"{evidence}: {error.strerror}")
    case_print.print_told(told, as_json=as_json)


def open_(
    account: Annotated[
        str | None, typer.Option("--account", "-a", help="Whose case; else that of the mailing's account.")
    ] = None,
    source: Annotated[Source, typer.Option(help="Who complains.")] = Source.RECIPIENT,
    summary: Annotated[str | None, typer.Option(help="The complaint in a sentence; else what the file says.")] = None,
    mailing: Annotated[str | None, typer.Option(help="Its id or name, or a pasted header line.")] = None,
    recipient: Annotated[str | None, typer.Option(help="The address that was mailed.")] = None,
    message: Annotated[str | None, typer.Option(help="The id of the message.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="The complaint as a mail: mailing, recipient and summary are read from it.")
    ] = None,
    urgent: Annotated[
        bool, typer.Option("--urgent", help="The account is being used for spam: it is stopped at once.")
    ] = False,
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Open a case, or add a complaint to the open case about the same."""
    settings = load_settings(config)
    wanted = case_steps.Wanted(account, source, summary, mailing, recipient, message, file, urgent, by or operator())
    told = with_store(settings, lambda store: case_steps.open_case(settings, store, wanted))
    case_print.print_told(told, as_json=as_json)


def answer(
    which: WhichArgument,
    text: Annotated[str, typer.Option(help="What the account says.")],
    file: Annotated[Path | None, typer.Option(help="The answer as it came; kept with the case.")] = None,
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Write down what the account answers."""
    text = _said(text, "--text 'what the account says'")
    done = with_store(
        load_settings(config), lambda store: case_steps.answer(store, which, text, file, by or operator())
    )
    case_print.print_done(done, "is answered", as_json=as_json)


def reject(
    which: WhichArgument,
    reason: Annotated[str, typer.Option(help="What is wrong with the answer; the account is told.")],
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """The answer will not do: the clock goes on."""
    reason = _said(reason, "--reason 'it does not say how the address was obtained'")
    settings = load_settings(config)
    done = with_store(settings, lambda store: case_steps.reject(settings, store, which, reason, by or operator()))
    case_print.print_done(done, "goes on", as_json=as_json)


def agree(
    which: WhichArgument,
    terms: Annotated[str, typer.Option(help="What was agreed upon.")],
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """The answer is good and it is agreed what will be done: an account suspended for this case goes on."""
    terms = _said(terms, "--terms 'the form asks for confirmation from now on'")
    done = with_store(load_settings(config), lambda store: case_steps.agree(store, which, terms, by or operator()))
    case_print.print_done(done, "is agreed upon", as_json=as_json)


def close(
    which: WhichArgument,
    upheld: Annotated[
        bool | None,
        typer.Option("--upheld/--unfounded", help="Whether the complaint was justified.", show_default=False),
    ] = None,
    reason: Annotated[str, typer.Option(help="A remark for the record.")] = "",
    yes: Annotated[
        bool, typer.Option("--yes", help="Also if that is one upheld case too many for the account.")
    ] = False,
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """End a case. Too many upheld ones end the account."""
    if upheld is None:
        fail("was the complaint justified? Say --upheld or --unfounded", status=2)
    settings = load_settings(config)
    verdict = case_steps.Verdict(upheld, reason.strip(), yes, by or operator())
    closed = with_store(settings, lambda store: case_steps.close(settings, store, which, verdict))
    case_print.print_done(closed, "is closed", as_json=as_json)


def cost(
    which: WhichArgument,
    what: Annotated[str, typer.Argument(metavar="WHAT", help="What was paid for: delisting, a fine, an hour's work.")],
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="A number such as 250 or 99.95.")],
    currency: Annotated[str, typer.Option(help="Three letters.")] = "EUR",
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Write down what a case has cost; the account may have to bear it."""
    what = _said(what, "what was paid for")
    case = with_store(
        load_settings(config), lambda store: case_steps.cost(store, which, what, amount, currency, by or operator())
    )
    if as_json:
        case_print.print_list([case], as_json=True)
        return
    print(f"{case.number}: {amount} {currency} for {what}.")


def note(
    which: WhichArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A remark for the history; the account does not see it.")],
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Add a remark to the history of a case."""
    text = _said(text, "the remark")
    print(with_store(load_settings(config), lambda store: case_steps.note(store, which, text, by or operator())))


def export(
    account: AccountOption = None,
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only those opened since then.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; else standard output.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON line for each, with history and dossier.")] = False,
    config: ConfigOption = None,
) -> None:
    """Export cases with what they cost and whom they affected, as CSV."""
    began = since.replace(tzinfo=UTC) if since else None
    cases = with_store(load_settings(config), lambda store: case_steps.collect(store, account, began))
    if output is None:
        case_print.write_export(sys.stdout, cases, as_json=as_json)
        return
    try:
        with open(output, "w", newline="", encoding="utf-8") as file:
            case_print.write_export(file, cases, as_json=as_json)
    except OSError as error:
        fail(f"{output}: {error.strerror}")
    print(f"{len(cases)} cases written to {output}.", file=sys.stderr)


def _said(text: str, example: str) -> str:
    if not text.strip():
        fail(f"something must be said: {example}", status=2)
    return text.strip()

"""``mta subject``: what is kept of a person, and forgetting it.

It must never erase without being told whom and why, nor say that something is gone that is kept.

*Limits.* Looks through whole tables: it takes as long as reading them does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mta.cli import subject_print, subject_steps
from mta.cli.context import load_settings, with_store
from mta.cli.options import ConfigOption
from mta.cli.output import fail

AddressArgument = Annotated[str, typer.Argument(metavar="ADDRESS", help="Such as ann@example.com.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="A person's rights: to be told all that is kept of them, and to have it erased.", no_args_is_help=True
    )
    group.command("export")(export)
    group.command("erase")(erase)
    app.add_typer(group, name="subject")


def export(
    address: AddressArgument,
    file: Annotated[Path | None, typer.Argument(metavar="FILE.json", help="Standard output if not given.")] = None,
    config: ConfigOption = None,
) -> None:
    """Write everything that is kept of an address, as JSON: consents and their evidence, suppressions, messages."""
    text = json.dumps(with_store(load_settings(config), lambda store: subject_steps.find(store, address)), indent=2)
    if file is None:
        print(text)
        return
    try:
        file.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        fail(f"{file}: cannot be written: {error.strerror}", status=2)
    print(f"Everything that is kept of {address} is in {file}.")


def erase(
    address: AddressArgument,
    reason: Annotated[str, typer.Option(help="Who asked, and how; kept with the erasure.")],
    account: Annotated[str | None, typer.Option(help="Only what this account keeps; else all.")] = None,
    proof_too: Annotated[
        bool,
        typer.Option("--proof-too", help="Erase the evidence of consents at once; else it is kept for claims."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
) -> None:
    """Forget an address: consents are revoked, what is queued is taken out, records lose the address, and its keyed
    hash goes on blocking marketing mail to it.

    The evidence of consents is kept for `retention.consent_evidence`, as proof against claims (GDPR 17(3)(e)), unless
    --proof-too. This cannot be undone.
    """
    if not yes:
        typer.confirm(f"Erase {address}? This cannot be undone.", abort=True)
    settings = load_settings(config)
    keep = None if proof_too else settings.retention.consent_evidence
    done = with_store(settings, lambda store: subject_steps.erase(store, address, account, reason, keep))
    subject_print.print_erased(address, done)

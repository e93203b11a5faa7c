"""``mta privacy``: export what is kept about a person, and erase it (GDPR)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.context import load_settings, with_admin
from mta.cli.options import (
    AccountOption,
    AddressArgument,
    ConfigOption,
    DryRunOption,
    YesOption,
    confirm,
    group,
    parse_address,
    require_text,
)
from mta.cli.output import output_file, print_details, to_json

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.admin.desk.privacy import ErasedSubject
    from mta.mail.address import Address


def register(app: typer.Typer) -> None:
    commands = group("Export or erase one person's data (GDPR).", ("export", export), ("erase", erase))
    app.add_typer(commands, name="privacy")


def export(
    address: AddressArgument,
    file: Annotated[Path | None, typer.Argument(metavar="FILE.json", help="Default: standard output.")] = None,
    config: ConfigOption = None,
) -> None:
    """Write everything that is kept about an address as JSON: consents with evidence, suppressions, messages."""
    from mta.admin.desk import privacy

    parsed = parse_address(address)
    found = with_admin(load_settings(config), lambda context: privacy.export(context, parsed))
    with output_file(file) as opened:
        opened.write(to_json(found) + "\n")
    if file is not None:
        print(f"Data about {parsed} written to {file}.")


def erase(
    address: AddressArgument,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Who asked, and how; kept with the erasure.")],
    account: AccountOption = None,
    purge_evidence: Annotated[
        bool, typer.Option("--purge-evidence", help="Erase the evidence of consents now; default: keep it for claims.")
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Erase an address: consents are revoked, queued copies cancelled, records lose the address, and its keyed hash
    keeps blocking marketing mail.

    The evidence of consents is kept for `retention.consent_evidence`, as proof against claims (GDPR 17(3)(e)), unless
    --purge-evidence. This cannot be undone.
    """
    from mta.admin.desk import privacy

    parsed, why = parse_address(address), require_text(reason, "--reason")
    settings = load_settings(config)
    if dry_run:
        counts = with_admin(settings, lambda context: privacy.count(context, parsed))
        print_details(f"{parsed} would be erased from", [(name, str(number)) for name, number in counts.items()])
        return
    confirm(f"Erase {parsed}? This cannot be undone.", yes=yes)

    async def work(context: AdminContext) -> ErasedSubject:
        return await privacy.erase(context, parsed, reason=why, account=account, purge_evidence=purge_evidence)

    _print_erased(parsed, with_admin(settings, work))


def _print_erased(address: Address, done: ErasedSubject) -> None:
    erased, redacted = done.erased, done.erased.redacted
    print_details(
        f"{address} erased; its keyed hash keeps blocking marketing mail.",
        (
            ("queued copies cancelled", erased.pulled),
            ("ledger entries emptied", erased.emptied),
            (
                "records without the address",
                f"{redacted.messages} messages, {redacted.rejections} rejections, {redacted.events} events, "
                f"{redacted.references} confirmed messages, {redacted.suppressions} suppressions",
            ),
        ),
    )
    for kept in done.kept:
        entries = ", ".join(map(str, kept.entries))
        print(
            f"Kept until {kept.until:%Y-%m-%d}: evidence of consent to {kept.account} (ledger entries {entries}), "
            "as proof against claims, GDPR 17(3)(e)."
        )

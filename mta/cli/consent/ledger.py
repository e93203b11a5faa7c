"""``mta consent``: who agreed to what, and what proves it.

Invariants: an entry of the ledger never changes: what was wrong is recorded again, what ended is revoked.

Limitations: missing evidence does not keep a consent from being recorded; it keeps mail from being sent by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from mta.admin.files import consent_fields as fields
from mta.admin.files.consent_fields import COLUMNS, FieldError
from mta.cli.consent import findings, import_file
from mta.cli.context import load_settings, with_admin
from mta.cli.options import (
    AccountOption,
    AddressArgument,
    ConfigOption,
    DryRunOption,
    JsonLinesOption,
    JsonOption,
    YesOption,
    confirm,
    group,
    parse_address,
)
from mta.cli.output import fail, output_file, print_json, progress
from policy.languages import TextLanguage
from policy.permission.consent import EVERY_TOPIC, Sign, parse_topic

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.store.permission.consents import ConsentsRecorded
    from mta.store.permission.ledger import Given, Verified

_FIELDS = "  \n".join(f"`{name}`: {text}" for name, text in COLUMNS.items())


class ContactKind(Enum):
    """Contacts that `renew` records."""

    CLICK = "click"
    PURCHASE = "purchase"
    DELIVERED = "delivered"


def register(app: typer.Typer) -> None:
    commands = group(
        "Ledger of consents: who agreed to what, and the evidence. Marketing mail goes only to recipients in it.",
        ("export", export),
        ("show", show),
        ("revoke", revoke),
        ("renew", renew),
        ("verify", verify),
        ("findings", findings.findings),
        ("dismiss-finding", findings.dismiss_finding),
    )
    commands.command("import", epilog=f"Columns:  \n{_FIELDS}")(import_file.import_)
    commands.command("add", epilog=f"Fields:  \n{_FIELDS}")(add)
    app.add_typer(commands, name="consent")


def export(
    account: import_file.OfAccountOption,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Default: standard output.")] = None,
    as_json: JsonLinesOption = False,
    config: ConfigOption = None,
) -> None:
    """Write an account's consents as CSV or JSON lines, in a format that `import` reads."""
    from mta.admin import consents

    settings = load_settings(config)
    with output_file(file) as opened:

        async def work(context: AdminContext) -> int:
            owner, count = (await context.account(account)).account, 0
            async for number, text in consents.export(context, owner.id, as_json=as_json):
                opened.write(text)
                count += number
            return count

        count = with_admin(settings, work)
    if file is not None:
        print(f"{count} consents written to {file}.")


def add(
    address: AddressArgument,
    account: import_file.OfAccountOption,
    values: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="What is known, field by field.")],
    lift: import_file.LiftOption = False,
    config: ConfigOption = None,
) -> None:
    """Record one consent."""
    from mta.admin import consents

    named = {**_named(values), "address": address}

    async def work(context: AdminContext) -> tuple[Given, ConsentsRecorded]:
        return await consents.record(context, account, named, lift=lift)

    given, recorded = with_admin(load_settings(config), work)
    if not recorded.fresh:
        print(f"{given.address}: already recorded.")
        return
    print(f"{given.address}: consent recorded for {', '.join(given.topics)}.")
    if recorded.lacking:
        lacking = "; ".join(map(import_file.described, recorded.lacking))
        print(f"It cannot be used yet. Missing evidence: {lacking}.")
    if recorded.lifted:
        print(f"{recorded.lifted} suppressions lifted.")


def show(
    address: AddressArgument,
    account: AccountOption = None,
    language: Annotated[
        TextLanguage, typer.Option(help="Language of the dossier; evidence stays as it was recorded.")
    ] = TextLanguage.EN,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as one self-contained page.")] = None,
    pdf: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as PDF.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Print the dossier of an address, as an abuse desk sends it. Exit status 1 if nothing is recorded."""
    from mta.admin import consents
    from policy.local_format import LocalFormat
    from policy.permission import dossier
    from policy.permission.evidence import load_assessor

    parsed, settings = parse_address(address), load_settings(config)
    found = with_admin(settings, lambda context: consents.dossiers(context, parsed, account))
    local = LocalFormat(language, ZoneInfo(settings.server.time_zone))
    writer = dossier.Writer(local, load_assessor(), settings.server.operator or settings.server.hostname)
    if as_json:
        print_json([dossier.as_json(each) for each in found])
    elif html is not None:
        with output_file(html) as opened:
            opened.write(writer.html(found))
    elif pdf is not None:
        try:
            pdf.write_bytes(writer.pdf(found))
        except dossier.DossierTooLong as error:
            fail(f"{error}; use --html, or --account for one ledger")
        except OSError as error:
            fail(f"{pdf}: {error.strerror}")
    elif found:
        print(writer.text(found), end="")
    if not any(each.proofs for each in found):
        fail(f"nothing is recorded about {address}" + (f" for {account}" if account else ""))


def revoke(
    address: AddressArgument,
    account: import_file.OfAccountOption,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="How consent was withdrawn; kept as evidence.")],
    topic: Annotated[str | None, typer.Option(help="Only for this topic; default: all marketing.")] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Record that consent was withdrawn: mail about it stops at once, and what is queued is cancelled."""
    from mta.admin import consents

    parsed, about = parse_address(address), parse_topic(topic or EVERY_TOPIC)
    named = "all topics" if about == EVERY_TOPIC else f'topic "{about}"'
    settings = load_settings(config)

    async def work(context: AdminContext) -> str:
        if dry_run:
            count = await consents.concerned(context, account, parsed, about)
            return f"{parsed}: consent for {named} would be revoked; up to {count} queued copies would be cancelled."
        done = await consents.revoke(context, account, parsed, topic=about, reason=reason)
        return (
            f"{parsed}: consent revoked for {named} (ledger entry {done.entry}), address suppressed, "
            f"{done.pulled} queued copies cancelled."
        )

    if not dry_run:
        confirm(f"Revoke the consent of {parsed} for {named}?", yes=yes)
    print(with_admin(settings, work, new=not dry_run))


def renew(
    address: AddressArgument,
    account: import_file.OfAccountOption,
    kind: Annotated[ContactKind, typer.Option(help="What the contact was.")] = ContactKind.PURCHASE,
    at: Annotated[str | None, typer.Option(help="When; default: now.")] = None,
    config: ConfigOption = None,
) -> None:
    """Record a contact, such as a purchase, that restarts the consent's expiry clock."""
    from mta.admin import consents

    parsed = parse_address(address)
    try:
        when = fields.parse_time("at", at, None) if at else None
    except FieldError as error:
        fail(str(error), status=2)

    async def work(context: AdminContext) -> int:
        return await consents.renew(context, account, parsed, Sign(kind.value), when)

    print(f"{parsed}: contact recorded as ledger entry {with_admin(load_settings(config), work)}.")


def verify(
    account: AccountOption = None,
    head: Annotated[
        str | None, typer.Option(metavar="N:HASH", help="A head that was printed earlier; needs --account.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Check the chain of hashes from its beginning, and print its head to keep elsewhere. Exit status 1 if broken."""
    if head and not account:
        fail("--head needs --account", status=2)
    results = with_admin(load_settings(config), lambda context: _verify(context, account, head))
    for name, result in results.items():
        if not result.faults:
            here = f"{result.head.number}:{result.head.hash.hex()}"
            print(f"{name}: {result.head.number} entries, chain intact; head {here}")
        for fault in result.faults:
            print(f"{name}: entry {fault.number}: {fault.text}")
    if any(result.faults for result in results.values()):
        raise typer.Exit(1)


async def _verify(context: AdminContext, account: str | None, head: str | None) -> dict[str, Verified]:
    """Return what each account's chain comes to, by the account's name."""
    from mta.admin import consents

    noted, only = consents.parse_head(head) if head else None, await context.account_filter(account)
    results: dict[str, Verified] = {}
    for number, name in sorted((await context.account_names()).items()):
        if only not in (None, number):
            continue
        with progress(name, (await context.store.consents.head(number)).number) as done:
            async for step in consents.verify(context, number, noted):
                if isinstance(step, int):
                    done(step)
                else:
                    results[name] = step
    return results


def _named(pairs: Sequence[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in COLUMNS or name == "address":
            fail(f"{pair[:60]!r} is not NAME=VALUE with one of: {', '.join(COLUMNS)}", status=2)
        found[name] = value
    return found

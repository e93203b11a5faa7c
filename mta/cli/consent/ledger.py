"""``mta consent``: who agreed to what, and what proves it.

Invariants: an entry of the ledger never changes: what was wrong is recorded again, what ended is revoked.

Limitations: missing evidence does not keep a consent from being recorded; it keeps mail from being sent by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from mta.admin.files import consent_fields as fields
from mta.admin.files import consent_records as records
from mta.admin.files.consent_fields import COLUMNS, FieldError, ImportDefaults
from mta.cli.consent import findings, import_file
from mta.cli.context import account_id, load_settings, require_account_id, with_admin, with_store
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
    operator,
    parse_address,
)
from mta.cli.output import fail, output_file, print_json, progress
from policy.languages import TextLanguage
from policy.permission.consent import EVERY_TOPIC, Sign, parse_topic
from policy.permission.ledger import Head
from policy.permission.suppression import Reason

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.mail.address import Address
    from mta.store.permission.consents import ConsentsRecorded
    from mta.store.permission.ledger import Verified
    from mta.store.store import Store
    from policy.permission.dossier import Dossier

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
    settings = load_settings(config)
    with output_file(file) as opened:

        async def work(store: Store) -> int:
            pages = store.consents.export(await require_account_id(store, account))
            return await records.write(opened, pages, as_json=as_json)

        count = with_store(settings, work)
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
    try:
        given = fields.read({**_named(values), "address": address}, ImportDefaults(datetime.now(UTC)))
    except FieldError as error:
        fail(str(error), status=2)
    from mta.admin.suppressions import require_liftable
    from policy.permission.traps import TrapAddresses

    settings = load_settings(config)

    async def work(context: AdminContext) -> ConsentsRecorded:
        store = context.store
        owner = await require_account_id(store, account)
        if lift:
            await require_liftable(context, owner, Reason.UNSUBSCRIBE)
        traps = TrapAddresses.load(settings.policy.trap_addresses)
        return await store.consents.record(owner, [given], by=operator(), lift=lift, traps=traps)

    recorded = with_admin(settings, work)
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
    from policy.local_format import LocalFormat
    from policy.permission import dossier
    from policy.permission.evidence import load_assessor

    parsed, settings = parse_address(address), load_settings(config)
    found = with_store(settings, lambda store: dossiers(store, parsed, account))
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
    from mta.store.queue.queue import QueueFilter

    parsed, about = parse_address(address), parse_topic(topic or EVERY_TOPIC)
    named = "all topics" if about == EVERY_TOPIC else f'topic "{about}"'
    settings = load_settings(config)

    async def count(store: Store) -> int:
        owner = await require_account_id(store, account)
        queued = QueueFilter(account_id=owner, address=str(parsed), topic=None if about == EVERY_TOPIC else about)
        return (await store.queue.bounce(queued, reason, dry_run=True)).recipients

    async def work(store: Store) -> str:
        owner = await require_account_id(store, account)
        done = await store.consents.revoke(owner, parsed, about, reason=reason, by=operator())
        return (
            f"{parsed}: consent revoked for {named} (ledger entry {done.entry}), address suppressed, "
            f"{done.pulled} queued copies cancelled."
        )

    if dry_run:
        print(
            f"{parsed}: consent for {named} would be revoked; "
            f"up to {with_store(settings, count)} queued copies would be cancelled."
        )
        return
    confirm(f"Revoke the consent of {parsed} for {named}?", yes=yes)
    print(with_store(settings, work, new=True))


def renew(
    address: AddressArgument,
    account: import_file.OfAccountOption,
    kind: Annotated[ContactKind, typer.Option(help="What the contact was.")] = ContactKind.PURCHASE,
    at: Annotated[str | None, typer.Option(help="When; default: now.")] = None,
    config: ConfigOption = None,
) -> None:
    """Record a contact, such as a purchase, that restarts the consent's expiry clock."""
    parsed = parse_address(address)
    try:
        when = fields.parse_time("at", at, None) if at else None
    except FieldError as error:
        fail(str(error), status=2)

    async def work(store: Store) -> int:
        owner = await require_account_id(store, account)
        return await store.consents.renew(owner, parsed, Sign(kind.value), by=operator(), at=when)

    print(f"{parsed}: contact recorded as ledger entry {with_store(load_settings(config), work)}.")


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
    noted = _head(head) if head else None
    results = with_store(load_settings(config), lambda store: _verify(store, account, noted))
    for name, result in results.items():
        if not result.faults:
            here = f"{result.head.number}:{result.head.hash.hex()}"
            print(f"{name}: {result.head.number} entries, chain intact; head {here}")
        for fault in result.faults:
            print(f"{name}: entry {fault.number}: {fault.text}")
    if any(result.faults for result in results.values()):
        raise typer.Exit(1)


async def dossiers(store: Store, address: Address, account: str | None) -> list[Dossier]:
    """Return what each account's ledger has about an address; of one account also if that is nothing."""
    from policy.permission.dossier import Dossier

    only, now = await account_id(store, account), datetime.now(UTC)
    known = {each.account_id: each for each in await store.consents.of(address)}
    suppressions = [each.suppression for each in await store.suppressions.of(address)]
    found = []
    for details in await store.accounts.list():
        number = details.account.id
        consents = known.get(number)
        if (consents is not None) if only is None else number == only:
            found.append(
                Dossier(
                    str(address),
                    details.account,
                    now,
                    consents.proofs if consents else (),
                    consents.consents if consents else (),
                    tuple(each for each in suppressions if each.account_id in (None, number)),
                )
            )
    return found


async def _verify(store: Store, account: str | None, noted: Head | None) -> dict[str, Verified]:
    """Return what each account's chain comes to, by the account's name."""
    from mta.store.permission.ledger import Verified

    only = await account_id(store, account)
    results: dict[str, Verified] = {}
    for each in await store.accounts.list():
        number = each.account.id
        if only not in (None, number):
            continue
        with progress(each.account.name, (await store.consents.head(number)).number) as done:
            async for step in store.consents.verify(number, noted):
                match step:
                    case int():
                        done(step)
                    case Verified():
                        results[each.account.name] = step
    return results


def _named(pairs: Sequence[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in COLUMNS or name == "address":
            fail(f"{pair[:60]!r} is not NAME=VALUE with one of: {', '.join(COLUMNS)}", status=2)
        found[name] = value
    return found


def _head(text: str) -> Head:
    number, _, digest = text.partition(":")
    try:
        found = Head(int(number), bytes.fromhex(digest))
    except ValueError:
        found = None
    if found is None or len(found.hash) != 32:
        fail(f"{text[:80]!r} is not a head: 12:0f3a... with 64 hexadecimal digits", status=2)
    return found

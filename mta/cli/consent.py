"""``mta consent``: who agreed to what, and what proves it.

It must never change an entry of the ledger: what was wrong is recorded anew, what ended is revoked.

*Limits.* Evidence that is missing does not keep a consent from being recorded; it keeps mail from going by it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from enum import Enum
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from mta.cli import consent_fields, consent_steps
from mta.cli.consent_fields import COLUMNS, FieldError, Habits
from mta.cli.consent_file import Reading
from mta.cli.context import load_settings, with_store
from mta.cli.options import ConfigOption
from mta.cli.output import fail
from policy.permission.consent import Sign
from policy.permission.dossier import Writer, load_languages
from policy.permission.dossier import as_json as as_record
from policy.permission.evidence import load_assessor
from policy.permission.ledger import Head

AccountOption = Annotated[str, typer.Option(help="The account to which consent was given.")]
AddressArgument = Annotated[str, typer.Argument(metavar="ADDRESS", help="Such as ann@example.com.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]
LiftOption = Annotated[
    bool,
    typer.Option(
        "--lift", help="End suppressions by a revocation or unsubscription that a complete, newer consent answers."
    ),
]
_FIELDS = "  \n".join(f"`{name}`: {text}" for name, text in COLUMNS.items())


class By(Enum):
    """Signs that `renew` notes."""

    CLICK = "click"
    PURCHASE = "purchase"
    DELIVERED = "delivered"


class Language(Enum):
    """Languages that dossiers are written in."""

    NL = "nl"
    DE = "de"
    FR = "fr"
    ES = "es"
    EN = "en"


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="The ledger of consents: who agreed to what, and what proves it. Marketing mail goes only to those in it.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
    )
    group.command("import", epilog=f"Columns:  \n{_FIELDS}")(import_)
    group.command("export")(export)
    group.command("show")(show)
    group.command("add", epilog=f"Fields:  \n{_FIELDS}")(add)
    group.command("revoke")(revoke)
    group.command("renew")(renew)
    group.command("verify")(verify)
    app.add_typer(group, name="consent")


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV with a line of names, or JSON lines; UTF-8.")],
    account: AccountOption,
    topics: Annotated[str, typer.Option(help="For records that name none.")] = "",
    basis: Annotated[str, typer.Option(help="For records that name none.")] = "",
    zone: Annotated[str | None, typer.Option(help="Of times without one, e.g. Europe/Amsterdam.")] = None,
    lift: LiftOption = False,
    check: Annotated[bool, typer.Option("--check", help="Only read the file and report what is wrong.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Read a file that was imported before.")] = False,
    config: ConfigOption = None,
) -> None:
    """Record every consent of a file. Bad records are reported as `file:line: what is wrong`, the others recorded.

    What was recorded before is left as it is, and an import that was cut off goes on where it stopped. Exit status 1
    if there are bad records, 2 if nothing of the file can be used.
    """
    habits = Habits(datetime.now(UTC), _zone(zone), topics, basis)
    try:
        with Reading.open(file) as reading:
            settings = load_settings(config)
            tally = with_store(
                settings,
                lambda store: consent_steps.import_file(
                    store, settings, reading, account, habits, lift=lift, again=again, check_only=check
                ),
            )
    except OSError as error:
        fail(f"{file}: cannot be read: {error.strerror}", status=2)
    tally.print()
    if tally.bad:
        raise typer.Exit(1)


def export(
    account: AccountOption,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Standard output if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines instead of CSV.")] = False,
    config: ConfigOption = None,
) -> None:
    """Write an account's consents, in a form that `import` reads."""
    settings = load_settings(config)
    if file is None:
        with_store(settings, lambda store: consent_steps.export(store, account, sys.stdout, as_json=as_json))
        return
    try:
        with open(file, "w", encoding="utf-8", newline="") as opened:
            count = with_store(settings, lambda store: consent_steps.export(store, account, opened, as_json=as_json))
    except OSError as error:
        fail(f"{file}: cannot be written: {error.strerror}", status=2)
    print(f"{count} consents written to {file}.")


def add(
    address: AddressArgument,
    account: AccountOption,
    fields: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="What is known, field by field.")],
    lift: LiftOption = False,
    config: ConfigOption = None,
) -> None:
    """Record one consent."""
    try:
        given = consent_fields.read({**_fields(fields), "address": address}, Habits(datetime.now(UTC)))
    except FieldError as error:
        fail(str(error), status=2)
    settings = load_settings(config)
    recorded = with_store(settings, lambda store: consent_steps.add(store, settings, account, given, lift=lift))
    if not recorded.fresh:
        print(f"{given.address}: just this was recorded before.")
        return
    print(f"{given.address}: consent for {', '.join(given.topics)} is recorded.")
    if recorded.lacking:
        print(f"No mail can go by it, for want of: {', '.join(recorded.lacking)}.")
    if recorded.lifted:
        print(f"{recorded.lifted} suppressions lifted.")


def show(
    address: AddressArgument,
    account: Annotated[str | None, typer.Option(help="Only this account's ledger.")] = None,
    language: Annotated[Language, typer.Option(help="Of the dossier; what was recorded stays as it is.")] = Language.EN,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as one self-contained page.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Print the dossier of an address, as an abuse desk sends it. Exit status 1 if nothing is recorded of it."""
    found = with_store(load_settings(config), lambda store: consent_steps.dossiers(store, address, account))
    writer = Writer(language.value, load_languages()[language.value], load_assessor())
    if as_json:
        print(json.dumps([as_record(each) for each in found], indent=2, ensure_ascii=False))
    elif html is not None:
        try:
            html.write_text(writer.html(found), encoding="utf-8")
        except OSError as error:
            fail(f"{html}: cannot be written: {error.strerror}", status=2)
    elif found:
        print(writer.text(found), end="")
    if not any(each.proofs for each in found):
        fail(f"nothing is recorded of {address}" + (f" for {account}" if account else ""))


def _fields(pairs: list[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in COLUMNS or name == "address":
            fail(f"{pair[:60]!r} is not NAME=VALUE with one of: {', '.join(COLUMNS)}", status=2)
        found[name] = value
    return found


def revoke(
    address: AddressArgument,
    account: AccountOption,
    reason: Annotated[str, typer.Option(help="How the person said so; kept as evidence.")],
    topic: Annotated[str | None, typer.Option(help="Only for this topic; else for all marketing.")] = None,
    config: ConfigOption = None,
) -> None:
    """Note that a person takes consent back: mail about it stops at once, also what is queued."""
    print(
        with_store(
            load_settings(config), lambda store: consent_steps.revoke(store, account, address, topic, reason), new=True
        )
    )


def renew(
    address: AddressArgument,
    account: AccountOption,
    by: Annotated[By, typer.Option(help="The sign of the relation.")] = By.PURCHASE,
    at: Annotated[str | None, typer.Option(help="When; now if not given.")] = None,
    config: ConfigOption = None,
) -> None:
    """Note a sign of the relation, such as a purchase, from which a consent grows old anew."""
    try:
        moment = consent_fields.parse_time("at", at, None) if at else None
    except FieldError as error:
        fail(str(error), status=2)
    sign = Sign(by.value)
    print(with_store(load_settings(config), lambda store: consent_steps.renew(store, account, address, sign, moment)))


def verify(
    account: Annotated[str | None, typer.Option(help="Only this account's ledger.")] = None,
    head: Annotated[
        str | None, typer.Option(metavar="N:HASH", help="A head that was printed earlier; needs --account.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Check the chain of hashes from its beginning, and print its head: note it elsewhere. Exit status 1 if broken."""
    if head and not account:
        fail("--head needs --account", status=2)
    noted = _head(head) if head else None
    results = with_store(load_settings(config), lambda store: consent_steps.verify(store, account, noted))
    for name, result in results.items():
        head_now = f"{result.head.number}:{result.head.hash.hex()}"
        if not result.faults:
            print(f"{name}: {result.head.number} entries, the chain holds; head {head_now}")
        for fault in result.faults:
            print(f"{name}: entry {fault.number}: {fault.text}")
    if any(result.faults for result in results.values()):
        raise typer.Exit(1)


def _head(text: str) -> Head:
    number, _, digest = text.partition(":")
    try:
        found = Head(int(number), bytes.fromhex(digest))
    except ValueError:
        found = None
    if found is None or len(found.hash) != 32:
        fail(f"{text[:80]!r} is no head; it looks like 12:0f3a... with 64 hexadecimal digits", status=2)
    return found


def _zone(name: str | None) -> tzinfo | None:
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        fail(f"--zone {name!r} is not known; use a name such as Europe/Amsterdam", status=2)

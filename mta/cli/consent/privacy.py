"""``mta privacy``: export what is kept about a person, and erase it (GDPR).

Invariants: nothing is erased without an address and a reason, and nothing is called erased that is kept.

Limitations: whole tables are read: it takes as long as that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.consent.ledger import dossiers
from mta.cli.context import account_id, account_names, load_settings, with_store
from mta.cli.options import (
    AccountOption,
    AddressArgument,
    ConfigOption,
    DryRunOption,
    YesOption,
    confirm,
    group,
    operator,
    parse_address,
    require_text,
)
from mta.cli.output import output_file, print_details, to_json
from policy.permission.dossier import as_json

if TYPE_CHECKING:
    from mta.mail.address import Address
    from mta.store.privacy.data_subjects import Erased
    from mta.store.store import Store

_TABLES = ("contacts", "queued", "messages", "refusals", "events", "cases", "references")


def register(app: typer.Typer) -> None:
    commands = group("Export or erase one person's data (GDPR).", ("export", export), ("erase", erase))
    app.add_typer(commands, name="privacy")


def export(
    address: AddressArgument,
    file: Annotated[Path | None, typer.Argument(metavar="FILE.json", help="Default: standard output.")] = None,
    config: ConfigOption = None,
) -> None:
    """Write everything that is kept about an address as JSON: consents with evidence, suppressions, messages."""
    parsed = parse_address(address)
    found = with_store(load_settings(config), lambda store: _find(store, parsed))
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
    parsed, why = parse_address(address), require_text(reason, "--reason")
    settings = load_settings(config)
    if dry_run:
        _print_planned(parsed, with_store(settings, lambda store: _find(store, parsed)))
        return
    confirm(f"Erase {parsed}? This cannot be undone.", yes=yes)
    keep = None if purge_evidence else settings.retention.consent_evidence

    async def work(store: Store) -> tuple[Erased, Mapping[int, str]]:
        scope, by = await account_id(store, account), f"{operator()}: {why[:200]}"
        erased = await store.data_subjects.erase(parsed, by=by, account_id=scope, keep_proof=keep)
        return erased, await account_names(store)

    erased, names = with_store(settings, work)
    _print_erased(parsed, erased, names)


async def _find(store: Store, address: Address) -> dict[str, Any]:
    """Return everything that is kept about an address, for JSON."""
    subject, names = await store.data_subjects.find(address), await account_names(store)

    def named(number: int | None) -> str | None:
        return None if number is None else names.get(number, str(number))

    def row(found: Mapping[str, Any]) -> dict[str, Any]:
        told = dict(found)
        if "account_id" in told:
            told["account"] = named(told.pop("account_id"))
        return told

    return {
        "address": address,
        "consents": [as_json(each) for each in await dossiers(store, address, None)],
        "suppressions": [
            {
                "account": named(each.suppression.account_id),
                "topic": each.suppression.topic,
                "reason": each.suppression.why,
                "rule": each.suppression.rule,
                "since": each.suppression.since,
                "evidence": each.evidence,
                "message": each.message_id,
            }
            for each in subject.suppressions
        ],
        "contact_of": [named(number) for number in subject.contact_of],
        **{name: [row(each) for each in getattr(subject, name)] for name in _TABLES},
    }


def _print_planned(address: Address, found: Mapping[str, Any]) -> None:
    counted = ("consents", "suppressions", *_TABLES)
    print_details(f"{address} would be erased from", [(name, str(len(found[name]))) for name in counted])


def _print_erased(address: Address, erased: Erased, names: Mapping[int, str]) -> None:
    redacted = erased.redacted
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
    for kept in erased.kept:
        account = names.get(kept.account_id, str(kept.account_id))
        entries = ", ".join(map(str, kept.entries))
        print(
            f"Kept until {kept.until:%Y-%m-%d}: evidence of consent to {account} (ledger entries {entries}), as proof "
            "against claims, GDPR 17(3)(e)."
        )

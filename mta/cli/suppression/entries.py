"""``mta suppression list``, ``show``, ``add`` and ``remove``.

Invariants: a suppression is lifted only with a reason, and never if a profile keeps it for good; every change is noted
with the user who made it.

Limitations: a suppression holds for one account or for all of them, and for all mail, all marketing or one topic of
it; there is nothing between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import account_id, account_names, load_settings, with_store
from mta.cli.options import (
    AccountOption,
    AddressArgument,
    ConfigOption,
    DryRunOption,
    JsonOption,
    LimitOption,
    YesOption,
    confirm,
    group,
    operator,
    parse_address,
    require_span,
    require_text,
)
from mta.cli.output import Column, fail, minute, moment, print_details, print_json, print_table
from mta.cli.suppression import lists
from mta.mail.identity import format_id
from policy.accounts.account import AccountStatus
from policy.permission.suppression import Reason

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.store.permission.suppressions import SuppressionRecord
    from mta.store.store import Store
    from policy.base import Suppression

ScopeOption = Annotated[
    str | None, typer.Option("--account", "-a", metavar="NAME", help="For this account only; default: all accounts.")
]
TopicOption = Annotated[str, typer.Option(help="Only marketing about this topic; `*` for all marketing.")]
ReasonCodeFilter = Annotated[Reason | None, typer.Option("--reason-code", help="Only suppressions with this reason.")]

_COLUMNS = (Column("address", whole=True), "for", "reason", Column("rule", optional=True), "since", "until")
_NO_CONSENT = "Revoked consents stay revoked: marketing mail needs a new one (`mta consent add`)."


def register(app: typer.Typer) -> None:
    commands = group(
        "Suppressions: addresses that must not be mailed, for one account or for all. They are checked when a message "
        "is submitted and before each delivery attempt; adding one cancels queued copies.",
        ("list", list_),
        ("show", show),
        ("add", add),
        ("remove", remove),
        ("import", lists.import_),
        ("export", lists.export),
    )
    app.add_typer(commands, name="suppression")


def list_(
    account: AccountOption = None,
    for_all: Annotated[bool, typer.Option("--global", help="Only those that hold for all accounts.")] = False,
    reason_code: ReasonCodeFilter = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the newest suppressions. `mta suppression export` writes all of them."""
    if account and for_all:
        fail("--account and --global exclude each other", status=2)

    async def work(store: Store) -> tuple[list[Suppression], Mapping[int, str]]:
        scope = lists.ALL_ACCOUNTS if for_all else await account_id(store, account)
        return await store.suppressions.list(scope, limit=limit, reason=reason_code), await account_names(store)

    found, names = with_store(load_settings(config), work)
    found.reverse()
    if as_json:
        print_json([_fields(each, names) for each in found])
        return
    rows = [
        (str(each.address), _scope(each, names), each.why, each.rule, minute(each.since), minute(each.until)[:10])
        for each in found
    ]
    print_table(_COLUMNS, rows, empty="No suppressions.", limit=limit)


def show(address: AddressArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show why an address is suppressed, for which account and since when. Exit status 1 if it is not."""

    async def work(store: Store) -> tuple[Sequence[SuppressionRecord], Mapping[int, str]]:
        return await store.suppressions.of(parse_address(address)), await account_names(store)

    found, names = with_store(load_settings(config), work)
    if as_json:
        print_json(
            [
                _fields(each.suppression, names) | {"evidence": each.evidence, "message": each.message_id}
                for each in found
            ]
        )
    for each in () if as_json else found:
        suppression = each.suppression
        print_details(
            f"{suppression.address} is suppressed for {_scope(suppression, names)}",
            (
                ("since", f"{moment(suppression.since)} UTC"),
                ("until", f"{moment(suppression.until)} UTC" if suppression.until else None),
                ("reason", suppression.why),
                ("rule", suppression.rule),
                ("evidence", each.evidence),
                ("message", f"{format_id(each.message_id)}  (mta explain)" if each.message_id else None),
            ),
        )
    if not found:
        fail(f"{address} is not suppressed")


def add(
    address: AddressArgument,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; shown to senders.")] = "suppressed by the operator",
    reason_code: Annotated[
        Reason, typer.Option("--reason-code", help="An unsubscribe, objection or complaint also revokes consents.")
    ] = Reason.MANUAL,
    account: ScopeOption = None,
    topic: TopicOption = "",
    expire: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Until it expires, e.g. 24h or 30d; default: never.")
    ] = None,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Suppress an address and cancel queued copies to it. Without --account it holds for every account, so it asks."""
    until = datetime.now(UTC) + require_span(expire, "--expire") if expire else None
    if until and reason_code.permanent:
        fail(
            f"a suppression for {reason_code.value} never expires: omit --expire or choose another --reason-code",
            status=2,
        )
    parsed, who, settings = parse_address(address), operator(), load_settings(config)
    if account is None:
        confirm(f"No account may mail {parsed} any more, whoever it is: suppress it {_for(None, topic)}?", yes=yes)

    async def work(store: Store) -> str:
        request = store.suppressions.act(
            await account_id(store, account),
            parsed,
            reason_code,
            detail=reason,
            evidence=f"by {who}",
            topic=topic,
            by=who,
            expires_at=until,
        )
        applied = await store.suppressions.apply([request])
        if not applied.changed:
            return f"{parsed} is already suppressed {_for(account, topic)}; the first reason is kept."
        cancelled = f" {applied.pulled} queued copies cancelled." if applied.pulled else ""
        return f"{parsed} suppressed {_for(account, topic)}{f' until {until:%Y-%m-%d}' if until else ''}.{cancelled}"

    print(with_store(settings, work, new=True))


def remove(
    address: AddressArgument,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why it may be mailed again; kept as evidence.")],
    account: ScopeOption = None,
    topic: TopicOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Lift a suppression. The removal is recorded.

    A profile may keep for good what a recipient has asked for ([suppressions] after_unsubscribe = "never").
    """
    reason, parsed, who = require_text(reason, "--reason"), parse_address(address), operator()
    settings = load_settings(config)
    if not dry_run:
        confirm(f"Lift the suppression of {parsed} {_for(account, topic)}?", yes=yes)

    async def work(store: Store) -> list[str]:
        scope, names = await account_id(store, account), await account_names(store)
        known = [each.suppression for each in await store.suppressions.of(parsed)]
        meant = [each for each in known if (each.account_id, each.topic) == (scope, topic)]
        others = ", ".join(_for_scope(each, names) for each in known if each not in meant)
        if not meant:
            fail(f"{parsed} is not suppressed {_for(account, topic)}" + (f"; it is {others}" if others else ""))
        for each in meant:
            await require_liftable(store, settings, scope, each.reason)
        if dry_run:
            return [f"The suppression of {parsed} {_for(account, topic)} would be lifted."]
        lifted = await store.suppressions.remove(scope, parsed, reason=f"{reason} (by {who})", topic=topic, by=who)
        said = [f"{parsed} is no longer suppressed {_for(account, topic)}."]
        if others:
            said.append(f"It is still suppressed {others}.")
        return [*said, _NO_CONSENT] if lifted and lifted.withdraws else said

    print("\n".join(with_store(settings, work)))


async def require_liftable(store: Store, settings: Settings, scope: int | None, reason: Reason) -> None:
    """End the command if the profile of a concerned account keeps a suppression for ``reason`` for good.

    ``scope`` None: it holds for all accounts, and the profile of any of them may keep it.
    """
    from mta.service.config_validation import validate_profiles

    profiles = validate_profiles(settings)
    for account in (each.account for each in await store.accounts.list()):
        if account.status is AccountStatus.TERMINATED or scope not in (None, account.id):
            continue
        if profiles.get(account.profile).suppressions.forbids(reason):
            fail(
                f'profile "{account.profile}" of account {account.name} keeps a suppression for {reason.value} for '
                'good ([suppressions] after_unsubscribe = "never")'
            )


def about_topic(topic: str) -> str:
    """Return the part of a scope that is not about accounts, in brackets."""
    if topic in ("", "*"):
        return " (all marketing)" if topic else ""
    return f' (marketing about "{topic}")'


def _for(account: str | None, topic: str) -> str:
    return f"for {account or 'all accounts'}{about_topic(topic)}"


def _scope(suppression: Suppression, names: Mapping[int, str]) -> str:
    return _for_scope(suppression, names).removeprefix("for ")


def _for_scope(suppression: Suppression, names: Mapping[int, str]) -> str:
    number = suppression.account_id
    return _for(None if number is None else names.get(number, f"account {number}"), suppression.topic)


def _fields(suppression: Suppression, names: Mapping[int, str]) -> dict[str, Any]:
    number = suppression.account_id
    return {
        "address": str(suppression.address),
        "account": None if number is None else names.get(number, str(number)),
        "topic": suppression.topic,
        "reason": suppression.reason,
        "detail": suppression.detail,
        "rule": suppression.rule,
        "since": suppression.since,
        "until": suppression.until,
    }

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

from mta.cli.context import load_settings, with_admin
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
    parse_address,
    require_span,
    require_text,
)
from mta.cli.output import Column, fail, minute, moment, print_details, print_json, print_table
from mta.cli.suppression import lists
from mta.mail.identity import format_id
from policy.permission.suppression import Reason

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.store.permission.suppressions import SuppressionRecord
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

    from mta.admin import suppressions

    async def work(context: AdminContext) -> tuple[list[Suppression], Mapping[int, str]]:
        page = await suppressions.list_page(
            context, account=account, everywhere=for_all, reason=reason_code, limit=limit
        )
        return [each for _, each in page], await context.account_names()

    found, names = with_admin(load_settings(config), work)
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

    from mta.admin import suppressions

    async def work(context: AdminContext) -> tuple[Sequence[SuppressionRecord], Mapping[int, str]]:
        return await suppressions.find(context, parse_address(address)), await context.account_names()

    found, names = with_admin(load_settings(config), work)
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
    from mta.admin import suppressions

    until = datetime.now(UTC) + require_span(expire, "--expire") if expire else None
    if until and reason_code.permanent:
        fail(
            f"a suppression for {reason_code.value} never expires: omit --expire or choose another --reason-code",
            status=2,
        )
    parsed, settings = parse_address(address), load_settings(config)
    if account is None:
        confirm(f"No account may mail {parsed} any more, whoever it is: suppress it {_for(None, topic)}?", yes=yes)

    async def work(context: AdminContext) -> str:
        added = await suppressions.add(
            context, parsed, reason=reason, code=reason_code, account=account, topic=topic, expires_at=until
        )
        if not added.is_new:
            return f"{parsed} is already suppressed {_for(account, topic)}; the first reason is kept."
        cancelled = f" {added.cancelled} queued copies cancelled." if added.cancelled else ""
        return f"{parsed} suppressed {_for(account, topic)}{f' until {until:%Y-%m-%d}' if until else ''}.{cancelled}"

    print(with_admin(settings, work, new=True))


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
    from mta.admin import suppressions

    reason, parsed = require_text(reason, "--reason"), parse_address(address)
    settings = load_settings(config)
    if not dry_run:
        confirm(f"Lift the suppression of {parsed} {_for(account, topic)}?", yes=yes)

    async def work(context: AdminContext) -> list[str]:
        names = await context.account_names()
        try:
            lifted = await suppressions.lift(
                context, parsed, reason=reason, account=account, topic=topic, dry_run=dry_run
            )
        except suppressions.NotSuppressed as error:
            others = ", ".join(_for_scope(each, names) for each in error.others)
            fail(f"{parsed} is not suppressed {_for(account, topic)}" + (f"; it is {others}" if others else ""))
        if dry_run:
            return [f"The suppression of {parsed} {_for(account, topic)} would be lifted."]
        said = [f"{parsed} is no longer suppressed {_for(account, topic)}."]
        if lifted.others:
            said.append(f"It is still suppressed {', '.join(_for_scope(each, names) for each in lifted.others)}.")
        return [*said, _NO_CONSENT] if lifted.needs_consent else said

    print("\n".join(with_admin(settings, work)))


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

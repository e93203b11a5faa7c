"""``mta breaker``: circuit breakers, which hold mail because of complaints, bounces or rejections.

Invariants: a breaker is cancelled only with a name and a reason.

Limitations: a cancellation reaches the workers within moments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import account_names, load_settings, with_admin, with_store
from mta.cli.options import (
    ByOption,
    ConfigOption,
    DryRunOption,
    JsonOption,
    LimitOption,
    ReasonOption,
    YesOption,
    confirm,
    group,
    operator,
    parse_message_id,
    require_text,
)
from mta.cli.output import Column, fail, moment, plain, print_details, print_json, print_lines, print_table
from policy.reputation.breaker import MailingScope

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.store.reputation.breakers import Tripped
    from mta.store.store import Store

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the breaker; see `mta breaker list`.")]

_COLUMNS = (Column("breaker", whole=True), "account", "tripped (UTC)", "found", "state")


def register(app: typer.Typer) -> None:
    commands = group(
        "Circuit breakers: mailings, and accounts at a provider, whose mail is held because of complaints, bounces or "
        "rejections.",
        ("list", list_),
        ("show", show),
        ("cancel", cancel),
        ("record-trap-hit", record_trap_hit),
    )
    app.add_typer(commands, name="breaker")


def list_(
    every: Annotated[bool, typer.Option("--all", help="Include cancelled ones.")] = False,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List open breakers, the newest first."""

    async def work(store: Store) -> tuple[Sequence[Tripped], Mapping[int, str]]:
        return await store.breakers.list(cancelled=every, limit=limit), await account_names(store)

    found, names = with_store(load_settings(config), work)
    if as_json:
        print_json([_fields(each, names) for each in found])
        return
    rows = [(each.name, _account(each, names), moment(each.tripped_at), each.words, _state(each)) for each in found]
    print_table(_COLUMNS, rows, empty="No breaker has tripped." if every else "No breaker is open.", limit=limit)


def show(name: NameArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show a breaker: its figures, what it holds, its complaint case and earlier trips."""

    async def work(store: Store) -> tuple[Sequence[Tripped], int, Mapping[int, str]]:
        history = await _history(store, name)
        return history, await _held(store, history[0]), await account_names(store)

    history, held, names = with_store(load_settings(config), work)
    newest = history[0]
    if as_json:
        print_json([_fields(each, names) | {"held": held if each is newest else 0} for each in history])
        return
    case = f"C-{newest.case_id} (mta complaint show C-{newest.case_id})" if newest.case_id is not None else None
    print_details(
        f"Breaker {newest.name}  {_state(newest)}",
        (
            ("account", f"{_account(newest, names)} ({newest.scope.account_id})"),
            ("found", newest.words),
            ("holds", f"{held} recipients"),
            ("case", case),
        ),
    )
    lines = ["", "Tripped (UTC)", *(f"  {moment(each.tripped_at)}  {each.words}{_end(each)}" for each in history)]
    if newest.cancelled_at is None:
        lines += ["", f"To release what it holds: mta breaker cancel {newest.name} --reason TEXT"]
    print_lines((text, "") for text in lines)


def cancel(
    name: NameArgument,
    reason: ReasonOption,
    by: ByOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Cancel a breaker and release what it holds. What was counted so far does not trip it again."""
    from mta.admin import breakers

    reason, who, settings = require_text(reason, "--reason"), by or operator(), load_settings(config)

    async def work(context: AdminContext) -> str:
        if dry_run:
            held = (await breakers.cancel(context, name, reason=reason, dry_run=True)).released
            return f"Breaker {name} would be cancelled; it holds {held} recipients."
        released = (await breakers.cancel(context, name, reason=reason)).released
        return f"Breaker {name} cancelled by {who}; {released} recipients released."

    if not dry_run:
        confirm(f"Cancel breaker {name}? What it holds is sent.", yes=yes)
    print(with_admin(settings, work, by=by))


def record_trap_hit(
    message: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="Id of the message that hit the trap: in its Received field, and in the log."
        ),
    ],
    config: ConfigOption = None,
) -> None:
    """Count a spam trap hit that a blocklist operator or provider has reported."""
    from mta.admin import breakers

    message_id = parse_message_id(message)
    with_admin(load_settings(config), lambda context: breakers.record_trap_hit(context, message_id))
    print("Spam trap hit recorded; the breakers count it now.")


async def _history(store: Store, name: str) -> Sequence[Tripped]:
    """Return each time that a breaker tripped, the newest first; exit status 1 if it never did."""
    history = await store.breakers.history(name)
    if not history:
        fail(f"no breaker {name[:200]!r} has ever tripped; see mta breaker list --all")
    return history


async def _held(store: Store, tripped: Tripped) -> int:
    return await store.breakers.held(tripped) if tripped.cancelled_at is None else 0


def _account(tripped: Tripped, names: Mapping[int, str]) -> str:
    return names.get(tripped.scope.account_id, str(tripped.scope.account_id))


def _state(tripped: Tripped) -> str:
    return "open" if tripped.cancelled_at is None else f"cancelled by {tripped.cancelled_by}"


def _end(tripped: Tripped) -> str:
    if tripped.cancelled_at is None:
        return ""
    return f"; cancelled {moment(tripped.cancelled_at)} by {tripped.cancelled_by}: {tripped.reset_reason}"


def _fields(tripped: Tripped, names: Mapping[int, str]) -> dict[str, Any]:
    scope = tripped.scope
    place = (
        {"mailing": scope.mailing}
        if isinstance(scope, MailingScope)
        else {"provider": scope.provider, "stream": scope.stream}
    )
    fields: dict[str, Any] = plain(tripped)
    del fields["scope"], fields["case_id"]
    return {
        "name": tripped.name,
        "account": _account(tripped, names),
        "account_id": scope.account_id,
        **place,
        **fields,
        "words": tripped.words,
        "case": None if tripped.case_id is None else f"C-{tripped.case_id}",
    }

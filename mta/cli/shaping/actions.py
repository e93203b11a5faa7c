"""``mta shaping actions``: what rules and operators have begun, and how to end it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import account_names, load_settings, with_store
from mta.cli.options import (
    ByOption,
    ConfigOption,
    DryRunOption,
    JsonOption,
    LimitOption,
    ReasonOption,
    YesOption,
    confirm,
    operator,
    require_text,
)
from mta.cli.output import Column, moment, plain, print_details, print_json, print_table

if TYPE_CHECKING:
    from mta.mail.shaping_action import ShapingAction
    from mta.store.store import Store

ActionArgument = Annotated[
    str, typer.Argument(metavar="ACTION", help="Its number, or the name of a rule: all its actions in force.")
]

_COLUMNS = (
    Column("id", whole=True),
    Column("name", whole=True),
    "effect",
    "scope",
    "until (UTC)",
    "reason",
    Column("author", optional=True),
)


def list_(
    every: Annotated[bool, typer.Option("--all", help="Include those that have ended.")] = False,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the actions in force, the newest first."""

    async def work(store: Store) -> tuple[Sequence[ShapingAction], Mapping[int, str]]:
        return await store.shaping_actions.list(ended=every, limit=limit), await account_names(store)

    found, names = with_store(load_settings(config), work)
    if as_json:
        print_json([fields(each, names) for each in found])
        return
    rows = [
        (str(each.id), each.name, effect_of(each), scope_of(each, names), _end(each), each.reason, each.author)
        for each in found
    ]
    empty = "There was no shaping action." if every else "No shaping action is in force."
    print_table(_COLUMNS, rows, empty=empty, limit=limit)


def show(action: ActionArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show an action: what it does to which mail, why, and how many queued recipients wait for it."""

    async def work(store: Store) -> tuple[list[tuple[ShapingAction, int]], Mapping[int, str]]:
        found = await store.shaping_actions.find(action)
        return [(each, await store.shaping_actions.waiting(each)) for each in found], await account_names(store)

    found, names = with_store(load_settings(config), work)
    if as_json:
        print_json([fields(each, names) | {"waiting": waiting} for each, waiting in found])
        return
    for each, waiting in found:
        ended = None
        if each.cancelled_at is not None:
            ended = f"{moment(each.cancelled_at)} UTC by {each.cancelled_by}: {each.cancel_reason}"
        print_details(
            f"Action {each.id}  {each.name}",
            (
                ("effect", effect_of(each)),
                ("scope", scope_of(each, names)),
                ("reason", each.reason),
                ("reply", each.sample or None),
                ("begun", f"{moment(each.created_at)} UTC by {each.author}"),
                ("until", f"{moment(each.expires_at)} UTC"),
                ("cancelled", ended),
                ("waiting", f"{waiting} recipients"),
            ),
        )


def cancel(
    action: ActionArgument,
    reason: ReasonOption,
    by: ByOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """End actions before their time; mail that waits for them is due at once."""
    reason, who, settings = require_text(reason, "--reason"), by or operator(), load_settings(config)

    async def count(store: Store) -> str:
        found = await store.shaping_actions.find(action)
        waiting = [await store.shaping_actions.waiting(each) for each in found]
        return f"{_count(found)} would be cancelled; {sum(waiting)} recipients wait for them."

    async def work(store: Store) -> str:
        found = await store.shaping_actions.find(action)
        cancelled = await store.shaping_actions.cancel(found, by=who, reason=reason)
        return f"{_count(cancelled.actions)} cancelled by {who}; {cancelled.due} recipients due now."

    if not dry_run:
        confirm(f"Cancel action {action}?", yes=yes)
    print(with_store(settings, count if dry_run else work))


def effect_of(action: ShapingAction) -> str:
    """Return what an action does, with its figures."""
    figures = [f"{action.connections} connections"] if action.connections is not None else []
    figures += [*action.message_rates, *([action.pool] if action.pool else [])]
    return f"{action.effect.value} {', '.join(figures)}".strip()


def scope_of(action: ShapingAction, names: Mapping[int, str]) -> str:
    """Return the scope with the account's name."""
    parts = {("account" if key == "account_id" else key): value for key, value in action.scope.fields.items()}
    if action.scope.account_id is not None:
        parts["account"] = names.get(action.scope.account_id, str(action.scope.account_id))
    return ", ".join(f"{key} {value}" for key, value in parts.items())


def fields(action: ShapingAction, names: Mapping[int, str]) -> dict[str, Any]:
    """Return an action for JSON."""
    made: dict[str, Any] = plain(action)
    scope = dict(action.scope.fields)
    if action.scope.account_id is not None:
        scope["account"] = names.get(action.scope.account_id, str(action.scope.account_id))
    return made | {"scope": scope, "in_force": action.in_force(datetime.now(UTC))}


def _end(action: ShapingAction) -> str:
    if action.cancelled_at is not None:
        return f"cancelled {moment(action.cancelled_at)}"
    return moment(action.expires_at)


def _count(actions: Sequence[ShapingAction]) -> str:
    return f"Action {actions[0].id}" if len(actions) == 1 else f"{len(actions)} actions"

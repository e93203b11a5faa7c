"""``mta shaping actions``: what rules and operators have begun, and how to end it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import load_settings, with_admin
from mta.cli.options import (
    ByOption,
    ConfigOption,
    DryRunOption,
    JsonOption,
    LimitOption,
    ReasonOption,
    YesOption,
    confirm,
    require_text,
)
from mta.cli.output import Column, moment, plain, print_details, print_json, print_table

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.admin.shaping import ActionDetails
    from mta.mail.shaping_action import ShapingAction

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

    from mta.admin import shaping

    async def work(context: AdminContext) -> tuple[Sequence[ShapingAction], Mapping[int, str]]:
        return await shaping.list_actions(context, ended=every, limit=limit), await context.account_names()

    found, names = with_admin(load_settings(config), work)
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

    from mta.admin import shaping

    async def work(context: AdminContext) -> tuple[Sequence[ActionDetails], Mapping[int, str]]:
        return await shaping.find(context, action), await context.account_names()

    found, names = with_admin(load_settings(config), work)
    if as_json:
        print_json([fields(each.action, names) | {"waiting": each.waiting} for each in found])
        return
    for each, waiting in ((details.action, details.waiting) for details in found):
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
    from mta.admin import shaping

    reason, settings = require_text(reason, "--reason"), load_settings(config)

    async def work(context: AdminContext) -> str:
        found = await shaping.find(context, action)
        if dry_run:
            waiting = sum(each.waiting for each in found)
            return f"{_count(found)} would be cancelled; {waiting} recipients wait for them."
        done = await shaping.cancel(context, found, reason=reason)
        return f"{_count(found)} cancelled by {context.actor.name}; {done.due} recipients due now."

    if not dry_run:
        confirm(f"Cancel action {action}?", yes=yes)
    print(with_admin(settings, work, by=by))


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


def _count(actions: Sequence[ActionDetails]) -> str:
    return f"Action {actions[0].action.id}" if len(actions) == 1 else f"{len(actions)} actions"

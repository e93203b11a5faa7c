"""``mta takedown``: hosts and addresses that no message may link to.

Invariants: each one has a reason and a name, and stays on record when it is removed.
"""

from __future__ import annotations

from pathlib import Path
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
    group,
    require_text,
)
from mta.cli.output import Column, fail, moment, plain, print_json, print_table

if TYPE_CHECKING:
    from policy.reputation.takedown import Takedown
    from policy.text.link_targets import LinkTarget

_COLUMNS = (Column("link", whole=True), "reason", "added (UTC)", "by", "removed (UTC)")


def register(app: typer.Typer) -> None:
    commands = group(
        "The takedown list: hosts and addresses that no message may link to. A change is in force within a second.",
        ("add", add),
        ("list", list_),
        ("remove", remove),
    )
    app.add_typer(commands, name="takedown")


def add(
    reason: ReasonOption,
    links: Annotated[
        list[str] | None,
        typer.Argument(metavar="LINK...", help="Hosts, with all below them, or addresses, with all below them."),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="One on each line; # begins a comment.")] = None,
    by: ByOption = None,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
) -> None:
    """Refuse messages that link there, from now on."""
    reason = require_text(reason, "--reason")
    targets = [*map(_target, links or ()), *_of_file(file)]
    if not targets:
        fail("what is taken down? Name a host or an address, or a file of them (--file)", status=2)
    if dry_run:
        print(f"{len(targets)} would be taken down.")
        return
    from mta.admin.desk import takedowns

    added = with_admin(load_settings(config), lambda context: takedowns.add(context, targets, reason=reason), by=by)
    print(f"{added} taken down; {len(targets) - added} were already.")


def list_(
    every: Annotated[bool, typer.Option("--all", help="Include removed ones.")] = False,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List what was taken down, the newest first."""
    from mta.admin.desk import takedowns

    found = with_admin(load_settings(config), lambda context: takedowns.list_all(context, removed=every, limit=limit))
    if as_json:
        print_json([_fields(each) for each in found])
        return
    rows = [
        (str(each.target), each.reason, moment(each.added_at), each.added_by, moment(each.removed_at))
        if each.removed_at
        else (str(each.target), each.reason, moment(each.added_at), each.added_by, "")
        for each in found
    ]
    print_table(_COLUMNS, rows, empty="Nothing was taken down.", limit=limit)


def remove(
    link: Annotated[str, typer.Argument(metavar="LINK", help="As `mta takedown list` shows it.")],
    reason: ReasonOption,
    by: ByOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Allow links there again."""
    reason, target = require_text(reason, "--reason"), _target(link)
    if dry_run:
        print(f"{target} would be allowed again.")
        return
    confirm(f"Allow links to {target} again?", yes=yes)
    from mta.admin.desk import takedowns

    with_admin(load_settings(config), lambda context: takedowns.remove(context, target, reason=reason), by=by)
    print(f"{target} is allowed again.")


def _target(text: str) -> LinkTarget:
    from policy.reputation.takedown import parse_takedown

    try:
        return parse_takedown(text)
    except ValueError as error:
        fail(str(error), status=2)


def _of_file(path: Path | None) -> list[LinkTarget]:
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{path}: cannot be read: {error}", status=2)
    texts = (line.partition(" #")[0].strip() for line in lines)
    return [_target(text) for text in texts if text and not text.startswith("#")]


def _fields(takedown: Takedown) -> dict[str, Any]:
    fields: dict[str, Any] = plain(takedown)
    return fields | {"target": str(takedown.target)}

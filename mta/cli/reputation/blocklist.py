"""``mta blocklist``: what blocklists say about our addresses and sender domains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.context import load_settings, with_admin
from mta.cli.options import ConfigOption, JsonOption, LimitOption, group
from mta.cli.output import Column, moment, print_json, print_table

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.store.reputation.blocklist_listings import Listing


def register(app: typer.Typer) -> None:
    commands = group(
        "Blocklists: what the configured ones say about our addresses and domains.", ("list", list_), ("check", check)
    )
    app.add_typer(commands, name="blocklist")


def list_(
    every: Annotated[bool, typer.Option("--all", help="Include listings that have ended.")] = False,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List what the running service has found, the newest first."""
    from mta.admin.desk import blocklists

    settings = load_settings(config)
    found = with_admin(settings, lambda context: blocklists.listings(context, ended=every, limit=limit))
    if as_json:
        print_json(found)
        return
    rows = [(each.subject, each.list, moment(each.seen_at), _state(each), each.answer) for each in found]
    print_table(
        (Column("subject", whole=True), "list", "seen (UTC)", "state", "answer"),
        rows,
        empty=_empty(settings),
        limit=limit,
    )


def _empty(settings: Settings) -> str:
    """Return what no listings mean: a list that nobody asks has none either."""
    if not settings.blocklists.lists:
        return "No blocklist is asked: none is configured (blocklists.lists)."
    names = ", ".join(each.name for each in settings.blocklists.lists)
    return f"No listings found by the running service. It asks {names}; `mta blocklist check` asks now."


def check(
    subject: Annotated[
        list[str] | None, typer.Argument(metavar="[ADDRESS|DOMAIN]...", help="Default: everything that is watched.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Ask all configured lists now. Exit status 1 if anything is listed, or a list fails its own test entries."""
    from mta.admin.desk import blocklists

    checks = with_admin(load_settings(config), lambda context: blocklists.check(context, subject or []))
    if as_json:
        print_json(checks)
    else:
        rows = [(each.list, each.subject or "(the list itself)", each.said, each.words) for each in checks]
        empty = "No blocklists are configured (blocklists.lists)."
        print_table(("list", Column("subject", whole=True), "result", "details"), rows, empty=empty)
    if any(each.is_bad for each in checks):
        raise typer.Exit(1)


def _state(listing: Listing) -> str:
    if listing.ended_at is not None:
        return f"ended {moment(listing.ended_at)}"
    if listing.confirmed_at is None:
        return "seen once"
    return "confirmed" + (f", case C-{listing.case_id}" if listing.case_id is not None else "")

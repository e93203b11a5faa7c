"""``mta blocklist``: what blocklists say about our addresses and sender domains.

Invariants: nothing that the service knows is changed. A list is asked only after it has passed its own test entries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, assert_never

import typer

from mta.cli.context import load_settings, with_store
from mta.cli.options import ConfigOption, JsonOption, LimitOption, group
from mta.cli.output import Column, moment, print_json, print_table

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.store.reputation.blocklist_listings import Listing
    from mta.store.store import Store


@dataclass(frozen=True, slots=True)
class BlocklistCheck:
    """One answer of a list. ``subject`` empty: whether the list passed its own test entries."""

    list: str
    subject: str
    said: str
    words: str

    @property
    def is_bad(self) -> bool:
        return self.said in ("listed", "ignored")


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
    settings = load_settings(config)
    found = with_store(settings, lambda store: store.blocklist_listings.find(ended=every, limit=limit))
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
    settings = load_settings(config)
    checks = with_store(settings, lambda store: _check(settings, store, subject or []))
    if as_json:
        print_json(checks)
    else:
        rows = [(each.list, each.subject or "(the list itself)", each.said, each.words) for each in checks]
        empty = "No blocklists are configured (blocklists.lists)."
        print_table(("list", Column("subject", whole=True), "result", "details"), rows, empty=empty)
    if any(each.is_bad for each in checks):
        raise typer.Exit(1)


async def _check(settings: Settings, store: Store, wanted: Sequence[str]) -> list[BlocklistCheck]:
    """Ask all lists about ``wanted``, or about everything that is watched."""
    from mta.delivery.blocklist_query import ask, examine, reason
    from mta.delivery.mx import Resolver
    from mta.service.jobs.blocklists import PAUSE, subjects
    from policy.reputation.blocklist import Believed, Clear, Ignored, ListedAnswer, Unanswered, fits

    resolver = Resolver(settings)
    domains = await store.blocklist_listings.domains()
    found: list[BlocklistCheck] = []
    for blocklist in settings.blocklists.lists:
        trust, _ = await examine(resolver, blocklist)
        match trust:
            case Believed():
                found.append(BlocklistCheck(blocklist.name, "", "believed", "passes its own test entries"))
            case Ignored(why) | Unanswered(why):
                said = "ignored" if isinstance(trust, Ignored) else "no answer"
                found.append(BlocklistCheck(blocklist.name, "", said, why))
                continue
            case _:
                assert_never(trust)
        about = [each for each in wanted if fits(each, blocklist)] if wanted else subjects(settings, blocklist, domains)
        for subject in about:
            said, words = "clear", ""
            match (await ask(resolver, blocklist, subject)).said:
                case Clear():
                    pass
                case Unanswered(why):
                    said, words = "no answer", why
                case ListedAnswer() as listed:
                    text = await reason(resolver, blocklist, subject)
                    said, words = "listed", f"{listed.words}: {text}" if text else listed.words
            found.append(BlocklistCheck(blocklist.name, subject, said, words))
            await asyncio.sleep(PAUSE)
    return found


def _state(listing: Listing) -> str:
    if listing.ended_at is not None:
        return f"ended {moment(listing.ended_at)}"
    if listing.confirmed_at is None:
        return "seen once"
    return "confirmed" + (f", case C-{listing.case_id}" if listing.case_id is not None else "")

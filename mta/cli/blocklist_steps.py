"""What ``mta blocklist`` does and shows.

It must never ask a list about anything before the list has proved itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import assert_never

import orjson
from rich.console import Console
from rich.table import Table

from config.schema import Settings
from mta.cli.output import moment
from mta.delivery.mx import Resolver
from mta.service.jobs.blocklists import PAUSE, ask, examine, reason, subjects
from mta.store.reputation.blocklist_listings import Listing
from mta.store.store import Store
from policy.reputation.blocklist import Believed, Clear, Ignored, ListedAnswer, Unanswered, fits


@dataclass(frozen=True, slots=True)
class Checked:
    """One answer. ``subject`` empty: about the list itself."""

    list: str
    subject: str
    said: str
    words: str

    @property
    def is_bad(self) -> bool:
        return self.said in ("listed", "ignored")


async def check(settings: Settings, store: Store, wanted: Sequence[str]) -> list[Checked]:
    """Ask all lists about ``wanted``, or about all that is watched."""
    resolver = Resolver(settings)
    domains = await store.blocklist_listings.domains()
    found: list[Checked] = []
    for blocklist in settings.blocklists.lists:
        trust, _ = await examine(resolver, blocklist)
        match trust:
            case Believed():
                found.append(Checked(blocklist.name, "", "believed", "its test entries are right"))
            case Ignored(why) | Unanswered(why):
                said = "ignored" if isinstance(trust, Ignored) else "no answer"
                found.append(Checked(blocklist.name, "", said, why))
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
            found.append(Checked(blocklist.name, subject, said, words))
            await asyncio.sleep(PAUSE)
    return found


def print_checked(checked: Sequence[Checked], *, as_json: bool) -> None:
    """What the lists said."""
    if as_json:
        print(orjson.dumps([asdict(each) for each in checked], option=orjson.OPT_INDENT_2).decode())
        return
    if not checked:
        print("No blocklist is configured (blocklists.lists).")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("list", "subject", "said", "words"):
        table.add_column(title, overflow="fold")
    for each in checked:
        table.add_row(each.list, each.subject or "(the list itself)", each.said, each.words)
    Console(markup=False, highlight=False).print(table)


def print_listings(listings: Sequence[Listing], *, as_json: bool) -> None:
    """A table of listings."""
    if as_json:
        print(orjson.dumps([asdict(each) for each in listings], option=orjson.OPT_INDENT_2).decode())
        return
    if not listings:
        print("Nothing of ours is known to be listed.")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("subject", "list", "seen (UTC)", "state", "answer"):
        table.add_column(title, overflow="fold")
    for each in listings:
        table.add_row(each.subject, each.list, moment(each.seen_at), _state(each), each.answer)
    Console(markup=False, highlight=False).print(table)


def _state(listing: Listing) -> str:
    if listing.ended_at is not None:
        return f"ended {moment(listing.ended_at)}"
    if listing.confirmed_at is None:
        return "seen once"
    return "confirmed" + (f", case C-{listing.case_id}" if listing.case_id is not None else "")

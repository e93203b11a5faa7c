"""How ``mta lint --replay`` shows what a changed profile would change.

It must never leave out a message whose end would be another, nor one whose end it cannot tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import orjson
from rich.console import Console

from mta.cli.output import moment
from mta.cli.replay_steps import Replayed
from mta.mail.identity import format_id
from policy.replay import ReplayEnd, ReplayVerdict

STYLES = {
    ReplayVerdict.ACCEPTED: "green",
    ReplayVerdict.HELD: "yellow",
    ReplayVerdict.REFUSED: "red",
    ReplayVerdict.PUT_OFF: "yellow",
    ReplayVerdict.UNKNOWN: "magenta",
}


def show(replayed: Sequence[Replayed], *, as_json: bool) -> None:
    changed = [each for each in replayed if each.changed]
    if as_json:
        data = {"changes": [_as_data(each) for each in changed], "summary": dict(_summary(replayed))}
        print(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode())
        return
    console = Console(highlight=False, soft_wrap=True)
    for each in changed:
        to = ", ".join(each.recipients[:3]) + (
            f" and {len(each.recipients) - 3} more" if len(each.recipients) > 3 else ""
        )
        console.print(f"{format_id(each.message_id)}  {moment(each.received_at)}  {each.account} to {to}", markup=False)
        for when, end in (("before", each.before), ("after", each.after)):
            console.print(f"  {when:<7} {_told(end)}", style=STYLES[end.fate], markup=False)
        if each.again:
            console.print("          judged again: it is still queued", style="dim")
    for name, count in _summary(replayed):
        console.print(f"{count:>7} {name}", style="" if count else "dim", markup=False)


def _told(end: ReplayEnd) -> str:
    rule = f" by {end.rule}" if end.rule and end.fate is not ReplayVerdict.UNKNOWN else ""
    why = end.why.removeprefix(f"{end.rule}: ").replace("\n", " / ")
    dropped = f", without {', '.join(end.dropped)}" if end.dropped else ""
    return f"{end.fate.value}{rule}{dropped}" + (f": {why}" if why else "")


def _summary(replayed: Sequence[Replayed]) -> Iterator[tuple[str, int]]:
    """How many of what, and which ways the changes go."""
    yield "messages judged", len(replayed)
    ways = Counter((each.before.fate, each.after.fate) for each in replayed if each.changed)
    for (was, is_), count in sorted(ways.items(), key=lambda pair: -pair[1]):
        yield (f"{was.value}, would be {is_.value}" if was is not is_ else f"{was.value}, for other recipients"), count
    yield "unchanged", sum(not each.changed for each in replayed)
    if earlier := sum(each.earlier for each in replayed):
        yield "of them judged by an earlier version of their profile", earlier


def _as_data(each: Replayed) -> dict[str, Any]:
    return {
        "message": format_id(each.message_id),
        "received_at": each.received_at.isoformat(),
        "account": each.account,
        "sender": each.sender,
        "recipients": each.recipients,
        "profile": each.profile,
        "before": asdict(each.before) | {"fate": each.before.fate.value},
        "after": asdict(each.after) | {"fate": each.after.fate.value},
        "judged_again": each.again,
    }

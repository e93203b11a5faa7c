"""How DKIM keys, their records and their checks look, to people and (``--json``) to machines.

It must never show a private key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from mta.cli.dkim_keys import Checked
from mta.dkim.keyring import ListedKey
from mta.dkim.keys import Algorithm
from mta.dkim.records import record_name, record_strings, record_text, zone_line
from mta.store.accounts.dkim_keys import KeyState

STATE_STYLES: Mapping[KeyState, str] = {
    KeyState.PENDING: "yellow",
    KeyState.ACTIVE: "green",
    KeyState.RETIRED: "dim",
}


def print_made(made: Sequence[ListedKey], *, as_json: bool) -> None:
    """New keys: their records, and what comes next."""
    if as_json:
        _print_json([_fields(each) for each in made])
        return
    for each in made:
        print(f"A new key for {each.key.domain}: {each.key.selector} ({_kind(each)}). It does not sign yet.\n")
        _print_record(each)
    domain = made[0].key.domain
    print("Publish the record, then:" if len(made) == 1 else "Publish the records, then:")
    print(f"  mta dkim check {domain}")
    for each in made:
        print(f"  mta dkim activate {domain} {each.key.selector}")


def print_shown(listed: ListedKey, *, as_json: bool) -> None:
    """One key and its record."""
    if as_json:
        _print_json(_fields(listed))
        return
    print(f"{listed.key.selector} of {listed.key.domain}: {_kind(listed)}, {_standing(listed)}\n")
    _print_record(listed)
    if warning := listed.key.warning():
        print(warning)


def print_list(listed: Sequence[ListedKey], *, as_json: bool) -> None:
    """A table of keys."""
    if as_json:
        _print_json([_fields(each) for each in listed])
        return
    if not listed:
        print("There are no keys; `mta dkim new DOMAIN` makes one.")
        return
    table = Table("domain", "selector", "key", "state", "since", "kept in")
    for each in listed:
        state = f"[{STATE_STYLES[each.state]}]{each.state.value}[/]"
        since = f"{each.since:%Y-%m-%d %H:%M}" if each.since else ""
        table.add_row(each.key.domain, each.key.selector, _kind(each), state, since, each.key.source)
    Console().print(table)
    for each in listed:
        if each.signs and (warning := each.key.warning()):
            print(warning)


def print_checked(checked: Sequence[Checked], *, as_json: bool) -> None:
    """What the DNS has of each key, one line for each difference."""
    if as_json:
        _print_json([_fields(each.listed) | _verdict(each) for each in checked])
        return
    console = Console(highlight=False, soft_wrap=True)
    for each in checked:
        name, state = record_name(each.listed.key), each.listed.state
        console.print(f"{name} ({_kind(each.listed)}, [{STATE_STYLES[state]}]{state.value}[/])")
        for style, line in _lines(each):
            console.print(f"  {line}", style=style, markup=False)


def _lines(checked: Checked) -> list[tuple[str, str]]:
    if checked.trouble:
        return [("red", checked.trouble)]
    if checked.listed.state is KeyState.RETIRED:
        gone = any(found.kind.breaks for found in checked.differences)
        return [("dim", "no longer published" if gone else "still published")]
    lines = [("red" if found.kind.breaks else "yellow", found.text) for found in checked.differences]
    if not checked.fails:
        waits = checked.listed.state is KeyState.PENDING
        key = checked.listed.key
        then = f"; next: mta dkim activate {key.domain} {key.selector}" if waits else ""
        lines.append(("green", f"published; signatures verify{then}"))
    return lines


def _print_record(listed: ListedKey) -> None:
    print(f"  name   {record_name(listed.key)}")
    print("  type   TXT")
    strings = record_strings(listed.key)
    for n, piece in enumerate(strings):
        print(f'  {"" if n else "value":5}  "{piece}"')
    if len(strings) > 1:
        print("         (a form that has one box for the value wants the strings joined, without quotation marks)")
    print(f"\nFor a zone file, on one line:\n\n{zone_line(listed.key)}\n")


def _kind(listed: ListedKey) -> str:
    return f"RSA {listed.key.bits}" if listed.key.algorithm is Algorithm.RSA else "Ed25519"


def _standing(listed: ListedKey) -> str:
    if listed.since is None:
        return f"{listed.state.value}, in the file {listed.key.source}"
    return f"{listed.state.value} since {listed.since:%Y-%m-%d %H:%M} UTC"


def _fields(listed: ListedKey) -> dict[str, Any]:
    key = listed.key
    return {
        "domain": key.domain,
        "selector": key.selector,
        "algorithm": key.algorithm.value,
        "bits": key.bits,
        "state": listed.state.value,
        "since": listed.since.isoformat() if listed.since else None,
        "source": key.source,
        "warning": key.warning(),
        "record": {
            "name": record_name(key),
            "type": "TXT",
            "text": record_text(key),
            "strings": record_strings(key),
            "zone": zone_line(key),
        },
    }


def _verdict(checked: Checked) -> dict[str, Any]:
    return {
        "verifies": not checked.trouble and not any(found.kind.breaks for found in checked.differences),
        "trouble": checked.trouble,
        "differences": [
            {"kind": found.kind.value, "breaks": found.kind.breaks, "text": found.text} for found in checked.differences
        ],
    }


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))

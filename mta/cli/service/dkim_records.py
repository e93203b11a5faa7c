"""A DKIM key beside its DNS record: compared, printed, and as JSON."""

from __future__ import annotations

from typing import Any

from mta.admin.senders.keys import CheckedKey
from mta.dkim.keyring import ListedKey
from mta.dkim.keys import Algorithm
from mta.dkim.records import record_name, record_strings, record_text, zone_line
from mta.store.accounts.dkim_keys import KeyState


def findings(checked: CheckedKey) -> list[tuple[str, str]]:
    """Return what the DNS has of a key, line by line, with styles."""
    if checked.problem:
        return [(f"  {checked.problem}", "red")]
    if checked.listed.state is KeyState.RETIRED:
        gone = any(found.kind.breaks for found in checked.differences)
        return [("  no longer published" if gone else "  still published", "dim")]
    lines = [(f"  {found.text}", "red" if found.kind.breaks else "yellow") for found in checked.differences]
    if not checked.fails:
        key = checked.listed.key
        waits = checked.listed.state is KeyState.PENDING
        then = f"; next: mta dkim activate {key.domain} {key.selector}" if waits else ""
        lines.append((f"  published; signatures verify{then}", "green"))
    return lines


def print_record(listed: ListedKey) -> None:
    print(f"  name   {record_name(listed.key)}")
    print("  type   TXT")
    strings = record_strings(listed.key)
    for n, piece in enumerate(strings):
        print(f'  {"" if n else "value":5}  "{piece}"')
    if len(strings) > 1:
        print("         (a form with one box for the value wants the strings joined, without quotation marks)")
    print(f"\nFor a zone file, on one line:\n\n{zone_line(listed.key)}\n")


def kind(listed: ListedKey) -> str:
    return f"RSA {listed.key.bits}" if listed.key.algorithm is Algorithm.RSA else "Ed25519"


def fields(listed: ListedKey) -> dict[str, Any]:
    key = listed.key
    return {
        "domain": key.domain,
        "selector": key.selector,
        "algorithm": key.algorithm,
        "bits": key.bits,
        "state": listed.state,
        "since": listed.since,
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


def verdict(checked: CheckedKey) -> dict[str, Any]:
    return {
        "verifies": not checked.problem and not any(found.kind.breaks for found in checked.differences),
        "problem": checked.problem,
        "differences": [
            {"kind": found.kind, "breaks": found.kind.breaks, "text": found.text} for found in checked.differences
        ],
    }

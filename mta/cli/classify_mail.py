"""``mta classify FILE...``: what came back in these mails, who is meant, and what follows.

It must never need the service or a database, nor fail because of what a file holds.

*Limits.* A file that begins with an mbox ``From `` line may hold several mails: their recipients are shown as one
file's.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bounce.classify import Classifier
from bounce.parsers.mime import MAX_OCTETS
from bounce.parsers.report_kinds import Report, ReportedRecipient, ReportKind
from bounce.report import read

MAX_MAILS = 1000  # of one mbox

_MBOX_LINE = re.compile(rb"(?m)^From \S{1,200} {1,3}[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:]{5,8} .{0,20}$")
_NAMES = {
    ReportKind.BOUNCE: "bounce",
    ReportKind.COMPLAINT: "complaint",
    ReportKind.AUTO_REPLY: "auto_reply",
    ReportKind.CHALLENGE: "auto_reply",
    ReportKind.RECEIPT: "other",
    ReportKind.OTHER: "other",
}


def are_files(arguments: Sequence[str]) -> bool:
    """Whether mails are meant, and not replies: a reply begins with its code and is no file."""
    is_reply = not arguments or re.match(r"\s*\d{3}(?:[ -]|\Z)", arguments[0])
    return not is_reply or _is_file(arguments)


def classify_files(paths: Sequence[str], classifier: Classifier, as_json: bool) -> bool:
    """Print a line of JSON, or a few for people, for each file. True if all could be read."""
    whole = True
    for path in paths:
        try:
            with Path(path).open("rb") as file:
                content = file.read(MAX_OCTETS)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            print(f"{path[:200]}: {reason}; give mail files, or a reply such as 550 5.1.1 ...", file=sys.stderr)
            whole = False
            continue
        reports = [read(mail, classifier) for mail in mails_in(content)]
        if as_json:
            print(json.dumps(_as_dict(path, reports), ensure_ascii=False))
        else:
            _print(path, reports)
    return whole


def mails_in(content: bytes) -> Iterator[bytes]:
    """The mails of an mbox, or the one mail that ``content`` is."""
    starts = [match.start() for match in _MBOX_LINE.finditer(content)][:MAX_MAILS] if content[:5] == b"From " else []
    starts = [start for start in starts if start == 0 or content[:start].endswith((b"\n\n", b"\r\n\r\n"))]
    if not starts:
        starts = [0]
    for start, end in zip(starts, [*starts[1:], len(content)], strict=True):
        yield content[start:end]


def _is_file(arguments: Sequence[str]) -> bool:
    try:
        return bool(arguments) and Path(arguments[0]).is_file()
    except (OSError, ValueError):
        return False


def _as_dict(path: str, reports: Sequence[Report]) -> dict[str, Any]:
    return {
        "file": path,
        "kind": _NAMES[_first(reports).kind],
        "recipients": [_recipient(part) for report in reports for part in report.recipients],
    }


def _first(reports: Sequence[Report]) -> Report:
    """The one that says most about the file."""
    return min(reports, key=lambda report: list(_NAMES).index(report.kind))


def _recipient(part: ReportedRecipient) -> dict[str, Any]:
    return {
        "address": str(part.address) if part.address else None,
        "status": part.status or None,
        "action": part.action.value,
        "hard": part.hard,
        "category": part.classification.category if part.classification else None,
        "fault": part.classification.fault.value if part.classification else None,
        "rule": part.classification.rule if part.classification else None,
    }


def _print(path: str, reports: Sequence[Report]) -> None:
    first = _first(reports)
    told = f", reported by {first.reporter}" if first.reporter else ""
    print(f"{path}: {first.kind.value}{f' ({first.form})' if first.form else ''}{told}")
    for report in reports:
        for part in report.recipients:
            found = part.classification
            words = (str(part.address or "(hidden)"), part.action.value, part.status, "hard" if part.hard else "")
            print("  " + "  ".join(filter(None, words)))
            if found:
                print(f"    {found.category}, fault {found.fault.value}, action {found.action.value}")
                print(f"    rule {found.rule}, by {found.matched!r}")

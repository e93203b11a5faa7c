"""How ``mta lint`` shows what it found: a table for people, one JSON object for machines.

It must never leave a finding out.
"""

from __future__ import annotations

from dataclasses import asdict

import orjson
from rich.console import Console
from rich.table import Table

from mta.cli.lint_steps import Subject
from mta.submission.lint import Linted
from policy.base import Finding

STYLES = {"pass": "green", "amend": "cyan", "hold": "yellow", "observe": "yellow", "refuse": "red", "error": "red bold"}


def show(linted: Linted, subject: Subject, *, as_json: bool) -> None:
    if as_json:
        print(orjson.dumps(as_data(linted, subject), option=orjson.OPT_INDENT_2).decode())
        return
    console = Console(highlight=False)
    console.print(_table(linted))
    console.print(f"profile {linted.profile} ({linted.digest}), {_about(linted)}", style="dim", markup=False)
    for address, reply in linted.dropped:
        console.print(f"would not be sent to {address}: {reply}", style="yellow", markup=False, soft_wrap=True)
    text, style = _verdict(linted)
    console.print(text, style=style, markup=False, soft_wrap=True)


def _table(linted: Linted) -> Table:
    """Rule, verdict, evidence and how to mend it."""
    table = Table(box=None, pad_edge=False)
    for title in ("rule", "verdict", "evidence", "mend"):
        table.add_column(title, overflow="fold")
    for finding in linted.findings:
        evidence, mend = _split(finding)
        verdict = f"[{STYLES.get(finding.verdict, '')}]{finding.verdict}[/]"
        table.add_row(finding.policy, verdict, _plain(evidence), _plain(mend))
    return table


def _plain(text: str) -> str:
    """Text that rich shows as it is."""
    return text.replace("\\", "\\\\").replace("[", "\\[")


def _split(finding: Finding) -> tuple[str, str]:
    """The fact and how to mend it: a rule's refusal says both, with a semicolon between."""
    text = finding.evidence.removeprefix(f"{finding.policy}: ")
    if finding.recipient and finding.recipient not in text:
        text = f"{finding.recipient}: {text}"
    if finding.verdict in ("refuse", "hold"):
        fact, _, mend = text.rpartition("; ")
        return (fact, mend) if fact else (text, "")
    return text, ""


def _about(linted: Linted) -> str:
    said = [f"stream {linted.stream.value}" if linted.stream else "stream not known"]
    said += [f"{what} {value}" for what, value in (("mailing", linted.mailing), ("topic", linted.topic)) if value]
    return ", ".join(said)


def _verdict(linted: Linted) -> tuple[str, str]:
    if linted.refusal:
        later = "put off" if linted.refusal.code < 500 else "refused"
        return f"would be {later}: {linted.refusal}", "red"
    if linted.holds:
        return f"would be accepted and held by {'; '.join(map(str, linted.holds))}", "yellow"
    return "would be accepted", "green"


def as_data(linted: Linted, subject: Subject) -> dict[str, object]:
    """All of it as plain data."""
    reply = linted.refusal
    return {
        "file": subject.name,
        "verdict": "refused" if reply else "held" if linted.holds else "accepted",
        "reply": {"code": reply.code, "status": reply.status, "text": reply.text} if reply else None,
        "holds": [asdict(hold) | {"source": hold.source.value} for hold in linted.holds],
        "profile": linted.profile,
        "digest": linted.digest,
        "stream": linted.stream.value if linted.stream else None,
        "mailing": linted.mailing,
        "topic": linted.topic,
        "sender": str(subject.envelope.sender) if subject.envelope.sender else None,
        "recipients": [str(recipient.address) for recipient in subject.envelope.recipients],
        "dropped": [{"recipient": str(address), "reply": str(reply)} for address, reply in linted.dropped],
        "findings": [
            finding._asdict() | dict(zip(("evidence", "mend"), _split(finding), strict=True))
            for finding in linted.findings
        ],
    }

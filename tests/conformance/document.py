"""Writes ``docs/conformance.md`` from the tables: ``python -m tests.conformance.document``."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from tests.conformance.dialogue import Check, read_table

DOCUMENT = Path(__file__).parents[2] / "docs" / "conformance.md"
ROLES = {
    "submission_smtp": "submission",
    "submission_extensions": "submission",
    "submission_content": "submission",
    "reports": "reports",
    "client": "client",
}
RFCS = {
    "1652": "8BITMIME (1994)",
    "1869": "SMTP Service Extensions",
    "1870": "SIZE",
    "2034": "ENHANCEDSTATUSCODES",
    "2142": "Mailbox Names",
    "2852": "DELIVERBY",
    "2920": "PIPELINING",
    "3030": "CHUNKING",
    "3207": "STARTTLS",
    "3461": "DSN",
    "3463": "Enhanced Status Codes",
    "3464": "Format of Delivery Status Notifications",
    "3834": "Automatic Responses",
    "3848": "Transmission Types",
    "4616": "SASL PLAIN",
    "4865": "FUTURERELEASE",
    "4954": "AUTH",
    "5321": "SMTP",
    "5322": "Internet Message Format",
    "5802": "SCRAM",
    "6152": "8BITMIME",
    "6376": "DKIM",
    "6409": "Message Submission",
    "6531": "SMTPUTF8",
    "6533": "Internationalized DSN",
    "6710": "MT-PRIORITY",
    "7504": "521 and 556",
    "8301": "DKIM Algorithms",
    "8314": "TLS for Submission",
    "8463": "Ed25519 for DKIM",
    "8601": "Authentication-Results",
    "8689": "REQUIRETLS",
}
COLUMNS = "| clause | requirement | as | check | state |\n|---|---|---|---|---|\n"
HEAD = """# Conformance

What the RFCs ask, and whether the running service does it. Each row is a dialogue on the wire, written down under its
id in `tests/conformance/tables/` and played by `make test` (alone: `make test ARGS=tests/conformance`): towards the
submission listener, towards the listener for reports, and as a client towards a scripted receiver.

This page is made from those tables by `python -m tests.conformance.document`; a test compares them. "Met" means that
the check passes. A deviation is a decision, with its reason; its check is expected to fail.

"""


def all_checks() -> list[Check]:
    return [check for table in ROLES for check in read_table(table)]


def document() -> str:
    """Return the page."""
    by_rfc: dict[str, list[Check]] = defaultdict(list)
    for check in all_checks():
        by_rfc[check.rfc].append(check)
    total, deviating = sum(map(len, by_rfc.values())), sum(bool(one.deviation) for one in all_checks())
    parts = [HEAD, f"{total} checks of {len(by_rfc)} RFCs: met: {total - deviating}, deviating: {deviating}.\n"]
    for rfc in sorted(by_rfc, key=int):
        parts.append(
            f"\n## RFC {rfc}: {RFCS[rfc]}\n\n| clause | requirement | as | check | state |\n|---|---|---|---|---|\n"
        )
        parts += [_row(check) for check in sorted(by_rfc[rfc], key=_order)]
    return "".join(parts)


def _order(check: Check) -> tuple[list[int], str]:
    return [int(number) for number in check.clause.split(".")], check.id


def _row(check: Check) -> str:
    state = f"deviates: {check.deviation}" if check.deviation else "met"
    requirement = check.requirement.replace("|", "\\|")
    return f"| {check.clause} | {requirement} | {ROLES[check.table]} | `{check.id}` | {state} |\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")

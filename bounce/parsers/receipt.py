"""Receipts: message disposition notifications (RFC 8098), which change nothing.

It must never be asked whether a mailbox works: ``deleted`` says what a person did.

*Limits.* Receipts that are prose, without the fields, are ordinary mail.
"""

from __future__ import annotations

from bounce.parsers.free_text import address_of, original_of
from bounce.parsers.kinds import Report, Reported, ReportedAction, ReportKind
from bounce.parsers.mime import Mail, read_fields


def read_receipt(mail: Mail) -> Report | None:
    part = mail.first("message/disposition-notification", "message/global-disposition-notification")
    if part is None and mail.parameters.get("report-type", "").lower() != "disposition-notification":
        return None
    fields = read_fields(part.content.lstrip(b"\n") if part else b"")
    value = fields.get("final-recipient") or fields.get("original-recipient") or ""
    address = address_of(value.rpartition(";")[2])
    return Report(
        kind=ReportKind.RECEIPT,
        form="mdn",
        recipients=(Reported(ReportedAction.DISPLAYED, address, address, status="2.0.0"),) if address else (),
        original=original_of(mail),
        reporter=fields.get("reporting-ua"),
    )

"""Feedback reports: RFC 5965, and the older forms of Hotmail and AOL.

If the complainant is redacted, only our own tokens in the returned header identify them (``Original``:
List-Unsubscribe, Feedback-ID, CFBL-Feedback-ID).

Invariants: Feedback of type ``not-spam`` or ``auth-failure`` is never a complaint.

Limitations: The sender of the report is verified elsewhere.
"""

from __future__ import annotations

import re

from bounce.parsers.dsn import date_of
from bounce.parsers.free_text import FreeTextBounce, address_of
from bounce.parsers.mime import Fields, Mail, read_fields
from bounce.parsers.report_kinds import Feedback, Original, Report, ReportedAction, ReportedRecipient, ReportKind
from mta.mail.address import Address

_TYPES = {kind.value: kind for kind in Feedback} | {"auth-failure-report": Feedback.AUTH_FAILURE}
_REDACTED = re.compile(r"redacted|x{4,}|\*{3,}|hidden|removed", re.IGNORECASE)
_OUTLOOK = re.compile(r"\b(?:hotmail|outlook|live|msn)\.")
_FEEDBACK = re.compile(rb"(?mi)^feedback-type[ \t]*:[ \t]*[a-z]")


def read_feedback(mail: Mail, text: FreeTextBounce) -> Report | None:
    """Return the complaint or other feedback in ``mail``, or None."""
    fields = _fields(mail)
    if fields is None:
        return _hotmail(mail, text.original)
    kind = (fields.get("feedback-type") or "").lower().partition(";")[0].strip()
    feedback = _TYPES.get(kind, Feedback.OTHER)
    return _report("arf", feedback, _addresses(fields, text.original), text.original, fields)


def _fields(mail: Mail) -> Fields | None:
    """Return the fields of the report, even if its part has another type."""
    named = mail.first("message/feedback-report")
    if named is not None:
        return read_fields(named.content.lstrip(b"\n"))
    if mail.report_type != "feedback-report":
        return None
    for part in mail.parts[:4]:
        if _FEEDBACK.search(part.content[:4000]):
            return read_fields(part.content.lstrip(b"\n"))
    return Fields()


def _addresses(fields: Fields, original: Original) -> list[Address | None]:
    """Return who complains: from the fields, else the only recipient of the message."""
    named = [
        value
        for name in ("original-rcpt-to", "removal-recipient", "x-original-rcpt-to", "redacted-address")
        for value in fields.each(name)
    ]
    found = dict.fromkeys(map(address_of, named))
    return [one for one in found if one is not None and not _REDACTED.search(one.local)] or [only_recipient(original)]


def only_recipient(original: Original) -> Address | None:
    """Return the recipient of the returned message; None if there were several or it is redacted."""
    for name in ("x-hmxmroriginalrecipient", "x-original-to", "delivered-to", "x-rcpt-to", "to"):
        values = original.fields.each(name)
        if len(values) == 1 and values[0].count("@") == 1 and not _REDACTED.search(values[0]):
            return address_of(values[0])
    return None


def _hotmail(mail: Mail, original: Original) -> Report | None:
    """Return a complaint of Outlook.com's JMRP: no fields, the message attached or, formerly, in place of a text."""
    subject = (mail.fields.get("subject") or "").lower()
    named = subject.startswith("complaint about message from ")
    if not (named and original.fields.all and _OUTLOOK.search((mail.fields.get("from") or "").lower())):
        return None
    return _report("hotmail", Feedback.ABUSE, [only_recipient(original)], original, Fields())


def _report(
    form: str, feedback: Feedback, addresses: list[Address | None], original: Original, fields: Fields
) -> Report:
    complaint = feedback.is_complaint
    action = ReportedAction.COMPLAINED if complaint else ReportedAction.NOTED
    return Report(
        kind=ReportKind.COMPLAINT if complaint else ReportKind.OTHER,
        form=form,
        recipients=tuple(ReportedRecipient(action, address, address) for address in addresses),
        original=original,
        reporter=fields.get("reporting-mta") or fields.get("user-agent"),
        feedback=feedback,
        arrived=date_of(fields.get("arrival-date") or fields.get("received-date")),
    )

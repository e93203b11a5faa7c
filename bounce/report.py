"""Parse inbound mail into a ``Report``: a bounce, a complaint, an auto-reply, or none of these.

Parsers are tried from the strictest to the loosest: feedback reports, receipts, RFC 3464 fields, then free text (only
where a mail system is the author, see ``parsers.author``), and flufl.bounce last.

Invariants: Never raises; work is bounded. A delay, an auto-reply, list mail or a person's words about a failure is
never reported as a failure: a wrong hard bounce loses a subscriber, a missed one costs one more rejected message.

Limitations: Whether the report is genuine is not checked here; callers require a token or return path that we signed.
"""

from __future__ import annotations

from dataclasses import replace

from bounce.classify import Classifier
from bounce.parsers.arf import only_recipient, read_feedback
from bounce.parsers.author import (
    AuthorKind,
    author_of,
    has_bounce_subject,
    is_bulk,
    is_forwarded,
    is_marked_auto_reply,
)
from bounce.parsers.auto_reply import read_auto_reply
from bounce.parsers.dsn import DSN_TYPES, date_of, read_receipt, read_status, status_part
from bounce.parsers.families import DISTINCTIVE, FORMS, MOBILE, read_transcript
from bounce.parsers.free_text import (
    FreeTextBounce,
    FreeTextRecipient,
    address_of,
    free_text_of,
    original_of,
    read_form,
    reported,
)
from bounce.parsers.heuristics import read_heuristically
from bounce.parsers.mime import Mail, decode_words, parse_mail
from bounce.parsers.provider_json import read_json
from bounce.parsers.report_kinds import (
    MAX_RECIPIENTS,
    Original,
    Report,
    ReportedAction,
    ReportedRecipient,
    ReportKind,
    merged,
)


def read(content: bytes, classifier: Classifier | None = None) -> Report:
    """Return the report in ``content``, a whole mail; with a ``classifier``, its replies are classified."""
    try:
        report = _read(content)
        return report.classified(classifier) if classifier else report
    except Exception:  # unreadable mail must change nothing
        return Report(ReportKind.OTHER, "unreadable")


def _read(content: bytes) -> Report:
    mail = parse_mail(content)
    text = free_text_of(mail)
    report = (
        read_feedback(mail)
        or read_receipt(mail)
        or _from_fields(mail, text)
        or _from_free_text(mail, text)
        or read_json(mail)
        or read_auto_reply(mail, text)
        or Report(ReportKind.OTHER)
    )
    return replace(
        report,
        recipients=merged(report.recipients),
        date=date_of(mail.fields.get("date")),
        sender=decode_words(mail.fields.get("from") or "") or None,
        subject=decode_words(mail.fields.get("subject") or "") or None,
    )


def _from_fields(mail: Mail, text: FreeTextBounce) -> Report | None:
    """Read RFC 3464 fields. Outside a multipart/report they count only if the mail is neither forwarded nor bulk."""
    part = status_part(mail)
    if part is None:
        return None
    framed = mail.parameters.get("report-type", "").lower() == "delivery-status" or mail.type == "multipart/report"
    if not framed and (
        is_forwarded(mail) or is_bulk(mail) or (author_of(mail) is AuthorKind.OTHER and part.type not in DSN_TYPES)
    ):
        return None
    per_message, recipients = read_status(part, text)
    original = original_of(mail, text)
    if not recipients and per_message.has("reporting-mta"):
        recipients = _only_recipient(original)
    if not recipients:
        return None
    actions = {one.action for one in recipients}
    bounced = actions & {ReportedAction.FAILED, ReportedAction.DELAYED}
    return Report(
        ReportKind.BOUNCE if bounced else ReportKind.RECEIPT,
        "rfc3464",
        recipients,
        original,
        reporter=(per_message.get("reporting-mta") or "").rpartition(";")[2].strip() or None,
        envelope_id=per_message.get("original-envelope-id"),
        arrived=date_of(per_message.get("arrival-date")),
    )


def _from_free_text(mail: Mail, text: FreeTextBounce) -> Report | None:
    """Read the free text of a mail system by the first form that finds a recipient in it."""
    author = author_of(mail)
    if author is AuthorKind.OTHER:
        return None
    original = original_of(mail, text)
    returned = bool(original.fields.all) or has_bounce_subject(mail)
    sure = author is AuthorKind.DAEMON or (returned and not is_marked_auto_reply(mail))
    for form in FORMS:
        if (sure or not form.loose) and (found := read_form(form, text)):
            return Report(ReportKind.BOUNCE, form.name, found, original)
    for name, found in (
        ("sendmail", read_transcript(text)),
        ("x-failed-recipients", _in_header(mail, text)),
        ("heuristics", read_heuristically(mail, text) if sure and not is_marked_auto_reply(mail) else ()),
    ):
        if found:
            return Report(ReportKind.BOUNCE, name, found, original)
    if any(one.search(text.lower) for one in DISTINCTIVE) and (
        found := _only_recipient(original, text, own=MOBILE.search(text.lower) is not None)
    ):
        return Report(ReportKind.BOUNCE, "unnamed", found, original)
    return None


def _only_recipient(
    original: Original, text: FreeTextBounce | None = None, own: bool = False
) -> tuple[ReportedRecipient, ...]:
    """Attribute a failure that names no recipient to the recipient of the returned message, if it had only one."""
    address = only_recipient(original)
    if address is None:
        return ()
    return (reported(FreeTextRecipient(str(address), list(text.lines) if text else []), [], delayed=False, own=own),)


def _in_header(mail: Mail, text: FreeTextBounce) -> tuple[ReportedRecipient, ...]:
    """Read X-Failed-Recipients as Exim and Google write it, with the free text as the reason."""
    values = [one for value in mail.fields.each("x-failed-recipients") for one in value.split(",")]
    addresses = [address for value in values[:MAX_RECIPIENTS] if (address := address_of(value))]
    if not addresses:
        return ()
    first = reported(FreeTextRecipient(str(addresses[0]), list(text.lines)), [], delayed=False, own=False)
    return tuple(replace(first, address=address, final=address) for address in addresses)

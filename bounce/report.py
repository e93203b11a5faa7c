"""What came back? Octets in, a ``Report`` out: a bounce, a complaint, a program's answer, or none of these.

The readers are tried from the strictest to the loosest: feedback reports, receipts, the fields of RFC 3464, then the
words of mail systems that ignore it (only where a mail system speaks, ``reports.sender``), at last flufl.bounce.

It must never raise, never take longer than its bounds allow, and never call a failure what is a delay, an answer, a
list's mail or somebody's words about a failure: a wrong hard bounce loses a wanted reader, a missed one costs one more
refused message.

*Limits.* Whether the report is true is not asked here: it counts only with a token that we signed.
"""

from __future__ import annotations

from dataclasses import replace

from bounce.classify import Classifier
from bounce.parsers import exchange, exim, gateways, google, lotus, postfix, qmail, sendmail
from bounce.parsers.arf import only_recipient, read_feedback
from bounce.parsers.author import Author, has_bounce_subject, is_bulk, is_forwarded, is_marked, speaker
from bounce.parsers.auto_reply import read_answer
from bounce.parsers.dsn import TYPES, date_of, read_status, status_part
from bounce.parsers.free_text import (
    FreeTextBounce,
    FreeTextRecipient,
    address_of,
    notice_of,
    original_of,
    read_form,
    reported,
)
from bounce.parsers.heuristics import read_anything
from bounce.parsers.kinds import (
    MAX_RECIPIENTS,
    Original,
    Report,
    Reported,
    ReportedAction,
    ReportKind,
    merged,
)
from bounce.parsers.mime import Mail, decode_words, take_apart
from bounce.parsers.provider_json import read_json
from bounce.parsers.receipt import read_receipt

FORMS = (
    *exim.FORMS,
    *qmail.FORMS,
    *sendmail.FORMS,
    *google.FORMS,
    *exchange.FORMS,
    *lotus.FORMS,
    *postfix.FORMS,
    *gateways.FORMS,
)

# Phrases that nobody else uses, good enough without a recipient.
_NAMELESS = (
    *(form.opening for form in (*exim.FORMS, *qmail.FORMS, *sendmail.FORMS, *postfix.FORMS)),
    sendmail.TRANSCRIPT,
    gateways.MOBILE,
)


def read(content: bytes, classifier: Classifier | None = None) -> Report:
    """The report in ``content``, a whole mail. With a ``classifier`` every recipient's part has its meaning."""
    try:
        report = _read(content)
        return report.classified(classifier) if classifier else report
    except Exception:  # a promise to the caller: mail that nobody can read changes nothing
        return Report(ReportKind.OTHER, "unreadable")


def _read(content: bytes) -> Report:
    mail = take_apart(content)
    notice = notice_of(mail)
    report = (
        read_feedback(mail)
        or read_receipt(mail)
        or _fields(mail, notice)
        or _words(mail, notice)
        or read_json(mail)
        or read_answer(mail, notice)
        or Report(ReportKind.OTHER)
    )
    return replace(
        report,
        recipients=merged(report.recipients),
        date=date_of(mail.fields.get("date")),
        sender=decode_words(mail.fields.get("from") or "") or None,
        subject=decode_words(mail.fields.get("subject") or "") or None,
    )


def _fields(mail: Mail, notice: FreeTextBounce) -> Report | None:
    """RFC 3464. Its frame is proof enough; without it the fields count if nobody forwards them."""
    part = status_part(mail)
    if part is None:
        return None
    framed = mail.parameters.get("report-type", "").lower() == "delivery-status" or mail.type == "multipart/report"
    if not framed and (
        is_forwarded(mail) or is_bulk(mail) or (speaker(mail) is Author.ANYBODY and part.type not in TYPES)
    ):
        return None
    whole, found = read_status(part, notice)
    original = original_of(mail, notice)
    if not found and whole.has("reporting-mta"):
        found = _unnamed(original)
    if not found:
        return None
    fates = {one.fate for one in found}
    kind = ReportKind.BOUNCE if fates & {ReportedAction.FAILED, ReportedAction.DELAYED} else ReportKind.RECEIPT
    return Report(
        kind,
        "rfc3464",
        found,
        original,
        reporter=(whole.get("reporting-mta") or "").rpartition(";")[2].strip() or None,
        envelope_id=whole.get("original-envelope-id"),
        arrived=date_of(whole.get("arrival-date")),
    )


def _words(mail: Mail, notice: FreeTextBounce) -> Report | None:
    """The words of a mail system, by the first form that finds a recipient in them."""
    who = speaker(mail)
    if who is Author.ANYBODY:
        return None
    original = original_of(mail, notice)
    returned = bool(original.fields.all) or has_bounce_subject(mail)
    sure = who is Author.DAEMON or (returned and not is_marked(mail))
    for form in FORMS:
        if (sure or not form.loose) and (found := read_form(form, notice)):
            return Report(ReportKind.BOUNCE, form.name, found, original)
    for name, found in (
        ("sendmail", sendmail.read_transcript(notice)),
        ("x-failed-recipients", _named_in_header(mail, notice)),
        ("last-resort", read_anything(mail, notice) if sure and not is_marked(mail) else ()),
    ):
        if found:
            return Report(ReportKind.BOUNCE, name, found, original)
    if any(one.search(notice.lower) for one in _NAMELESS) and (
        found := _unnamed(original, notice, own=gateways.MOBILE.search(notice.lower) is not None)
    ):
        return Report(ReportKind.BOUNCE, "nameless", found, original)
    return None


def _unnamed(original: Original, notice: FreeTextBounce | None = None, own: bool = False) -> tuple[Reported, ...]:
    """A failure that names nobody is about the recipient of the returned message, if it had one only."""
    address = only_recipient(original)
    if address is None:
        return ()
    return (
        reported(FreeTextRecipient(str(address), list(notice.lines) if notice else []), [], delayed=False, own=own),
    )


def _named_in_header(mail: Mail, notice: FreeTextBounce) -> tuple[Reported, ...]:
    """X-Failed-Recipients, as Exim and Google write it, with the words of the notice for a reason."""
    texts = [one for value in mail.fields.each("x-failed-recipients") for one in value.split(",")]
    addresses = [address for text in texts[:MAX_RECIPIENTS] if (address := address_of(text))]
    if not addresses:
        return ()
    words = reported(FreeTextRecipient(str(addresses[0]), list(notice.lines)), [], delayed=False, own=False)
    return tuple(replace(words, address=address, final=address) for address in addresses)

"""Parse inbound mail into a ``Report``: a bounce, a complaint, an answer, or none of these.

In this order: wrappers are peeled off; feedback reports; receipts; challenges, whatever frame they borrow; RFC 3464
fields; prose, where the evidence (``parsers.evidence``) shows that a mail system wrote it; notifications in JSON;
auto-replies.

Invariants: Never raises; work is bounded. A delay, an auto-reply, list mail or a person's words about a failure is
never reported as a failure: a wrong hard bounce loses a subscriber, a missed one costs one more rejected message.

Limitations: Whether the report is genuine is not checked here; callers require a token or return path that we signed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from bounce.classify import Classifier
from bounce.parsers.arf import only_recipient, read_feedback
from bounce.parsers.auto_reply import read_auto_reply, read_challenge
from bounce.parsers.dsn import date_of, read_receipt, read_status, status_part
from bounce.parsers.evidence import (
    DSN_TYPES,
    Authorship,
    evidence_of,
    has_bounce_subject,
    has_null_sender,
    is_forwarded,
    role_of,
)
from bounce.parsers.free_text import BAR, Candidate, FreeTextBounce, Known, failed_in, free_text_of, known_of, reported
from bounce.parsers.mime import Mail, decode_words, parse_mail
from bounce.parsers.provider_json import read_json
from bounce.parsers.replies import quotes_reply
from bounce.parsers.report_kinds import Report, ReportedAction, ReportedRecipient, ReportKind, merged
from mta.mail.address import Address


def read(
    content: bytes,
    classifier: Classifier | None = None,
    sent_to: Address | None = None,
    mailed: Collection[Address] = (),
) -> Report:
    """Return the report in ``content``, a whole mail; with a ``classifier``, its replies are classified. ``sent_to``:
    our own return path, at which it arrived; ``mailed``: the recipients of the message that the return path names."""
    try:
        report = _read(content, sent_to, mailed)
        return report.classified(classifier) if classifier else report
    except Exception:  # unreadable mail must change nothing
        return Report(ReportKind.OTHER, "unreadable")


def _read(content: bytes, sent_to: Address | None, mailed: Collection[Address]) -> Report:
    mail = _peeled(parse_mail(content))
    text = free_text_of(mail)
    evidence = evidence_of(mail, text, at_our_path=sent_to is not None)
    known = known_of(mail, text.original, sent_to, mailed)
    report = (
        read_feedback(mail, text)
        or read_receipt(mail, text)
        or (None if evidence.is_mail_system else read_challenge(mail, text))
        or _from_fields(mail, text, evidence, known)
        or _from_free_text(mail, text, evidence, known)
        or (None if evidence.is_of_people else read_json(mail))
        or read_auto_reply(mail, text)
        or Report(ReportKind.OTHER)
    )
    return replace(
        report,
        recipients=merged(report.recipients),
        date=date_of(mail.fields.get("date")),
        sender=decode_words(mail.fields.get("from") or "") or None,
        subject=decode_words(mail.fields.get("subject") or "") or None,
        evidence=evidence.reasons,
    )


def _peeled(mail: Mail) -> Mail:
    """Return the report that a scanner or list wrapped into a message of its own, else ``mail``."""
    if status_part(mail) is not None or is_forwarded(mail):
        return mail
    for part in mail.parts[:4]:
        if part.type == "message/rfc822":
            inner = parse_mail(part.content.lstrip(b"\n"))
            framed = mail.report_type == "delivery-status"
            role = role_of(mail)
            scanned = role in ("daemon", "postmaster") or (role == "gateway" and has_null_sender(mail))
            if inner.first(*DSN_TYPES) and (framed or scanned):
                return inner
    return mail


def _from_fields(mail: Mail, text: FreeTextBounce, evidence: Authorship, known: Known) -> Report | None:
    """Read RFC 3464 fields. Outside a report's frame they count only if a mail system wrote the mail."""
    part = status_part(mail)
    if part is None:
        return None
    framed = mail.report_type == "delivery-status" or mail.type == "multipart/report"
    if not framed and not evidence.is_report and (is_forwarded(mail) or part.type not in DSN_TYPES):
        return None
    per_message, recipients = read_status(part, text, known)
    if not recipients and per_message.has("reporting-mta"):
        recipients = _unnamed(text, known)
    if not recipients or not (evidence.is_report or any(_is_refusal(one) for one in recipients)):
        return None  # a friendly note in a borrowed frame
    bounced = {one.action for one in recipients} & {ReportedAction.FAILED, ReportedAction.DELAYED}
    return Report(
        ReportKind.BOUNCE if bounced else ReportKind.RECEIPT,
        "rfc3464",
        recipients,
        text.original,
        reporter=(per_message.get("reporting-mta") or "").rpartition(";")[2].strip() or None,
        envelope_id=per_message.get("original-envelope-id"),
        arrived=date_of(per_message.get("arrival-date")),
    )


def _is_refusal(part: ReportedRecipient) -> bool:
    """Return whether a host refused the recipient, by a reply or a code that says more than "failed" or "policy"."""
    return quotes_reply(part.diagnostic) or not (part.status.endswith(".0.0") or part.status[1:3] == ".7")


def _from_free_text(mail: Mail, text: FreeTextBounce, evidence: Authorship, known: Known) -> Report | None:
    """Read the prose of a mail system: the addresses that it says failed, else the only one that it can mean."""
    if not evidence.is_report or not evidence.has("failure_words", "smtp_reply", "bounce_subject"):
        return None
    found = failed_in(text, known)
    if not found and (known.mailed or text.original.fields.all or has_bounce_subject(mail)):
        found = _unnamed(text, known)
    return Report(ReportKind.BOUNCE, "prose", found, text.original) if found else None


def _unnamed(text: FreeTextBounce, known: Known) -> tuple[ReportedRecipient, ...]:
    """Attribute a failure that names no recipient to the one that our return path names, or a field of the report, or
    to that of the returned message, if it had only one."""
    only = only_recipient(text.original)
    addresses = known.mailed if len(known.mailed) == 1 else known.failed or ({str(only)} if only else ())
    return tuple(reported(Candidate(each, BAR, 0, list(text.lines)), (), delayed=False) for each in sorted(addresses))

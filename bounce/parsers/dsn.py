"""Delivery status notifications (RFC 3464, RFC 6522, RFC 6533) and disposition notifications (RFC 8098).

Handles common breakage: fields as text outside a multipart/report, blocks run together, comments behind a status,
addresses without their type.

Invariants: An Action other than ``failed`` is never a failure.

Limitations: Of fields repeated in one block the first counts. Receipts in prose, without fields, are ordinary mail.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from itertools import takewhile

from bounce.grammar import failure_in, flattened, read_words
from bounce.parsers.evidence import DSN_TYPES
from bounce.parsers.free_text import FreeTextBounce, Known, address_of, candidates_in, expanded_from
from bounce.parsers.mime import Fields, Mail, Part, decode_unitext, decode_words, read_fields
from bounce.parsers.replies import quotes_reply, reply_of, stage_of, status_of
from bounce.parsers.report_kinds import MAX_RECIPIENTS, Report, ReportedAction, ReportedRecipient, ReportKind, part_of
from mta.mail.address import Address
from mta.mail.delivery import Stage

MAX_BLOCKS = MAX_RECIPIENTS + 10  # field groups

_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_ONCE = frozenset({b"final-recipient", b"original-recipient", b"action"})
_ACTIONS = {name: ReportedAction(name) for name in ("failed", "delayed", "delivered", "relayed", "expanded")}
_LOOSE = re.compile(rb"(?mi)^(?:final|original)-recipient[ \t]*:")
_FIELD_LINE = re.compile(r"(?:reporting-mta|final-recipient|original-recipient|action)[ \t]*:", re.IGNORECASE)


def status_part(mail: Mail) -> Part | None:
    """Return the part with the fields, even if it is declared as plain text or an earlier one is only called so."""
    named = [part for part in mail.parts if part.type in DSN_TYPES]
    loose = [part for part in mail.parts[:3] if part.type in ("text/plain", "multipart/report")]
    whole = next((part for part in (*named, *loose) if _LOOSE.search(part.content)), None)
    return whole or (named[0] if named else None)


def read_status(part: Part, text: FreeTextBounce, known: Known) -> tuple[Fields, tuple[ReportedRecipient, ...]]:
    """Return the per-message fields and the recipients. ``text`` supplies what the fields omit."""
    per_message = Fields()
    found: list[ReportedRecipient] = []
    words = list(takewhile(lambda line: not _FIELD_LINE.match(line), text.lines))
    text_by_address = {one.address.lower(): "\n".join(one.lines) for one in candidates_in(words, known) if one.lines}
    naming = _LOOSE.findall(part.content.lower())
    alone = len({*naming}) == len(naming)  # at most an Original- and a Final-Recipient: of one
    stage = stage_of((text.lower,)) if len(naming) <= 2 else None
    if alone:
        text_by_address[""] = "\n".join(words).strip()
    for block in _blocks(part.content):
        fields = read_fields(block)
        if fields.has("reporting-mta") and not per_message.has("reporting-mta"):
            per_message = Fields(per_message.all + fields.all)
        if fields.has("final-recipient") or fields.has("original-recipient") or (found and fields.has("action")):
            found.append(_recipient(fields, per_message, text, text_by_address, stage))
    if len(found) == 1 and found[0].address is None:  # hidden, or such as "@mx.example.org": the text may name it
        named = [address for each in known.mailed or text_by_address if (address := address_of(each))]
        found[0] = replace(found[0], address=named[0]) if len(named) == 1 else found[0]
    return per_message, tuple(found)


def read_receipt(mail: Mail, text: FreeTextBounce) -> Report | None:
    """Return the disposition notification (RFC 8098) in ``mail``, or None. It changes nothing: ``deleted`` is what a
    person did, and does not say whether the mailbox works. If a program deleted the message and the text says that it
    was refused, it is a failure (Sieve's reject, RFC 5429 2.2.1, and Dovecot's quota)."""
    part = mail.first("message/disposition-notification", "message/global-disposition-notification")
    if part is None and mail.report_type != "disposition-notification":
        return None
    fields = read_fields(part.content.lstrip(b"\n") if part else b"")
    value = fields.get("final-recipient") or fields.get("original-recipient") or ""
    address = address_of(value.rpartition(";")[2])
    disposition = (fields.get("disposition") or "").lower()
    refused = "deleted" in disposition and "automatic-action" in disposition and _says_refused(mail, text)
    if refused and address:
        recipient = part_of(address, "\n".join(text.lines).strip())
        return Report(ReportKind.BOUNCE, "mdn", (recipient,), text.original, fields.get("reporting-ua"))
    return Report(
        kind=ReportKind.RECEIPT,
        form="mdn",
        recipients=(ReportedRecipient(ReportedAction.DISPLAYED, address, address, status="2.0.0"),) if address else (),
        original=text.original,
        reporter=fields.get("reporting-ua"),
    )


def _says_refused(mail: Mail, text: FreeTextBounce) -> bool:
    """Return whether the subject, the mark or the words say that a program refused the message."""
    subject = decode_words(mail.fields.get("subject") or "").lower()
    if "reject" in subject or "reject" in (mail.fields.get("auto-submitted") or "").lower():
        return True
    return failure_in(text.lower[:4000]) is not None and read_words(flattened(text.lower[:4000])) is not None


def _blocks(content: bytes) -> list[bytes]:
    """Split into field groups, at empty lines and where a field repeats one of its group."""
    blocks: list[bytes] = []
    for group in re.split(rb"\n[ \t]*\n", content.strip())[:MAX_BLOCKS]:
        lines: list[bytes] = []
        seen: set[bytes] = set()
        for line in group.split(b"\n"):
            name = line.partition(b":")[0].strip().lower()
            if name in _ONCE and name in seen:
                blocks.append(b"\n".join(lines))
                lines, seen = [], set()
            lines.append(line)
            seen.add(name)
        blocks.append(b"\n".join(lines))
    return blocks[:MAX_BLOCKS]


def _recipient(
    fields: Fields, per_message: Fields, text: FreeTextBounce, text_by_address: dict[str, str], stage: Stage | None
) -> ReportedRecipient:
    final = _address(fields.get("final-recipient")) or _expanded_from(fields, text)
    original = _address(fields.get("original-recipient"))
    status = _status(fields.get("status"))
    action = _action(fields, status)
    diagnostic = _diagnostic(fields) or _comment(fields.get("status"))
    beside = text_by_address.get(str(final or original).lower(), "")
    if not diagnostic and not quotes_reply(beside):
        beside = f"{beside}\n{text_by_address.get('', '')}".strip()
    reply = reply_of(diagnostic or beside, status, action is not ReportedAction.DELAYED)
    return ReportedRecipient(
        action=action,
        address=original or final,
        final=final,
        status=status_of(reply, status)
        if action in (ReportedAction.FAILED, ReportedAction.DELAYED)
        else status or "2.0.0",
        reply=reply,
        diagnostic=diagnostic or beside,
        stage=stage_of((diagnostic, beside)) or stage,
        host=_mta(fields.get("remote-mta")) or _mta(per_message.get("reporting-mta")),
    )


def _action(fields: Fields, status: str) -> ReportedAction:
    """Return the Action, else what the class of the status implies; without either it failed."""
    action = (fields.get("action") or "").lower().partition("(")[0].strip().rstrip(";.")
    if action in _ACTIONS:
        return _ACTIONS[action]
    if action.startswith(("fail", "expired")):
        return ReportedAction.FAILED
    if action.startswith("deliver"):
        return ReportedAction.DELIVERED
    if action.startswith(("delay", "transient")):
        return ReportedAction.DELAYED
    return {"2": ReportedAction.DELIVERED, "4": ReportedAction.DELAYED}.get(status[:1], ReportedAction.FAILED)


def _diagnostic(fields: Fields) -> str:
    """Return the text of Diagnostic-Code without its type; a line for each field."""
    texts = []
    for value in fields.each("diagnostic-code"):
        kind, semicolon, text = value.partition(";")
        texts.append(text.strip() if semicolon and re.fullmatch(r"[\w .-]{1,24}", kind.strip()) else value)
    return "\n".join(texts)


def _comment(value: str | None) -> str:
    """Return the comment behind a status: ``5.4.4 (Illegal host/domain name found)``."""
    comment = (value or "").partition("(")[2].rpartition(")")[0].strip()
    return comment if " " in comment else ""


def _expanded_from(fields: Fields, text: FreeTextBounce) -> Address | None:
    """Return the address that was expanded to a pipe or a file, if the free text names it."""
    value = (fields.get("final-recipient") or "").rpartition(";")[2].strip()
    if not value or value[0] not in '|/"':
        return None
    return expanded_from(text.lower)


def _status(value: str | None) -> str:
    match = _STATUS.search(value or "")
    return match[0] if match else ""


def _address(value: str | None) -> Address | None:
    """Parse ``rfc822; ann@example.com``, ``utf-8; ...`` with \\x{..} escapes (RFC 6533), or a bare address."""
    if not value:
        return None
    kind, _, text = value.rpartition(";")
    if "utf-8" in kind.lower():
        text = decode_unitext(text)
    return address_of(text)


def _mta(value: str | None) -> str | None:
    """Return the name in ``dns; mx.example.com (192.0.2.1)``."""
    if not value:
        return None
    words = value.rpartition(";")[2].replace("(", " ").split()
    return words[0].strip("[]").lower() if words else None


def date_of(value: str | None) -> datetime | None:
    """Parse a date field (RFC 5322 3.3); None if missing or invalid."""
    if not value:
        return None
    try:
        return parsedate_to_datetime(value[:100])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None

"""Delivery status notifications: RFC 3464 in the frame of RFC 6522, RFC 6533 for internationalised mail.

Also those that are broken in known ways: the fields as text in a mail without frame, blocks run together, statuses
with words behind them, addresses without their type.

It must never take an Action that is not ``failed`` for a failure.

*Limits.* Of fields that are repeated in one block the first counts.
"""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import parsedate_to_datetime

from bounce.parsers.free_text import ANY_ADDRESS, FreeTextBounce, address_of, entries_in
from bounce.parsers.kinds import MAX_RECIPIENTS, Reported, ReportedAction
from bounce.parsers.mime import Fields, Mail, Part, clean, read_fields
from bounce.parsers.replies import reply_of, stage_of, status_of
from mta.mail.address import Address
from mta.mail.delivery import Stage

TYPES = ("message/delivery-status", "message/global-delivery-status")

MAX_BLOCKS = MAX_RECIPIENTS + 10  # groups of fields that are read

_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_ONCE = frozenset({b"final-recipient", b"original-recipient", b"action"})
_FATES = {
    fate.value: fate
    for fate in (
        ReportedAction.FAILED,
        ReportedAction.DELAYED,
        ReportedAction.DELIVERED,
        ReportedAction.RELAYED,
        ReportedAction.EXPANDED,
    )
}
_LOOSE = re.compile(rb"(?mi)^(?:final|original)-recipient[ \t]*:")
_GENERATED = re.compile(r"(?:generated (?:by|from)|expanded from:?) <?([^\s<>()]{1,64}@[^\s<>()]{1,255})")
_UNITEXT = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")


def status_part(mail: Mail) -> Part | None:
    """The part that holds the fields, also where it is called plain text and only looks like one."""
    if part := mail.first(*TYPES):
        return part
    for part in mail.parts[:3]:
        if part.type in ("text/plain", "multipart/report") and _LOOSE.search(part.content):
            return part
    return None


def read_status(part: Part, notice: FreeTextBounce) -> tuple[Fields, tuple[Reported, ...]]:
    """The per-message fields, and every recipient's part. ``notice``: the text beside it, for what the fields omit."""
    whole = Fields()
    found: list[Reported] = []
    beside = _beside(notice)
    alone = len(_LOOSE.findall(part.content)) <= 2  # Original- and Final-Recipient of one
    stage = stage_of((notice.lower,)) if alone else None
    for block in _blocks(part.content):
        fields = read_fields(block)
        if fields.has("reporting-mta") and not whole.has("reporting-mta"):
            whole = Fields(whole.all + fields.all)
        if fields.has("final-recipient") or fields.has("original-recipient") or (found and fields.has("action")):
            found.append(_recipient(fields, whole, notice, beside, stage))
    return whole, tuple(found)


def _blocks(content: bytes) -> list[bytes]:
    """The groups of fields: separated by empty lines, or where a field comes that the group already has."""
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
    fields: Fields, whole: Fields, notice: FreeTextBounce, beside: dict[str, str], stage: Stage | None
) -> Reported:
    final = _address(fields.get("final-recipient")) or _generator(fields, notice)
    original = _address(fields.get("original-recipient"))
    status = _status(fields.get("status"))
    fate = _fate(fields, status)
    diagnostic = _diagnostic(fields) or _comment(fields.get("status"))
    said = beside.get(str(final or original).lower(), "")
    about = "" if re.search(r"[A-Za-z]{3}", diagnostic) else said
    reply = reply_of(diagnostic or about, status, fate is not ReportedAction.DELAYED)
    return Reported(
        fate=fate,
        address=original or final,
        final=final,
        status=status_of(reply, status)
        if fate in (ReportedAction.FAILED, ReportedAction.DELAYED)
        else status or "2.0.0",
        reply=reply,
        diagnostic=diagnostic or about,
        stage=stage_of((diagnostic, said)) or stage,
        host=_mta(fields.get("remote-mta")) or _mta(whole.get("reporting-mta")),
    )


def _fate(fields: Fields, status: str) -> ReportedAction:
    """By the Action, else by the class of the status; without both it failed, as nobody reports what went well."""
    action = (fields.get("action") or "").lower().partition("(")[0].strip().rstrip(";.")
    if action in _FATES:
        return _FATES[action]
    if action.startswith(("fail", "expired")):
        return ReportedAction.FAILED
    if action.startswith("deliver"):
        return ReportedAction.DELIVERED
    if action.startswith(("delay", "transient")):
        return ReportedAction.DELAYED
    return {"2": ReportedAction.DELIVERED, "4": ReportedAction.DELAYED}.get(status[:1], ReportedAction.FAILED)


def _diagnostic(fields: Fields) -> str:
    """The words of Diagnostic-Code without their type; several fields are several lines."""
    texts = []
    for value in fields.each("diagnostic-code"):
        kind, semicolon, text = value.partition(";")
        texts.append(text.strip() if semicolon and re.fullmatch(r"[\w .-]{1,24}", kind.strip()) else value)
    return "\n".join(texts)


def _comment(value: str | None) -> str:
    """The words behind a status: ``5.4.4 (Illegal host/domain name found)``."""
    words = (value or "").partition("(")[2].rpartition(")")[0].strip()
    return words if " " in words else ""


def _generator(fields: Fields, notice: FreeTextBounce) -> Address | None:
    """Whose mail went to a pipe or a file: the address in the notice from which this recipient came."""
    text = (fields.get("final-recipient") or "").rpartition(";")[2].strip()
    if not text or text[0] not in '|/"':
        return None
    named = _GENERATED.findall("\n".join(notice.lines))
    return address_of(named[0]) if len(set(named)) == 1 else None


def _beside(notice: FreeTextBounce) -> dict[str, str]:
    """What the text beside the fields says about each address: the lines under it, or the sentence that names it."""
    entries, _ = entries_in(("", *notice.lines))
    said = {entry.address.lower(): "\n".join(entry.lines) for entry in entries if entry.lines}
    for line in notice.lines:
        for address in ANY_ADDRESS.findall(line.lower())[:3]:
            if len(line) > len(address) + 20:
                said.setdefault(address, line.strip())
    return said


def _status(value: str | None) -> str:
    match = _STATUS.search(value or "")
    return match[0] if match else ""


def _address(value: str | None) -> Address | None:
    """An address field: ``rfc822; ann@example.com``, ``utf-8; ...`` with \\x{..} for other letters, or without type."""
    if not value:
        return None
    kind, _, text = value.rpartition(";")
    if "utf-8" in kind.lower():
        text = clean(_UNITEXT.sub(lambda match: chr(min(int(match[1], 16), 0x10FFFF)), text))
    text = text.strip()
    if "<" in text:
        text = text.partition("<")[2].partition(">")[0]
    return address_of(text)


def _mta(value: str | None) -> str | None:
    """``dns; mx.example.com (192.0.2.1)`` without its type and comment."""
    if not value:
        return None
    words = value.rpartition(";")[2].replace("(", " ").split()
    return words[0].strip("[]").lower() if words else None


def date_of(value: str | None) -> datetime | None:
    """A date field (RFC 5322 3.3), None if it is missing or wrong."""
    if not value:
        return None
    try:
        return parsedate_to_datetime(value[:100])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None

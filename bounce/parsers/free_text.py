"""Parse free-text bounces: separate the mail system's text from the returned message and find the recipients in it.

Most bounces that ignore RFC 3464 have the same shape: an opening phrase, each recipient at the start of a line, the
reason beside or below it, and a line that announces the returned message. A ``BounceForm`` holds the phrases of one
family of mail systems (``parsers.families``); the rest is common.

Invariants: A returned message or a quotation is never read as the mail system's text.

Limitations: Reads at most MAX_LINES lines. A reason far from its recipient is used only if there is one recipient.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bounce.parsers.mime import Mail, read_fields
from bounce.parsers.replies import host_of, quotes_reply, reply_of, stage_of
from bounce.parsers.report_kinds import Original, ReportedAction, ReportedRecipient
from bounce.pattern import any_of
from mta.mail.address import Address, AddressError

MAX_LINES = 400
MAX_LINE = 2000  # characters
MAX_ORIGINAL = 1 << 15  # octets kept of a returned header block

_LOCAL = r"[^\s<>()\[\]:;,\"'|\\@]{1,64}"
_ADDRESS = rf"{_LOCAL}@[A-Za-z0-9\u0080-\uffff](?:[A-Za-z0-9.\-_\u0080-\uffff]{{0,250}}[A-Za-z0-9\u0080-\uffff])?"
_ENTRY = re.compile(
    r"(?P<indent>[ \t]*+)(?P<mark>>>>|[*•·]|-(?=\s)|\d{1,3}[.)])?[ \t]*+"
    r"(?:rfc822;[ ]?|smtp:"
    r"|(?:(?:failed |final )?(?:recipient|address)(?: address)?|rcpt to|to|e-?mail)\s{0,3}:\s{0,3})?"
    rf"(?P<open>[<\"'(]{{0,2}})(?P<address>{_ADDRESS})(?P<rest>.*)",
    re.IGNORECASE,
)
ANY_ADDRESS = re.compile(_ADDRESS)
_RETURNED = re.compile(
    r"[\s>*#|=_\-+.]*+(?:"
    r"(?:this is|here is|below is|following is|included is|enclosed is|attached is|below this line is|that follows is)"
    r" (?:an? |the )?(?:unmodified |truncated )?(?:copy|original|first|header)"
    r"|(?:the )?(?:(?:returned|undelivered|undeliverable|unsent|original|non-?delivered|failed)"
    r"(?: e-?)? ?(?:message|mail|headers?|email)(?: (?:text|headers?|body|info|log))?)"
    r"(?: (?:follows?|attached|included|is (?:attached|below|as follows)))?[\s:.>*#|=_\-+]*+\Z"
    r"|(?:the )?(?:original )?message (?:headers?|text|body)s? (?:follows?|is as follows)"
    r"|the (?:header|body|text) of the original|original (?:message|mail) (?:headers?|as follows|info|follows)"
    r"|return(?:ed)? message follows|start of (?:returned|original) message"
    r"|urspr.ngliche nachricht|message d.origine|mensaje original|oorspronkelijk bericht|messaggio originale"
    r"|text of (?:your|the) message"
    r")",
    re.IGNORECASE,
)
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,40}:")
_TRACE = re.compile(r"(?:received|return-path|message-id|dkim-signature|mime-version|delivered-to|x-received):", re.I)
_WARNING = any_of(
    r"this is a warning (?:message )?only",
    r"(?:do not|don't) need to re-?send (?:your|the|this) message",
)
_QUOTED = re.compile(r"\s*>(?!>>)")


@dataclass(frozen=True, slots=True)
class FreeTextBounce:
    """The first text part. ``lines``: the mail system's text; ``returned``: all that follows it; ``lower``: ``lines``
    joined, in lower case."""

    lines: tuple[str, ...]
    returned: str
    lower: str = field(repr=False, default="")


@dataclass(frozen=True, slots=True)
class BounceForm:
    """The phrases of one family of mail systems, in lower case.

    ``opening``: one of these must match. ``delay``: these mark a delay. ``shared``: the reason of a single recipient
    may stand apart from it. ``before``: recipients may precede the opening. ``own``: a reason without a reply code is
    the mail system's own finding, not a quotation of another host. ``loose``: people and other software use these
    phrases too.
    """

    name: str
    opening: re.Pattern[str]
    delay: re.Pattern[str] | None = None
    shared: bool = True
    before: bool = False
    own: bool = True
    loose: bool = False


@dataclass(slots=True)
class FreeTextRecipient:
    """A recipient as written, and the lines about it."""

    address: str
    lines: list[str]


def free_text_of(mail: Mail) -> FreeTextBounce:
    """Return the first text of ``mail``, cut where the returned message begins."""
    part = mail.first("text/plain", "text/html") or (mail.parts[0] if mail.parts else None)
    if part is None or not part.type.startswith("text/"):
        return FreeTextBounce((), "")
    lines = [line[:MAX_LINE].rstrip() for line in part.text.split("\n", MAX_LINES)[:MAX_LINES]]
    end = _end(lines)
    own = tuple(lines[:end])
    return FreeTextBounce(own, "\n".join(lines[end:]), "\n".join(own).lower())


def original_of(mail: Mail, text: FreeTextBounce | None = None) -> Original:
    """Return the header of the returned message, from its own part or from what follows the free text."""
    part = mail.first("message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers")
    if part is not None:
        block = part.content.lstrip(b"\n")
    elif text is not None and text.returned:
        lines = text.returned.split("\n")
        start = next((n for n, line in enumerate(lines) if _FIELD.match(line)), len(lines))
        block = "\n".join(lines[start:]).encode("utf-8", "replace")
    else:
        return Original()
    block = block.partition(b"\n\n")[0][:MAX_ORIGINAL]
    fields = read_fields(block)
    return Original(block, fields) if fields.all else Original()


def read_form(form: BounceForm, text: FreeTextBounce) -> tuple[ReportedRecipient, ...]:
    """Return the recipients in ``text``; empty if it does not have this form."""
    opening = form.opening.search(text.lower)
    if opening is None:
        return ()
    first = text.lower.count("\n", 0, opening.start())
    if _QUOTED.match(text.lines[first]):
        return ()
    delayed = any(one is not None and one.search(text.lower) for one in (form.delay, _WARNING))
    after = text.lower.count("\n", 0, opening.end())
    entries, rest = entries_in(text.lines[after:])
    if not entries and form.before:
        entries, rest = entries_in(("", *text.lines))
    shared = rest if form.shared else []
    return tuple(reported(entry, shared if len(entries) == 1 else [], delayed, own=form.own) for entry in entries)


def entries_in(lines: tuple[str, ...]) -> tuple[list[FreeTextRecipient], list[str]]:
    """Return the recipients that begin a line or occur in the first one, and the lines that belong to none of them."""
    entries: list[FreeTextRecipient] = []
    rest: list[str] = []
    shape: tuple[bool, int] | None = None
    current: FreeTextRecipient | None = None
    for n, line in enumerate(lines):
        match = _ENTRY.match(line)
        if n == 0 or match is None:
            found = ANY_ADDRESS.search(line) if n == 0 and not entries else None
            if found:
                current = FreeTextRecipient(found[0], [])
                entries.append(current)
                rest.append((line[: found.start()] + line[found.end() :].lstrip(">")).strip())
            elif not line.strip():
                current = current if current and not current.lines else None
            elif current is not None:
                current.lines.append(line)
            else:
                rest.append(line)
            continue
        known = next((e for e in entries if e.address.lower() == match["address"].lower()), None)
        here = (bool(match["open"]), len(match["indent"].expandtabs()))
        if known is None and current is not None and shape is not None and here[1] > shape[1]:
            current.lines.append(line)  # indented deeper than the recipients: a reason that begins with an address
            continue
        shape = shape or here
        if known is None:
            known = FreeTextRecipient(match["address"], [])
            entries.append(known)
        current = known
        if match["mark"] == ">>>":
            current.lines.append(line.strip())
        elif about := match["rest"].strip(" \t>\"')"):
            current.lines.append(about)
    return entries, rest


def reported(entry: FreeTextRecipient, shared: list[str], delayed: bool, own: bool = True) -> ReportedRecipient:
    """Build a recipient's part from the lines about it or, if they hold no reply, also from the shared ones."""
    text = "\n".join(entry.lines).strip()
    if shared and not re.search(r"\b[45]\d\d\b|\b[45]\.\d\.\d", text):
        text = "\n".join([*entry.lines, *shared]).strip()
    reply = reply_of(text, "", not delayed)
    address = address_of(entry.address)
    return ReportedRecipient(
        action=ReportedAction.DELAYED if delayed else ReportedAction.FAILED,
        address=address,
        final=address,
        status=reply.status,
        reply=reply,
        diagnostic=text[:MAX_LINE],
        stage=stage_of((text,)),
        host=host_of(text),
        own=own or quotes_reply(text),
    )


def address_of(text: str) -> Address | None:
    """Parse ``text`` as an address; None if it is not a valid mailbox."""
    try:
        text = text.strip().strip("<>").removeprefix("mailto:").rstrip(".,;")
        return Address.parse(text[1:-1] if text[:1] == text[-1:] == "'" else text)
    except AddressError:
        return None


def _end(lines: list[str]) -> int:
    """Return the line where the returned message begins: an announcement, or the first of a header block."""
    for n, line in enumerate(lines):
        if n and _RETURNED.match(line) and not ANY_ADDRESS.search(line):
            return n
        if _FIELD.match(line) and _is_header(lines[n : n + 12]):
            return n
    return len(lines)


def _is_header(lines: list[str]) -> bool:
    """Return whether three header fields follow each other, one of them a trace or transport field."""
    fields = 0
    traced = False
    for line in lines:
        if _FIELD.match(line):
            fields += 1
            traced = traced or _TRACE.match(line) is not None
        elif not line.startswith((" ", "\t")):
            break
    return fields >= 3 and traced

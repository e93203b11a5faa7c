"""Read a bounce in prose: what the mail system says, where the returned message begins, which addresses failed and why.

Every address in the mail system's own words is a candidate. Its place (it begins a line, stands alone, follows
"RCPT TO:"), its neighbours (words of failure, a reply) and the returned message (its recipient, its author) decide.
The lines from one recipient to the next are the reason of the first.

Invariants: A returned message or a quotation is never read as the mail system's words. Our own address, the reporter's
and the returned message's author failed only if nobody else did.

Limitations: Reads at most MAX_LINES lines.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import takewhile

from bounce.grammar import delay_in, failure_in, flattened, read_words
from bounce.languages import phrases
from bounce.parsers.mime import Mail, decode_words, read_fields
from bounce.parsers.replies import host_of, quotes_reply
from bounce.parsers.report_kinds import MAX_RECIPIENTS, Original, ReportedAction, ReportedRecipient, part_of
from mta.mail.address import Address, AddressError

MAX_LINES = 400
MAX_LINE = 2000  # characters
MAX_ORIGINAL = 1 << 15  # octets kept of a returned header block
MAX_OCCURRENCES = 300  # addresses that are looked at
AROUND = 120  # characters before and after an address that are looked at
LABEL = 40  # characters of a label before it
BAR = 3  # of a candidate's points

_LETTER = r"A-Za-z0-9_\u0080-\u2dff"  # a label in Chinese or Japanese has no other letters, for words are glued to it
_LABEL = rf"(?:[{_LETTER}](?:[{_LETTER}#-]{{0,61}}[{_LETTER}])?|[\u2e80-\uffff]{{1,63}}(?=[.>]))"
_LOCAL = r"[^\s<>()\[\]:;,\"'|\\@=]{1,64}"
ANY_ADDRESS = re.compile(rf"(?<![^\s<>()\[\]:;,\"'|\\@=])(?P<address>{_LOCAL}@{_LABEL}(?:\.{_LABEL}){{0,12}})")
_LEAD = re.compile(r"[\s*•·»+#|=>–—-]{0,40}(?:\d{1,3}[.)]\s)?")
_IN_REPLY = re.compile(r"\b[45]\d\d[ -][^@]{25,}\Z")  # what a host says there is no label
_REPLIED = re.compile(r"(?:<<< ?)?[45]\d\d[ -](?:[245]\.\d{1,3}\.\d{1,3} )?\Z")
_EXPANDED_FROM = r"(?:expanded|generated|forwarded) (?:from|by):? ?<?"
_IS_EXPANDED = re.compile(rf"{_EXPANDED_FROM}\Z")
_EXPANDED = re.compile(rf"{_EXPANDED_FROM}(?P<address>{_LOCAL}@{_LABEL}(?:\.{_LABEL}){{0,12}})")
_QUOTED_TO = re.compile(r"\s*to\s{0,3}:", re.IGNORECASE)
_VERDICT = re.compile(r"[45]\d\d [^@]{0,70}@[^>\s]{1,255}>?\.\.\.")
_TAGGED = re.compile(r"[^\W\d_][^:.!?@<>]{0,60}[ .]{0,20}:\s{0,8}(?:[\w-]{1,20};\s{0,3})?\Z")
_COMMAND = re.compile(r"rcpt to: ?<?\Z")
_EMPTY = re.compile(r"[\s<>\"'()\[\]:;,.*-]*\Z")
_STAFF = re.compile(
    r"(?:post[-_]?master|mailer-daemon|abuse|hostmaster|noc|support|helpdesk|unblock|double-bounce)\Z", re.IGNORECASE
)
LABELLED = r"(?m)^[^\w\n]{0,20}(?:[\w-]{1,20} ){0,2}{}[ .]{0,20}:"
# Where the phrases of ``bounce.languages`` stand.
_AFTER_RECIPIENT = r"\b{}:?\s{0,3}\Z"
_AFTER_AUTHOR = r"\b{}\s{0,3}:"
_AFTER_SENT_BY = r"\b{}\s{1,3}\Z"
_IN_CONTACT = r"\b{}\b"
_DETAIL = r"\s*{}\s{0,3}:"
_RETURNED = r"[\s>*#|=_\-+.]*+{}"
_FIELD = re.compile(r"(?:> ?)?[A-Za-z][A-Za-z0-9-]{1,40}:")
_TRACE = re.compile(
    r"(?:> ?)?(?:received|return-path|message-id|dkim-signature|mime-version|delivered-to|x-received):", re.IGNORECASE
)
_TOKEN = re.compile(r"\s{1,20}(?P<local>[A-Za-z][\w.+-]{0,63})\s*(?:\([^()]{1,200}\)\s*)?\Z")


@dataclass(frozen=True, slots=True)
class FreeTextBounce:
    """The first text part. ``lines``: the mail system's text; ``lower``: the same joined, in lower case; ``original``:
    the header of the returned message, from its own part or from what follows the text."""

    lines: tuple[str, ...]
    lower: str = field(repr=False)
    original: Original


@dataclass(slots=True)
class Candidate:
    """An address in the mail system's words, its points, and the lines about it."""

    address: str
    points: int
    first: int  # its first line
    lines: list[str]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known before reading: who may have failed, and who cannot have. Keys are addresses in lower case."""

    recipients: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()
    domain: str = ""  # the reporter's
    failed: frozenset[str] = frozenset()  # X-Failed-Recipients, as Exim and Google write it
    mailed: frozenset[str] = frozenset()  # the recipients of the message that our own return path names


def free_text_of(mail: Mail) -> FreeTextBounce:
    """Return the first text of ``mail``, cut where the returned message begins."""
    part = mail.first("text/plain", "text/html") or (mail.parts[0] if mail.parts else None)
    enclosed = original_of(mail)
    if part is None or not part.type.startswith("text/"):
        return FreeTextBounce((), "", enclosed or Original())
    lines = [line[:MAX_LINE].replace("\uff1a", ":").rstrip() for line in part.text.split("\n", MAX_LINES)[:MAX_LINES]]
    end = _end(lines)
    own = tuple(lines[:end])
    return FreeTextBounce(own, "\n".join(own).lower(), enclosed or _original_in(lines[end:]))


def original_of(mail: Mail) -> Original | None:
    """Return the header of the returned message if it has a part of its own."""
    part = mail.first("message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers")
    return _original(part.content.lstrip(b"\n")) if part else None


def _original_in(lines: Sequence[str]) -> Original:
    """Return the header of the returned message in ``lines``, which may be quoted."""
    start = next((n for n, line in enumerate(lines) if _FIELD.match(line)), len(lines))
    plain = "\n".join(line.removeprefix("> ").removeprefix(">") for line in lines[start:])
    return _original(plain.encode("utf-8", "replace"))


def _original(block: bytes) -> Original:
    header = block.partition(b"\n\n")[0][:MAX_ORIGINAL]
    fields = read_fields(header)
    return Original(header, fields) if fields.all else Original()


def known_of(mail: Mail, original: Original, sent_to: Address | None, mailed: Collection[Address]) -> Known:
    """Return who may have failed and who cannot have, by our return path and the headers of the report and of the
    returned message."""
    sent = frozenset(str(address).lower() for address in mailed)
    recipients = set(sent)
    for name in ("to", "x-original-to", "delivered-to", "original-recipient", "x-rcpt-to", "envelope-to"):
        recipients |= _addresses(original.fields.each(name))
    failed = _addresses(mail.fields.each("x-failed-recipients"))
    recipients |= failed
    others = {str(sent_to).lower()} if sent_to else set()
    for name in ("from", "to", "reply-to", "sender", "return-path"):
        others |= _addresses(mail.fields.each(name))
        if name != "to":
            others |= _addresses(original.fields.each(name))
    author = sorted(_addresses(mail.fields.each("from")))
    domain = author[0].rpartition("@")[2] if author else ""
    others -= recipients
    return Known(frozenset(recipients), frozenset(others), domain, frozenset(failed), sent)


def failed_in(text: FreeTextBounce, known: Known) -> tuple[ReportedRecipient, ...]:
    """Return the recipients that failed or are delayed, by the mail system's words."""
    delayed = delay_in(" ".join(text.lower.split())[: MAX_LINE * 4]) is not None
    found = candidates_in(text.lines, known) or _bare_locals(text.lines, known)
    shared = list(text.lines) if len(found) == 1 else []
    return tuple(reported(one, shared, delayed) for one in found[:MAX_RECIPIENTS])


def candidates_in(lines: Sequence[str], known: Known) -> list[Candidate]:
    """Return the addresses in ``lines`` with enough points, each with its block of lines."""
    found: dict[str, Candidate] = {}
    places: list[tuple[int, str]] = []
    for n, address, points in _occurrences(lines, known):
        key = address.lower()
        one = found.setdefault(key, Candidate(address, points, n, []))
        one.points = max(one.points, points)
        places.append((n, key))
    named = {key for key, one in found.items() if one.points >= BAR}
    likely = {key for key, one in found.items() if one.points > 0}
    if not (likely or known.recipients):
        likely = {key for key, one in found.items() if one.points == 0}
    if not named and len(likely) == 1:
        named = likely  # the only address can only be the recipient's
    named = likely & known.mailed or named - known.others or named
    places = [place for place in places if place[1] in named]
    for place, (n, key) in enumerate(places):
        following = next((m for m, _ in places[place + 1 :] if m > n), len(lines))
        own = _clause(lines[n], key, {other for m, other in places[max(0, place - 1) : place + 2] if m == n})
        block = [own] if own else _block(lines[n : max(n + 1, following)], key)
        found[key].lines += [line for line in block if not found[key].lines or line != found[key].lines[-1]]
    return [one for key, one in found.items() if key in named]


def _clause(line: str, address: str, named: Collection[str]) -> str:
    """Return the part of ``line`` about ``address``, if it names others, too, and says something of each."""
    starts = sorted(line.lower().find(each) for each in named)
    start = line.lower().find(address)
    end = next((each for each in starts if each > start), len(line))
    part = line[start if start != starts[0] else 0 : end]
    return part if len(named) > 1 and read_words(flattened(part)) is not None else ""


def _block(lines: Sequence[str], address: str) -> list[str]:
    """Return the lines about ``address``, the first of ``lines``: a transcript ends with ``550 <address>...``."""
    end = next((n for n, line in enumerate(lines) if _VERDICT.match(line) and address in line.lower()), len(lines))
    return list(lines[: end + 1])


def reported(candidate: Candidate, shared: Sequence[str], delayed: bool) -> ReportedRecipient:
    """Build a recipient's part from the lines about it or, if they hold no reply, also from the shared ones."""
    text = "\n".join(candidate.lines).strip()
    if shared and not re.search(r"\b[45]\d\d\b|\b[45]\.\d\.\d", text) and read_words(flattened(text)) is None:
        text = "\n".join([*candidate.lines, *(line for line in shared if line not in candidate.lines)]).strip()
    final = address_of(candidate.address)
    address = expanded_from(" ".join(candidate.lines[:3])) or final
    action = ReportedAction.DELAYED if delayed else ReportedAction.FAILED
    return part_of(address, text[:MAX_LINE], "", action, said=_reason_in(text) or text, final=final, host=host_of(text))


def expanded_from(text: str) -> Address | None:
    """Return the only address from which ``text`` says that another was expanded."""
    named = {match["address"] for match in _EXPANDED.finditer(text.lower())}
    return address_of(named.pop()) if len(named) == 1 else None


def _reason_in(text: str) -> str:
    """Return the paragraph that a label like "Reason:" announces, if no reply is quoted: greetings say nothing."""
    label = None if quotes_reply(text) else phrases("reason", LABELLED).search(text.lower())
    return text[label.end() :].strip().partition("\n\n")[0] if label and len(text) == len(text.lower()) else ""


def address_of(text: str) -> Address | None:
    """Parse ``text``, which may be ``Name <address>``; None if it is no mailbox. Some hosts have an underscore."""
    text = text.rpartition("<")[2].partition(">")[0] if "<" in text else text
    text = text.strip().strip("<>").removeprefix("mailto:").rstrip(".,;")
    text = text[1:-1] if text[:1] == text[-1:] == "'" else text
    local, _, domain = text.rpartition("@")
    try:
        found = Address.parse(f"{local}@{re.sub('[_#]', 'x', domain)}")
    except AddressError:
        return None
    return Address(local, domain.lower()) if "_" in domain or "#" in domain else found


def _occurrences(lines: Sequence[str], known: Known) -> Iterator[tuple[int, str, int]]:
    """Yield each address that may have failed: its line, itself, its points."""
    seen = 0
    failing = cache(lambda n: failure_in(lines[n].lower()) is not None)
    replied = cache(lambda n: quotes_reply(lines[n]))
    indent: int | None = None
    before = 0  # the last line with words
    for n, line in enumerate(lines):
        last, before = before, n if line.strip() else before
        if "@" not in line:
            continue
        following = range(n + 1, min(n + 4, len(lines)))
        near = any(failing(k) for k in (n, last, *following[:1]))
        points_of_line = near + any(replied(k) for k in (n, *following))
        for match in ANY_ADDRESS.finditer(line):
            if seen >= MAX_OCCURRENCES:
                return
            seen += 1
            address = match["address"].strip(".*_-~") if match["address"][0] in ".*_-~" else match["address"]
            key = address.lower()
            if _STAFF.match(key.partition("@")[0]) and key not in known.recipients:
                continue
            if _IS_EXPANDED.search(line[: match.start()].lower()):
                yield n, address, 1  # it failed if what it was expanded to is no address
                continue
            points, begins = _points(line, match, near)
            if _QUOTED_TO.match(line) and any(map(_is_detail, lines[n + 1 : n + 3])):
                yield n, address, 1  # details of the message, quoted by the mail system
                continue
            if key in known.others:
                points = BAR - 2 if begins else -9  # it was sent to its own author, or it is none
            if begins and key not in known.recipients:
                width = len(line) - len(line.lstrip())
                if indent is not None and width > indent + 1:
                    continue  # deeper than the recipients: a reason that begins with an address
                indent = width if indent is None else indent
            yield n, address, points + points_of_line + (3 if key in known.recipients else 0)


def _is_detail(line: str) -> bool:
    return phrases("detail", _DETAIL).match(line.lower()) is not None


def _points(line: str, match: re.Match[str], near: bool) -> tuple[int, bool]:
    """Return the points of an address for its place in the line, and whether it begins the line."""
    head = line[max(0, match.start() - AROUND) : match.start()].lower()
    tail = line[match.end() : match.end() + AROUND]
    lead = head.rstrip("<\"'([").removeprefix(">>>")
    lead = lead[_LEAD.match(lead).end() :] if _LEAD.match(lead) else lead  # type: ignore[union-attr]
    begins = not lead or _REPLIED.match(lead) is not None or _TAGGED.match(lead) is not None
    sent_by = phrases("author", _AFTER_AUTHOR).search(head) or phrases("sent_by", _AFTER_SENT_BY).search(
        head.rstrip("<\"'([")
    )
    if sent_by or (not begins and phrases("contact", _IN_CONTACT).search(head + tail.lower())):
        return -4, False
    tail = tail.lstrip(">\"') ")
    alone = tail[:1] == ":" or _EMPTY.match(tail) is not None
    said = _IN_REPLY.search(line, max(0, match.start() - 500), match.start())
    recipient = (
        near and not said and phrases("recipient", _AFTER_RECIPIENT).search(lead.rstrip(" <\"'([")[-LABEL:]) is not None
    )
    named = _COMMAND.search(lead[-LABEL:]) is not None or recipient
    return 2 * begins + (begins and alone) + 2 * named, begins and not lead


def _bare_locals(lines: Sequence[str], known: Known) -> list[Candidate]:
    """Return recipients of which only the local part is listed, below a line that announces them; the domain is the
    reporter's."""
    found: list[Candidate] = []
    announced = False
    for n, line in enumerate(lines):
        match = _TOKEN.match(line)
        if announced and match and (known.domain or known.recipients):
            local = match["local"].lower()
            whole = [key for key in known.recipients if key.partition("@")[0] == local]
            found.append(Candidate(whole[0] if whole else f"{local}@{known.domain}", BAR, n, [line, *lines[:40]]))
        elif line.strip():
            announced = line.rstrip().endswith(":") and failure_in(line.lower()) is not None
    return found


def _addresses(values: list[str]) -> set[str]:
    return {match["address"].lower() for value in values[:20] for match in ANY_ADDRESS.finditer(decode_words(value))}


def _end(lines: list[str]) -> int:
    """Return the line where the returned message begins: an announcement, or the first of a header block."""
    for n, line in enumerate(lines):
        if n and phrases("returned", _RETURNED).match(line.lower()) and not ANY_ADDRESS.search(line):
            return n
        if _FIELD.match(line) and _is_header(lines[n : n + 12]):
            return n
    return len(lines)


def _is_header(lines: list[str]) -> bool:
    """Return whether three header fields follow each other, one of them a trace or transport field."""
    block = takewhile(lambda line: _FIELD.match(line) or line.startswith((" ", "\t", ">  ")), lines)
    fields = [line for line in block if _FIELD.match(line)]
    return len(fields) >= 3 and any(map(_TRACE.match, fields))

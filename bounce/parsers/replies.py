"""Extract the SMTP reply from a diagnostic text, the command it answered and the host that sent it.

Reports quote replies in many ways: ``smtp; 550 5.1.1 ...``, ``host mx said: 550-5.1.1 ...``, ``Remote Server
returned '550 ...'``, ``(reason: 550 ...)``, ``<<< 550 ...``, ``#5.1.1``. All become a ``Reply`` for the rules.

Invariants: A reply code never says more than the report: without one it is 550 for a failure and 450 for a delay, with
the report's status.

Limitations: Of several replies in one text the last rejection counts; earlier ones are usually another host's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mta.mail.delivery import Stage
from mta.mail.reply import Reply

MAX_DIAGNOSTIC = 4000  # characters examined

_STATUS = r"[245]\.\d{1,3}\.\d{1,3}"
# A reply begins a line or follows a sign or word that introduces it; any other number is not a reply.
_REPLY = re.compile(
    r"(?:^[ \t]*|[:;,.'\"\[(>]\s?|<<< ?|\b(?:said|says|was|returned|reason|response|error|code|with|status|dsn|reply)"
    r"[:=]? ?['\"]?|\bgave ?|\n\s*)"
    r"(?P<code>[45]\d\d)(?:[\s-]{1,8}(?:[:-]\s{0,3})?|:\s?(?::\s)?|\]? ?)"
    rf"(?=[#<(\[]?(?P<status>{_STATUS})(?![\d.])|[A-Za-z<'\"#(\[*\x80-\uffff])"
)
_WITH_STATUS = re.compile(rf"(?<![\d.])(?P<code>[45]\d\d)[ -]{{1,2}}#?(?P<status>{_STATUS})(?![\d.])")
_LONE_CODE = re.compile(r"^[ \t]*(?P<code>[45]\d\d)[ \t]*$", re.MULTILINE)
_BARE_STATUS = re.compile(r"(?:^|[\s#(\[<=:,;'\"])(?P<status>[45]\.\d{1,3}\.\d{1,3})(?![\d.])")
_AGAIN = re.compile(rf"\s(?P<code>[45]\d\d)(?P<sep>[ -])#?(?={_STATUS})")
_TAIL = re.compile(r"\s*\((?:in reply to|delivery attempts|state \d|#?timeout)[^()]{0,120}\)?\s*\Z", re.IGNORECASE)
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_STAGES = (
    (Stage.CONNECT, re.compile(r"refused to talk to me|initial connection|while connecting|smtp:connect|in banner")),
    (Stage.HELLO, re.compile(r"(?:to|after|>>>|\bour|smtp:)\s?(?:helo|ehlo)\b|but my name was rejected")),
    (Stage.SENDER, re.compile(r"(?:reply to|after|>>>|\bour|smtp:)\s?mail(?: from)?\b|but sender was rejected")),
    (
        Stage.RECIPIENT,
        re.compile(
            r"(?:reply to|after|>>>|\bour|smtp:)\s?rcpt(?: to)?\b|does not like recipient|\[rcpt_to\]|rcpt to response"
            r"|\bsent: ?rcpt to"
        ),
    ),
    (
        Stage.FINAL_DOT,
        re.compile(
            r"end of data|final data|final dot|after i sent the message|while sending the message|smtp:data body"
            r"|after (?:sending|transmitting) (?:the )?(?:message|body|data)|text command|>>> \.(?:\s|\Z)|smtp:dot"
        ),
    ),
    (Stage.DATA, re.compile(r"(?:reply to|after|>>>|\bour|smtp:)\s?(?:the )?data\b")),
)
_HOST = re.compile(
    r"(?:\bhost:? |\bby |\bto |talking to |from |server )\[?(?P<name>[a-z0-9](?:[a-z0-9-]{0,62}\.){1,8}[a-z]{2,20})\b"
)


def reply_of(diagnostic: str, status: str, failed: bool) -> Reply:
    """Return the reply in ``diagnostic``. Its code and status take precedence over the report's own (``status``), which
    is often only 5.0.0, or empty. ``failed``: not delayed."""
    text = diagnostic[:MAX_DIAGNOSTIC].strip()
    match = _find(text)
    if match is None:
        own = _BARE_STATUS.search(text)
        known = _better(own["status"] if own else "", status)
        digit = known[0] if known[:1] in ("4", "5") else "5" if failed else "4"
        return Reply(int(digit + "50"), known or f"{digit}.0.0", Reply.parse(550, " ".join(text.split())).text)
    code = match["code"]
    words = _AGAIN.sub(r"\n\g<code>\g<sep>", _TAIL.sub("", " ".join(_quoted(text, match.start("code")).split())))
    reply = Reply.read(re.sub(rf"\A{code}[\s:\]#-]{{0,6}}", f"{code} ", words))
    if reply.status.endswith(".0.0"):
        inner = _BARE_STATUS.search(words)
        if inner and inner["status"][0] == code[0] and not inner["status"].endswith(".0.0"):
            return Reply(reply.code, inner["status"], reply.text)
        if status and status[0] == code[0]:
            return Reply(reply.code, status, reply.text)
    return reply


def _quoted(text: str, start: int) -> str:
    """Return the reply that begins at ``start``: to the bracket that closes it, or to the end of its paragraph."""
    reply = _PARAGRAPH.split(text[start:], maxsplit=1)[0]
    return reply.partition("]")[0] if text[start - 1 : start] == "[" else reply


def status_of(reply: Reply, status: str) -> str:
    """Return the status to show: the reply's if more specific than x.0.0, else the report's."""
    return status if status and reply.status.endswith(".0.0") else reply.status


def stage_of(texts: Iterable[str]) -> Stage | None:
    """Return the rejected command named in the first of ``texts`` that names one, or None."""
    for text in texts:
        low = " ".join(text[:MAX_DIAGNOSTIC].lower().split())
        for stage, pattern in _STAGES:
            if pattern.search(low):
                return stage
    return None


def quotes_reply(text: str) -> bool:
    """Return whether ``text`` contains an SMTP reply."""
    return _find(text[:MAX_DIAGNOSTIC]) is not None


def host_of(text: str) -> str | None:
    """Return the host that ``text`` names as the other side, or None."""
    match = _HOST.search(text[:MAX_DIAGNOSTIC].lower())
    return match["name"] if match else None


def _find(text: str) -> re.Match[str] | None:
    """Find the last rejection with an enhanced code, else the last one introduced as a reply, else a code on a line."""
    for pattern, repeated in ((_WITH_STATUS, ("code", "status")), (_REPLY, ("code",))):
        first = None
        for match in reversed([*pattern.finditer(text)]):
            if first is not None and match.group(*repeated) != first.group(*repeated):
                break  # lines of one reply repeat its code: go back to its first line
            first = match
        if first is not None:
            return first
    return _LONE_CODE.search(text)


def _better(first: str, second: str) -> str:
    """Return the more specific status: any before x.0.0, the first before the second."""
    candidates = [status for status in (first, second) if status]
    return next((status for status in candidates if not status.endswith(".0.0")), candidates[0] if candidates else "")

"""The SMTP reply inside a diagnostic text, the command it answered, and the host that gave it.

Reports write replies down in many ways: ``smtp; 550 5.1.1 ...``, ``host mx said: 550-5.1.1 ...``, ``Remote Server
returned '550 ...'``, ``(reason: 550 ...)``, ``<<< 550 ...``, ``#5.1.1``. All become a ``Reply`` for the rules.

It must never invent a reply code that says more than the report: without one it is 550 for a failure and 450 for a
delay, with the status of the report.

*Limits.* Of several replies in one text the last refusal counts; what came before is usually another host's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mta.mail.delivery import Stage
from mta.mail.reply import Reply

MAX_DIAGNOSTIC = 4000  # characters that are looked at and kept

_STATUS = r"[245]\.\d{1,3}\.\d{1,3}"
# A reply begins a line or stands behind a sign or word that introduces it; a bare number elsewhere is no reply.
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
_STAGES = (
    (Stage.CONNECT, re.compile(r"refused to talk to me|initial connection|while connecting|smtp:connect|in banner")),
    (Stage.HELLO, re.compile(r"(?:to|after|>>>|our|smtp:)\s?(?:helo|ehlo)\b")),
    (Stage.SENDER, re.compile(r"(?:reply to|after|>>>|our|smtp:)\s?mail(?: from)?\b")),
    (
        Stage.RECIPIENT,
        re.compile(
            r"(?:reply to|after|>>>|our|smtp:)\s?rcpt(?: to)?\b|does not like recipient|\[rcpt_to\]|rcpt to response"
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
    (Stage.DATA, re.compile(r"(?:reply to|after|>>>|our|smtp:)\s?(?:the )?data\b")),
)
_HOST = re.compile(
    r"(?:\bhost:? |\bby |\bto |talking to |from |server )\[?(?P<name>[a-z0-9](?:[a-z0-9-]{0,62}\.){1,8}[a-z]{2,20})\b"
)


def reply_of(diagnostic: str, status: str, failed: bool) -> Reply:
    """The reply behind a recipient's part. ``status``: the report's own (RFC 3463), or empty; ``failed``: not delayed.

    The diagnostic's code and status win over the report's, which are often no more than 5.0.0.
    """
    text = diagnostic[:MAX_DIAGNOSTIC].strip()
    match = _find(text)
    if match is None:
        own = _BARE_STATUS.search(text)
        known = _better(own["status"] if own else "", status)
        digit = known[0] if known[:1] in ("4", "5") else "5" if failed else "4"
        return Reply(int(digit + "50"), known or f"{digit}.0.0", _flat(text))
    code = match["code"]
    words = _AGAIN.sub(r"\n\g<code>\g<sep>", _TAIL.sub("", " ".join(text[match.start("code") :].split())))
    reply = Reply.read(re.sub(rf"\A{code}[\s:\]#-]{{0,6}}", f"{code} ", words))
    if reply.status.endswith(".0.0"):
        inner = _BARE_STATUS.search(words)
        if inner and inner["status"][0] == code[0] and not inner["status"].endswith(".0.0"):
            return Reply(reply.code, inner["status"], reply.text)
        if status and status[0] == code[0]:
            return Reply(reply.code, status, reply.text)
    return reply


def status_of(reply: Reply, status: str) -> str:
    """The status to show: the reply's if it says more than x.0.0, else the report's own."""
    return status if status and reply.status.endswith(".0.0") else reply.status


def stage_of(texts: Iterable[str]) -> Stage | None:
    """Which command was refused, by the first of ``texts`` that names one; None where nobody says."""
    for text in texts:
        low = text[:MAX_DIAGNOSTIC].lower()
        for stage, pattern in _STAGES:
            if pattern.search(low):
                return stage
    return None


def quotes_reply(text: str) -> bool:
    """Whether there is an SMTP reply in it."""
    return _find(text[:MAX_DIAGNOSTIC]) is not None


def host_of(text: str) -> str | None:
    """The host that the text says it spoke to."""
    match = _HOST.search(text[:MAX_DIAGNOSTIC].lower())
    return match["name"] if match else None


def _find(text: str) -> re.Match[str] | None:
    """The last refusal whose place makes it one; if the last says nothing, the last with an enhanced code."""
    found = list(_WITH_STATUS.finditer(text))
    # Lines of one reply repeat its code: go back to where it began.
    if found:
        last = found[-1]
        for other in reversed(found[:-1]):
            if other["code"] != last["code"] or other["status"] != last["status"]:
                break
            last = other
        return last
    plain = list(_REPLY.finditer(text))
    if plain:
        last = plain[-1]
        for other in reversed(plain[:-1]):
            if other["code"] != last["code"]:
                break
            last = other
        return last
    return _LONE_CODE.search(text)


def _better(first: str, second: str) -> str:
    """The one that says more: a specific status before x.0.0, the first before the second."""
    candidates = [status for status in (first, second) if status]
    return next((status for status in candidates if not status.endswith(".0.0")), candidates[0] if candidates else "")


def _flat(text: str) -> str:
    return Reply.parse(550, " ".join(text.split())).text

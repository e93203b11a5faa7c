"""Say which line of a message is wrong, and how to write it: for the reply that rejects the message.

Only rejected messages are looked at here; that one is to be rejected is found faster in ``message_syntax``.
"""

from __future__ import annotations

import re

from mta.mail.reply import Reply

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
_NAMES = {b"\r": "<CR>", b"\n": "<LF>", b"\0": "NUL"}
_CURE = "end each line with <CR><LF> (Python: send_message(), or as_bytes(policy=email.policy.SMTP))"
_FIELD = re.compile(rb"([\x21-\x39\x3b-\x7e]{1,60})[ \t]*:")


def bare_fault(content: bytes, first_line: int = 1) -> Reply:
    """Return the reply to a message with a bare CR, a bare LF or a NUL; ``first_line``: the number of the first one in
    ``content``, of which only that of a whole message may be a header."""
    match = _BARE.search(content)
    assert match is not None
    cure = "take it out" if match[0] == b"\0" else _CURE
    place = _place(content, match.start(), first_line)
    return Reply(554, "5.6.0", f"Message contains bare <CR>, bare <LF> or NUL: {_NAMES[match[0]]} in {place}; {cure}")


def length_fault(content: bytes, longest: int, first_line: int = 1) -> Reply:
    """Return the reply to a message with a line of more than ``longest`` octets."""
    match = re.search(rb"[^\r\n]{%d,}" % (longest + 1), content)
    assert match is not None
    text = f"{_place(content, match.start(), first_line)}, {len(match[0])} octets; at most {longest} are allowed"
    return Reply(554, "5.6.0", f"Line too long: {text}")


def _place(content: bytes, at: int, first_line: int) -> str:
    """Return which line is at octet ``at``, and of which field."""
    end = content.find(b"\n", at)
    lines = content[: end if end >= 0 else len(content)].splitlines()
    number = len(content[:at].splitlines()) + (content[at - 1 : at] in (b"\r", b"\n") or at == 0)
    line = f"line {first_line + number - 1}"
    if first_line > 1 or b"" in lines[:number]:
        return line
    name = next((found[1] for each in reversed(lines[:number]) if (found := _FIELD.match(each))), None)
    return f"{line}, field {name.decode()}" if name else line

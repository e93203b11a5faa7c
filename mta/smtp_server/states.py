"""The states of an SMTP session, and what each command leads to (RFC 5321 4.1.4, RFC 3030 2).

    CONNECTED --EHLO--> READY --MAIL--> MAIL --RCPT--> RCPT --DATA, BDAT LAST--> READY
                                                       RCPT --BDAT--> BDAT --BDAT LAST--> READY

EHLO, HELO and RSET drop a transaction in every state; STARTTLS leads back to CONNECTED. NOOP, HELP and VRFY change
nothing.

A command that is rejected leaves the state as it is, with two exceptions. A rejected RCPT leads from MAIL to NO_RCPT,
where DATA is answered 554 rather than 503: the client did send RCPT. And DATA and BDAT end the transaction whether the
message is accepted or not, except for a chunk that is accepted and not the last.

``TRANSITIONS`` has for each state and command the next state, or the reply to a command out of order. Whether a
command in order is acceptable (syntax, limits, TLS, AUTH, the handler) is for its method in ``Session`` to decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from mta.mail.reply import Reply
from mta.smtp_server import replies


class State(Enum):
    """How far a session has come."""

    CONNECTED = auto()  # greeted, by neither EHLO nor HELO
    READY = auto()
    MAIL = auto()  # a sender was accepted
    NO_RCPT = auto()  # and all recipients so far were rejected
    RCPT = auto()  # or at least one was accepted
    BDAT = auto()  # and the message has begun

    __hash__ = object.__hash__  # Enum's own is ten times slower, and this is looked up for each command


_CONNECTED, _READY, _MAIL, _NO_RCPT, _RCPT, _BDAT = State
_EHLO_FIRST, _MAIL_FIRST, _RCPT_FIRST = replies.EHLO_FIRST, replies.MAIL_FIRST, replies.RCPT_FIRST
_NESTED, _NO_AUTH, _IN_BDAT = replies.NESTED_MAIL, replies.AUTH_IN_TRANSACTION, replies.DURING_BDAT
_NO_VALID = replies.NO_VALID_RECIPIENTS

# fmt: off
_COLUMNS = ("RSET",     "AUTH",      "MAIL",      "RCPT",      "DATA",      "BDAT",      "BDAT LAST")
_ROWS: Mapping[State, tuple[State | Reply, ...]] = {
    _CONNECTED: (_CONNECTED, _EHLO_FIRST, _EHLO_FIRST, _MAIL_FIRST, _MAIL_FIRST, _MAIL_FIRST, _MAIL_FIRST),
    _READY:     (_READY,     _READY,      _MAIL,       _MAIL_FIRST, _MAIL_FIRST, _MAIL_FIRST, _MAIL_FIRST),
    _MAIL:      (_READY,     _NO_AUTH,    _NESTED,     _RCPT,       _RCPT_FIRST, _RCPT_FIRST, _RCPT_FIRST),
    _NO_RCPT:   (_READY,     _NO_AUTH,    _NESTED,     _RCPT,       _NO_VALID,   _NO_VALID,   _NO_VALID),
    _RCPT:      (_READY,     _NO_AUTH,    _NESTED,     _RCPT,       _READY,      _BDAT,       _READY),
    _BDAT:      (_READY,     _NO_AUTH,    _NESTED,     _IN_BDAT,    _IN_BDAT,    _BDAT,       _READY),
}
# fmt: on
_FROM_ANYWHERE = {"EHLO": _READY, "HELO": _READY, "STARTTLS": _CONNECTED}
_NEUTRAL = ("NOOP", "HELP", "VRFY", "QUIT")

TRANSITIONS: Mapping[State, Mapping[str, State | Reply]] = {
    state: {**dict.fromkeys(_NEUTRAL, state), **_FROM_ANYWHERE, **dict(zip(_COLUMNS, row, strict=True))}
    for state, row in _ROWS.items()
}
AFTER_REJECTION: Mapping[tuple[State, str], State] = {
    (_MAIL, "RCPT"): _NO_RCPT,
    (_RCPT, "DATA"): _READY,
    (_RCPT, "BDAT"): _READY,
    (_BDAT, "BDAT"): _READY,
}

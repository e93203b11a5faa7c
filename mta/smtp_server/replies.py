"""What a session says: the fixed replies, and how any reply is written on the wire.

Every reply carries its enhanced code but those that must not: the greeting, EHLO and HELO, 334 and 354 (RFC 2034 4).

It must never put a control character, an overlong line or anything but ASCII on the wire, whoever wrote the text.

*Limits.* A character outside ASCII is shown as its escape.
"""

from __future__ import annotations

from mta.mail.reply import Reply, sanitise

MAX_LINE = 512  # octets with CRLF, RFC 5321 4.5.3.1.5


class Rejected(Exception):
    """The command is answered with ``reply``, and the session goes on."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class CloseSession(Exception):
    """The session ends with ``reply`` as its last words. ``ending`` is one word for the event log."""

    def __init__(self, reply: Reply, ending: str) -> None:
        super().__init__(str(reply))
        self.reply = reply
        self.ending = ending


class ConnectionLost(Exception):
    """The client has gone, or cannot be spoken to any more."""


SENDER_OK = Reply(250, "2.1.0", "sender ok")
RECIPIENT_OK = Reply(250, "2.1.5", "recipient ok")
FORGOTTEN = Reply(250, "2.0.0", "forgotten")
OK = Reply(250, "2.0.0", "ok")
BYE = Reply(221, "2.0.0", "bye")
HELP = Reply(214, "2.0.0", "EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA or BDAT, QUIT; see RFC 6409")
NOT_VERIFIED = Reply(252, "2.1.5", "not verified here; send a message and see")
START_TLS = Reply(220, "2.0.0", "go ahead with TLS")
AUTHENTICATED = Reply(235, "2.7.0", "welcome")

GREET_FIRST = Reply(503, "5.5.1", "send EHLO first")
NO_ARGUMENT = Reply(501, "5.5.4", "this command takes no argument")
NESTED_MAIL = Reply(503, "5.5.1", "a transaction has begun already; RSET ends it")
NO_MAIL = Reply(503, "5.5.1", "send MAIL first")
NO_RECIPIENT = Reply(503, "5.5.1", "send RCPT first")
ALL_REFUSED = Reply(554, "5.5.1", "no valid recipients")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "too many recipients; send this one with another message")
MIXED = Reply(503, "5.5.1", "a message in BDAT chunks has begun; it ends with BDAT LAST or RSET")
TOO_LARGE = Reply(552, "5.3.4", "message is larger than SIZE allows")
ENDLESS_LINE = Reply(554, "5.6.0", "a line of the message is far too long")
NO_ROOM = Reply(452, "4.3.1", "too many large messages at once; try again later")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "not implemented")
UNKNOWN = Reply(500, "5.5.2", "unknown command")
INTERNAL = Reply(451, "4.3.0", "internal error, try again later")

NO_TLS = Reply(454, "4.7.0", "TLS is not available here")
TLS_ALREADY = Reply(503, "5.5.1", "TLS is on already")
EARLY_TLS = Reply(501, "5.5.4", "something came between STARTTLS and TLS; good-bye")

AUTH_REQUIRED = Reply(530, "5.7.0", "authentication required")
AUTH_NEEDS_TLS = Reply(538, "5.7.11", "encryption required; use STARTTLS first")
AUTH_ALREADY = Reply(503, "5.5.1", "authenticated already")
AUTH_IN_TRANSACTION = Reply(503, "5.5.1", "not in a transaction; send RSET first")
AUTH_UNKNOWN = Reply(504, "5.5.4", "mechanism not supported")
AUTH_CANCELLED = Reply(501, "5.7.0", "cancelled")
AUTH_MALFORMED = Reply(501, "5.5.2", "not base64, or not what the mechanism expects")
AUTH_TOO_LONG = Reply(500, "5.5.6", "line too long for AUTH")
AUTH_FAILED = Reply(535, "5.7.8", "authentication failed")
AUTH_LIMITED = Reply(454, "4.7.0", "too many failures; try again later")

EARLY_TALKER = Reply(554, "5.5.1", "you spoke before the greeting; good-bye")
WEB_CLIENT = Reply(421, "4.7.0", "this is not a web server")
TIMED_OUT = Reply(421, "4.4.2", "timeout; good-bye")
TOO_SLOW = Reply(421, "4.4.2", "the message arrives too slowly; good-bye")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "too many errors; good-bye")
TOO_MANY_COMMANDS = Reply(421, "4.7.0", "too many commands in one session; connect again")
SESSION_OVER = Reply(421, "4.7.0", "this session has lasted long enough; connect again")
REVOKED = Reply(421, "4.7.0", "your credential has changed; connect and authenticate again")
SHUTTING_DOWN = Reply(421, "4.3.2", "service is shutting down; try again soon")


def encode(reply: Reply) -> bytes:
    """``reply`` on the wire, CRLF included; as several lines where its text is, or where one would be too long."""
    text = reply.text
    if len(text) <= MAX_LINE - 32 and text.isascii() and text.isprintable():
        return f"{reply.code} {reply.status} {text}\r\n".encode()
    lines = [piece for line in sanitise(text).split("\n") for piece in _pieces(line)]
    *first, last = lines or [""]
    start = f"{reply.code}-{reply.status} "
    return "".join([*(f"{start}{line}\r\n" for line in first), f"{reply.code} {reply.status} {last}\r\n"]).encode()


def _pieces(line: str) -> list[str]:
    shown = line.encode("ascii", "backslashreplace").decode().replace("\t", " ")
    width = MAX_LINE - 32
    return [shown[at : at + width] for at in range(0, len(shown), width)] or [""]

"""The fixed replies of a session, the exceptions that carry replies, and how a reply is written on the wire.

Every reply carries its enhanced code but those that must not: the greeting, EHLO and HELO, 334 and 354 (RFC 2034 4).

Invariants: no control character, no overlong line and nothing but ASCII is written, whatever the text.

Limitations: a character outside ASCII is shown as its escape.
"""

from __future__ import annotations

import math

from mta.mail.address import Address
from mta.mail.reply import Reply, sanitise

MAX_LINE = 512  # octets with CRLF, RFC 5321 4.5.3.1.5


class Rejected(Exception):
    """The command is answered with ``reply``, and the session goes on.

    For the event log: ``verb``, if it is not the command's, and the sender and recipient that were rejected.
    """

    def __init__(
        self, reply: Reply, *, verb: str | None = None, sender: Address | None = None, recipient: Address | None = None
    ) -> None:
        super().__init__(str(reply))
        self.reply = reply
        self.verb, self.sender, self.recipient = verb, sender, recipient


class CloseSession(Exception):
    """The session ends after ``reply``. ``ending`` is one word for the event log."""

    def __init__(self, reply: Reply, ending: str) -> None:
        super().__init__(str(reply))
        self.reply = reply
        self.ending = ending


class ConnectionLost(Exception):
    """The client has gone, or cannot be reached any more."""


END_DATA = "354 End data with <CR><LF>.<CR><LF>"

OK = Reply(250, "2.0.0", "OK")
SENDER_OK = Reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient OK")
BYE = Reply(221, "2.0.0", "Bye")
HELP = Reply(214, "2.0.0", "Commands: EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP QUIT; see RFC 6409")
CANNOT_VERIFY = Reply(252, "2.1.5", "Cannot VRFY user, but will accept message and attempt delivery")
START_TLS = Reply(220, "2.0.0", "Ready to start TLS")
AUTHENTICATED = Reply(235, "2.7.0", "Authentication successful")

EHLO_FIRST = Reply(503, "5.5.1", "Bad sequence of commands: send EHLO first")
MAIL_FIRST = Reply(503, "5.5.1", "Bad sequence of commands: send MAIL first")
RCPT_FIRST = Reply(503, "5.5.1", "Bad sequence of commands: send RCPT first")
NESTED_MAIL = Reply(503, "5.5.1", "Bad sequence of commands: nested MAIL command, send RSET first")
DURING_BDAT = Reply(503, "5.5.1", "Bad sequence of commands: BDAT in progress, send BDAT LAST or RSET")
NO_VALID_RECIPIENTS = Reply(554, "5.5.1", "No valid recipients")
NO_ARGUMENT = Reply(501, "5.5.4", "Syntax error: command takes no argument")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "Command not implemented")
UNKNOWN = Reply(500, "5.5.2", "Command not recognized")
BARE_LF = Reply(500, "5.5.2", "Protocol error: bare <LF> in command")
BARE_CR = Reply(500, "5.5.2", "Protocol error: bare <CR> or NUL in command")
LINE_TOO_LONG = Reply(500, "5.5.2", "Command line too long")

TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients; send the others in another message")
ENDLESS_LINE = Reply(554, "5.6.0", "Line too long in message")
NO_MEMORY = Reply(452, "4.3.1", "Insufficient system storage, try again later")
NO_STORAGE = Reply(452, "4.3.1", "Insufficient system storage: a disk is nearly full, try again later")
INTERNAL = Reply(451, "4.3.0", "Temporary internal error, try again later")

NO_TLS = Reply(454, "4.7.0", "TLS not available")
TLS_ACTIVE = Reply(503, "5.5.1", "TLS already active")
DATA_BEFORE_TLS = Reply(501, "5.5.4", "Protocol error: data sent between STARTTLS and the TLS handshake")

NO_REQUIRETLS = Reply(530, "5.7.10", "REQUIRETLS needs TLS: send STARTTLS first")
AUTH_REQUIRED = Reply(530, "5.7.0", "Authentication required")
AUTH_NEEDS_TLS = Reply(538, "5.7.11", "Encryption required for requested authentication mechanism")
AUTH_ALREADY = Reply(503, "5.5.1", "Already authenticated")
AUTH_IN_TRANSACTION = Reply(503, "5.5.1", "Bad sequence of commands: AUTH not permitted during a mail transaction")
AUTH_UNKNOWN = Reply(504, "5.5.4", "Unrecognized authentication type")
AUTH_CANCELLED = Reply(501, "5.7.0", "Authentication aborted")
AUTH_MALFORMED = Reply(501, "5.5.2", "Cannot decode authentication response")
AUTH_TOO_LONG = Reply(500, "5.5.6", "Authentication exchange line is too long")
AUTH_FAILED = Reply(535, "5.7.8", "Authentication credentials invalid")
AUTH_BUSY = Reply(454, "4.7.0", "Temporary authentication failure: too many logins at once, try again later")

TOO_MANY_CONNECTIONS = Reply(421, "4.7.0", "Too many connections, try again later")
TOO_MANY_FROM_ADDRESS = Reply(421, "4.7.0", "Too many connections from your address, try again later")
EARLY_TALKER = Reply(554, "5.5.1", "Protocol error: command before greeting")
WEB_CLIENT = Reply(421, "4.7.0", "Protocol error: HTTP request on an SMTP port, closing connection")
TIMED_OUT = Reply(421, "4.4.2", "Timeout exceeded, closing connection")
TOO_SLOW = Reply(421, "4.4.2", "Timeout exceeded: data rate too low, closing connection")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors, closing connection")
TOO_MANY_COMMANDS = Reply(421, "4.7.0", "Too many commands in one session, closing connection")
SESSION_TOO_LONG = Reply(421, "4.7.0", "Session time limit exceeded, closing connection")
CREDENTIAL_CHANGED = Reply(421, "4.7.0", "Credential changed or revoked, closing connection")
SHUTTING_DOWN = Reply(421, "4.3.2", "Service shutting down, closing connection")


def priority_lowered(asked: int, granted: int) -> Reply:
    """RFC 6710 4.1: the text begins with the priority that the message has now."""
    text = f"{granted} is the priority of the message: {asked} is more than its account may ask (mta account set)"
    return Reply(250, "2.3.6", text)


def too_large(limit: int) -> Reply:
    """Return the answer to a message of more than ``limit`` octets."""
    return Reply(552, "5.3.4", f"Message size exceeds fixed limit of {limit} octets")


def bad_parameter(keyword: str, what: str) -> Rejected:
    """Return what rejects a command for one of its parameters; ``what``: what is wrong, or how it must be."""
    return Rejected(Reply(501, "5.5.4", f"Syntax error in parameter {keyword}: {what}"))


def auth_limited(window: float) -> Reply:
    """Return the answer to a client that has failed too often within ``window`` seconds."""
    wait = f"{math.ceil(window / 60)} minutes" if window > 90 else f"{math.ceil(window)} seconds"
    return Reply(
        454, "4.7.0", f"Temporary authentication failure: too many failed attempts, try again in {wait} at the latest"
    )


def encode(reply: Reply) -> bytes:
    """Return ``reply`` as sent, CRLF included; as several lines where its text is, or where one would be too long."""
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

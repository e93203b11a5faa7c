"""How a scripted receiver behaves: what it does instead of being friendly, at which stage, to whom.

    Script(rules=(
        Rule(Stage.RCPT, "grey*@*", (say("451 4.7.1 come back"), FRIENDLY)),
        Rule(Stage.END, "*@lost.example", (Act(reply=b"", end=End.CLOSE),)),
        Rule(Stage.CONNECT, "*", (Act(wait=20),)),
    ))

It must never hold state: counting hits is the receiver's business.

*Limits.* A receiver that offers PIPELINING answers in order, or (``forgets_pipelined``) not at all.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from fnmatch import fnmatchcase


class ReceiverStage(Enum):
    """The points at which the receiver has something to say."""

    CONNECT = auto()
    HELLO = auto()
    STARTTLS = auto()
    AUTH = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()  # DATA, or the first octet count of BDAT
    BODY = auto()  # the message's first octets have come; nothing is said here unless a rule says so
    END = auto()  # the final dot, or BDAT LAST
    RSET = auto()
    QUIT = auto()


class AfterReply(Enum):
    """What follows what was said."""

    STAY = auto()
    CLOSE = auto()
    RESET = auto()  # TCP RST
    HANG = auto()  # never say anything again
    DEAF = auto()  # hang, and let the TCP window fill up
    FLOOD = auto()  # repeat the reply for ever


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """``reply``: octets with CRLF, None for the usual ones. ``wait``: seconds before, ``pace``: between octets."""

    reply: bytes | None = None
    wait: float = 0.0
    pace: float = 0.0
    end: AfterReply = AfterReply.STAY


FRIENDLY = ScriptedReply()


def say(text: str, *, wait: float = 0.0, pace: float = 0.0, end: AfterReply = AfterReply.STAY) -> ScriptedReply:
    """Answer with ``text``, one reply a line, LF between lines."""
    return ScriptedReply("".join(line + "\r\n" for line in text.split("\n")).encode(), wait, pace, end)


@dataclass(frozen=True, slots=True)
class ScriptRule:
    """At ``stage``, if a recipient matches ``who`` (``fnmatch``): the n-th hit gets the n-th act, or the last.

    Hits are counted for each recipient. Before RCPT there is no recipient, and only ``*`` matches.
    """

    stage: ReceiverStage
    who: str
    acts: tuple[ScriptedReply, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """``logins``: user name -> password. ``max_recipients``: more get 452 4.5.3."""

    name: str = "mx.receiver.example"
    extensions: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 52428800", "DSN", "ENHANCEDSTATUSCODES")
    rules: tuple[ScriptRule, ...] = ()
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    logins: Mapping[str, str] = field(default_factory=dict)
    mechanisms: str = "PLAIN LOGIN"
    max_recipients: int | None = None
    forgets_pipelined: bool = False

    def rule(self, stage: ReceiverStage, recipients: Iterable[str]) -> tuple[ScriptRule, str] | None:
        """The first rule that applies, and the recipient it applies to ("" if it is for everybody)."""
        for rule in self.rules:
            if rule.stage is not stage:
                continue
            if rule.who == "*":
                return rule, ""
            for recipient in recipients:
                if fnmatchcase(recipient.lower(), rule.who):
                    return rule, recipient.lower()
        return None


MANNERS = (
    ScriptRule(ReceiverStage.RCPT, "grey*@*", (say("451 4.7.1 greylisted, please come back"), FRIENDLY)),
    ScriptRule(ReceiverStage.RCPT, "unknown*@*", (say("550 5.1.1 no such user here"),)),
    ScriptRule(ReceiverStage.RCPT, "full*@*", (say("452 4.2.2 mailbox full"),)),
    ScriptRule(ReceiverStage.RCPT, "blocked*@*", (say("554 5.7.1 message refused by policy"),)),
    ScriptRule(ReceiverStage.RCPT, "slow*@*", (ScriptedReply(wait=2.0),)),
    ScriptRule(ReceiverStage.RCPT, "busy*@*", (say("421 4.3.2 too busy, closing", end=AfterReply.CLOSE),)),
    ScriptRule(ReceiverStage.END, "spam*@*", (say("550 5.7.1 message content rejected"),)),
    ScriptRule(ReceiverStage.END, "later*@*", (say("451 4.3.0 try again later"),)),
    ScriptRule(ReceiverStage.END, "lost*@*", (ScriptedReply(reply=b"", end=AfterReply.CLOSE),)),
)
"""A receiver's whole range, told by the local part: everybody else is accepted."""

"""AUTH, from the command to its outcome (RFC 4954).

It must never leave the client without an answer, and never let what the client sent reach a log.

*Limits.* A cancelled or malformed exchange counts as an error, not as a failed login.
"""

from __future__ import annotations

import binascii
from base64 import b64decode

from mta.mail.reply import Reply
from mta.smtp_server.auth.authenticator import Authenticator, CredentialRecord
from mta.smtp_server.auth.sasl import MECHANISMS, Challenge
from mta.smtp_server.client import Client
from mta.smtp_server.line_reader import TOO_LONG
from mta.smtp_server.replies import AUTH_CANCELLED, AUTH_MALFORMED, AUTH_TOO_LONG, AUTH_UNKNOWN, Rejected
from mta.smtp_server.reply_writer import ReplyWriter


class LoginFailed(Rejected):
    """The exchange came to its end, and the answer is no."""

    def __init__(self, reply: Reply, mechanism: str, username: str) -> None:
        super().__init__(reply)
        self.mechanism = mechanism
        self.username = username


async def log_in(
    argument: str, dialogue: ReplyWriter, authenticator: Authenticator, client: Client
) -> CredentialRecord:
    """Talk until the client has proven who it is. Raises LoginFailed, Refusal, Farewell, Hangup."""
    name, blank, initial = argument.partition(" ")
    name = name.upper()
    mechanism = MECHANISMS.get(name)
    if mechanism is None:
        raise Rejected(AUTH_UNKNOWN)
    exchange = mechanism(authenticator, client.address)
    response = _initial(initial.strip(" ")) if blank else await _answer(dialogue, exchange.opening)
    while True:
        outcome = await exchange.step(response)
        match outcome:
            case Challenge(text):
                response = await _answer(dialogue, text)
            case Reply() if outcome is AUTH_MALFORMED:
                raise Rejected(outcome)
            case Reply():
                raise LoginFailed(outcome, name, exchange.username)
            case credential:
                return credential


def _initial(text: str) -> bytes:
    return b"" if text == "=" else _decode(text.encode())  # RFC 4954 4: an initial response of no octets


async def _answer(dialogue: ReplyWriter, challenge: bytes) -> bytes:
    try:
        line = await dialogue.challenge(challenge)
    except Rejected as refusal:
        raise Rejected(AUTH_TOO_LONG) from None if refusal.reply is TOO_LONG else refusal
    if line == b"*":
        raise Rejected(AUTH_CANCELLED)
    return _decode(line)


def _decode(octets: bytes) -> bytes:
    try:
        return b64decode(octets, validate=True)
    except binascii.Error:
        raise Rejected(AUTH_MALFORMED) from None

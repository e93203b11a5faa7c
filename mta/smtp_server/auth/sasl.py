"""AUTH: the exchange with the client, and the mechanisms PLAIN (RFC 4616), LOGIN and SCRAM-SHA-256 (RFC 7677).

A mechanism is given the client's responses one by one, decoded, and answers each with a challenge, with the credential,
or with the reply that ends it. ``log_in`` carries them (RFC 4954).

Invariants: no user acts for another (an authorisation identity is rejected). What the client sent is neither shown nor
logged. The client is not left without an answer.

Limitations: channel binding is not offered. LOGIN has no standard; its prompts are the usual ones. A cancelled or
malformed exchange counts as an error, not as a failed login.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from mta.mail.message import IPAddress
from mta.mail.reply import Reply
from mta.smtp_server.auth.authenticator import Authenticator, CredentialRecord
from mta.smtp_server.replies import (
    AUTH_CANCELLED,
    AUTH_FAILED,
    AUTH_MALFORMED,
    AUTH_TOO_LONG,
    AUTH_UNKNOWN,
    LINE_TOO_LONG,
    Rejected,
)

MAX_NAME = 255  # characters of a user name
MAX_SECRET = 1024  # characters; argon2 would take gigabytes


@dataclass(frozen=True, slots=True)
class Challenge:
    """The next challenge."""

    text: bytes


class SaslExchange(Protocol):
    """``opening`` is the challenge for a client that sent no initial response; ``username`` is for the event log."""

    opening: bytes
    username: str

    async def step(self, response: bytes) -> Challenge | CredentialRecord | Reply: ...


class Plain:
    opening = b""

    def __init__(self, authenticator: Authenticator, address: IPAddress) -> None:
        self._authenticator = authenticator
        self._address = address
        self.username = ""

    async def step(self, response: bytes) -> Challenge | CredentialRecord | Reply:
        parts = response.split(b"\0")
        if len(parts) != 3:
            return AUTH_MALFORMED
        texts = [_read(part, MAX_SECRET) for part in parts]
        identity, username, secret = texts
        if identity is None or not username or len(username) > MAX_NAME or not secret:
            return AUTH_MALFORMED
        self.username = username
        if identity and identity != username:
            return AUTH_FAILED
        return await self._authenticator.plain(username, secret, self._address)


class LoginMechanism:
    opening = b"Username:"

    def __init__(self, authenticator: Authenticator, address: IPAddress) -> None:
        self._authenticator = authenticator
        self._address = address
        self.username = ""

    async def step(self, response: bytes) -> Challenge | CredentialRecord | Reply:
        text = _read(response, MAX_SECRET)
        if not text or (not self.username and len(text) > MAX_NAME):
            return AUTH_MALFORMED
        if not self.username:
            self.username = text
            return Challenge(b"Password:")
        return await self._authenticator.plain(self.username, text, self._address)


def scram(authenticator: Authenticator, address: IPAddress) -> SaslExchange:
    # Not at the import of this module: most clients use PLAIN, and what scramp imports takes 2 MiB.
    from mta.smtp_server.auth.scram import Scram  # noqa: PLC0415

    return Scram(authenticator, address)


def _read(octets: bytes, limit: int) -> str | None:
    """Return the text, or None if it is too long, not UTF-8, or has a NUL."""
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        return None
    return text if len(text) <= limit and "\0" not in text else None


MECHANISMS: dict[str, Callable[[Authenticator, IPAddress], SaslExchange]] = {
    "PLAIN": Plain,
    "LOGIN": LoginMechanism,
    "SCRAM-SHA-256": scram,
}


class LoginFailed(Rejected):
    """The exchange came to its end, and the login is rejected."""

    def __init__(self, reply: Reply, mechanism: str, username: str) -> None:
        super().__init__(reply)
        self.mechanism = mechanism
        self.username = username


async def log_in(
    argument: str,
    challenge: Callable[[bytes], Awaitable[bytes]],
    authenticator: Authenticator,
    address: IPAddress,
) -> CredentialRecord:
    """Carry out ``AUTH argument`` and return the credential that the client has proven. ``challenge``: sends one and
    returns the client's line.

    Raises LoginFailed, Rejected, and what ``challenge`` raises.
    """
    name, blank, initial = argument.partition(" ")
    name = name.upper()
    mechanism = MECHANISMS.get(name)
    if mechanism is None:
        raise Rejected(AUTH_UNKNOWN)
    exchange = mechanism(authenticator, address)
    response = _initial(initial.strip(" ")) if blank else await _response(challenge, exchange.opening)
    while True:
        outcome = await exchange.step(response)
        match outcome:
            case Challenge(text):
                response = await _response(challenge, text)
            case Reply() if outcome is AUTH_MALFORMED:
                raise Rejected(outcome)
            case Reply():
                raise LoginFailed(outcome, name, exchange.username)
            case credential:
                return credential


def _initial(text: str) -> bytes:
    return b"" if text == "=" else _decode(text.encode())  # RFC 4954 4: an initial response of no octets


async def _response(challenge: Callable[[bytes], Awaitable[bytes]], text: bytes) -> bytes:
    try:
        line = await challenge(text)
    except Rejected as rejected:
        if rejected.reply is LINE_TOO_LONG:
            raise Rejected(AUTH_TOO_LONG) from None
        raise
    if line == b"*":
        raise Rejected(AUTH_CANCELLED)
    return _decode(line)


def _decode(octets: bytes) -> bytes:
    try:
        return b64decode(octets, validate=True)
    except binascii.Error:
        raise Rejected(AUTH_MALFORMED) from None

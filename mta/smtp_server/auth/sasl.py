"""The conversations of AUTH: PLAIN (RFC 4616), LOGIN and SCRAM-SHA-256 (RFC 7677), from the server's side.

An exchange is given the client's responses one by one, already decoded, and answers each with a challenge, with the
credential, or with the reply that ends it. How they travel is the session's business.

It must never let one user act for another (an authorisation identity is refused), and never show what it was given.

*Limits.* Channel binding is not offered. LOGIN is a habit without a standard; its prompts are the usual ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from scramp import ScramException, ScramMechanism

from mta.mail.message import IPAddress
from mta.mail.reply import Reply
from mta.smtp_server.auth.authenticator import Authenticator, CredentialRecord, ScramVerifier
from mta.smtp_server.replies import AUTH_FAILED, AUTH_LIMITED, AUTH_MALFORMED

MAX_NAME = 255  # characters of a user name
MAX_SECRET = 1024  # characters; argon2 would take gigabytes


@dataclass(frozen=True, slots=True)
class Challenge:
    """What the client is asked next."""

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


class Scram:
    """Three responses: the client's first and final message, and an empty one that acknowledges ours."""

    opening = b""

    def __init__(self, authenticator: Authenticator, address: IPAddress) -> None:
        self._authenticator = authenticator
        self._address = address
        self._server = ScramMechanism("SCRAM-SHA-256").make_server(self._look_up)
        self._credential: CredentialRecord | None = None
        self._proven = False
        self.username = ""

    async def step(self, response: bytes) -> Challenge | CredentialRecord | Reply:
        try:
            text = response.decode()
            if self._proven:
                return self._finish(text)
            return self._begin(text) if not self.username else self._prove(text)
        except UnicodeDecodeError:
            return AUTH_MALFORMED

    def _begin(self, text: str) -> Challenge | Reply:
        try:
            self._server.set_client_first(text)
        except ScramException:
            return AUTH_MALFORMED
        if len(self.username) > MAX_NAME:
            return AUTH_MALFORMED
        if self._authenticator.limited(self.username, self._address):
            return AUTH_LIMITED
        self._authenticator.presume_failure(self.username, self._address)
        return Challenge(self._server.get_server_first().encode())

    def _prove(self, text: str) -> Challenge | Reply:
        try:
            self._server.set_client_final(text)
            last = self._server.get_server_final()
        except (ScramException, ValueError):
            return AUTH_FAILED
        self._proven = True
        return Challenge(last.encode())

    def _finish(self, text: str) -> CredentialRecord | Reply:
        if text:
            return AUTH_MALFORMED
        current = self._authenticator.current(self._credential) if self._credential else None
        if current is None:
            return AUTH_FAILED
        self._authenticator.succeeded(self.username, self._address)
        return current

    def _look_up(self, username: str) -> tuple[bytes, bytes, bytes, int]:
        self.username = username
        self._credential, verifier = self._authenticator.scram(username)
        return _as_scramp(verifier)


def _as_scramp(verifier: ScramVerifier) -> tuple[bytes, bytes, bytes, int]:
    return verifier.salt, verifier.stored_key, verifier.server_key, verifier.iterations


def _read(octets: bytes, limit: int) -> str | None:
    """Text, or None if it is too long, not UTF-8, or has a NUL."""
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        return None
    return text if len(text) <= limit and "\0" not in text else None


MECHANISMS: dict[str, Callable[[Authenticator, IPAddress], SaslExchange]] = {
    "PLAIN": Plain,
    "LOGIN": LoginMechanism,
    "SCRAM-SHA-256": Scram,
}

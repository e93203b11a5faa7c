"""Check and make credentials.

A secret is stored twice: as an argon2id hash for PLAIN and LOGIN, and as a SCRAM-SHA-256 verifier. Hashing happens in
threads of its own; what was verified is remembered for a while, as a hash keyed with a random key of this process, and
forgotten as soon as the stored hash changes.

Invariants: an unknown user cannot be told from a wrong secret (same reply, same work). No client guesses faster than
its limit. No secret is kept, logged or raised.

Limitations: failures do not lock an account: they count per client address. The work is the same only as long as all
stored hashes have the parameters below.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from config.schema import Limits
from mta.mail.message import IPAddress
from mta.mail.reply import Reply
from mta.smtp_server.limits import Failures
from mta.smtp_server.replies import AUTH_BUSY, AUTH_FAILED, auth_limited
from policy.accounts.account import Account, Grant

REMEMBERED = 10_000  # verified credentials
REMEMBERED_FOR = 600.0  # seconds
MAX_WAITING = 200  # verifications in progress; more would wait for seconds
THREADS = 2
ITERATIONS = 4096  # of SCRAM, RFC 7677 4; the secret is random, so more would only cost the client

_MEMORY, _TIME = 19 * 1024, 2  # KiB and passes: OWASP's least for argon2id, about 20 ms; the secret has 192 bits
_DECOY = f"$argon2id$v=19$m={_MEMORY},t={_TIME},p=1${'A' * 22}${'A' * 43}"  # of no user


class CredentialRecord(Protocol):
    """What the store keeps of one credential."""

    @property
    def username(self) -> str: ...
    @property
    def account(self) -> Account: ...
    @property
    def argon2(self) -> str: ...
    @property
    def scram(self) -> str: ...
    @property
    def grant(self) -> Grant: ...


class CredentialLookup(Protocol):
    """The store's cached view of accounts: no call waits."""

    def by_credential(self, username: str) -> CredentialRecord | None: ...
    def by_network(self, address: IPAddress) -> Account | None: ...


@dataclass(frozen=True, slots=True)
class ScramVerifier:
    """What a server must know for SCRAM-SHA-256 (RFC 5802 3); it does not suffice to log in."""

    salt: bytes
    stored_key: bytes
    server_key: bytes
    iterations: int

    @classmethod
    def parse(cls, text: str) -> ScramVerifier:
        """Read ``iterations$salt$stored_key$server_key``. Raises ValueError."""
        iterations, *rest = text.split("$")
        salt, stored_key, server_key = (base64.b64decode(part, validate=True) for part in rest)
        return cls(salt, stored_key, server_key, int(iterations))

    def __str__(self) -> str:
        parts = (base64.b64encode(part).decode() for part in (self.salt, self.stored_key, self.server_key))
        return "$".join((str(self.iterations), *parts))


def new_secret() -> str:
    """Return a secret of 192 random bits: 32 characters that need no escaping anywhere, and are no option of a command,
    as one that begins with a hyphen would be."""
    while (secret := secrets.token_urlsafe(24)).startswith("-"):
        pass
    return secret


def make_verifiers(secret: str) -> tuple[str, str]:
    """Return what is stored of ``secret``: its argon2id hash, and its SCRAM-SHA-256 verifier."""
    from scramp import ScramMechanism  # noqa: PLC0415 - by those who make credentials; no worker does

    argon2 = PasswordHasher(time_cost=_TIME, memory_cost=_MEMORY, parallelism=1).hash(secret)
    salt, stored_key, server_key, iterations = ScramMechanism("SCRAM-SHA-256").make_auth_info(
        secret, iteration_count=ITERATIONS, salt=os.urandom(16)
    )
    return argon2, str(ScramVerifier(salt, stored_key, server_key, iterations))


@dataclass(frozen=True, slots=True)
class _Verified:
    proof: bytes
    argon2: str
    until: float


class Authenticator:
    """``salt_key`` must be the same in all workers: from it come the salts that unknown users are shown."""

    def __init__(
        self,
        accounts: CredentialLookup,
        limits: Limits,
        *,
        salt_key: bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self._accounts = accounts
        self._salt_key = salt_key
        self._clock = clock
        self._failures = Failures(clock)
        self._key = os.urandom(32)
        self._verified: OrderedDict[str, _Verified] = OrderedDict()
        self._running: dict[bytes, asyncio.Future[bool]] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def by_network(self, address: IPAddress) -> Account | None:
        """Return the account whose networks ``address`` is in."""
        return self._accounts.by_network(address)

    def current(self, credential: CredentialRecord) -> CredentialRecord | None:
        """Return ``credential`` as it is stored now, None if it was revoked or has another secret."""
        now = self._accounts.by_credential(credential.username)
        return now if now is credential or (now and now.argon2 == credential.argon2) else None

    async def plain(self, username: str, secret: str, address: IPAddress) -> CredentialRecord | Reply:
        """Return the credential if ``secret`` is the right one, else the reply, which does not say more."""
        credential = self._accounts.by_credential(username)
        proof = self._proof(username, secret)
        if credential and self._is_remembered(credential, proof):
            return credential  # though a neighbour behind the same address may fail all the time
        if self.limited(username, address):
            return auth_limited(self.limits.auth_window)
        running = self._running.get(proof)
        counted = running is None
        if running is None:
            if len(self._running) >= MAX_WAITING:
                return AUTH_BUSY
            self.presume_failure(username, address)
            try:
                running = self._start(proof, credential.argon2 if credential else _DECOY, secret)
                matches = await asyncio.shield(running)
            except Exception:  # our own trouble, of which the client is innocent
                self.succeeded(username, address)
                raise
        else:
            matches = await asyncio.shield(running)
        if not matches or credential is None or (current := self.current(credential)) is None:
            return AUTH_FAILED
        self._remember(current, proof)
        if counted:
            self.succeeded(username, address)
        return current

    def scram(self, username: str) -> tuple[CredentialRecord | None, ScramVerifier]:
        """Return the user's verifier, or one that looks like it and that no secret fits."""
        invented = self._invent(username)
        credential = self._accounts.by_credential(username)
        return (credential, ScramVerifier.parse(credential.scram)) if credential else (None, invented)

    def limited(self, username: str, address: IPAddress) -> bool:
        """Return whether this client has failed too often to try this name now."""
        most, window = self.limits.auth_failures_per_address, self.limits.auth_window
        return self._failures.exceeded(address, username, most=most, window=window)

    def presume_failure(self, username: str, address: IPAddress) -> None:
        """Count an attempt before it is decided, or guesses made in parallel would not be counted in time."""
        self._failures.add(address, username, window=self.limits.auth_window)

    def succeeded(self, username: str, address: IPAddress) -> None:
        """Take back what ``presume_failure`` counted."""
        self._failures.forgive(address, username)

    def _invent(self, username: str) -> ScramVerifier:
        digest = hmac.digest(self._salt_key, username.encode("utf-8", "surrogatepass"), hashlib.sha512)
        return ScramVerifier(digest[:16], os.urandom(32), digest[32:], ITERATIONS)

    def _proof(self, username: str, secret: str) -> bytes:
        """Return what is kept in memory instead of a secret."""
        text = f"{username}\0{secret}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._key, digest_size=32).digest()

    def _is_remembered(self, credential: CredentialRecord, proof: bytes) -> bool:
        known = self._verified.get(credential.username)
        if known is None:
            return False
        if known.argon2 != credential.argon2 or known.until < self._clock():
            del self._verified[credential.username]
            return False
        return hmac.compare_digest(known.proof, proof)

    def _remember(self, credential: CredentialRecord, proof: bytes) -> None:
        self._verified[credential.username] = _Verified(proof, credential.argon2, self._clock() + REMEMBERED_FOR)
        self._verified.move_to_end(credential.username)
        if len(self._verified) > REMEMBERED:
            self._verified.popitem(last=False)

    def _start(self, proof: bytes, argon2: str, secret: str) -> asyncio.Future[bool]:
        """Verify in a thread. Clients that bring the same secret at the same time share one verification."""
        running = asyncio.get_running_loop().run_in_executor(self._threads, _matches, argon2, secret)
        self._running[proof] = running
        running.add_done_callback(lambda _: self._running.pop(proof))
        return running


def _matches(argon2: str, secret: str) -> bool:
    try:
        return PasswordHasher().verify(argon2, secret)
    except (VerificationError, InvalidHashError):
        return False

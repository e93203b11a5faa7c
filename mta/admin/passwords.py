"""Passwords of people, and the codes of their authenticator apps.

Invariants: an unknown name costs the same work as a known one. Hashing happens in threads of its own, and no more of it
waits than takes some seconds.
"""

from __future__ import annotations

import asyncio
import hmac
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from mta.admin.errors import InvalidValue, Refused

LEAST, MOST = 12, 200  # characters of a password
STEP = 30  # seconds of a code, RFC 6238
DRIFT = 1  # steps that the clock of a phone may be off
MAX_WAITING = 20

_MEMORY, _TIME = 64 * 1024, 2  # KiB and passes: twice RFC 9106's second choice in time on one lane
T = TypeVar("T")

_DECOY = f"$argon2id$v=19$m={_MEMORY},t={_TIME},p=1${'A' * 22}${'A' * 43}"  # of no user


class Passwords:
    """Hashes and checks passwords. ``close`` it."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=_TIME, memory_cost=_MEMORY, parallelism=1)
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="password")
        self._waiting = 0

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Raises Refused if too many wait."""
        return await self._run(partial(self._hasher.hash, password))

    async def matches(self, stored: str | None, password: str) -> bool:
        """Return whether ``password`` is the stored one; False if none is. Raises Refused if too many wait."""
        return await self._run(partial(self._verify, stored or _DECOY, password[: MOST + 1])) and stored is not None

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: partial[T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise Refused("too many people log in at this moment: try again in some seconds")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def require_good(password: str, name: str) -> None:
    """Raises InvalidValue for a password that is too short, too long or too plain."""
    if not LEAST <= len(password) <= MOST:
        raise InvalidValue("password", f"a password has {LEAST} to {MOST} characters")
    if len(set(password)) < 5 or name in password.lower():
        raise InvalidValue("password", "this password is too easy to guess: four random words are a good one")


def step_of_code(secret: str, code: str, now: float) -> int | None:
    """Return the time step that ``code`` is for, None if it is not valid now (RFC 6238)."""
    code, totp, current = "".join(code.split()), pyotp.TOTP(secret, interval=STEP), int(now) // STEP
    if len(code) != 6 or not code.isascii() or not code.isdigit():
        return None
    steps = range(current - DRIFT, current + DRIFT + 1)
    return next((step for step in steps if hmac.compare_digest(totp.generate_otp(step), code)), None)

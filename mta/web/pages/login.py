"""Log in: by password and code, by passkey, by a one-time link; and log out.

Invariants: what is answered does not tell whether a name exists, is locked or is disabled. A guess costs its client a
place in the rate, and its name a lock that grows. Every login begins a new session. GET uses no link up.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import webauthn
from starlette.requests import Request
from webauthn.helpers import base64url_to_bytes, options_to_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import UserVerificationRequirement

from mta.admin.errors import AdminError
from mta.admin.passwords import Passwords, step_of_code
from mta.observe.log import get_logger
from mta.store.accounts.web_users import WebUser
from mta.store.journal.audit import AuditOutcome, AuditStart
from mta.store.postgres.secrets import SecretError
from mta.store.store import Store
from mta.web.clients import RequestRates, client_of, subscriber

log = get_logger()

WRONG = "This name and password do not log in. After several mistakes a name is locked: wait, then try again."

WRONG_CODE = "This code is not valid. Type the six digits that your authenticator app shows now."
TOO_MANY = "Too many attempts from your address: wait a minute, then try again."
EXPIRED = "The time for the code is over: log in again."
NO_LINK = "This link was used, or it has expired. Ask for a new one: mta user login NAME prints it."
GUESSES_PER_MINUTE, GUESSES = 10, 20


class LoginRefused(AdminError):
    """Why somebody is not logged in, as it is shown."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that began. ``waits_for_code``: the user must still type a code."""

    token: str
    waits_for_code: bool


class Login:
    """All ways in. ``source`` is the client's address, ``agent`` its User-Agent."""

    def __init__(self, store: Store, passwords: Passwords) -> None:
        self._store, self._passwords = store, passwords
        self._rates = RequestRates(GUESSES_PER_MINUTE / 60, GUESSES)

    async def by_password(self, name: str, password: str, source: str, agent: str) -> Opened:
        """Raises LoginRefused, Refused, StoreUnavailable."""
        self._require_few_guesses(source)
        user = await self._store.web_users.find(name.strip().lower()[:64])
        known = user is not None and user.has_password and not user.disabled_at and not user.locked
        matches = await self._passwords.matches(user.password if user and known else None, password)
        if not matches or user is None:
            self._count(source)
            if user is not None and not user.locked:
                await self._failed(user, source, "password")
            raise LoginRefused(WRONG)
        token = await self._store.web_sessions.open(user.id, waits_for_code=True, source=source, agent=agent)
        return Opened(token, True)

    async def by_code(self, waiting: str, code: str, source: str, agent: str) -> Opened:
        """Complete a login by password. Raises LoginRefused, StoreUnavailable."""
        self._require_few_guesses(source)
        session = await self._store.web_sessions.find(waiting)
        if session is None or not session.waits_for_code:
            raise LoginRefused(EXPIRED)
        user = await self._store.web_users.by_id(session.user_id)
        if user is None or not user.has_password or user.locked:
            raise LoginRefused(WRONG_CODE)
        try:
            secret = self._store.web_users.totp_secret(user)
        except SecretError as error:
            log.error("code cannot be checked", user=user.name, reason=str(error))
            raise LoginRefused(WRONG_CODE) from None
        step = step_of_code(secret, code, time.time())
        self._count(source)
        if step is None or not await self._store.web_users.take_step(user.id, step):
            await self._failed(user, source, "code")
            raise LoginRefused(WRONG_CODE)
        await self._store.web_sessions.end(waiting)
        return await self._open(user, source, agent, "password and code")

    async def by_link(self, token: str, source: str, agent: str) -> Opened:
        """Raises LoginRefused, StoreUnavailable."""
        self._require_few_guesses(source)
        number = await self._store.web_sessions.take_link(token)
        user = await self._store.web_users.by_id(number) if number is not None else None
        if user is None:
            self._count(source)
            raise LoginRefused(NO_LINK)
        return await self._open(user, source, agent, "link")

    async def begin_passkey(self, request: Request, source: str) -> str:
        """Return what the browser needs to ask for a passkey, as JSON. Raises LoginRefused, StoreUnavailable."""
        self._require_few_guesses(source)
        self._count(source)
        options = webauthn.generate_authentication_options(
            rp_id=site_of(request), user_verification=UserVerificationRequirement.REQUIRED
        )
        await self._store.web_sessions.add_challenge(options.challenge, None)
        return options_to_json(options)

    async def by_passkey(
        self, request: Request, credential: Mapping[str, Any], https: bool, source: str, agent: str
    ) -> Opened:
        """Raises LoginRefused, StoreUnavailable."""
        refused = LoginRefused("This passkey does not log in here.")
        try:
            identifier = base64url_to_bytes(str(credential["id"]))
            challenge = challenge_of(credential)
        except (KeyError, TypeError, ValueError):
            raise refused from None
        passkey = await self._store.web_users.passkey(identifier)
        user = await self._store.web_users.by_id(passkey.user_id) if passkey else None
        if passkey is None or user is None or user.disabled_at:
            raise refused
        if not await self._store.web_sessions.take_challenge(challenge, None):
            raise LoginRefused("That took too long: try again.")
        try:
            verified = webauthn.verify_authentication_response(
                credential=dict(credential),
                expected_challenge=challenge,
                expected_rp_id=site_of(request),
                expected_origin=origin_of(request, https),
                credential_public_key=passkey.public_key,
                credential_current_sign_count=passkey.sign_count,
                require_user_verification=True,
            )
        except WebAuthnException as error:
            log.warning("passkey refused", user=user.name, reason=str(error))
            raise refused from None
        await self._store.web_users.passkey_used(passkey.id, verified.new_sign_count)
        return await self._open(user, source, agent, f"passkey {passkey.name}")

    async def log_out(self, user: WebUser, token: str, source: str) -> None:
        """Raises StoreUnavailable."""
        await self._store.web_sessions.end(token)
        await self._audit(user, source, "logout", AuditOutcome.DONE)

    async def _open(self, user: WebUser, source: str, agent: str, how: str) -> Opened:
        token = await self._store.web_sessions.open(user.id, waits_for_code=False, source=source, agent=agent)
        await self._store.web_users.logged_in(user.id, source)
        await self._audit(user, source, "login", AuditOutcome.DONE, how=how)
        return Opened(token, False)

    async def _failed(self, user: WebUser, source: str, what: str) -> None:
        await self._store.web_users.failed(user.id)
        log.warning("login failed", user=user.name, client=source, wrong=what)
        await self._audit(user, source, "login", AuditOutcome.REFUSED, wrong=what)

    async def _audit(self, user: WebUser, source: str, action: str, outcome: AuditOutcome, **after: str) -> None:
        audit = self._store.audit
        start = AuditStart(user.name, user.role, "page", source, action, user.name, user.account_id)
        await audit.end(await audit.begin(start), outcome, after=after or None)

    def _require_few_guesses(self, source: str) -> None:
        """Raises LoginRefused if the client failed too often."""
        if not self._rates.left(_client(source)):
            raise LoginRefused(TOO_MANY)

    def _count(self, source: str) -> None:
        self._rates.take(_client(source))


def _client(source: str) -> int:
    return subscriber(client_of(source, (), ()))


def site_of(request: Request) -> str:
    """Return the host that passkeys are tied to (WebAuthn calls it the relying party)."""
    return request.url.hostname or ""


def origin_of(request: Request, https: bool) -> str:
    return f"{'https' if https else 'http'}://{request.headers.get('host', '')}"


def challenge_of(credential: Mapping[str, Any]) -> bytes:
    """Return the challenge that a browser answered. Raises KeyError, TypeError, ValueError."""
    said = json.loads(base64url_to_bytes(str(credential["response"]["clientDataJSON"])))
    return base64url_to_bytes(str(said["challenge"]))

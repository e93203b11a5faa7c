"""A user's own page: password and code, passkeys, sessions.

Invariants: a password is set only by who has just proved an authenticator app, or has one: neither lets in alone. A
change of how to log in ends the user's other sessions, and the links that they have not used.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import pyotp
import segno
import webauthn
from markupsafe import Markup
from starlette.responses import JSONResponse, Response
from webauthn.helpers import options_to_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from mta.admin.errors import InvalidValue, NotFound, Refused
from mta.admin.passwords import require_good, step_of_code
from mta.store.accounts.web_sessions import WebSession
from mta.store.accounts.web_users import Passkey
from mta.store.journal.account_changes import AccountError
from mta.web.pages import tables
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView, Redirect
from mta.web.pages.login import challenge_of, origin_of, site_of
from mta.web.pages.tables import PageTable

routes = PageRoutes()

ISSUER = "Imprimatur"
SCOPE = "service:read"  # every role has it


@routes.get("/me", SCOPE)
async def show(page: PageRequest) -> PageView:
    """Show how the user can log in, and where they are logged in."""
    store = page.context.store
    user = await store.web_users.by_id(page.user.id)
    assert user is not None
    secret = page.text("secret") or pyotp.random_base32(32)
    uri = pyotp.TOTP(secret).provisioning_uri(name=user.name, issuer_name=ISSUER)
    values = {
        "account": user,
        "secret": secret,
        "secret_shown": " ".join(secret[n : n + 4] for n in range(0, len(secret), 4)),
        "uri": uri,
        "code": _code_to_scan(uri),
        "passkeys": _passkeys(await store.web_users.passkeys(user.id)),
        "sessions": _sessions(await store.web_sessions.of(user.id)),
    }
    return PageView("profile.html", "Your login", values)


def _code_to_scan(uri: str) -> Markup:
    """Return a QR code as SVG, dark on light in either theme: scanners want it so."""
    return Markup(segno.make(uri, error="m").svg_inline(omitsize=True, light="#fff", svgclass=None))  # noqa: S704


def _passkeys(found: Sequence[Passkey]) -> PageTable:
    titles = tables.columns(name="Name", made=("Added", "time"), used=("Last used", "time"), act=("", "act"))
    rows = [
        [
            tables.text(each.name),
            tables.at(each.created_at),
            tables.at(each.last_used_at) if each.last_used_at else tables.text("never"),
            tables.act("Remove", "/me/passkey/remove", danger=True, id=each.id.hex()),
        ]
        for each in found
    ]
    return PageTable("Passkeys", titles, rows, "No passkey yet.")


def _sessions(found: Sequence[WebSession]) -> PageTable:
    titles = tables.columns(
        began=("Logged in", "time"), seen=("Last seen", "time"), source=("From", "name"), agent=("Browser", "wide")
    )
    rows = [
        [tables.at(each.created_at), tables.at(each.seen_at), tables.text(each.source), tables.text(each.agent)]
        for each in found
    ]
    return PageTable("Sessions", titles, rows)


@routes.post("/me/password", SCOPE, again=show)
async def set_password(page: PageRequest) -> Answer:
    """Set the password, and with it the authenticator app if there is none or another is wanted."""
    store, user = page.context.store, page.user
    password, secret = str(page.form.get("password", "")), page.text("secret")
    require_good(password, user.name)
    if password != page.form.get("again", ""):
        raise InvalidValue("again", "the two passwords differ")
    try:
        step = step_of_code(secret, page.text("code"), time.time())
    except ValueError:
        step = None
    if step is None:
        raise InvalidValue("code", "this code is not the one that the app shows now; is the phone's clock right?")
    hashed = await page.services["passwords"].hash(password)
    async with page.context.audited("user.password", user.name, account_id=user.account_id):
        await store.web_users.set_login(user.id, password=hashed, secret=secret, step=step, keep=page.token)
    return Redirect("/me", "Password and authenticator app are set. You can log in with them from now on.")


@routes.post("/me/passkey/begin", SCOPE)
async def begin_passkey(page: PageRequest) -> Answer:
    """Return what the browser needs to make a passkey."""
    known = await page.context.store.web_users.passkeys(page.user.id)
    options = webauthn.generate_registration_options(
        rp_id=site_of(page.request),
        rp_name=ISSUER,
        user_id=page.user.id.to_bytes(8),
        user_name=page.user.name,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=each.id) for each in known],
    )
    await page.context.store.web_sessions.add_challenge(options.challenge, page.user.id)
    return Response(options_to_json(options), media_type="application/json")


@routes.post("/me/passkey/finish", SCOPE)
async def finish_passkey(page: PageRequest) -> Answer:
    """Keep a passkey that the browser made."""
    store, user = page.context.store, page.user
    try:
        body = await page.request.json()
        credential, name = dict(body["credential"]), str(body.get("name", "")).strip()[:60]
        challenge = challenge_of(credential)
    except (KeyError, TypeError, ValueError, json.JSONDecodeError):
        return JSONResponse({"error": "the browser's answer cannot be read"}, 400)
    if not await store.web_sessions.take_challenge(challenge, user.id):
        return JSONResponse({"error": "that took too long: try again"}, 409)
    try:
        verified = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=site_of(page.request),
            expected_origin=origin_of(page.request, page.https),
            require_user_verification=True,
        )
    except WebAuthnException as error:
        return JSONResponse({"error": f"the passkey cannot be used: {error}"}, 409)
    name = name or "passkey"
    try:
        async with page.context.audited("user.passkey.add", user.name, account_id=user.account_id) as entry:
            entry.after.update(passkey=name)
            key, count = verified.credential_public_key, verified.sign_count
            await store.web_users.add_passkey(user.id, verified.credential_id, name, key, count, keep=page.token)
    except AccountError as error:
        return JSONResponse({"error": str(error)}, 409)
    return JSONResponse({"next": "/me"})


@routes.post("/me/passkey/remove", SCOPE, again=show)
async def remove_passkey(page: PageRequest) -> Answer:
    """Forget a passkey, unless there would be no way in any more."""
    store, user = page.context.store, page.user
    if user.passkeys == 1 and not user.has_password:
        raise Refused("this passkey is your only way to log in: set a password or add another passkey first")
    try:
        identifier = bytes.fromhex(page.text("id"))
    except ValueError:
        identifier = b""
    async with page.context.audited("user.passkey.remove", user.name, account_id=user.account_id):
        if not await store.web_users.remove_passkey(user.id, identifier, keep=page.token):
            raise NotFound("this passkey is gone already")
    return Redirect("/me", "Passkey removed.")


@routes.post("/me/sessions/end", SCOPE, again=show)
async def end_sessions(page: PageRequest) -> Answer:
    """End the user's other sessions."""
    async with page.context.audited("user.sessions.end", page.user.name, account_id=page.user.account_id):
        await page.context.store.web_sessions.end_others(page.user.id, page.token)
    return Redirect("/me", "You are logged out everywhere else.")

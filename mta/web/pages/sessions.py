"""Who a request is from: the cookie of its session, and the proof that a form is ours.

Invariants: the cookie is never readable by scripts, and over HTTPS bound to this host (prefix ``__Host-``). Every login
begins a new session, so none can be planted. The token of a form follows from the session's, and cannot be made
without it. A request that a browser says comes from another site changes nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from mta.web.clients import Networks, client_of

COOKIE, FLASH, THEME = "session", "flash", "theme"
BEFORE = "before_login"  # what forms are tied to before there is a session
FIELD, HEADER = "csrf", "x-csrf-token"
FLASH_LASTS = 60  # seconds
YEAR = 365 * 24 * 3600


def is_https(request: Request, proxies: Networks) -> bool:
    """Return whether the browser uses HTTPS, here or at a listed proxy."""
    if request.url.scheme == "https":
        return True
    peer = client_of(request.client.host if request.client else "", (), ())
    forwarded = request.headers.get("x-forwarded-proto", "").split(",")[-1].strip().lower()
    return forwarded == "https" and any(peer in network for network in proxies)


def source_of(request: Request, proxies: Networks) -> str:
    """Return the address of the client."""
    peer = request.client.host if request.client else ""
    return str(client_of(peer, request.headers.getlist("x-forwarded-for"), proxies))


def cookie_name(name: str, https: bool) -> str:
    return f"__Host-{name}" if https else name


def read_cookie(request: Request, name: str, https: bool) -> str:
    return request.cookies.get(cookie_name(name, https), "")


def set_cookie(response: Response, name: str, value: str, https: bool, seconds: int | None = None) -> None:
    """Set a cookie; without ``seconds`` until the browser is closed."""
    response.set_cookie(
        cookie_name(name, https), value, max_age=seconds, path="/", secure=https, httponly=True, samesite="lax"
    )


def drop_cookie(response: Response, name: str, https: bool) -> None:
    response.delete_cookie(cookie_name(name, https), path="/", secure=https, httponly=True, samesite="lax")


def new_nonce() -> str:
    return secrets.token_urlsafe(32)


def form_token(token: str) -> str:
    """Return the token of the forms of a session."""
    digest = hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=24, person=b"form token").digest()
    return base64.urlsafe_b64encode(digest).decode()


def is_ours(token: str, given: str) -> bool:
    """Return whether ``given`` is the token of a form of the session."""
    return bool(token) and hmac.compare_digest(form_token(token).encode(), given.encode("utf-8", "surrogatepass"))


def is_same_site(request: Request) -> bool:
    """Return False if the browser says that another site makes this request."""
    if (site := request.headers.get("sec-fetch-site")) is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()

"""The application of the pages: static files, login, and for users who are logged in, every page.

    request ▶ static file | login | session ▶ page, or what is wrong, as a page

Invariants: a page is reached only with a session in force, and only if its user may see it. A POST is refused without
the token of its session, or if the browser says that it comes from another site. The text of an unexpected exception is
neither shown nor logged.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Match, Route

from config.schema import Settings
from mta.admin.context import Actor, AdminContext, Via
from mta.admin.errors import MISTAKES, REFUSALS, Forbidden, NotFound
from mta.admin.passwords import Passwords
from mta.admin.permissions import Role
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.store.accounts.web_users import WebUser
from mta.store.postgres.errors import StoreUnavailable
from mta.store.store import Store
from mta.web.asgi import Receive, Scope, Send, where, with_headers
from mta.web.pages import sessions
from mta.web.pages.frame import Answer, PageRequest, PageRoute, PageView, Redirect
from mta.web.pages.login import Login, LoginRefused
from mta.web.pages.navigation import menu_of
from mta.web.pages.rendering import PREFIX, SECURITY, StaticFiles, Templates
from mta.web.pages.subjects import all_routes
from policy.profile import Profiles

log = get_logger()

MAX_FIELDS, MAX_FILES = 2000, 2
LOGIN, LINK, CODE, PASSKEY = "/login", "/login/link", "/login/code", "/login/passkey/"
NO_COOKIE = "Your browser did not keep a cookie, or the page was open for too long: try again."
THEMES = ("auto", "light", "dark")
TEXTS = {
    403: "You are logged in, but may not do this.",
    404: "There is no such page, or what it was about is gone.",
    413: "What was sent is too large.",
    503: "The database does not answer now. Nothing was changed, or it is not known yet: look before you try again.",
    500: "An internal error, which was logged.",
}


class PagesApp:
    """``services``: what pages need besides the store, by name. ``close`` it."""

    def __init__(self, store: Store, services: Mapping[str, Any], metrics: Metrics) -> None:
        self._store, self._services, self._metrics = store, services, metrics
        self._files = StaticFiles()
        self._templates = Templates(self._files)
        self._passwords = Passwords()
        self._login = Login(store, self._passwords)
        self._routes = [(Route(each.path, _unused, methods=[each.method]), each) for each in all_routes()]
        self._known = frozenset(each.path for _, each in self._routes if each.method == "GET")
        self.services = {**services, "passwords": self._passwords}

    def close(self) -> None:
        self._passwords.close()

    async def serve(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        settings: Settings,
        profiles: Callable[[], Profiles],
        allow: Callable[[int], None],
    ) -> None:
        """Serve one request. ``allow``: lets its body be longer."""
        request = Request(scope, receive)
        if request.url.path.startswith(PREFIX):
            response = self._files.respond(request.url.path)
            kept = {key: value for key, value in SECURITY.items() if key != "Cache-Control"}
            await response(scope, receive, with_headers(send, kept))
            return
        call = _Call(self, request, settings, profiles, allow)
        try:
            response = await call.respond()
        except StoreUnavailable:
            response = call.failure(503)
        except HTTPException as error:
            response = call.failure(error.status_code, error.detail)
        except MultiPartException as error:
            response = call.failure(400, error.message)
        except Exception as error:
            log.error("page failed", kind=type(error).__name__, where=where(error))
            response = call.failure(500)
        await response(scope, receive, with_headers(send, SECURITY))


async def _unused(request: Request) -> Response:
    raise AssertionError("routes are matched here and called elsewhere")


class _Call:
    """One request, from its cookie to its answer."""

    def __init__(
        self,
        app: PagesApp,
        request: Request,
        settings: Settings,
        profiles: Callable[[], Profiles],
        allow: Callable[[int], None],
    ) -> None:
        self._app, self._request, self._settings, self._profiles = app, request, settings, profiles
        self._allow = allow
        proxies = settings.web.admin.proxy_from
        self._https = sessions.is_https(request, proxies)
        self._source = sessions.source_of(request, proxies)
        self._agent = request.headers.get("user-agent", "")
        self._token = self._cookie(sessions.COOKIE)
        self._page: PageRequest | None = None

    async def respond(self) -> Response:
        path, method = self._request.url.path, self._request.method
        if method not in ("GET", "HEAD", "POST"):
            return self.failure(405, "Only GET and POST are understood here.")
        if method == "POST" and not sessions.is_same_site(self._request):
            return self.failure(403, "This request came from another site.")
        if path == LOGIN or path.startswith(LOGIN + "/"):
            return await self._log_in(path)
        user = await self._user()
        if user is None:
            return self._to_login()
        self._page = page = self._request_of(user)
        if path == "/theme" and method == "POST":
            return await self._set_theme(page)
        if path == "/logout" and method == "POST":
            await self._read_form(page)
            await self._app._login.log_out(user, self._token, self._source)
            response = RedirectResponse(LOGIN, 303)
            sessions.drop_cookie(response, sessions.COOKIE, self._https)
            return response
        return await self._serve_page(page)

    # pages

    async def _serve_page(self, page: PageRequest) -> Response:
        found = self._match()
        if found is None:
            return self.failure(404)
        route, parameters = found
        self._request.scope["path_params"] = parameters
        if not page.may(route.scope) or (route.operator and not page.is_operator):
            return self.failure(403)
        if route.upload:
            self._allow(route.upload)
        try:
            if route.method == "POST":
                await self._read_form(page)
            return self._shown(await route.handler(page))
        except NotFound as error:
            if route.method == "GET":
                return self.failure(404, str(error))
            return await self._again(route, page, error)
        except Forbidden as error:
            return self.failure(403, str(error))
        except (*REFUSALS, *MISTAKES) as error:
            return await self._again(route, page, error)

    async def _again(self, route: PageRoute, page: PageRequest, error: Exception) -> Response:
        """Show the page of a form that was refused, with what is wrong."""
        if route.again is None:
            return self.failure(409, str(error))
        page.problem = error
        try:
            answer = await route.again(page)
        except (*REFUSALS, *MISTAKES):
            return self.failure(409, str(error))
        return self._shown(replace(answer, status=422) if isinstance(answer, PageView) else answer)

    def _match(self) -> tuple[PageRoute, dict[str, Any]] | None:
        method = "GET" if self._request.method == "HEAD" else self._request.method
        for route, page in self._app._routes:
            match, found = route.matches(self._request.scope)
            if match is Match.FULL and page.method == method:
                return page, dict(found["path_params"])
        return None

    def _shown(self, answer: Answer) -> Response:
        match answer:
            case Response():
                return answer
            case Redirect():
                response: Response = RedirectResponse(answer.to, 303)
                if answer.done:
                    self._flash(response, answer.done, answer.tone)
                return response
            case PageView():
                return self._render(answer)

    def _render(self, view: PageView) -> Response:
        flash = self._read_flash()
        values = {**self._common(view.title), **view.values, "crumbs": view.crumbs, "flash": flash}
        html = self._app._templates.render(view.template, values)
        response = HTMLResponse(html, view.status)
        if flash:
            sessions.drop_cookie(response, sessions.FLASH, self._https)
        return response

    def _common(self, title: str) -> dict[str, Any]:
        theme = self._request.cookies.get(sessions.THEME, "auto")
        page = self._page
        return {
            "page": page,
            "title": title,
            "theme": theme if theme in THEMES else "auto",
            "csrf": sessions.form_token(page.token if page else self._cookie(sessions.BEFORE)),
            "menu": menu_of(page, self._app._known) if page else [],
            "host": self._settings.server.hostname,
        }

    def failure(self, status: int, detail: str = "") -> Response:
        """Return a page that says what is wrong."""
        if "json" in self._request.headers.get("content-type", ""):
            return JSONResponse({"error": detail or TEXTS.get(status, "")}, status)
        headings = {403: "Not allowed", 404: "Not found", 409: "Not done", 503: "Not available"}
        values = {"detail": detail or TEXTS.get(status, ""), "status": status, "crumbs": (), "flash": None}
        title = headings.get(status, "This did not work")
        html = self._app._templates.render("failure.html", {**self._common(title), **values})
        return HTMLResponse(html, status, {"Retry-After": "5"} if status == 503 else None)

    # who it is

    async def _user(self) -> WebUser | None:
        store = self._app._store
        session = await store.web_sessions.find(self._token) if self._token else None
        if session is None or session.waits_for_code:
            return None
        if "hx-request" not in self._request.headers:  # a page that refreshes itself is not use
            await store.web_sessions.seen(self._token)
        return await store.web_users.by_id(session.user_id)

    def _request_of(self, user: WebUser) -> PageRequest:
        role = Role(user.role)
        actor = Actor(user.name, role, Via.PAGE, self._source, user.account_id, user.account, role.scopes)
        context = AdminContext(self._app._store, self._settings, self._profiles, actor, self._app._metrics)
        return PageRequest(self._request, context, user, self._token, self._https, services=self._app.services)

    def _to_login(self) -> Response:
        path = self._request.url.path
        if self._request.headers.get("hx-request"):
            return Response(status_code=204, headers={"HX-Refresh": "true"})
        wanted = path + (f"?{self._request.url.query}" if self._request.url.query else "")
        to = f"{LOGIN}?{urlencode({'next': wanted})}" if self._request.method == "GET" and wanted != "/" else LOGIN
        return RedirectResponse(to, 303)

    # login

    async def _log_in(self, path: str) -> Response:
        if self._request.method != "POST":
            return await self._login_form(path)
        before = self._cookie(sessions.BEFORE)
        if path.startswith(PASSKEY):
            return await self._log_in_by_passkey(path, before)
        form = await self._request.form(max_files=0, max_fields=20)
        texts = {key: value for key, value in form.items() if isinstance(value, str)}
        login, given = self._app._login, texts.get(sessions.FIELD, "")
        if not sessions.is_ours(before, given):
            return await self._login_form(path, NO_COOKIE, 403)
        try:
            match path:
                case "/login/link":
                    opened = await login.by_link(texts.get("token", ""), self._source, self._agent)
                case "/login/code":
                    opened = await login.by_code(self._token, texts.get("code", ""), self._source, self._agent)
                case "/login":
                    name, password = texts.get("name", ""), texts.get("password", "")
                    opened = await login.by_password(name, password, self._source, self._agent)
                case _:
                    return self.failure(404)
        except REFUSALS as error:
            return await self._login_form(path, str(error), 403, name=texts.get("name", ""))
        wanted = texts.get("next", "")
        to = f"{CODE}?{urlencode({'next': _within(wanted)})}" if opened.waits_for_code else _within(wanted)
        response = RedirectResponse(to, 303)
        sessions.set_cookie(response, sessions.COOKIE, opened.token, self._https)
        return response

    async def _login_form(self, path: str, problem: str = "", status: int = 200, name: str = "") -> Response:
        token = self._request.query_params.get("token", "")[:200]
        who = await self._app._store.web_sessions.user_of_link(token) if path == LINK and token else None
        before = self._cookie(sessions.BEFORE) or sessions.new_nonce()
        values = {
            "kind": "link" if path == LINK else "code" if path == CODE else "password",
            "problem": problem,
            "name": name,
            "who": who,
            "token": token,
            "next": _within(self._request.query_params.get("next", "")),
        }
        common = {**self._common("Log in"), "csrf": sessions.form_token(before), "crumbs": (), "flash": None}
        response = HTMLResponse(self._app._templates.render("login.html", {**common, **values}), status)
        sessions.set_cookie(response, sessions.BEFORE, before, self._https)
        return response

    async def _log_in_by_passkey(self, path: str, before: str) -> Response:
        if not sessions.is_ours(before, self._request.headers.get(sessions.HEADER, "")):
            return self.failure(403, "The page was open for too long: load it again.")
        login = self._app._login
        try:
            if path == PASSKEY + "begin":
                return Response(await login.begin_passkey(self._request, self._source), media_type="application/json")
            body = await read_json(self._request)
            credential = body.get("credential")
            if not isinstance(credential, dict):
                raise LoginRefused("This passkey does not log in here.")
            opened = await login.by_passkey(self._request, credential, self._https, self._source, self._agent)
        except LoginRefused as error:
            return self.failure(403, str(error))
        response = JSONResponse({"next": _within(self._request.query_params.get("next", ""))})
        sessions.set_cookie(response, sessions.COOKIE, opened.token, self._https)
        return response

    # forms and cookies

    async def _read_form(self, page: PageRequest) -> None:
        """Read the form, if it is ours. Raises HTTPException."""
        if self._request.headers.get("content-type", "").startswith("application/json"):
            given = self._request.headers.get(sessions.HEADER, "")
        else:
            page.form = await self._request.form(max_files=MAX_FILES, max_fields=MAX_FIELDS)
            given = page.text(sessions.FIELD)
        if not sessions.is_ours(page.token, given):
            raise HTTPException(403, "This form is not from your session: go back, load the page again, and repeat.")

    async def _set_theme(self, page: PageRequest) -> Response:
        await self._read_form(page)
        theme = page.text("theme")
        response = RedirectResponse(_within(page.text("back")), 303)
        theme = theme if theme in THEMES else "auto"
        response.set_cookie(sessions.THEME, theme, max_age=sessions.YEAR, secure=self._https, samesite="lax")
        return response

    def _cookie(self, name: str) -> str:
        return sessions.read_cookie(self._request, name, self._https)

    def _flash(self, response: Response, text: str, tone: str) -> None:
        value = base64.urlsafe_b64encode(json.dumps([text[:1000], tone]).encode()).decode()
        sessions.set_cookie(response, sessions.FLASH, value, self._https, sessions.FLASH_LASTS)

    def _read_flash(self) -> tuple[str, str] | None:
        try:
            text, tone = json.loads(base64.urlsafe_b64decode(self._cookie(sessions.FLASH)))
        except (ValueError, binascii.Error):
            return None
        return str(text), str(tone) if tone in ("ok", "warn", "bad") else "ok"


async def read_json(request: Request) -> dict[str, Any]:
    """Return the object of a JSON body, an empty one if it is none."""
    try:
        body = await request.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _within(address: str) -> str:
    """Return an address of ours, ``/`` for any other."""
    if not address.startswith("/") or address.startswith(("//", "/\\", LOGIN)) or not address.isprintable():
        return "/"
    return quote(address, safe="/?&=%+-._~:,@!$'()*;[]")

"""What every page is made of: its request, its routes, and what a handler returns.

A handler of GET returns a ``PageView`` (or a response); one of POST does something and returns a ``Redirect``. When a
POST is refused, the page that has its form is shown again, with what was typed and what is wrong.

Invariants: there is no route without a scope. GET changes nothing. Nothing is done without the form's CSRF token.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar
from urllib.parse import urlencode

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue
from mta.admin.permissions import Scope
from mta.mail.address import Address, AddressError
from mta.mail.identity import MessageId, parse_id
from mta.store.accounts.web_users import WebUser

MAX_TEXT = 20_000  # characters of a field
MAX_NAMES = 500  # of accounts, offered beside a field

E = TypeVar("E", bound=Enum)


@dataclass(frozen=True, slots=True)
class PageView:
    """A page: a template of ``templates/pages`` and its values."""

    template: str
    title: str
    values: Mapping[str, Any] = field(default_factory=dict)
    crumbs: Sequence[tuple[str, str]] = ()  # text, address
    status: int = 200


@dataclass(frozen=True, slots=True)
class Redirect:
    """Where the browser goes after a change, and what it is told there. ``tone``: ok, warn or bad."""

    to: str
    done: str = ""
    tone: str = "ok"


class QueryValues(dict[str, str]):
    """What was asked for; "" for what was not."""

    def __missing__(self, key: str) -> str:
        return ""


Answer = PageView | Redirect | Response


@dataclass(slots=True)
class PageRequest:
    """A request by a user who is logged in.

    ``form``: what was posted; ``problem``: why that was refused, when its page is shown again.
    """

    request: Request
    context: AdminContext
    user: WebUser
    token: str  # of the session
    https: bool
    form: FormData = field(default_factory=FormData)
    problem: Exception | None = None
    services: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return self.request.url.path

    @property
    def is_operator(self) -> bool:
        """Whether the user is not confined to an account."""
        return self.context.actor.account_id is None

    @property
    def account_names(self) -> list[str]:
        """The accounts to choose from, if they are not too many. Raises StoreUnavailable."""
        return self.context.store.accounts.names(MAX_NAMES) if self.is_operator else []

    def may(self, scope: Scope) -> bool:
        return self.context.actor.may(scope)

    # the query

    def query(self, name: str) -> str:
        return self.request.query_params.get(name, "").strip()[:MAX_TEXT]

    def query_choice(self, name: str, kind: type[E]) -> E | None:
        """Return the value of an optional choice; what is none of them counts as not chosen."""
        try:
            return kind(self.query(name))
        except ValueError:
            return None

    def here(self, **changed: str | None) -> str:
        """Return the address of this page with some parameters changed; None removes one."""
        query = {key: value for key, value in self.request.query_params.items() if value}
        for key, value in changed.items():
            query.pop(key, None)
            if value is not None:
                query[key] = value
        return self.path + ("?" + urlencode(query) if query else "")

    def path_text(self, name: str) -> str:
        return str(self.request.path_params[name])

    # the form

    @property
    def form_name(self) -> str:
        """The name of the form that was posted; a page can have several."""
        return self.text("form_name")

    def text(self, name: str) -> str:
        """Return what was typed, without blanks around it."""
        value = self.form.get(name, "")
        return value.replace("\r\n", "\n").strip()[:MAX_TEXT] if isinstance(value, str) else ""

    def required(self, name: str, what: str) -> str:
        """Raises InvalidValue."""
        if not (text := self.text(name)):
            raise InvalidValue(name, f"{what} is missing")
        return text

    def texts(self, name: str) -> list[str]:
        return [each for each in self.form.getlist(name) if isinstance(each, str)]

    def ticked(self, name: str) -> bool:
        return bool(self.text(name))

    def choice(self, name: str, kind: type[E]) -> E:
        """Raises InvalidValue."""
        try:
            return kind(self.text(name))
        except ValueError:
            raise InvalidValue(name, "choose one of the values") from None

    def address(self, name: str) -> Address:
        """Raises InvalidValue."""
        try:
            return Address.parse(self.required(name, "the e-mail address"))
        except AddressError as error:
            raise InvalidValue(name, str(error)) from None

    def number(self, name: str, least: int = 0, most: int = 2**31 - 1) -> int | None:
        """Return a whole number, None if nothing was typed. Raises InvalidValue."""
        if not (text := self.text(name)):
            return None
        if not text.isascii() or not text.isdigit() or not least <= (number := int(text[:20])) <= most:
            raise InvalidValue(name, f"a whole number from {least} to {most} is wanted")
        return number

    def moment(self, name: str) -> datetime | None:
        """Return a moment in UTC, None if nothing was typed. Raises InvalidValue."""
        if not (text := self.text(name)):
            return None
        try:
            return datetime.fromisoformat(f"{text.rstrip('Z')}+00:00")
        except ValueError:
            raise InvalidValue(name, "a date and time in UTC are wanted, like 2026-12-24 18:00") from None

    def upload(self, name: str) -> UploadFile | None:
        """Return an uploaded file, None if none was chosen."""
        value = self.form.get(name)
        return value if isinstance(value, UploadFile) and value.filename else None

    # the form, shown again

    def typed(self, form: str, name: str, default: object = "") -> str:
        """Return what a field shows: what was typed, if this form was refused, else ``default``."""
        if self.problem is not None and self.form_name == form:
            return self.text(name)
        return "" if default is None else str(default)

    def error_of(self, form: str, name: str) -> str:
        """Return what is wrong with a field."""
        wrong = self.problem
        return str(wrong) if isinstance(wrong, InvalidValue) and self.form_name == form and wrong.field == name else ""


Handler = Callable[[PageRequest], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class PageRoute:
    """``again``: the page that is shown again when a POST is refused. ``operator``: not for users of an account."""

    method: str
    path: str
    scope: Scope
    handler: Handler
    again: Handler | None = None
    operator: bool = False
    upload: int = 0  # octets of a body, if more than usual


class PageRoutes:
    """The routes of one subject, in the order in which they are tried."""

    def __init__(self) -> None:
        self._routes: list[PageRoute] = []

    def __iter__(self) -> Iterator[PageRoute]:
        return iter(self._routes)

    def get(self, path: str, scope: Scope, *, operator: bool = False) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self._routes.append(PageRoute("GET", path, scope, handler, operator=operator))
            return handler

        return register

    def post(
        self, path: str, scope: Scope, *, again: Handler | None = None, operator: bool = False, upload: int = 0
    ) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self._routes.append(PageRoute("POST", path, scope, handler, again, operator, upload))
            return handler

        return register


def message_id(text: str) -> MessageId | None:
    """Return the id of a message, None if ``text`` is none."""
    try:
        return parse_id(text.strip())
    except ValueError:
        return None

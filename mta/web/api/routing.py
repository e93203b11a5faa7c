"""Routes of the API: each says what a token needs for it, and gets the context of its caller.

Invariants: there is no route without a scope. Dependencies are coroutines: FastAPI runs others in threads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_origin

from fastapi import APIRouter, Depends, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ValidationError

from mta.admin.context import AdminContext
from mta.admin.errors import Forbidden
from mta.admin.permissions import ALL_SCOPES, Role, Scope
from mta.web.api import problems
from mta.web.api.problems import MEDIA_TYPE, Problem

bearer = HTTPBearer(auto_error=False, description="A token that `mta token add` made.", scheme_name="token")


async def admin_context(request: Request) -> AdminContext:
    """Return the context that the guard of the port has put into the request."""
    context: AdminContext = request.state.context
    return context


Context = Annotated[AdminContext, Depends(admin_context)]


def _problem(description: str) -> dict[str, Any]:
    return {"model": Problem, "description": description, "content": {MEDIA_TYPE: {}}}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: _problem("The request cannot be read."),
    401: _problem("There is no valid token."),
    403: _problem("The token may not do this."),
    404: _problem("There is no such thing, or it belongs to another account."),
    409: _problem("It cannot be done in the present state."),
    413: _problem("The body is too large."),
    422: _problem("A value cannot be used; `errors` says which."),
    429: _problem("Too many requests; Retry-After says when to come again."),
    503: _problem("The service cannot answer now."),
}


def require(scope: Scope, *, operators_only: bool = False) -> Callable[[AdminContext], Awaitable[None]]:
    """Return a dependency that refuses callers without ``scope``, and those of accounts where only operators decide."""
    assert scope in ALL_SCOPES, scope

    async def check(context: Context) -> None:
        require_scope(context, scope)
        if operators_only:
            context.require_operator()

    return check


def require_scope(context: AdminContext, scope: Scope) -> None:
    """Raises Forbidden."""
    if not context.actor.may(scope):
        raise Forbidden(f"this needs a token with the scope {scope}")


@dataclass(frozen=True, slots=True)
class DirectOperation:
    """An operation that the port serves itself: to FastAPI, the way to a handler is as much work as the whole policy
    chain. The handler reads the body; ``query``: the model of what it gets as its third argument."""

    scope: Scope
    handler: Callable[[Request, AdminContext, Any], Awaitable[Response]]
    query: type[BaseModel]

    async def respond(self, request: Request) -> Response:
        """Raises what FastAPI would not expect either."""
        context: AdminContext = request.state.context
        try:
            require_scope(context, self.scope)
            return await self.handler(request, context, self._read_query(request))
        except problems.EXPECTED as error:
            return problems.answer(request, error)

    def _read_query(self, request: Request) -> BaseModel:
        """Raises RequestValidationError."""
        given = {
            name: request.query_params.getlist(name) if get_origin(field.annotation) is list else value
            for key, field in self.query.model_fields.items()
            if (value := request.query_params.get(name := field.alias or key)) is not None
        }
        try:
            return self.query.model_validate(given)
        except ValidationError as error:
            errors = error.errors(include_url=False, include_context=False, include_input=False)
            raise RequestValidationError([{**each, "loc": ("query", *each["loc"])} for each in errors]) from None


direct: dict[tuple[str, str], DirectOperation] = {}
"""The direct operations, by method and path."""


class ApiRouter(APIRouter):
    """The routes of one noun."""

    def __init__(self, noun: str) -> None:
        super().__init__(prefix=f"/v1/{noun}", tags=[noun])
        self._noun = noun

    def operation(
        self,
        method: str,
        path: str,
        scope: Scope,
        *,
        operators_only: bool = False,
        query: type[BaseModel] | None = None,
        **options: Any,
    ) -> Callable[[Any], Any]:
        """Register a handler, whose name is the id of the operation. ``scope``: what a token needs; ``operators_only``:
        one of an account does not do, though it may have the scope; ``query``: makes it a direct one, whose path has no
        parameters."""
        assert not (operators_only and query), "a direct operation looks at the scope only"
        barred = {Role.ACCOUNT} if operators_only else set[Role]()
        roles = [role.value for role in Role if scope in role.scopes and role not in barred]
        options.setdefault("openapi_extra", {}).update({"x-scope": scope, "x-roles": roles})
        options["responses"] = PROBLEMS | options.get("responses", {})
        if getattr(options.get("response_model"), "__name__", "").startswith("ListPage["):
            table = {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "A page, or all as CSV."}
            options["responses"][200] = table

        def register(handler: Any) -> Any:
            self.add_api_route(
                path,
                handler,
                methods=[method],
                operation_id=f"{self._noun}.{handler.__name__}",
                dependencies=[Security(bearer), Depends(require(scope, operators_only=operators_only))],
                **options,
            )
            if query:
                direct[method, self.prefix + path] = DirectOperation(scope, handler, query)
            return handler

        return register

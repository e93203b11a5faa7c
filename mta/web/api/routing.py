"""Routes of the API: each says what a token needs for it, and gets the context of its caller.

Invariants: there is no route without a scope. Dependencies are coroutines: FastAPI runs others in threads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Security
from fastapi.security import HTTPBearer

from mta.admin.context import AdminContext
from mta.admin.errors import Forbidden
from mta.admin.permissions import ALL_SCOPES, Role, Scope
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


def require(scope: Scope) -> Callable[[AdminContext], Awaitable[None]]:
    """Return a dependency that refuses callers without ``scope``."""
    assert scope in ALL_SCOPES, scope

    async def check(context: Context) -> None:
        if not context.actor.may(scope):
            raise Forbidden(f"this needs a token with the scope {scope}")

    return check


class ApiRouter(APIRouter):
    """The routes of one noun."""

    def __init__(self, noun: str) -> None:
        super().__init__(prefix=f"/v1/{noun}", tags=[noun])
        self._noun = noun

    def operation(self, method: str, path: str, scope: Scope, **options: Any) -> Callable[[Any], Any]:
        """Register a handler, whose name is the id of the operation. ``scope``: what a token needs."""
        roles = [role.value for role in Role if scope in role.scopes]
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
                dependencies=[Security(bearer), Depends(require(scope))],
                **options,
            )
            return handler

        return register

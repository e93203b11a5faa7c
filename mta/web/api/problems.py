"""Errors as problem details (RFC 9457), with the field that is wrong.

Invariants: the text of an unexpected exception is neither shown nor logged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from mta.admin.errors import MISTAKES, REFUSALS, ConfigRejected, Forbidden, InvalidValue, NoRoom, NotFound
from mta.observe.log import get_logger
from mta.store.postgres.errors import StoreUnavailable
from mta.web.asgi import where

log = get_logger()

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 5  # seconds

EXPECTED: tuple[type[Exception], ...] = (RequestValidationError, HTTPException, StoreUnavailable, *REFUSALS, *MISTAKES)


class WrongField(BaseModel):
    """One mistake, and where it is: one of ``pointer`` (RFC 6901, in the body), ``parameter``, ``header``; none, if it
    is in a file of the service."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None
    header: str | None = None


class Problem(BaseModel):
    """Problem details, RFC 9457."""

    type: str = Field("about:blank", description="What kind of problem; about:blank: as the status says.")
    title: str
    status: int
    detail: str = ""
    errors: list[WrongField] | None = Field(None, description="What is wrong with the request, by field.")


def problem(
    status: int,
    detail: str = "",
    *,
    kind: str = "about:blank",
    title: str = "",
    errors: Sequence[WrongField] = (),
    headers: Mapping[str, str] | None = None,
    further: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """Return the response. ``further``: extension members (RFC 9457 3.2)."""
    shown: dict[str, Any] = {"type": kind, "title": title or HTTPStatus(status).phrase, "status": status}
    if detail:
        shown["detail"] = detail
    if errors:
        shown["errors"] = [each.model_dump(exclude_none=True) for each in errors]
    return JSONResponse({**(further or {}), **shown}, status, headers, media_type=MEDIA_TYPE)


def unavailable() -> JSONResponse:
    """Return the response to a request that cannot be served now."""
    headers = {"Retry-After": str(RETRY_AFTER)}
    return problem(503, "the service cannot answer now; nothing was changed, or it is not known yet", headers=headers)


def failed(error: Exception) -> JSONResponse:
    """Return the response to a fault of ours, which is logged."""
    log.error("request failed", kind=type(error).__name__, where=where(error))
    return problem(500, "an internal error, which was logged")


def register(app: FastAPI) -> None:
    """Turn expected exceptions into problems."""

    async def answered(request: Request, error: Exception) -> JSONResponse:  # FastAPI calls functions in threads
        return answer(request, error)

    for kind in EXPECTED:
        app.add_exception_handler(kind, answered)


def answer(request: Request, error: Exception) -> JSONResponse:
    """Return the response to one of the EXPECTED exceptions."""
    match error:
        case RequestValidationError():
            return _invalid(error)
        case HTTPException():
            return of_http(error)
        case StoreUnavailable():
            return unavailable()
        case _:
            return _refused(request, error)


def _refused(request: Request, error: Exception) -> JSONResponse:
    match error:
        case InvalidValue():
            outside = error.field in request.query_params or error.field in request.path_params
            place = {"parameter": error.field} if outside else {"pointer": f"/{error.field}"}
            return problem(422, str(error), errors=[WrongField(detail=str(error), **place)])
        case NotFound():
            return problem(404, str(error))
        case ConfigRejected():
            return problem(409, str(error), errors=[WrongField(detail=each) for each in error.mistakes])
        case Forbidden():
            return problem(403, str(error))
        case NoRoom():
            return problem(503, str(error), headers={"Retry-After": str(RETRY_AFTER)})
        case _ if isinstance(error, MISTAKES):
            return problem(422, str(error))
        case _:
            return problem(409, str(error))


def of_http(error: HTTPException) -> JSONResponse:
    """Return the problem that an exception of HTTP says."""
    detail = error.detail if error.detail != HTTPStatus(error.status_code).phrase else ""
    return problem(error.status_code, detail, headers=error.headers)


def _invalid(error: RequestValidationError) -> JSONResponse:
    errors = [_field_error(each) for each in error.errors()[:20]]
    return problem(422, "; ".join(each.detail for each in errors[:3]), errors=errors)


def _field_error(error: Mapping[str, Any]) -> WrongField:
    source, *path = error["loc"]
    detail = str(error["msg"]).removeprefix("Value error, ")
    name = ".".join(str(each) for each in path)
    if source == "body":
        place = "".join("/" + str(each).replace("~", "~0").replace("/", "~1") for each in path)
        return WrongField(detail=f"{name}: {detail}" if name else detail, pointer=place)
    if source == "header":
        return WrongField(detail=f"{name}: {detail}", header=name)
    return WrongField(detail=f"{name}: {detail}", parameter=name)

"""The API as one application, and its OpenAPI document."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from mta.web.api import audit, problems, service, suppressions, tokens

NOUNS = (audit, service, suppressions, tokens)

_ABOUT = """Every request has a token: `Authorization: Bearer imp_...`, made by `mta token add`.

Lists have pages: `next` is the `cursor` of the next one; with `Accept: text/csv` or `format=csv` a list is CSV.
Errors are problem details (RFC 9457). A POST with the header field `Idempotency-Key` may be repeated."""


def make_api() -> FastAPI:
    """Return the application; the guard of its port says who calls (``mta.web.admin``)."""
    app = FastAPI(
        title="Imprimatur",
        version=version("imprimatur-mta"),
        description=_ABOUT,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.register(app)
    for noun in NOUNS:
        app.include_router(noun.router)
    return app


def openapi() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    return make_api().openapi()

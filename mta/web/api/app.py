"""The API as one application, and its OpenAPI document."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from mta.web.api import (
    accounts,
    audit,
    breakers,
    complaints,
    consents,
    credentials,
    domains,
    events,
    jobs,
    keys,
    mailings,
    messages,
    problems,
    queue,
    sign_up_forms,
    suppressions,
    tokens,
    webhooks,
)
from mta.web.api.operators import blocklists, egress, ledger, privacy, reload, service, shaping, takedowns, tls, users

# ``ledger`` before ``consents``, whose addresses are paths of any length.
NOUNS = (
    accounts, audit, blocklists, breakers, complaints, ledger, consents, credentials, domains, egress, events, jobs,
    keys, mailings, messages, privacy, queue, reload, service, shaping, sign_up_forms, suppressions, takedowns, tls,
    tokens, users, webhooks,
)  # fmt: skip

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
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return app


def _document(app: FastAPI) -> dict[str, Any]:
    """Return the document of ``app``, with the bodies that handlers read themselves."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        _, schemas = models_json_schema(
            [(model, "validation") for model in messages.SCHEMAS], ref_template="#/components/schemas/{model}"
        )
        document["components"]["schemas"].update(schemas["$defs"])
        app.openapi_schema = document
    return app.openapi_schema


def openapi() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    return make_api().openapi()

"""Requests made from the OpenAPI document: no fault of ours, and every answer is one that the document has."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mta.web.api.app import openapi
from tests.unit.mta.web.api.rig import Api

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


def explore(api: Api, by: str, number: int) -> list[str]:
    """Send ``number`` requests of each operation; return the faults."""
    faults = []
    for found in schemathesis.openapi.from_dict(openapi()).get_all_operations():
        operation: Any = found.ok()

        @examples(
            max_examples=number, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
        )
        @given(case=operation.as_strategy())
        def run(case: Any) -> None:
            response = case.call(base_url=api.url, headers={"Authorization": f"Bearer {api.tokens[by]}"}, timeout=20)
            case.validate_response(response, checks=CHECKS)

        try:
            run()
        except Exception as error:
            faults.append(f"{operation.method} {operation.path}: {str(error)[:600]}")
        except BaseExceptionGroup as group:
            faults.append(f"{operation.method} {operation.path}: {str(group.exceptions[0])[:600]}")
    return faults


async def test_a_few_requests_of_each_operation(api: Api) -> None:
    assert await asyncio.to_thread(explore, api, "operator", 2) == []


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("by", ["operator", "abuse_desk", "shop"])
async def test_many_requests_of_each_operation(api: Api, by: str) -> None:
    api.port._tokens.configure(1e9, 10**9)
    assert await asyncio.to_thread(explore, api, by, 60) == []

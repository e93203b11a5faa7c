"""The whole OpenAPI document: every route by every role, methods that must change nothing, names that are hostile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from mta.admin.permissions import Role
from mta.web.api.app import openapi
from tests.unit.mta.web.api.rig import Api
from tests.unit.mta.web.tables import contents, different

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCUMENT = openapi()
HOSTILE = [
    "../../etc/passwd", "'; drop table account; --", "<script>alert(1)</script>", "\u202e\u0000x", "%00", "a" * 5000,
    "${7*7}{{7*7}}", "\U0001f600", "-1", "0", "9" * 30, "shop\r\nX-Evil: 1", "null", " ",
]  # fmt: skip
EXAMPLES = {
    "domain": "shop.example",
    "profile": "marketing",
    "content": "RnJvbTogbmV3c0BzaG9wLmV4YW1wbGUKVG86IGFubkBleGFtcGxlLm5ldApTdWJqZWN0OiB4Cgp5Cg==",
    "url": "https://h.example/x",
}  # of fields whose type says too little
MESSAGE = {"from": "news@shop.example", "to": ["ann@example.net"], "subject": "x", "text": "y"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def names() -> list[str]:
    return [f"{method} {path}" for path, method, _ in operations()]


def filled(path: str, value: str = "x") -> str:
    return re.sub(r"\{[^}]+\}", value, path)


async def test_each_operation_says_its_scope_its_roles_and_its_problems() -> None:
    for path, method, operation in operations():
        assert re.fullmatch(r"[a-z-]+:(read|write)", operation["x-scope"]), path
        assert operation["x-roles"], path
        assert operation["security"], path
        assert operation["operationId"].count(".") == 1
        assert operation.get("summary") or operation["description"], path
        assert {"401", "403", "404", "422"} <= operation["responses"].keys(), (method, path)
        verb = "read" if method == "GET" else "write"
        assert operation["x-scope"].endswith(verb), (method, path)


async def test_every_route_refuses_each_role_that_may_not(api: Api) -> None:
    api.port._guesses.configure(1e6, 10**6)
    tokens = {Role.ABUSE_DESK: "abuse_desk", Role.ACCOUNT: "shop"}
    refused = 0
    for path, method, operation in operations():
        assert (await api.ask(method, filled(path), by=None)).status == 401, path
        for role, by in tokens.items():
            if role.value not in operation["x-roles"]:
                answer = await api.ask(method, filled(path), by=by, json={})
                assert answer.status in (403, 422), (method, path, answer.text)
                refused += answer.status == 403
    assert refused > 20


async def test_reading_changes_nothing(api: Api) -> None:
    before = await contents(api.store)
    for path, method, _ in operations():
        for verb in ("GET", "HEAD", "OPTIONS") if method == "GET" else ("HEAD", "OPTIONS"):
            answer = await api.ask(verb, filled(path, "shop"))
            assert answer.status < 500, (verb, path, answer.text)
    assert different(before, await contents(api.store)) == []


@pytest.mark.parametrize("value", HOSTILE)
async def test_no_name_and_no_value_is_a_fault_of_ours(api: Api, value: str) -> None:
    for path, method, operation in operations():
        query = {each["name"]: value for each in operation.get("parameters", ()) if each["in"] == "query"}
        body = {"json": {"reason": value, "name": value, "address": value}} if method != "GET" else {}
        try:
            answer = await api.ask(method, filled(path, "{}").format(*[_quoted(value)] * 9), params=query, **body)
        except UnicodeEncodeError:
            continue
        assert answer.status < 500, (method, path, value, answer.text)
        assert "X-Evil" not in answer.headers


def _quoted(value: str) -> str:
    from urllib.parse import quote

    return quote(value.encode("utf-8", "surrogatepass"), safe="") or "x"


async def test_times_out_of_range_are_no_fault(api: Api) -> None:
    for at in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        assert (await api.get("/v1/queue", params={"before": at})).status == 200
        assert (await api.get("/v1/queue/summary", params={"before": at})).status == 200


async def test_lists_have_pages_and_csv(api: Api) -> None:
    lists = [
        path for path, method, operation in operations()
        if method == "GET" and "cursor" in {each["name"] for each in operation.get("parameters", ())}
    ]  # fmt: skip
    assert len(lists) >= 12
    for path in lists:
        plain = await api.get(filled(path, "shop"), params={"limit": "1"})
        assert set(plain.json) == {"items", "next"}, path
        table = await api.get(filled(path, "shop"), headers={"Accept": "text/csv"})
        assert table.headers["Content-Type"].startswith("text/csv"), path
        assert table.text.splitlines(), path


async def test_what_belongs_to_an_account_is_reached_by_no_other(api: Api) -> None:
    """IDOR: each route with an id of one account's thing, by the token of another."""
    made = {
        "account": "shop",
        "username": (await api.post("/v1/credentials", {}, by="shop")).json["username"],
        "domain": "shop.example",
        "mailing": (await api.post("/v1/mailings", {"name": "m", "topic": "t", "list": "l"}, by="shop")).json["id"],
        "message": (await api.post("/v1/messages", MESSAGE, by="shop")).json["id"],
        "number": (await api.post("/v1/webhooks", {"url": "https://h.example/x", "paused": True}, by="shop")).json[
            "webhook"]["id"],
        "case": (await api.post("/v1/complaints", {
            "account": "shop", "source": "recipient", "summary": "spam", "recipient": "eve@example.net"})).json["case"],
    }  # fmt: skip
    seen = 0
    for path, method, operation in operations():
        parameters = re.findall(r"\{([^}]+)\}", path)
        own = [name for name in parameters if name in made]
        if not own or "account" not in operation["x-roles"] or path.startswith(("/v1/jobs", "/v1/keys")):
            continue
        target = path
        for name in parameters:
            target = target.replace(f"{{{name}}}", str(made.get(name, "de" if name == "language" else "1")))
        body = {"json": _body(operation)} if method != "GET" else {}
        answer = await api.ask(method, target, by="club", **body)
        assert answer.status in (403, 404), (method, target, answer.status, answer.text)
        if method == "GET":
            mine = await api.ask(method, target, by="shop")
            assert mine.status == 200 or "references" in target, (target, mine.text)
        seen += 1
    assert seen >= 24


async def test_another_accounts_name_in_a_query_or_body_is_unknown(api: Api) -> None:
    """IDOR: each route that takes the name of an account beside the path, by the token of another."""
    seen, reached = 0, []
    for path, method, operation in operations():
        if "account" not in operation["x-roles"]:
            continue
        query = [each for each in operation.get("parameters", ()) if each["in"] == "query"]
        in_query = "account" in {each["name"] for each in query}
        needed = {each["name"]: str(_example(each["schema"])) for each in query if each["required"]}
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        in_body = "account" in _resolved(content).get("properties", {})
        target = filled(path, "1").replace("/v1/consents/1", "/v1/consents/eve@example.net")
        target = target.replace("/v1/suppressions/1", "/v1/suppressions/eve@example.net")
        if in_query:
            body = MESSAGE if path == "/v1/messages" else _body(operation)
            more = {"json": body} if content else {}
            answer = await api.ask(method, target, by="club", params=needed | {"account": "shop"}, **more)
        elif in_body:
            answer = await api.ask(method, target, by="club", json=_body(operation) | {"account": "shop"})
        else:
            continue
        if answer.status not in (403, 404):
            reached.append(f"{method} {target}: {answer.status} {answer.text[:200]}")
        seen += 1
    assert "\n".join(reached) == ""
    assert seen >= 20


async def test_an_operation_that_lists_a_role_does_not_refuse_it(api: Api) -> None:
    """What only an operator decides says so in the document."""
    for path, method, operation in operations():
        if "account" in operation["x-roles"] and method != "GET":
            body = _body(operation) if "requestBody" in operation else None
            answer = await api.ask(method, filled(path, "1"), by="club", json=body)
            told = answer.text if answer.status == 403 else ""
            assert "only an operator" not in told or "{action}" in path, (method, path, told)


def _body(operation: dict[str, Any]) -> Any:
    """A body that fits, so that the answer is about whose it is."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    return _example(content["schema"]) if content else {}


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return found


def _example(schema: dict[str, Any]) -> Any:
    if "$ref" in schema:
        return _example(_resolved(schema))
    if "enum" in schema:
        return schema["enum"][0]
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return _example(choices[0])
    match schema.get("type"):
        case "object":
            required = schema.get("required", [])
            return {name: EXAMPLES.get(name) or _example(schema["properties"][name]) for name in required}
        case "array":
            return [_example(schema["items"])] * schema.get("minItems", 0)
        case "boolean":
            return True
        case "integer" | "number":
            return 1
        case _:
            return {"email": "ann@example.net", "date-time": "2099-01-01T00:00:00Z"}.get(
                schema.get("format", ""), "xxx"
            )

"""Who is let in: tokens, their rights, limits; and what every answer carries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from config.schema import Settings
from mta.admin.permissions import Role
from mta.web import admin
from tests.unit.mta.web.api.rig import Api

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("field", [None, "", "Bearer", "Bearer x", "Basic {}", "bearer imp_{}", "Bearer {} x", "{}"])
async def test_without_a_valid_token_nothing_is_reached(api: Api, field: str | None) -> None:
    headers = {} if field is None else {"Authorization": field.format(api.tokens["operator"])}
    answer = await api.get("/v1/suppressions", by=None, headers=headers)
    assert (answer.status, answer.json["status"]) == (401, 401)
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="imprimatur"'


async def test_the_document_is_public_and_nothing_else(api: Api) -> None:
    assert (await api.get("/v1/openapi.json", by=None)).json["openapi"].startswith("3.1")
    for path in ("/v1/", "/v1/health", "/v1/openapi.json/", "/v1/nothing", "/v1/../v1/health"):
        assert (await api.get(path, by=None)).status in (401, 404)


async def test_a_revoked_or_expired_token_is_none_at_once(api: Api) -> None:
    await api.token("short", Role.OPERATOR, expires_at=datetime.now(UTC) + timedelta(seconds=-1))
    assert (await api.get("/v1/health", by="short")).status == 401
    await api.token("gone", Role.OPERATOR)
    assert (await api.get("/v1/health", by="gone")).status == 200
    shown = (await api.get("/v1/tokens/gone")).json
    assert (shown["last_used_from"], shown["last_used_at"] is not None) == ("127.0.0.1", True)
    assert (await api.post("/v1/tokens/gone/revoke", {})).status == 204
    assert (await api.get("/v1/health", by="gone")).status == 401
    assert (await api.post("/v1/tokens/gone/revoke", {})).status == 409


async def test_a_token_is_shown_once_and_stored_as_a_digest(api: Api) -> None:
    made = await api.post("/v1/tokens", {"name": "deploy", "role": "abuse_desk", "scopes": ["suppressions:read"]})
    text = made.json["token"]
    assert (made.status, text.startswith("imp_")) == (201, True)
    async with api.store._database.session() as connection:
        stored = await connection.fetchval("select to_jsonb(t)::text from api_token t where name = 'deploy'")
    assert text not in stored
    assert text not in (await api.get("/v1/tokens")).text
    assert text not in (await api.get("/v1/audit")).text
    api.tokens["deploy"] = text
    assert (await api.get("/v1/suppressions", by="deploy")).status == 200
    refused = await api.post("/v1/suppressions", {"address": "a@b.example", "reason": "x"}, by="deploy")
    assert (refused.status, refused.json["detail"]) == (403, "this needs a token with the scope suppressions:write")


async def test_no_token_gives_more_than_it_has(api: Api) -> None:
    await api.token("maker", Role.OPERATOR, scopes=["tokens:write"])
    answer = await api.post("/v1/tokens", {"name": "more", "role": "operator"}, by="maker")
    assert answer.status == 403
    answer = await api.post("/v1/tokens", {"name": "more", "role": "abuse_desk", "scopes": ["tokens:write"]})
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, "/scopes")
    for by in ("abuse_desk", "shop"):
        assert (await api.get("/v1/tokens", by=by)).status == 403


async def test_guesses_are_counted_and_tokens_have_their_rate(api: Api) -> None:
    tight = Settings.model_validate({"web": {"admin": {"rate": 1, "burst": 4}}})
    api.port.configure(tight, api.context.profiles)
    try:
        await api.token("busy", Role.OPERATOR)
        answers = [await api.get("/v1/health", by="busy") for _ in range(5)]
        assert [each.status for each in answers] == [200] * 4 + [429]
        assert answers[0].headers["RateLimit-Policy"] == '"token";q=4;w=4'
        assert answers[0].headers["RateLimit"] == '"token";r=3;t=1'
        assert answers[-1].headers["Retry-After"] == "1"
        wrong = {"Authorization": "Bearer imp_wrong"}
        statuses = [(await api.get("/v1/health", by=None, headers=wrong)).status for _ in range(30)]
        assert (statuses[0], statuses[-1]) == (401, 429)
    finally:
        api.port.configure(api.settings, api.context.profiles)
        api.port._guesses = admin.RequestRates(100, 100)


async def test_a_body_is_bounded(api: Api) -> None:
    answer = await api.ask("POST", "/v1/suppressions", data=b"x" * (admin.MAX_BODY + 1))
    assert (answer.status, answer.headers["Connection"]) == (413, "close")


async def test_a_key_allows_no_larger_body_but_for_mail(api: Api) -> None:
    large = {"data": b"x" * (admin.MAX_BODY + 1), "headers": {"Idempotency-Key": "large"}}
    assert (await api.ask("POST", "/v1/suppressions", **large)).status == 413
    assert (await api.ask("POST", "/v1/messages", by="shop", **large)).status == 415, "it was read"


async def test_without_the_scope_a_body_with_a_key_is_not_read(api: Api) -> None:
    await api.token("reader", Role.OPERATOR, scopes=["service:read"])
    answer = await api.ask(
        "POST", "/v1/messages", by="reader", data=b"x" * 1000, headers={"Idempotency-Key": "no scope"}
    )
    assert answer.status == 403
    async with api.store._database.session() as connection:
        assert not await connection.fetchval("select count(*) from idempotency where key = 'no scope'")


async def test_a_body_with_a_key_is_held_within_the_memory_for_mail(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    key, budget = {"Idempotency-Key": "memory"}, api.sender.budget
    seen = []

    async def watched(*_: object, **__: object) -> None:
        seen.append(budget.used)

    monkeypatch.setattr(api.store.idempotency, "end", watched)
    await api.ask("POST", "/v1/messages", by="shop", data=b"x" * 5000, headers=key)
    assert (seen, budget.used) == ([5000], 0)
    most, budget.most = budget.most, 4000
    try:
        answer = await api.ask("POST", "/v1/messages", by="shop", data=b"x" * 5000, headers=key)
    finally:
        budget.most = most
    assert (answer.status, answer.headers["Connection"], budget.used) == (503, "close", 0)


async def test_every_answer_carries_its_fields(api: Api) -> None:
    for answer in (await api.get("/v1/health"), await api.get("/x"), await api.get("/v1/health", by=None)):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Set-Cookie" not in answer.headers
        assert not [name for name in answer.headers if name.startswith("Access-Control-")]
    answer = await api.ask("DELETE", "/v1/health")
    assert (answer.status, answer.json["title"], answer.headers["Allow"]) == (405, "Method Not Allowed", "GET")

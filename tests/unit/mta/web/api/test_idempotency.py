"""A POST with an Idempotency-Key is done once: repeated, at the same time, after a crash."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from mta.web.idempotency import session_of
from tests.unit.mta.web.api.rig import Answer, Api

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = {"from": "news@shop.example", "to": ["ann@example.net"], "subject": "x", "text": "y"}


async def send(api: Api, key: str, body: object = BODY) -> Answer:
    return await api.post("/v1/messages", body, by="shop", headers={"Idempotency-Key": key})


async def messages(api: Api) -> int:
    async with api.store._database.session() as connection:
        count: int = await connection.fetchval("select count(*) from message")
        return count


async def test_a_repetition_gets_the_first_answer(api: Api) -> None:
    before = await messages(api)
    first = await send(api, "k1")
    again = await send(api, "k1")
    assert (first.status, again.status, again.json) == (201, 201, first.json)
    assert (first.headers.get("Idempotency-Replayed"), again.headers["Idempotency-Replayed"]) == (None, "true")
    assert await messages(api) == before + 1
    other = await send(api, "k1", {**BODY, "subject": "another"})
    assert (other.status, "another request" in other.json["detail"]) == (422, True)
    assert (await api.post("/v1/messages?account=club", BODY, headers={"Idempotency-Key": "k1"})).status == 422
    assert await messages(api) == before + 1


async def test_refusals_are_repeated_too_and_what_may_be_tried_again_is_not(api: Api) -> None:
    refused = await send(api, "k2", {**BODY, "from": "x@club.example"})
    assert (refused.status, (await send(api, "k2", {**BODY, "from": "x@club.example"})).json) == (422, refused.json)
    most, api.sender.budget.most = api.sender.budget.most, 10
    try:
        assert (await send(api, "k3")).status == 503
    finally:
        api.sender.budget.most = most
    assert (await send(api, "k3")).status == 201


async def test_many_at_once_are_one(api: Api) -> None:
    before = await messages(api)
    answers = await asyncio.gather(*(send(api, "k4") for _ in range(8)))
    assert {answer.status for answer in answers} <= {201, 409}
    assert [answer.status for answer in answers].count(201) >= 1
    assert (await send(api, "k4")).status == 201
    assert await messages(api) == before + 1


async def test_what_a_process_that_died_had_queued_is_found_again(api: Api) -> None:
    assert (await send(api, "k5")).status == 201
    before = await messages(api)
    async with api.store._database.session() as connection:  # as if the process had died before it stored the result
        await connection.execute(
            "update idempotency set status = null, body = null, begun_at = now() - interval '1 hour' where key = 'k5'"
        )
    again = await send(api, "k5")
    assert (again.status, "by the same request before" in again.json["reply"]["text"]) == (201, True)
    assert await messages(api) == before


async def test_a_running_one_is_waited_for(api: Api) -> None:
    token = (await api.store.api_tokens.by_name("shop")).id
    claim = await api.store.idempotency.claim(token, "k6", hashlib.sha256(b"other").digest())
    assert claim
    assert (await send(api, "k6")).status == 422
    async with api.store._database.session() as connection:
        line = b"POST /v1/messages?\n"
        body = b'{"from": "news@shop.example", "to": ["ann@example.net"], "subject": "x", "text": "y"}'
        await connection.execute(
            "update idempotency set request = $1 where key = 'k6'", hashlib.sha256(line + body).digest()
        )
    waiting = await send(api, "k6")
    assert (waiting.status, waiting.headers["Retry-After"]) == (409, "5")


@pytest.mark.parametrize("key", ["", "x" * 201])
async def test_a_key_that_is_none_is_refused(api: Api, key: str) -> None:
    assert (await send(api, key)).status in (201, 400)
    assert session_of(1, "a") != session_of(2, "a")


async def test_a_secret_is_not_stored_in_clear(api: Api) -> None:
    key = {"Idempotency-Key": "c1"}
    made = [await api.post("/v1/credentials", {}, by="shop", headers=key) for _ in range(2)]
    assert made[0].json == made[1].json
    async with api.store._database.session() as connection:
        stored = await connection.fetchval("select body from idempotency where key = 'c1'")
    assert made[0].json["secret"].encode() not in stored


async def test_other_changes_too(api: Api) -> None:
    body = {"address": "once@example.net", "reason": "x"}
    for _ in range(3):
        answer = await api.post("/v1/suppressions", body, headers={"Idempotency-Key": "s1"})
        assert (answer.status, answer.json["is_new"]) == (201, True)

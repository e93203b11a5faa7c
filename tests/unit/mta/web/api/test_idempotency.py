"""A POST with an Idempotency-Key is done once: repeated, at the same time, after a crash."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mta.mail.identity import parse_id
from mta.store.journal.idempotency import RequestClaimed
from mta.store.postgres.errors import StoreUnavailable
from mta.web import idempotency
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


async def test_what_was_queued_is_looked_for_from_the_first_request_on(api: Api) -> None:
    stored, request = api.store.idempotency, hashlib.sha256(b"the request").digest()
    async with api.store._database.session() as connection:
        token = await connection.fetchval("select min(id) from api_token")
    assert await stored.claim(token, "k-first", request) == RequestClaimed(None)
    await stored.free(token, "k-first")
    again = await stored.claim(token, "k-first", request)
    await stored.free(token, "k-first")
    assert again == await stored.claim(token, "k-first", request)
    assert isinstance(again, RequestClaimed)
    assert again.first_at is not None
    assert datetime.now(UTC) - again.first_at < timedelta(minutes=1)


async def test_what_a_process_that_died_had_queued_is_found_again(api: Api) -> None:
    assert (await send(api, "k5")).status == 201
    before = await messages(api)
    await as_if_it_had_died(api, "k5")
    again = await send(api, "k5")
    assert (again.status, "by the same request before" in again.json["reply"]["text"]) == (201, True)
    assert await messages(api) == before


BATCH = {"messages": [{**BODY, "subject": f"number {n}"} for n in range(3)]}


async def as_if_it_had_died(api: Api, key: str) -> None:
    """Take the stored result away: the process died before it was stored."""
    async with api.store._database.session() as connection:
        await connection.execute(
            "update idempotency set status = null, body = null, begun_at = now() - interval '1 hour' where key = $1",
            key,
        )


def statuses(answer: Answer) -> list[int]:
    assert answer.status == 200, answer.text
    return [each["http_status"] for each in answer.json["results"]]


async def test_an_outage_in_a_batch_is_a_result_and_the_repetition_sends_what_is_missing(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, send_one, calls = await messages(api), api.sender.send, 0

    async def failing_once(*given: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StoreUnavailable("the database is away")
        return await send_one(*given, **more)

    monkeypatch.setattr(api.sender, "send", failing_once)
    first = await send(api, "b1", BATCH)
    assert statuses(first) == [201, 503, 201]
    assert first.json["results"][1]["reply"]["code"] == 451
    assert await messages(api) == before + 2
    again = await send(api, "b1", BATCH)
    assert statuses(again) == [201, 201, 201]
    ids = [each["id"] for each in again.json["results"]]
    assert [ids[0], ids[2]] == [first.json["results"][n]["id"] for n in (0, 2)]
    assert (await messages(api), calls) == (before + 3, 4)
    assert (await send(api, "b1", BATCH)).headers["Idempotency-Replayed"] == "true"


async def test_a_batch_that_a_process_had_sent_in_part_is_completed(api: Api) -> None:
    key, before = {"Idempotency-Key": "b2"}, await messages(api)
    first = await api.post("/v1/messages", BATCH, by="shop", headers=key)
    async with api.store._database.session() as connection:
        second = parse_id(first.json["results"][1]["id"])
        await connection.execute("update message set record = record - 'session' where id = $1", second)
    await as_if_it_had_died(api, "b2")
    again = await api.post("/v1/messages", BATCH, by="shop", headers=key)
    assert statuses(again) == [201, 201, 201]
    texts = ["by the same request before" in each["reply"]["text"] for each in again.json["results"]]
    assert texts == [True, False, True]
    assert await messages(api) == before + 4


async def test_a_result_that_is_too_large_to_keep_is_found_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    before = await messages(api)
    monkeypatch.setattr(idempotency, "MAX_RESULT", 10)
    first = await send(api, "k7")
    again = await send(api, "k7")
    assert (first.status, again.status, again.json["id"]) == (201, 201, first.json["id"])
    assert await messages(api) == before + 1


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

"""``POST /v1/messages``: raw and in parts, alone and in a batch, accepted and refused."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import re
from email.message import EmailMessage
from typing import Any

import pytest

from config.schema import RateLimitsSettings
from mta.admin.permissions import Role
from mta.mail.address import Address
from mta.mail.identity import parse_id
from mta.store.journal.record_details import unpack
from mta.submission.rate_limit import RateLimit
from tests.unit.mta.web.api.rig import Api

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/v1/messages"
RAW = {"Content-Type": "message/rfc822"}
MESSAGE = b"""\
From: Shop <news@shop.example>
To: ann@example.net
Subject: Order 17
Date: Mon, 30 Nov 2026 08:00:00 +0000

Thanks.
"""
WHERE = {"from": "news@shop.example", "to": "ann@example.net"}


def parts(**more: Any) -> dict[str, Any]:
    return {
        "from": "Shop <news@shop.example>",
        "to": ["ann@example.net"],
        "subject": "Order 17",
        "text": "Thanks.",
        **more,
    }


async def stored(api: Api, message: str) -> EmailMessage:
    content = await api.store.messages.content(parse_id(message))
    assert isinstance(content, bytes)
    found = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


async def queued(api: Api) -> int:
    async with api.store._database.session() as connection:
        count: int = await connection.fetchval("select count(*) from queue")
        return count


async def test_raw_is_committed_and_due_for_any_worker(api: Api) -> None:
    told = asyncio.Event()
    await api.store.listen("due", lambda _: told.set())
    answer = await api.ask(
        "POST",
        PATH,
        by="shop",
        data=MESSAGE,
        headers=RAW,
        params=WHERE,
    )
    assert (answer.status, answer.json["reply"]["code"]) == (201, 250)
    (recipient,) = answer.json["recipients"]
    assert recipient == {
        "address": "ann@example.net", "status": "queued", "message": answer.json["id"], "reply": None, "holds": [],
    }  # fmt: skip
    content = await api.store.messages.content(parse_id(answer.json["id"]))
    assert isinstance(content, bytes)
    assert b"\r\nThanks.\r\n" in content
    assert content.count(b"\n") == content.count(b"\r\n")
    assert b"with HTTP id " + answer.json["id"].encode() in content
    async with api.store._database.session() as connection:
        row = await connection.fetchrow("select details, lease from message m join queue q on q.message_id = m.id")
    assert row is not None
    assert row["lease"] is None
    assert unpack(row["details"])["origin"]["credential"] == "token shop"
    async with asyncio.timeout(5):
        await told.wait()


async def test_in_parts_with_all_that_mail_can_have(api: Api) -> None:
    picture = base64.b64encode(b"\x89PNG" + bytes(300)).decode()
    answer = await api.post(
        PATH,
        parts(
            **{"from": {"address": "news@shop.example", "name": 'Möbel "&" Söhne'}},
            to=["Ann Ärger <ann@example.net>", "bob@example.net"],
            cc=["carl@example.net"],
            bcc=["dora@example.net"],
            reply_to=["help@shop.example"],
            subject="Ihre Bestellung: Stühle, 3 Stück – und ein sehr langer Betreff, der gefaltet werden muss " * 2,
            text="Grüße\n.\n..\nFrom here\n" + "x" * 2000,
            html="<p>Grüße <img src='cid:logo'></p>",
            headers={"X-Order": "17", "Message-ID": "<17@shop.example>"},
            attachments=[
                {"filename": "logo.png", "content": picture, "content_type": "image/png", "content_id": "logo"},
                {"filename": "Rechnung ä.pdf", "content": picture, "content_type": "application/pdf"},
            ],
        ),
        by="shop",
    )
    assert answer.status == 201, answer.text
    assert {each["address"]: each["status"] for each in answer.json["recipients"]} == dict.fromkeys(
        ["ann@example.net", "bob@example.net", "carl@example.net", "dora@example.net"], "queued"
    )
    message = await stored(api, answer.json["id"])
    assert message["From"].addresses[0].display_name == 'Möbel "&" Söhne'
    assert [each.addr_spec for each in message["To"].addresses] == ["ann@example.net", "bob@example.net"]
    assert message["To"].addresses[0].display_name == "Ann Ärger"
    assert "dora" not in message.as_string()
    assert message["Subject"].startswith("Ihre Bestellung: Stühle, 3 Stück – und")
    assert (message["X-Order"], message["Message-ID"]) == ("17", "<17@shop.example>")
    body, html = message.get_body(["plain"]), message.get_body(["html"])
    assert body is not None
    assert html is not None
    assert body.get_content().replace("\r\n", "\n") == "Grüße\n.\n..\nFrom here\n" + "x" * 2000
    assert "Grüße" in html.get_content()
    kinds = [each.get_content_type() for each in message.walk()]
    assert kinds == [
        "multipart/mixed", "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png",
        "application/pdf",
    ]  # fmt: skip
    (paper,) = message.iter_attachments()
    assert (paper.get_filename(), paper.get_content()) == ("Rechnung ä.pdf", b"\x89PNG" + bytes(300))


async def test_a_refusal_is_a_problem_with_the_reply_of_smtp(api: Api) -> None:
    await api.store.suppressions.add(1, Address.parse("gone@example.net"), detail="left")
    before = await queued(api)
    answer = await api.post(PATH, parts(to=["gone@example.net"]), by="shop")
    assert answer.status == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["type"] == "urn:imprimatur:problem:refused"
    assert answer.json["reply"]["code"] == 550
    assert "suppressed" in answer.json["detail"]
    assert await queued(api) == before

    some = await api.post(PATH, parts(to=["gone@example.net", "ann@example.net"]), by="shop")
    assert some.status == 201
    assert {each["address"]: each["status"] for each in some.json["recipients"]} == {
        "gone@example.net": "refused", "ann@example.net": "queued",
    }  # fmt: skip


async def test_an_account_speaks_for_itself_only(api: Api) -> None:
    foreign = await api.post(PATH, parts(**{"from": "news@club.example"}), by="shop")
    assert (foreign.status, "sender_identity" in foreign.json["detail"]) == (422, True)
    assert (await api.post(PATH, parts(), by="shop", params={"account": "club"})).status == 404
    assert (await api.post(PATH, parts(), by="operator", params={"account": "shop"})).status == 201
    assert (await api.post(PATH, parts(), by="operator")).json["errors"][0]["pointer"] == "/account"
    assert (await api.post(PATH, parts(), by="abuse_desk", params={"account": "shop"})).status == 403


async def test_a_batch_has_a_result_for_each(api: Api) -> None:
    answer = await api.post(
        PATH, {"messages": [parts(), parts(to=["gone@example.net"]), parts(to=["bob@example.net"])]}, by="shop"
    )
    assert answer.status == 200
    assert [each["http_status"] for each in answer.json["results"]] == [201, 422, 201]


async def test_an_error_in_a_batch_is_the_result_of_its_message(api: Api) -> None:
    before, limits = await queued(api), api.sender.limits
    wrong = parts(headers={"Bcc": "x@y.example"})
    many = parts(to=["ann@example.net", "bob@example.net", "carl@example.net"])
    try:
        api.sender.limits = limits.model_copy(update={"recipients": 2})
        answer = await api.post(PATH, {"messages": [parts(), wrong, many, parts()]}, by="shop")
    finally:
        api.sender.limits = limits
    assert answer.status == 200, answer.text
    results = answer.json["results"]
    assert [each["http_status"] for each in results] == [201, 422, 422, 201]
    assert [results[n]["reply"]["text"].partition(":")[0] for n in (1, 2)] == [
        "headers", "a message has 1 to 2 recipients",
    ]  # fmt: skip
    assert await queued(api) == before + 2


async def test_a_batch_of_no_account_is_refused_before_any_is_sent(api: Api) -> None:
    before = await queued(api)
    for params, status in (({}, 422), ({"account": "none"}, 404)):
        answer = await api.post(PATH, {"messages": [parts()]}, by="operator", params=params)
        assert answer.status == status, answer.text
    assert await queued(api) == before


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"to": []}, "/to"),
        ({"to": ["ann"]}, "/to/0"),
        ({"to": ["ann@example.net>\r\nRCPT TO:<x@y.example"]}, "/to/0"),
        ({"subject": "x\r\nBcc: x@y.example"}, "/subject"),
        ({"from": {"address": "news@shop.example", "name": "x\r\nBcc: y"}}, "/from/name"),
        ({"headers": {"X-A": "1\r\nBcc: x@y.example"}}, "/headers/X-A"),
        ({"headers": {"X-A\r\nBcc": "x"}}, "/headers"),
        ({"headers": {"Bcc": "x@y.example"}}, "/headers"),
        ({"headers": {"Content-Type": "text/html"}}, "/headers"),
        ({"headers": {"X-MTA-Stream": "transactional"}}, "/headers"),
        ({"text": None}, "/text"),
        ({"attachments": [{"filename": "a", "content": "?"}]}, "/attachments/0/content"),
        ({"attachments": [{"filename": "a", "content": "", "content_type": "multipart/mixed"}]}, "/attachments"),
        ({"attachments": [{"filename": "a", "content": "", "content_type": "x/y; b=c"}]}, "/attachments"),
        ({"options": {"expire": "soon"}}, "/options/expire"),
        ({"options": {"queue": "fast"}}, "/options/queue"),
        ({"unknown": 1}, "/unknown"),
    ],
)
async def test_the_wrong_part_is_named(api: Api, more: dict[str, Any], pointer: str) -> None:
    answer = await api.post(PATH, parts(**more), by="shop")
    assert answer.status == 422, answer.text
    assert [each["pointer"] for each in answer.json["errors"]] == [pointer]


async def test_options_are_those_of_smtp(api: Api) -> None:
    answer = await api.post(PATH, parts(options={"stream": "marketing", "topic": "offers"}), by="shop")
    assert (answer.status, answer.json["reply"]["status"]) == (422, "5.7.1")
    assert "sends no marketing mail" in answer.json["detail"]
    answer = await api.post(PATH, parts(options={"stream": "transactional", "expire": "2h"}), by="shop")
    assert answer.status == 201
    assert "X-MTA" not in (await stored(api, answer.json["id"])).as_string()


@pytest.mark.parametrize("kind", ["text/plain", "", "multipart/form-data; boundary=x", "application/jsonx"])
async def test_other_types_are_refused(api: Api, kind: str) -> None:
    answer = await api.ask("POST", PATH, by="shop", data=b"x", headers={"Content-Type": kind})
    assert (answer.status, answer.headers["Accept-Post"]) == (415, "application/json, message/rfc822")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"messages": []}', b"\xff", b"[" * 100_000])
async def test_what_is_no_message_is_refused(api: Api, body: bytes) -> None:
    answer = await api.ask("POST", PATH, by="shop", data=body, headers={"Content-Type": "application/json"})
    assert answer.status == 422


async def test_large_ones_go_over_the_disk_and_too_large_ones_nowhere(api: Api) -> None:
    line = b"0123456789" * 7 + b"\n"
    large = MESSAGE + line * (3 * 2**20 // len(line))
    answer = await api.ask("POST", PATH, by="shop", data=large, headers=RAW, params=WHERE)
    assert answer.status == 201, answer.text
    assert api.sender.budget.used == 0
    limits = api.sender.limits
    try:
        api.sender.limits = limits.model_copy(update={"message_size": 10_000})
        for body in (large, _chunked(large)):
            answer = await api.ask("POST", PATH, by="shop", data=body, headers=RAW, params=WHERE)
            assert answer.status == 413
        assert (await api.post(PATH, parts(text="x" * 20_000), by="shop")).status == 413
    finally:
        api.sender.limits = limits
    assert api.sender.budget.used == 0


async def _chunked(body: bytes) -> Any:
    for start in range(0, len(body), 100_000):
        yield body[start : start + 100_000]


async def test_without_memory_a_message_is_put_off(api: Api) -> None:
    most, api.sender.budget.most = api.sender.budget.most, 100
    try:
        answer = await api.post(PATH, parts(), by="shop")
        assert (answer.status, answer.headers["Retry-After"], answer.json["reply"]["code"]) == (503, "60", 452)
    finally:
        api.sender.budget.most = most


async def test_one_that_is_too_fast_is_told_when_to_come_again(api: Api) -> None:
    await api.token("hasty", Role.ACCOUNT, "shop")
    submission, slow = api.sender._submission, RateLimitsSettings(credential_rate=0.002, credential_burst=2)
    before, submission.rate_limit = submission.rate_limit, RateLimit(api.store.quotas, slow)
    try:
        answers = [await api.post(PATH, parts(), by="hasty") for _ in range(5)]
    finally:
        submission.rate_limit = before
    assert [each.status for each in answers[:2]] == [201, 201]
    refused = answers[-1]
    said = re.fullmatch(r"rate: token hasty submits more than .*; try again in (\d+) s", refused.json["reply"]["text"])
    assert said is not None, refused.text
    assert (refused.status, refused.headers["Retry-After"]) == (429, said[1])
    assert int(said[1]) > 60


async def test_raw_is_checked_as_over_smtp(api: Api) -> None:
    for content, text in (
        (MESSAGE + b"a\rb\n", "bare"),
        (MESSAGE + b"x" * 2000, "998"),
        (MESSAGE + b"\0", "NUL"),
        (b"no header\n", "headers"),
    ):
        answer = await api.ask("POST", PATH, by="shop", data=content, headers=RAW, params=WHERE)
        assert (answer.status, text in answer.json["detail"]) == (422, True), answer.text
    for query in (
        {"to": "ann@example.net"},
        WHERE | {"from": "x"},
        {"from": ""},
        {"from": "", "to": "x"},
    ):
        answer = await api.ask("POST", PATH, by="shop", data=MESSAGE, headers=RAW, params=query)
        assert answer.status == 422

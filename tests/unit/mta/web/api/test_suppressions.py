"""``/v1/suppressions``: by an operator for all, by an account for itself."""

from __future__ import annotations

import csv
import io

import pytest

from mta.mail.address import Address
from policy.permission.suppression import Reason
from tests.unit.mta.web.api.rig import Api

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/v1/suppressions"


async def test_added_shown_and_lifted_with_its_rows_in_the_audit(api: Api) -> None:
    added = await api.post(PATH, {"address": "Ann@example.net", "reason": "asked by phone", "account": "shop"})
    assert (added.status, added.json) == (201, {"is_new": True, "cancelled": 0})
    again = await api.post(PATH, {"address": "ann@example.net", "reason": "again", "account": "shop"})
    assert (again.status, again.json["is_new"]) == (200, False)
    (shown,) = (await api.get(f"{PATH}/ann@example.net")).json
    assert (shown["account"], shown["detail"], shown["evidence"]) == ("shop", "asked by phone", "by token operator")

    tried = await api.post(f"{PATH}/ann@example.net/lift", {"reason": "back", "account": "shop", "dry_run": True})
    assert (tried.status, len((await api.get(f"{PATH}/ann@example.net")).json)) == (200, 1)
    lifted = await api.post(f"{PATH}/ann@example.net/lift", {"reason": "she asked", "account": "shop"})
    assert (lifted.status, lifted.json["lifted"]["detail"]) == (200, "asked by phone")
    assert (await api.get(f"{PATH}/ann@example.net")).json == []
    gone = await api.post(f"{PATH}/ann@example.net/lift", {"reason": "she asked", "account": "shop"})
    assert (gone.status, gone.json["title"]) == (404, "Not Found")

    rows = (await api.get("/v1/audit", params={"action": "suppression", "account": "shop"})).json["items"]
    assert [(row["action"], row["outcome"]) for row in rows[:3]] == [
        ("suppression.lift", "done"), ("suppression.add", "done"), ("suppression.add", "done"),
    ]  # fmt: skip
    assert rows[0]["actor"] == "token operator"
    assert rows[0]["source"] == "127.0.0.1"
    assert (rows[0]["reason"], rows[0]["before"]["detail"]) == ("she asked", "asked by phone")


async def test_pages_by_cursor_and_the_whole_as_csv(api: Api) -> None:
    for n in range(7):
        await api.store.suppressions.add(2, Address.parse(f"=page{n}@example.net"), detail="=1+1")
    names: list[str] = []
    query: dict[str, str] = {"account": "club", "limit": "3"}
    while True:
        page = (await api.get(PATH, params=query)).json
        names += [each["address"] for each in page["items"]]
        if not page["next"]:
            break
        query["cursor"] = page["next"]
    assert names == [f"=page{n}@example.net" for n in range(6, -1, -1)]
    for how in ({"params": {"account": "club", "format": "csv"}},
                {"params": {"account": "club"}, "headers": {"Accept": "text/csv"}}):  # fmt: skip
        answer = await api.get(PATH, **how)
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [row["address"] for row in rows] == [f"'{name}" for name in names]
        assert rows[0]["detail"] == "'=1+1"


@pytest.mark.parametrize("cursor", ["x", "!!", "W10", "WzEsMiwzLDRd", "é"])
async def test_a_cursor_that_is_none_is_a_mistake(api: Api, cursor: str) -> None:
    answer = await api.get(PATH, params={"cursor": cursor})
    assert (answer.status, answer.json["errors"][0]["parameter"]) == (422, "cursor")


async def test_an_account_sees_and_changes_its_own_only(api: Api) -> None:
    address = "eve@example.net"
    await api.post(PATH, {"address": address, "reason": "for the club", "account": "club"})
    await api.post(PATH, {"address": address, "reason": "for all"})
    assert [each["account"] for each in (await api.get(f"{PATH}/{address}", by="shop")).json] == [None]
    assert [each["account"] for each in (await api.get(f"{PATH}/{address}", by="club")).json] == [None, "club"]
    own = (await api.get(PATH, by="shop")).json["items"]
    assert {each["account"] for each in own} <= {"shop"}
    assert (await api.get(PATH, by="shop", params={"account": "club"})).status == 404
    assert (await api.get(PATH, by="shop", params={"global": "true"})).status == 403

    mine = await api.post(PATH, {"address": address, "reason": "left"}, by="shop")
    assert mine.status == 201
    assert (await api.get(f"{PATH}/{address}", by="shop")).json[1]["rule"] == "account"
    assert (await api.post(f"{PATH}/{address}/lift", {"reason": "back"}, by="shop")).status == 200
    refused = await api.post(f"{PATH}/{address}/lift", {"reason": "back", "account": "club"}, by="shop")
    assert refused.status == 404


async def test_an_account_cannot_undo_what_a_recipient_or_an_operator_said(api: Api) -> None:
    await api.store.suppressions.add(1, Address.parse("left@example.net"), Reason.UNSUBSCRIBE)
    await api.post(PATH, {"address": "banned@example.net", "reason": "trap", "account": "shop"})
    for address in ("left@example.net", "banned@example.net"):
        assert (await api.post(f"{PATH}/{address}/lift", {"reason": "please"}, by="shop")).status == 403
        assert len((await api.get(f"{PATH}/{address}")).json) == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"address": "ann", "reason": "x"}, "/address"),
        ({"address": "a@example.net\r\nRCPT TO:<b@c.de>", "reason": "x"}, "/address"),
        ({"address": "ann@example.net"}, "/reason"),
        ({"address": "ann@example.net", "reason": "x\0y"}, "/reason"),
        ({"address": "ann@example.net", "reason": "x", "more": 1}, "/more"),
        ({"address": "ann@example.net", "reason": "x", "reason_code": "because"}, "/reason_code"),
        ({"address": "ann@example.net", "reason": "x", "reason_code": "objection", "expires_at": "2099-01-01T00:00Z"},
         "/expires_at"),
    ],
)  # fmt: skip
async def test_the_wrong_field_is_named(api: Api, body: dict[str, str], pointer: str) -> None:
    answer = await api.post(PATH, body)
    assert answer.status == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert [each["pointer"] for each in answer.json["errors"]] == [pointer]

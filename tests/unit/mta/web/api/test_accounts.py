"""Accounts and what belongs to them, over the API: by an operator, and by the account itself."""

from __future__ import annotations

import pytest

from mta.mail.identity import parse_id
from tests.unit.mta.web.api.rig import Api

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_life_of_an_account(api: Api) -> None:
    made = await api.post("/v1/accounts", {"name": "new", "domains": ["new.example"], "networks": ["10.1.2.0/24"]})
    assert (made.status, made.json["account"]["status"]) == (201, "pending")
    assert len(made.json["credential"]["secret"]) > 20
    lacks = (await api.get("/v1/accounts/new/missing")).json
    assert lacks
    assert all(each["remedy"] for each in lacks)
    refused = await api.post("/v1/accounts/new/review", {})
    assert (refused.status, "not ready" in refused.json["detail"]) == (409, True)
    terms = {"version": api.settings.policy.terms.version, "person": "Ann"}
    assert (await api.post("/v1/accounts/new/terms", terms)).status == 204
    assert (await api.post("/v1/accounts/new/terms", terms | {"version": "0"})).status == 422
    identity = {"language": "de", "names": ["Neu GmbH"], "city": "Bonn"}
    assert (await api.ask("PUT", "/v1/accounts/new/identities/de", json=identity)).status == 204
    assert (await api.get("/v1/accounts/new")).json["identities"][0]["names"] == ["Neu GmbH"]
    assert (await api.post("/v1/accounts/new/review", {"force": True})).json["status"] == "review"
    assert (await api.post("/v1/accounts/new/approve", {})).json["status"] == "active"
    assert (await api.post("/v1/accounts/new/suspend", {"reason": ""})).status == 422
    assert (await api.post("/v1/accounts/new/suspend", {"reason": "spam"})).json["status"] == "suspended"
    assert (await api.post("/v1/accounts/new/approve", {})).status == 409
    tried = await api.post("/v1/accounts/new/terminate", {"reason": "spam", "dry_run": True})
    assert (tried.status, (await api.get("/v1/accounts/new")).json["status"]) == (200, "suspended")
    assert (await api.post("/v1/accounts/new/resume", {})).json["status"] == "active"
    changed = await api.ask("PATCH", "/v1/accounts/new", json={"quota_day": 100, "contact": "Ann"})
    assert (changed.json["quota_day"], changed.json["contact"], changed.json["profile"]) == (
        100,
        "Ann",
        "transactional",
    )
    assert (await api.ask("PATCH", "/v1/accounts/new", json={"quota_day": None})).json["quota_day"] is None
    assert (await api.ask("PATCH", "/v1/accounts/new", json={"profile": "none"})).status == 422
    kinds = [each["kind"] for each in (await api.get("/v1/accounts/new/history")).json]
    assert {"status", "terms", "identity", "setting"} <= set(kinds)
    rows = (await api.get("/v1/audit", params={"account": "new"})).json["items"]
    assert {"account.add", "account.terms", "account.identity", "account.suspend", "account.set"} <= {
        row["action"] for row in rows
    }


async def test_what_cannot_be_made_is_refused_before(api: Api) -> None:
    for body, field in (
        ({"name": "x", "domains": []}, "/domains"),
        ({"name": "x", "domains": ["nonsense"]}, "/domains/0"),
        ({"name": "x", "domains": ["x.example"], "networks": ["0.0.0.0/0"]}, "/network"),
        ({"name": "x", "domains": ["x.example"], "profile": "none"}, "/profile"),
    ):
        answer = await api.post("/v1/accounts", body)
        assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, field)
    assert (await api.post("/v1/accounts", {"name": "shop", "domains": ["x.example"]})).status == 409


async def test_an_account_sees_itself_alone(api: Api) -> None:
    assert [each["name"] for each in (await api.get("/v1/accounts", by="shop")).json["items"]] == ["shop"]
    assert (await api.get("/v1/accounts/shop", by="shop")).status == 200
    assert (await api.get("/v1/accounts/club", by="shop")).status == 404
    assert (await api.post("/v1/accounts/shop/approve", {}, by="shop")).status == 403
    assert (await api.post("/v1/accounts/shop/review", {"force": True}, by="shop")).status == 403
    assert (await api.post("/v1/accounts/club/lists", {"name": "a", "origin": "b"}, by="shop")).status == 404
    assert (
        await api.post("/v1/accounts/shop/lists", {"name": "readers", "origin": "our form"}, by="shop")
    ).status == 204
    assert (await api.post("/v1/accounts/shop/lists/readers/approve", {}, by="shop")).status == 403
    approved = await api.post("/v1/accounts/shop/lists/readers/approve", {})
    assert approved.json["approved_by"] == "token operator"
    assert (await api.post("/v1/accounts/shop/lists/none/approve", {})).status == 409


async def test_credentials_from_their_making_to_their_end(api: Api) -> None:
    made = await api.post("/v1/credentials", {}, by="shop")
    name, secret = made.json["username"], made.json["secret"]
    assert made.status == 201
    rotated = await api.post(f"/v1/credentials/{name}/rotate", {"overlap": 60}, by="shop")
    assert (rotated.status, rotated.json["username"] != name) == (201, True)
    new = rotated.json["username"]
    scoped = await api.ask(
        "PUT", f"/v1/credentials/{new}/scope", by="shop", json={"streams": ["transactional"], "rate": 5}
    )
    assert (scoped.json["streams"], scoped.json["rate"]) == (["transactional"], 5)
    assert (await api.post(f"/v1/credentials/{new}/revoke", {}, by="club")).status == 404
    assert (await api.post(f"/v1/credentials/{new}/revoke", {"reason": "lost"}, by="shop")).status == 204
    assert (await api.post(f"/v1/credentials/{new}/revoke", {}, by="shop")).status == 404
    listed = await api.get("/v1/credentials", by="shop")
    assert {each["account"] for each in listed.json["items"]} == {"shop"}
    assert (await api.get("/v1/credentials", by="abuse_desk")).status == 403
    for path in ("/v1/credentials", "/v1/audit", "/v1/accounts/shop/history"):
        text = (await api.get(path)).text
        assert not any(each in text for each in (secret, rotated.json["secret"], "argon2"))


async def test_domains_and_keys_with_their_records(api: Api) -> None:
    added = await api.post("/v1/domains", {"domain": "Extra.Shop.example"}, by="shop")
    assert (added.status, added.json["domain"], added.json["verified_at"]) == (201, "extra.shop.example", None)
    assert added.json["proof"]["name"].endswith("extra.shop.example")
    assert (await api.post("/v1/domains", {"domain": "a.example", "skip_verification": True}, by="shop")).status == 422
    vouched = {"domain": "a.example", "skip_verification": True, "reason": "mine"}
    assert (await api.post("/v1/domains", vouched, by="shop")).status == 403
    assert (await api.post("/v1/domains", vouched | {"account": "shop"})).json["verified_at"]
    assert (await api.get("/v1/domains/extra.shop.example", by="club")).status == 404
    assert (await api.post("/v1/domains/extra.shop.example/remove", {}, by="club")).status == 404
    assert (await api.post("/v1/domains/extra.shop.example/remove", {"reason": "sold"}, by="shop")).status == 204

    made = await api.post("/v1/keys", {"domain": "shop.example", "algorithms": ["ed25519-sha256"], "selector": "s1"})
    assert (made.status, made.json[0]["state"]) == (201, "pending")
    assert made.json[0]["record"]["name"] == "s1._domainkey.shop.example"
    assert "PRIVATE" not in made.text
    assert [each["selector"] for each in (await api.get("/v1/keys", by="shop")).json["items"]] == ["s1"]
    assert (await api.get("/v1/keys", by="club")).json["items"] == []
    assert (await api.get("/v1/keys/shop.example/s1", by="club")).status == 404
    assert (await api.post("/v1/keys/shop.example/s1/activate", {"force": True}, by="shop")).status == 403
    assert (await api.post("/v1/keys/shop.example/s1/activate", {"force": True})).json["state"] == "active"
    assert (await api.post("/v1/keys/shop.example/s1/retire", {})).status == 409
    assert (await api.post("/v1/keys/shop.example/s1/retire", {"force": True})).json["state"] == "retired"


async def test_the_queue_is_searched_and_changed_after_a_dry_run(api: Api) -> None:
    for to in ("one@queue.example", "two@queue.example"):
        body = {"from": "news@shop.example", "to": [to], "subject": "x", "text": "y"}
        assert (await api.post("/v1/messages", body, by="shop")).status == 201
    which = {"destination": "queue.example"}
    first = await api.get("/v1/queue", params=which | {"limit": "1"}, by="shop")
    assert [each["recipient"] for each in first.json["items"]] == ["one@queue.example"]
    second = await api.get("/v1/queue", params=which | {"limit": "1", "cursor": first.json["next"]}, by="shop")
    assert ([each["recipient"] for each in second.json["items"]], second.json["next"]) == (["two@queue.example"], None)
    assert (await api.get("/v1/queue", params=which, by="club")).json["items"] == []
    (group,) = (await api.get("/v1/queue/summary", params=which)).json
    assert (group["key"], group["recipients"]) == ("queue.example", 2)

    assert (await api.post("/v1/queue/hold", {"which": which})).status == 422, "dry_run must be said"
    assert (await api.post("/v1/queue/hold", {"dry_run": True})).json["errors"][0]["pointer"] == "/filter"
    tried = await api.post("/v1/queue/hold", {"which": which, "dry_run": True})
    assert (tried.json["recipients"], tried.json["dry_run"]) == (2, True)
    held = await api.post("/v1/queue/hold", {"which": which, "reason": "look", "dry_run": False})
    assert held.json["recipients"] == 2
    items = (await api.get("/v1/queue", params=which | {"state": "held"})).json["items"]
    assert [each["holds"][0]["source"] for each in items] == ["operator", "operator"]
    assert (await api.post("/v1/queue/release", {"which": which, "dry_run": False}, by="shop")).status == 403
    assert (await api.post("/v1/queue/release", {"which": which, "dry_run": False}, by="abuse_desk")).json[
        "recipients"
    ] == 2
    ids = [first.json["items"][0]["message"]]
    assert (await api.post("/v1/queue/bounce", {"ids": ids, "dry_run": False}, by="club")).json["recipients"] == 0
    assert (await api.post("/v1/queue/bounce", {"ids": ids, "dry_run": False}, by="shop")).json["recipients"] == 1
    until = {"which": which, "until": "2099-01-01T00:00:00Z", "reason": "later", "dry_run": False}
    assert (await api.post("/v1/queue/put-off", until, by="shop")).status == 403
    assert (await api.post("/v1/queue/put-off", until)).json["recipients"] >= 1


async def test_a_change_of_several_messages_is_one_transaction(api: Api) -> None:
    ids = []
    for to in ("three@queue.example", "four@queue.example"):
        body = {"from": "news@shop.example", "to": [to], "subject": "x", "text": "y"}
        ids.append((await api.post("/v1/messages", body, by="shop")).json["id"])
    for action in ("hold", "release", "bounce"):
        done = await api.post(f"/v1/queue/{action}", {"ids": ids, "dry_run": False})
        assert done.json["recipients"] == 2
        async with api.store._database.session() as connection:
            writers = await connection.fetch(
                "select distinct xmin::text from queue where message_id = any($1)", list(map(parse_id, ids))
            )
        assert len(writers) == 1, action
    newest = (await api.get("/v1/audit", params={"action": "queue.bounce"})).json["items"][0]
    assert newest["subject"] == f"messages {ids[0]} {ids[1]}"


async def test_a_mailing_is_made_confirmed_and_stopped(api: Api) -> None:
    body = {"name": "autumn", "topic": "offers", "list": "readers"}
    made = await api.post("/v1/mailings", body, by="shop")
    assert (made.status, made.json["state"], made.json["account"]) == (201, "not_confirmed", "shop")
    number = made.json["id"]
    assert (await api.get(f"/v1/mailings/{number}", by="club")).status == 404
    assert (await api.get("/v1/mailings/autumn", by="shop")).json["mailing"]["id"] == number
    assert (await api.post(f"/v1/mailings/{number}/confirm", {"skip_link_check": "mine"}, by="shop")).status == 403
    confirmed = await api.post(f"/v1/mailings/{number}/confirm", {}, by="shop")
    assert confirmed.status == 200, confirmed.text
    assert (await api.get(f"/v1/mailings/{number}")).json["mailing"]["state"] == "confirmed"
    again = await api.post("/v1/mailings", body, by="shop")
    assert (again.status, "autumn" in again.json["detail"]) == (409, True)
    assert (await api.post(f"/v1/mailings/{number}/references/1/remove", {"reason": "x"}, by="shop")).status == 409
    assert (await api.post(f"/v1/mailings/{number}/stop", {"reason": "wrong price"}, by="shop")).status == 200
    assert (await api.post(f"/v1/mailings/{number}/release", {}, by="shop")).status == 403
    shown = (await api.get(f"/v1/mailings/{number}")).json["mailing"]
    assert (shown["state"], shown["stopped"]) == ("stopped", "wrong price")
    assert (await api.post(f"/v1/mailings/{number}/release", {})).status == 200
    assert [each["id"] for each in (await api.get("/v1/mailings", by="shop")).json["items"]] == [number]
    assert (await api.get("/v1/mailings", by="club")).json["items"] == []
    assert (await api.get(f"/v1/mailings/{number}/references")).json == []
    assert (await api.get(f"/v1/mailings/{number}/references/1")).status == 404

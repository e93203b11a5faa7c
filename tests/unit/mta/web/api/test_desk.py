"""What operators do over the API as on the command line: takedowns, blocklists, shaping, privacy, whole ledgers."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from config.schema import DatabaseSettings
from mta.admin.permissions import Role
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from mta.testing.nameserver import NameServer, Node
from tests.unit.mta.web.api.rig import Api, open_api
from tests.unit.mta.web.hook import Hook

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONSENT = {"topics": "offers", "basis": "business_card", "given_at": "2026-01-01", "document": "0" * 64}
SECTIONS: dict[str, Any] = {
    "egress": {"sources": [{"name": "new", "address": "192.0.2.2"}]},
    "shaping": {
        "providers": [{"name": "gmail", "domains": ["gmail.com"], "connections": 7}],
        "curves": [{"name": "slow", "daily": [10, 20]}],
        "warmup": [{"source": "new", "provider": "gmail", "curve": "slow"}],
    },
    "blocklists": {"lists": [{"name": "zen", "zone": "zen.example"}]},
    "testing": {"private_webhooks": True},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    listed = Node(a=("127.0.0.2",), txt=("sends spam",), ttl=0)
    zone = {"2.0.0.127.zen.example": listed, "2.2.0.192.zen.example": listed}
    zone |= {"gmail.com": Node(mx=((5, "mx.gmail.com"),)), "mx.gmail.com": Node(a=("192.0.2.25",))}
    server = NameServer(dict(zone))
    dns = {"servers": [f"127.0.0.1:{await server.start()}"], "timeout": "1s"}
    secrets = Secrets(bytes(range(32)))
    store = await Store.open(module_database, DatabaseSettings(), secrets)
    try:
        async with open_api(store, secrets, tmp_path_factory.mktemp("run"), dns=dns, **SECTIONS) as opened:
            yield opened
    finally:
        await store.close()
        await server.stop()


async def audited(api: Api, action: str) -> list[dict[str, Any]]:
    """The rows of an action, the newest first."""
    rows: list[dict[str, Any]] = (await api.get("/v1/audit", params={"action": action})).json["items"]
    return rows


async def ended(api: Api, answer: Any, by: str) -> dict[str, Any]:
    """The job that was begun, once it has ended."""
    assert answer.status == 202, answer.text
    async with asyncio.timeout(30):
        while True:
            job: dict[str, Any] = (await api.get(f"/v1/jobs/{answer.json['id']}", by=by)).json
            if job["state"] != "running":
                return job
            await asyncio.sleep(0.02)


async def test_a_takedown_begins_and_ends(api: Api) -> None:
    wrong = await api.post("/v1/takedowns", {"links": ["http://"], "reason": "phishing"})
    assert (wrong.status, wrong.json["errors"][0]["pointer"]) == (422, "/links")
    new = {"links": ["bad.example", "https://shop.example/evil"], "reason": "phishing"}
    assert (await api.post("/v1/takedowns", new, by="abuse_desk")).json == {"added": 2}
    assert (await api.post("/v1/takedowns", new)).json == {"added": 0}
    page = (await api.get("/v1/takedowns", params={"limit": "1"})).json
    rest = (await api.get("/v1/takedowns", params={"limit": "1", "cursor": page["next"]})).json
    assert {each["link"] for each in (*page["items"], *rest["items"])} == {"bad.example", "shop.example/evil"}
    assert (await api.post("/v1/takedowns/remove", {"link": "bad.example", "reason": "clean"})).status == 204
    assert (await api.post("/v1/takedowns/remove", {"link": "bad.example", "reason": "clean"})).status == 404
    (left,) = (await api.get("/v1/takedowns")).json["items"]
    assert (left["link"], left["added_by"], left["removed_at"]) == ("shop.example/evil", "token abuse_desk", None)
    assert len((await api.get("/v1/takedowns", params={"all": "true"})).json["items"]) == 2
    assert [(row["action"], row["outcome"]) for row in await audited(api, "takedown")] == [
        ("takedown.remove", "refused"), ("takedown.remove", "done"), ("takedown.add", "done"), ("takedown.add", "done"),
    ]  # fmt: skip
    assert (await api.get("/v1/takedowns", by="shop")).status == 403


async def test_blocklists_are_asked_now_and_listings_are_listed(api: Api) -> None:
    found = (await api.get("/v1/blocklists/check")).json
    assert [(each["subject"], each["said"]) for each in found][:2] == [("", "believed"), ("192.0.2.2", "listed")]
    found = (await api.get("/v1/blocklists/check", params={"subject": "192.0.2.77"})).json
    assert [(each["subject"], each["said"]) for each in found] == [("", "believed"), ("192.0.2.77", "clear")]
    await api.store.blocklist_listings.seen("zen", "192.0.2.2", "sends spam")
    (listing,) = (await api.get("/v1/blocklists/listings", by="abuse_desk")).json["items"]
    assert (listing["subject"], listing["answer"], listing["confirmed_at"]) == ("192.0.2.2", "sends spam", None)


async def test_a_site_is_explained_with_the_line_that_sets_each_limit(api: Api) -> None:
    scope = {"scope": {"domain": "gmail.com"}, "seconds": 600, "reason": "they asked"}
    action = (await api.post("/v1/shaping/actions", scope)).json["id"]
    told = (await api.get("/v1/shaping/explain/gmail.com")).json
    assert (told["site"], told["provider"]) == ("gmail", "gmail")
    assert told["paths"]["new"]["connections"]["value"] == 7
    assert [each["id"] for each in told["actions"]] == [action]
    (shown,) = (await api.get(f"/v1/shaping/actions/{action}")).json
    assert (shown["reason"], shown["waiting"]) == ("they asked", 0)
    cancelled = (await api.post(f"/v1/shaping/actions/{action}/cancel", {"reason": "they are well again"})).json
    assert cancelled == {"actions": [action], "due": 0}
    assert (await api.get("/v1/shaping/explain/gmail.com")).json["actions"] == []
    assert (await api.get("/v1/shaping/explain/gmail.com", params={"source": "x"})).status == 422
    assert [row["action"] for row in await audited(api, "shaping")] == ["shaping.cancel", "shaping.pause"]


async def test_a_source_is_checked_now(api: Api) -> None:
    (before,) = (await api.get("/v1/shaping/sources")).json
    assert (before["name"], before["address"], before["checks"]) == ("new", "192.0.2.2", [])
    (now,) = (await api.get("/v1/shaping/sources", params={"check": "true"})).json
    (check,) = now["checks"]
    assert "no_ptr" in {fault["kind"] for fault in check["faults"]}
    assert all(fault["remedy"] for fault in check["faults"])


async def test_warm_up_is_set_and_resumed(api: Api) -> None:
    (state,) = (await api.get("/v1/shaping/warmup")).json
    assert (state["state"], state["day"], state["planned"]) == ("not begun", 1, 10)
    path, day = "/v1/shaping/warmup/new/gmail", {"day": 2, "reason": "has sent before"}
    assert (await api.post(f"{path}/set", day | {"dry_run": True})).json == {"planned": 20}
    assert (await api.get("/v1/shaping/warmup")).json == [state]
    assert (await api.post(f"{path}/set", day)).json == {"planned": 20}
    assert (await api.post(f"{path}/set", day | {"day": 9})).json["errors"][0]["pointer"] == "/day"
    (state,) = (await api.get("/v1/shaping/warmup")).json
    assert (state["state"], state["day"], state["planned"]) == ("warming up", 2, 20)
    assert (await api.post(f"{path}/resume", {"reason": "x"})).status == 409
    async with api.store._database.session() as connection:
        await connection.execute("update warmup_day set bad = 7, paused = 'too many'")
    assert (await api.get("/v1/shaping/warmup")).json[0]["paused"] == "too many"
    assert (await api.post(f"{path}/resume", {"reason": "explained"})).status == 204
    assert (await api.get("/v1/shaping/warmup")).json[0]["paused"] == ""
    assert [(row["action"], row["outcome"]) for row in await audited(api, "warmup")] == [
        ("warmup.resume", "done"), ("warmup.resume", "refused"), ("warmup.set", "done"),
    ]  # fmt: skip


async def test_a_person_is_told_all_and_erased(api: Api) -> None:
    new = {"account": "shop", "address": "eve@example.net", "fields": CONSENT}
    assert (await api.post("/v1/consents", new)).status == 201
    told = (await api.get("/v1/privacy/eve@example.net")).json
    assert told["consents"][0]["entries"][0]["evidence"]["document"] == "0" * 64
    because = {"reason": "asked by letter"}
    tried = (await api.post("/v1/privacy/eve@example.net/erase", because | {"dry_run": True})).json
    assert (tried["found"]["consents"], tried["kept"]) == (1, [])
    done = (await api.post("/v1/privacy/eve@example.net/erase", because)).json
    assert (done["kept"][0]["account"], done["kept"][0]["entries"]) == ("shop", [1, 2])
    (row,) = await audited(api, "privacy")
    assert (row["outcome"], row["reason"], row["subject"]) == ("done", "asked by letter", "(erased)")
    assert "eve@" not in json.dumps((await api.get("/v1/audit")).json)
    for by in ("shop", "abuse_desk"):
        assert (await api.get("/v1/privacy/eve@example.net", by=by)).status == 403
        assert (await api.post("/v1/privacy/eve@example.net/erase", because, by=by)).status == 403


async def test_a_ledger_is_exported_imported_and_proved(api: Api) -> None:
    for name in ("=one", "two"):
        new = {"address": f"{name}@example.net", "fields": CONSENT}
        assert (await api.post("/v1/consents", new, by="club")).status == 201
    lines = await api.get("/v1/consents/export", by="club")
    assert lines.headers["Content-Type"] == "application/x-ndjson"
    addresses = ["=one@example.net", "two@example.net"]
    assert [json.loads(line)["address"] for line in lines.text.splitlines()] == addresses
    table = await api.get("/v1/consents/export", by="club", headers={"Accept": "text/csv"})
    assert [row["address"] for row in csv.DictReader(io.StringIO(table.text))] == [
        "=one@example.net",
        "two@example.net",
    ]
    body = {"data": table.text.encode(), "headers": {"Content-Type": "text/csv"}}
    job = await ended(api, await api.ask("POST", "/v1/consents/import", by="shop", **body), "shop")
    assert (job["state"], job["result"]["fresh"], job["errors"]) == ("done", 2, [])

    proved = (await api.get("/v1/consents/verify", by="club")).json
    assert (proved["entries"], proved["faults"]) == (2, [])
    assert (await api.get("/v1/consents/verify", by="club", params={"head": proved["head"]})).json["faults"] == []
    other = f"1:{'00' * 32}"
    (fault,) = (await api.get("/v1/consents/verify", by="club", params={"head": other})).json["faults"]
    assert fault["entry"] == 1
    assert (await api.get("/v1/consents/verify", by="club", params={"head": "x"})).status == 422

    tried = {"topic": "offers", "reason": "by telephone", "dry_run": True}
    assert (await api.post("/v1/consents/two@example.net/revoke", tried, by="club")).json["entry"] is None
    assert (await api.get("/v1/consents/verify", by="club")).json["entries"] == 2


async def test_a_finding_is_seen_by_its_account_and_dismissed_by_an_operator(api: Api) -> None:
    async with api.store._database.session() as connection:
        number = await connection.fetchval(
            "insert into list_finding (account_id, file, sign, hold, text) values ($1, '', 'roles', true, 'many roles')"
            " returning id",
            (await api.store.accounts.find("club")).account.id,
        )
    (finding,) = (await api.get("/v1/consents/findings", by="club")).json["items"]
    assert (finding["id"], finding["text"], finding["hold"]) == (number, "many roles", True)
    assert (await api.get("/v1/consents/findings", by="shop")).json["items"] == []
    path, because = f"/v1/consents/findings/{number}/dismiss", {"reason": "a list of clubs"}
    assert (await api.post(path, because, by="club")).status == 403
    assert (await api.post(path, because)).status == 204
    assert (await api.post(path, because)).status == 404
    assert (await api.get("/v1/consents/findings", by="club")).json["items"] == []
    assert (await audited(api, "list_finding"))[1]["reason"] == "a list of clubs"


async def test_suppressions_are_imported_by_a_job(api: Api) -> None:
    path, lines = "/v1/suppressions/import", {"headers": {"Content-Type": "application/x-ndjson"}}
    good = b'{"address": "a@list.example"}\n{"address": "b@list.example", "reason": "unsubscribe", "account": "shop"}\n'
    job = await ended(api, await api.ask("POST", path, by="shop", data=good, **lines), "shop")
    assert (job["state"], job["account"], job["result"]["fresh"], job["errors"]) == ("done", "shop", 2, [])
    (a,) = (await api.get("/v1/suppressions/a@list.example")).json
    (b,) = (await api.get("/v1/suppressions/b@list.example")).json
    assert [(each["account"], each["reason_code"], each["detail"]) for each in (a, b)] == [
        ("shop", "manual", "imported"), ("shop", "unsubscribe", ""),
    ]  # fmt: skip
    again = await ended(api, await api.ask("POST", path, by="shop", data=good, **lines), "shop")
    assert (again["result"]["fresh"], again["result"]["known"]) == (0, 2)

    bad = b"address;account\nc@list.example;club\nnonsense;shop\nd@list.example;\n"
    table = {"headers": {"Content-Type": "text/csv"}, "data": bad}
    job = await ended(api, await api.ask("POST", path, by="shop", **table), "shop")
    assert (job["state"], [each["line"] for each in job["errors"]]) == ("failed", [2, 3, 0])
    assert "no account 'club'" in job["errors"][0]["text"]
    assert (await api.get("/v1/suppressions/d@list.example")).json == []
    job = await ended(api, await api.ask("POST", path, params={"skip_bad": "true"}, **table), "operator")
    assert (job["state"], job["account"], job["result"]["fresh"], job["result"]["bad"]) == ("done", None, 2, 1)
    (d,) = (await api.get("/v1/suppressions/d@list.example")).json
    assert d["account"] is None
    assert (await api.get(f"/v1/jobs/{job['id']}", by="shop")).status == 404
    rows = await audited(api, "suppressions.import")
    assert {row["after"]["job"] for row in rows} >= {job["id"]}


async def test_a_webhook_is_tested(api: Api) -> None:
    hook = Hook()
    made = await api.post("/v1/webhooks", {"url": hook.url, "paused": True}, by="shop")
    path = f"/v1/webhooks/{made.json['webhook']['id']}/test"
    refused = (await api.ask("POST", path, by="shop")).json
    assert (refused["accepted"], bool(refused["problem"])) == (False, True)
    await hook.start()
    try:
        assert (await api.ask("POST", path, by="shop")).json == {"accepted": True, "problem": None}
        assert [event["kind"] for event in hook.events] == ["test"]
        assert (await api.ask("POST", path, by="club")).status == 404
    finally:
        await hook.stop()
    assert [row["after"]["accepted"] for row in await audited(api, "webhook.test")] == [True, False]


async def test_users_are_added_linked_and_disabled_within_the_callers_rights(api: Api) -> None:
    made = await api.post("/v1/users", {"name": "Eve", "role": "account", "account": "shop", "seconds": 600})
    assert (made.status, made.json["user"]["account"], made.json["seconds"]) == (201, "shop", 600)
    token = made.json["link"].partition("/login/link?token=")[2]
    assert await api.store.web_sessions.user_of_link(token) == "eve"
    assert (await api.post("/v1/users", {"name": "eve", "role": "operator"})).status == 409
    assert [each["name"] for each in (await api.get("/v1/users")).json["items"]] == ["eve"]
    assert (await api.post("/v1/users/eve/disable", {"reason": "has left"})).status == 204
    assert (await api.post("/v1/users/eve/link", {})).status == 409
    assert (await api.ask("POST", "/v1/users/eve/enable")).status == 204
    assert "token=" in (await api.post("/v1/users/eve/reset", {"reason": "lost"})).json["link"]
    await api.token("narrow", Role.OPERATOR, scopes=["users:read", "users:write"])
    for path, body in (("/v1/users", {"name": "mallory", "role": "operator"}), ("/v1/users/eve/link", {})):
        assert (await api.post(path, body, by="narrow")).status == 403
    assert (await api.get("/v1/users", by="abuse_desk")).status == 403
    assert token not in json.dumps((await api.get("/v1/audit", params={"action": "user"})).json)


async def test_an_account_without_a_name_is_none(api: Api) -> None:
    for kind in ("tokens", "users"):
        answer = await api.post(f"/v1/{kind}", {"name": "nameless", "role": "account", "account": ""})
        assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, "/account")


async def test_tls_of_a_domain_is_looked_up(api: Api) -> None:
    told = (await api.get("/v1/tls/policies/gmail.com")).json
    assert (told["domain"], told["site"], told["settings"]) == ("gmail.com", "gmail", "opportunistic")
    assert [each["demand"] for each in told["hosts"]] == ["opportunistic"]
    assert (await api.get("/v1/tls/policies/nowhere.example")).status == 409
    assert (await api.get("/v1/tls/sessions", by="abuse_desk")).json == []


async def test_without_a_supervisor_nothing_is_reloaded(api: Api) -> None:
    answer = await api.post("/v1/service/reload", {"dry_run": True})
    assert (answer.status, "no supervisor" in answer.json["detail"]) == (409, True)
    assert (await api.post("/v1/service/reload", {}, by="abuse_desk")).status == 403

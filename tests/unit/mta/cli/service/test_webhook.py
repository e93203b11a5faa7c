"""``mta webhook`` and ``mta events`` against a real database and a real receiver."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mta.admin.service.webhook_client import sign
from mta.cli.service import events
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from tests.unit.mta.cli.shell import Operator
from tests.unit.mta.store import make
from tests.unit.mta.web.hook import Hook

URL = "https://shop.example/events"


@pytest.fixture
async def operator(tmp_path: Path, database_url: str, secrets: Secrets) -> Operator:
    operator = Operator(tmp_path, database_url, secrets, "[testing]\nprivate_webhooks = true\n")
    await operator.says("account", "add", "shop", "--domain", "shop.example", "--approve", "ours", "--verified")
    return operator


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    hook = Hook()
    await hook.start()
    yield hook
    await hook.stop()


async def deliver(store: Store) -> None:
    account = (await store.accounts.find("shop")).account
    await make.write(store, make.result(await make.put(store, "ann@example.net", account_id=account.id)))


async def test_the_secret_is_shown_once(operator: Operator) -> None:
    told = await operator.says("webhook", "add", "shop", URL, "--kind", "failed", "--kind", "complained")
    secret = next(word for word in told.split() if word.startswith("whsec_"))
    (listed,) = await operator.json("webhook", "list", "--account", "shop")
    assert (listed["url"], listed["kinds"], listed["state"]) == (URL, ["failed", "complained"], "active")
    for words in (("webhook", "list"), ("webhook", "show", "1"), ("account", "history", "shop")):
        assert secret not in await operator.says(*words)
    made = await operator.json("webhook", "rotate", "1")
    assert made["secret"] != secret


async def test_urls_and_kinds_that_make_no_sense(operator: Operator) -> None:
    assert "must start with https" in await operator.fails("webhook", "add", "shop", "http://shop.example/", status=2)
    assert "is not an event kind" in await operator.fails("webhook", "add", "shop", URL, "--kind", "Failed!", status=2)
    assert "no account" in await operator.fails("webhook", "add", "nobody", URL)
    assert "there is no webhook 9" in await operator.fails("webhook", "pause", "9")
    assert (await operator.run("webhook", "list")).stderr == "No webhooks.\n"


async def test_addresses_of_our_own_are_refused_by_default(tmp_path: Path, database_url: str, secrets: Secrets) -> None:
    operator = Operator(tmp_path, database_url, secrets)
    said = await operator.fails("webhook", "add", "shop", "https://10.0.0.1/", status=2)
    assert "10.0.0.1 is not a public internet address" in said


async def test_a_test_is_sent_from_here(operator: Operator, hook: Hook) -> None:
    made = await operator.json("webhook", "add", "shop", hook.url)
    assert await operator.says("webhook", "test", "1") == "Webhook 1 accepted the event.\n"
    (event,) = hook.events
    assert (event["id"], event["kind"]) == (0, "test")
    at = int(hook.signatures[0].partition(",")[0].removeprefix("t="))
    assert hook.signatures == [sign([made["secret"]], at, hook.bodies[0])]
    hook.answers.append(503)
    assert "did not accept it: answered 503" in await operator.fails("webhook", "test", "1")


async def test_pause_resume_and_remove(operator: Operator) -> None:
    await operator.says("webhook", "add", "shop", URL)
    await operator.says("webhook", "pause", "1")
    assert "paused" in await operator.says("webhook", "show", "1")
    await operator.says("webhook", "resume", "1")
    assert "active" in await operator.says("webhook", "show", "1")
    assert "events lost to it: none" in await operator.says("webhook", "remove", "1", "--dry-run")
    await operator.says("webhook", "remove", "1", "--yes", "--reason", "moved")
    assert "there is no webhook 1" in await operator.fails("webhook", "show", "1")


async def test_events_are_the_lines_that_webhooks_get(operator: Operator, store: Store) -> None:
    assert "has no webhook" in await operator.fails("events", "list", "--account", "shop")
    await operator.says("webhook", "add", "shop", URL, "--paused")
    await deliver(store)
    printed = await operator.says("events", "list", "--account", "shop", "--json")
    accepted, delivered = (json.loads(each) for each in printed.splitlines())
    assert (accepted["account"], accepted["kind"], accepted["recipient"]) == ("shop", "accepted", "ann@example.net")
    assert (delivered["kind"], delivered["code"], delivered["host"]) == ("delivered", 250, "mx1.example.net")
    later = await operator.says("events", "list", "--account", "shop", "--json", "--from", str(delivered["id"]))
    assert [json.loads(each)["id"] for each in later.splitlines()] == [delivered["id"]]
    assert "delivered" in await operator.says("events", "list", "--account", "shop", "--kind", "delivered")
    assert await operator.says("events", "list", "--account", "shop", "--from", "2099-01-01") == ""
    assert "is not an event id" in await operator.fails(
        "events", "list", "--account", "shop", "--from", "soon", status=2
    )


async def test_events_are_followed_as_they_happen(
    operator: Operator, store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "POLL", 0.02)
    await operator.says("webhook", "add", "shop", URL, "--paused")
    capsys.readouterr()
    following = asyncio.create_task(events.show(store, "shop", None, (), follow=True, as_json=True))
    lines: list[str] = []
    for count in (2, 4):
        await deliver(store)

        def seen(count: int = count) -> bool:
            lines.extend(capsys.readouterr().out.splitlines())
            return len(lines) >= count

        await make.until(seen)
    following.cancel()
    assert [json.loads(each)["kind"] for each in lines] == ["accepted", "delivered", "accepted", "delivered"]


@pytest.mark.parametrize("start", ["id", "1h"])
async def test_a_replay_moves_the_cursor_back(operator: Operator, store: Store, start: str) -> None:
    await operator.says("webhook", "add", "shop", URL, "--paused")
    await deliver(store)
    first = (await operator.says("events", "list", "--account", "shop", "--json")).splitlines()[0]
    await make.execute(store, "update webhook set cursor = (select max(id) from outbox)")
    wanted = str(json.loads(first)["id"]) if start == "id" else start
    told = await operator.says("events", "replay", "--webhook", "1", "--from", wanted)
    assert "2 events waiting" in told
    assert (await store.webhooks.find(1)).cursor == json.loads(first)["id"] - 1

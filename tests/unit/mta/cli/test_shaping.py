"""``mta shaping`` and ``mta queue reroute`` against a real database."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import orjson

from mta.mail.shaping_action import ActionScope, Effect, NewAction
from mta.store.postgres.secrets import Secrets
from mta.store.queue.limit_shares import LimitKey, LimitRequest
from mta.store.store import Store
from policy.accounts.account import AccountStatus
from tests.unit.mta.cli.shell import Operator
from tests.unit.mta.store import make

CONFIG = """
[dns]
servers = ["127.0.0.1:9"]
timeout = "100ms"
[[egress.sources]]
name = "one"
address = "192.0.2.1"
[[egress.sources]]
name = "two"
address = "192.0.2.2"
[[egress.pools]]
name = "reserve"
members = [{ source = "two" }]
[[shaping.providers]]
name = "gmail"
connections = 7
[[shaping.sources]]
source = "two"
provider = "gmail"
message_rates = ["1/s"]
"""


async def test_actions_are_listed_shown_and_cancelled(
    tmp_path: Path, database_url: str, secrets: Secrets, store: Store
) -> None:
    operator = Operator(tmp_path, database_url, secrets, CONFIG)
    assert (await operator.run("shaping", "actions", "list")).stderr == "No shaping action is in force.\n"
    account = (await store.accounts.add("shop", status=AccountStatus.ACTIVE, by="test")).id
    scope = ActionScope(site="gmail", account_id=account)
    new = NewAction("slow", scope, Effect.PAUSE, "too much", "rule slow", 600, rule="slow", sample="421 4.7.28 slow")
    action = await store.shaping_actions.begin(new)
    assert action is not None
    await store.messages.requeue([await make.put(store, account_id=account)], timedelta(minutes=5), action.id)

    (listed,) = await operator.json("shaping", "actions", "list")
    assert (listed["scope"]["account"], listed["effect"], listed["in_force"]) == ("shop", "pause", True)
    shown = await operator.says("shaping", "actions", "show", "slow")
    for words in ("too much", "421 4.7.28 slow", "1 recipients", "account shop"):
        assert words in shown
    cancel = ("shaping", "actions", "cancel", str(action.id), "--reason", "solved")
    assert "would be cancelled; 1 recipients wait" in await operator.says(*cancel, "--dry-run")
    assert "1 recipients due now" in await operator.says(*cancel, "--yes")
    assert "not in force" in await operator.fails(*cancel, "--yes")
    (past,) = await operator.json("shaping", "actions", "list", "--all")
    assert (past["cancel_reason"], past["in_force"]) == ("solved", False)
    assert "there is no action" in await operator.fails("shaping", "actions", "show", "nothing")


async def test_a_suspension_names_what_and_how_long(
    tmp_path: Path, database_url: str, secrets: Secrets, store: Store
) -> None:
    operator = Operator(tmp_path, database_url, secrets, CONFIG)
    await make.put(store, "ann@slow.example", "bob@slow.example")
    suspend = ("shaping", "suspend", "--reason", "they asked")
    assert "say which mail" in await operator.fails(*suspend, "--for", "1h", status=2)
    assert "say how long" in await operator.fails(*suspend, "--domain", "slow.example", status=2)
    assert "at most 30 days" in await operator.fails(*suspend, "--source", "one", "--for", "90d", status=2)
    assert "there are one, two" in await operator.fails(*suspend, "--source", "x", "--for", "1h", status=2)
    by_domain = (*suspend, "--domain", "slow.example", "--for", "1h")
    assert "2 queued recipients are concerned" in await operator.says(*by_domain, "--dry-run")
    assert await store.shaping_actions.list() == []
    assert "up to 2 queued" in await operator.says(*suspend, "--source", "one", "--for", "1h", "--dry-run")
    assert "suspended until" in await operator.says(*by_domain)
    assert "suspended already" in await operator.fails(*by_domain)
    (action,) = await store.shaping_actions.list()
    assert (action.scope, action.effect, action.reason) == (
        ActionScope(domain="slow.example"), Effect.PAUSE, "they asked",
    )  # fmt: skip
    assert "is not suspended" in await operator.fails("shaping", "resume", "--source", "one", "--reason", "x")
    assert "1 suspension ended" in await operator.says("shaping", "resume", "--all", "--reason", "x")


async def test_reroute_to_a_pool_for_later_mail_too_or_to_a_time(
    tmp_path: Path, database_url: str, secrets: Secrets, store: Store
) -> None:
    operator = Operator(tmp_path, database_url, secrets, CONFIG)
    await store.messages.requeue([await make.put(store, "ann@slow.example")])
    reroute = ("queue", "reroute", "--destination", "slow.example", "--reason", "x")
    assert "say where to" in await operator.fails(*reroute, status=2)
    assert "there is no pool" in await operator.fails(*reroute, "--pool", "gone", "--for", "1h", status=2)
    assert "1 queued recipients" in await operator.says(*reroute, "--pool", "reserve", "--for", "1h", "--dry-run")
    assert "leaves from pool reserve" in await operator.says(*reroute, "--pool", "reserve", "--for", "1h", "--yes")
    (action,) = await store.shaping_actions.list()
    assert (action.effect, action.pool) == (Effect.POOL, "reserve")
    assert "1 recipients would be put off" in await operator.says(*reroute, "--at", "2999-01-01T00:00", "--dry-run")
    assert "1 recipients put off" in await operator.says(*reroute, "--at", "2999-01-01T00:00", "--yes")
    assert await store.messages.claim(deliveries=10, octets=10**9) == []


async def test_explain_says_which_line_sets_what_with_and_without_a_database(
    tmp_path: Path, database_url: str, secrets: Secrets, store: Store
) -> None:
    operator = Operator(tmp_path, database_url, secrets, CONFIG)
    new = NewAction("slow", ActionScope(site="gmail"), Effect.LIMIT, "too much", "rule slow", 600, connections=1)
    await store.shaping_actions.begin(new)
    told = " ".join((await operator.says("shaping", "explain", "gmail.com", "--source", "two")).split())
    text = operator.config.read_text().split("\n")
    line = {
        key: next(n for n, each in enumerate(text, 1) if each.startswith(key)) for key in ("connections", "message_r")
    }
    assert f"connections 7 {operator.config}:{line['connections']}" in told
    assert f"message_rates 1/s {operator.config}:{line['message_r']}" in told
    assert "messages_per_connection 80 config/defaults/shaping.toml:" in told
    assert "pipelining true built in" in told
    assert "lowered to 1 connections by action 1: too much" in told
    assert "there is no source" in await operator.fails("shaping", "explain", "gmail.com", "--source", "x", status=2)

    alone = Operator(tmp_path, "postgresql:///gone?host=/nowhere", secrets, CONFIG)
    told = await alone.says("shaping", "explain", "gmail.com")
    assert "Actions, backoffs and replies are not known" in told
    fields = await alone.json("shaping", "explain", "gmail.com")
    assert fields["sources"]["one"]["connections"]["value"] == 7
    assert fields["actions"] is None


async def test_explain_says_who_holds_what_and_which_ceiling_binds(
    tmp_path: Path, database_url: str, secrets: Secrets, store: Store
) -> None:
    operator = Operator(tmp_path, database_url, secrets, CONFIG)
    account = (await store.accounts.add("shop", status=AccountStatus.ACTIVE, by="test")).id
    of_action = ActionScope(account_id=account, site="gmail")
    elsewhere = ActionScope(account_id=account, site="yahoo")
    await store.egress_limits.exchange(
        [
            LimitRequest(LimitKey("path:one:gmail"), 7, 3),
            LimitRequest(LimitKey("path:one:yahoo"), 7, 1),
            LimitRequest(LimitKey(f"account:{account}:gmail", 60), 100, 8),
            LimitRequest(LimitKey(f"mailing:{account}:gmail/spring"), 5, 2),
            LimitRequest(LimitKey("action:" + orjson.dumps(of_action.fields).decode()), 2, 9),
            LimitRequest(LimitKey("action:" + orjson.dumps(elsewhere.fields).decode()), 2, 2),
        ]
    )
    back = LimitRequest(LimitKey(f"account:{account}:gmail", 60), 100, 4, 0, ((30.0, 4),))
    await store.egress_limits.exchange([back])
    for command in (("shaping", "explain", "gmail.com"), ("queue", "show", "gmail")):
        told = await operator.says(*command)
        assert "source one: 3 of 7 connections held (" in told
        assert "account shop: 4 of 100 starts in " in told
        assert "4 used within the window" in told
        assert "mailing spring of account shop: 2 of 5 connections held" in told
        assert "action on site gmail x account shop: 2 of 2 connections held" in told
        assert "binds now: none is free, and 2 are wanted" in told
        assert told.count("binds now") == 1
        assert f"pid {os.getpid()}: 3" in told
        assert "yahoo" not in told.partition("Limits in use")[2]
    limits = (await operator.json("shaping", "explain", "gmail.com"))["limits"]
    assert {each["scope"]: each["full"] for each in limits if not each["scope"].startswith("action")} == {
        "path:one:gmail": False,
        f"account:{account}:gmail": False,
        f"mailing:{account}:gmail/spring": False,
    }


WARMUP = """
[[egress.sources]]
name = "new"
address = "192.0.2.2"
[[shaping.curves]]
name = "slow"
daily = [10, 20]
[[shaping.warmup]]
source = "new"
provider = "gmail"
curve = "slow"
[[shaping.warmup]]
source = "new"
provider = "yahoo"
curve = "slow"
"""


async def test_warm_up_is_shown_set_and_resumed(
    tmp_path: Path, database_url: str, secrets: Secrets, store: Store
) -> None:
    operator = Operator(tmp_path, database_url, secrets, WARMUP)
    assert "2 more that are warm or have sent nothing yet" in await operator.says("warmup")
    say = ("--reason", "has sent before")
    would = await operator.says("warmup", "set", "new", "gmail", "--day", "2", *say, "--dry-run")
    assert would == "new would send 20 recipients to gmail today, day 2 of curve slow.\n"
    assert await store.warmup_days.latest() == []
    await operator.says("warmup", "set", "new", "gmail", "--day", "2", *say)
    assert "does at: gmail, yahoo" in await operator.fails("warmup", "set", "new", "gmx", "--day", "2", *say)
    assert "has 2 days" in await operator.fails("warmup", "set", "new", "gmail", "--day", "4", *say, status=2)
    assert "not paused" in await operator.fails("warmup", "resume", "new", "gmail", *say)
    async with store.events._database.session() as connection:
        await connection.execute("update warmup_day set used = 12, good = 5, bad = 7, paused = 'too many'")
    (gmail,) = [row for row in await operator.json("warmup") if row["provider"] == "gmail"]
    assert (gmail["day"], gmail["planned"], gmail["sent"], gmail["tomorrow"]) == (2, 20, 12, 10)
    assert "paused until midnight UTC: too many" in gmail["state"]
    await operator.says("warmup", "resume", "new", "gmail", *say)
    (gmail,) = [row for row in await operator.json("warmup") if row["provider"] == "gmail"]
    assert (gmail["state"], gmail["tomorrow"]) == ("warming up", None)  # warm tomorrow


async def test_a_site_is_shown_with_what_waits_for_it(
    tmp_path: Path, database_url: str, secrets: Secrets, store: Store
) -> None:
    operator = Operator(tmp_path, database_url, secrets, CONFIG)
    account = (await store.accounts.add("shop", status=AccountStatus.ACTIVE, by="test")).id
    await make.put(store, "ann@gmail.com", "bob@gmail.com", account_id=account)
    await make.put(store, "eve@elsewhere.example", account_id=account)
    scope = ActionScope(site="gmail", source="two")
    await store.shaping_actions.begin(NewAction("slow", scope, Effect.PAUSE, "too much", "rule", 600, rule="slow"))
    told = await operator.says("queue", "show", "gmail")
    for words in ("Site gmail, provider gmail", "2 recipients queued", "by domain: gmail.com 2", "paused until"):
        assert words in told
    assert "message_rates                1/s" in told
    fields = await operator.json("queue", "show", "elsewhere.example")
    assert [group["recipients"] for group in fields["queued"]] == [1]
    assert "is no message, domain or provider" in await operator.fails("queue", "show", "gmial", status=2)

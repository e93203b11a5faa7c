"""``mta lint --replay``: what a changed profile would change of what was judged lately; asking changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mta.mail.hold import Hold, HoldSource
from mta.mail.reply import Reply
from mta.store.postgres.secrets import Secrets
from mta.store.queue.enqueue import NewMessage, record
from mta.store.store import Store
from policy.base import Finding
from policy.profile import Profiles
from tests.unit.mta.cli.shell import Operator
from tests.unit.policy.make import CONTEXT, message

SIGNED = b"DKIM-Signature: v=1; d=shop.example\r\nReceived: from app\r\n\tby mx.example\r\n"
SUPPRESSED = Finding("suppressed", "refuse", "suppressed: bob@example.net asked", "bob@example.net")


@pytest.fixture
async def operator(tmp_path: Path, database_url: str, secrets: Secrets) -> Operator:
    operator = Operator(tmp_path, database_url, secrets)
    await operator.says("account", "add", "shop", "--domain", "shop.example", "--approve", "known to us", "--verified")
    return operator


def passes(*, but: Finding | None = None) -> tuple[Finding, ...]:
    """What the rules of ``transactional`` find."""
    chain = Profiles.shipped(CONTEXT).get("transactional").streams
    (rules,) = chain.values()
    found = [Finding(name, "pass", "fine") for name in rules.settings if but is None or name != but.policy]
    return (*found, but) if but else tuple(found)


async def accepted(store: Store, *findings: Finding, queued: bool) -> None:
    account = (await store.accounts.find("shop")).account
    made = message()
    content = SIGNED + made.content
    made = made.with_content(content)
    await store.messages.enqueue(
        NewMessage(
            made,
            account.id,
            datetime.now(UTC) + timedelta(days=1),
            findings,
            holds=(Hold(HoldSource.OPERATOR, "", "a test"),),
            profile="transactional 0",
        ),
        leased=False,
    )
    if not queued:
        async with store._database.session() as connection:
            await connection.execute("delete from queue where message_id = $1", made.id)


async def refused(store: Store, *findings: Finding) -> None:
    account = (await store.accounts.find("shop")).account
    made = message()
    kept = record(made, findings) | {
        "stream": "transactional",
        "sender": "ann@shop.example",
        "profile": "transactional",
    }
    store.rejections.note(made.id, account.id, datetime.now(UTC), Reply(550, "5.7.1", findings[-1].evidence), kept)
    await store.rejections.drain()


def changed(operator: Operator, text: str) -> str:
    file = operator.folder / "transactional.toml"
    file.write_text(text)
    return str(file)


async def test_nothing_would_change(operator: Operator, store: Store) -> None:
    await accepted(store, *passes(), queued=False)
    same = changed(operator, 'extends = "transactional"\n')
    found = await operator.json("lint", "--replay", "--profile", same)
    assert found == {"changes": [], "summary": found["summary"]}
    assert found["summary"]["messages judged"] == found["summary"]["unchanged"] == 1
    assert found["summary"]["of them judged by an earlier version of their profile"] == 1


async def test_what_was_refused_would_be_accepted(operator: Operator, store: Store) -> None:
    await refused(store, *passes(but=SUPPRESSED))
    await accepted(store, *passes(), queued=False)
    mild = changed(operator, 'extends = "transactional"\n[transactional]\nobserve = ["suppressed"]\n')
    (change,) = (await operator.json("lint", "--replay", "--profile", mild, "--account", "shop", status=1))["changes"]
    assert (change["before"]["fate"], change["before"]["rule"]) == ("refused", "suppressed")
    assert (change["after"]["fate"], change["judged_again"]) == ("accepted", False)
    assert change["recipients"] == ["bob@example.net"]
    result = await operator.run("lint", "--replay", "--profile", mild)
    assert result.exit_code == 1
    assert "before  refused by suppressed: bob@example.net asked" in result.stdout
    assert "      1 refused, would be accepted" in result.stdout


async def test_what_is_queued_is_judged_again_by_a_new_rule(operator: Operator, store: Store) -> None:
    await accepted(store, *passes(), queued=True)
    await accepted(store, *passes(), queued=False)
    small = changed(operator, 'extends = "transactional"\n[rules.size]\nlimit = 10\n')
    changes = (await operator.json("lint", "--replay", "--profile", small, status=1))["changes"]
    ends = {(each["after"]["fate"], each["after"]["rule"], each["judged_again"]) for each in changes}
    assert ends == {("refused", "size", True), ("unknown", "size", False)}
    size = next(each["after"]["why"] for each in changes if each["judged_again"])
    assert size.startswith(f"size: {len(message().content)} octets"), "without our own signature and Received field"


async def test_only_the_last_ones_and_only_of_one_account(operator: Operator, store: Store) -> None:
    for _ in range(3):
        await accepted(store, *passes(), queued=False)
    file = changed(operator, 'extends = "transactional"\n')
    assert (await operator.json("lint", "--replay", "--profile", file, "--last", "2"))["summary"][
        "messages judged"
    ] == 2
    await operator.says("account", "add", "other", "--domain", "other.example")
    found = await operator.json("lint", "--replay", "--profile", file, "--account", "other")
    assert found["summary"]["messages judged"] == 0
    assert "nobody" in await operator.fails("lint", "--replay", "--profile", file, "--account", "nobody", status=2)
    assert "takes --profile FILE" in await operator.fails("lint", "--replay", status=2)


async def test_a_profile_of_another_name_is_tried_on_everybody(operator: Operator, store: Store) -> None:
    await accepted(store, *passes(), queued=False)
    file = operator.folder / "new.toml"
    file.write_text('[marketing]\nchain = ["size"]\n')
    (change,) = (await operator.json("lint", "--replay", "--profile", str(file), status=1))["changes"]
    assert (change["after"]["fate"], change["after"]["why"]) == ("refused", "the profile does not allow this stream")


async def test_asking_changes_nothing(operator: Operator, store: Store) -> None:
    await accepted(store, *passes(), queued=True)
    small = changed(operator, 'extends = "transactional"\n[rules.size]\nlimit = 10\n')
    await operator.run("lint", "--replay", "--profile", small)
    async with store._database.session() as connection:
        assert await connection.fetchval("select count(*) from hold where text = 'a test'") == 1
        assert await connection.fetchval("select count(*) from event") == 0
        assert await connection.fetchval("select count(*) from rejection") == 0

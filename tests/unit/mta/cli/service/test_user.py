"""``mta user``: a user is added with a link, listed, reset, disabled and let in again."""

from __future__ import annotations

from pathlib import Path

from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from tests.unit.mta.cli.shell import Operator


async def test_from_the_first_link_to_the_end(
    tmp_path: Path, database_url: str, secrets: Secrets, store: Store
) -> None:
    operator = Operator(tmp_path, database_url, secrets)
    await operator.says("account", "add", "shop", "--domain", "example.com")
    assert "needs the name of the account" in await operator.fails("user", "add", "lea", "--role", "account", status=2)
    told = await operator.says("user", "add", "Lea", "--role", "account", "-a", "shop")
    token = told.rpartition("token=")[2].strip()
    assert "/login/link?token=" in told
    assert await store.web_sessions.user_of_link(token) == "lea"
    assert "never" in await operator.says("user", "list")
    (listed,) = await operator.json("user", "list", "--account", "shop")
    assert (listed["name"], listed["account"], listed["password"], token in str(listed)) == (
        "lea",
        "shop",
        False,
        False,
    )
    assert "names are not given twice" in await operator.fails("user", "add", "lea", "--role", "operator")

    again = (await operator.json("user", "login", "lea"))["link"].rpartition("token=")[2]
    assert await store.web_sessions.user_of_link(again) == "lea"
    assert "would be reset" in await operator.says("user", "reset", "lea", "--dry-run")
    assert await store.web_sessions.user_of_link(again) == "lea"
    await operator.says("user", "reset", "lea", "--yes", "--reason", "lost phone")
    assert await store.web_sessions.user_of_link(again) is None

    assert await operator.says("user", "disable", "lea", "--yes", "--reason", "left") == "User lea disabled.\n"
    assert "is disabled" in await operator.fails("user", "login", "lea")
    assert await operator.says("user", "enable", "lea") == "User lea enabled.\n"
    await operator.says("user", "add", "ann", "--role", "operator")
    assert "last operator" in await operator.fails("user", "disable", "ann", "--yes")
    actions = [each.action for each in await store.audit.list(action="user", limit=20)]
    assert "user.disable" in actions
    assert "user.reset" in actions

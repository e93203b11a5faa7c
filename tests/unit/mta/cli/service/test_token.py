"""``mta token``: a token is printed once, listed without its text, and revoked."""

from __future__ import annotations

from pathlib import Path

from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from tests.unit.mta.cli.shell import Operator


async def test_from_its_making_to_its_end(tmp_path: Path, database_url: str, secrets: Secrets, store: Store) -> None:
    operator = Operator(tmp_path, database_url, secrets)
    await operator.says("account", "add", "shop", "--domain", "example.com")
    text = (
        await operator.says("token", "add", "ci", "--role", "account", "-a", "shop", "--scope", "messages:write")
    ).strip()
    found = await store.api_tokens.find(text)
    assert found
    assert (found.name, found.role, found.account, found.scopes) == ("ci", "account", "shop", ("messages:write",))
    (listed,) = await operator.json("token", "list", "--account", "shop")
    assert (listed["name"], text in str(listed)) == ("ci", False)

    assert "names are not given twice" in await operator.fails("token", "add", "ci", "--role", "operator")
    assert "needs the name of its account" in await operator.fails("token", "add", "x", "--role", "account", status=2)
    assert "no scope 'all'" in await operator.fails(
        "token", "add", "x", "--role", "operator", "--scope", "all", status=2
    )

    assert "would be revoked" in await operator.says("token", "revoke", "ci", "--dry-run")
    assert await store.api_tokens.find(text)
    assert await operator.says("token", "revoke", "ci", "--yes", "--reason", "leaked") == "Token ci revoked.\n"
    store.api_tokens.changed()
    assert await store.api_tokens.find(text) is None
    assert "revoked" in await operator.says("token", "list")
    rows = await store.audit.list(action="token")
    assert [(row.action, row.outcome, row.reason) for row in rows] == [
        ("token.revoke", "done", "leaked"),
        ("token.add", "refused", ""),
        ("token.add", "done", ""),
    ]
    assert {row.via for row in rows} == {"cli"}

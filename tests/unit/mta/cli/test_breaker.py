"""``mta breaker`` against a real database: listed, shown, cancelled by name with a reason."""

from __future__ import annotations

from pathlib import Path

from mta.mail.message import Stream
from mta.store.postgres.secrets import Secrets
from mta.store.reputation import delivery_stats
from mta.store.store import Store
from policy.accounts.account import AccountStatus
from policy.reputation.breaker import ONE_TRAP, MailOrigin
from tests.unit.mta.cli.shell import Operator


async def test_an_operator_sees_what_has_tripped_and_lets_go_of_it(
    tmp_path: Path, database_url: str, secrets: Secrets, store: Store
) -> None:
    operator = Operator(tmp_path, database_url, secrets)
    assert (await operator.run("breaker", "list")).stderr == "No breaker is open.\n"
    account = await store.accounts.add("shop", status=AccountStatus.ACTIVE, by="test")
    for _ in range(3):
        async with store._database.session() as connection, connection.transaction():
            await delivery_stats.add(connection, MailOrigin(account.id, Stream.MARKETING, provider="gmail"), ONE_TRAP)
    await store.breakers.look({})
    name = f"traps:account:{account.id}:gmail:marketing"

    (listed,) = await operator.json("breaker", "list")
    assert (listed["name"], listed["account"], listed["provider"]) == (name, "shop", "gmail")
    assert "3 spam traps hit" in await operator.says("breaker", "show", name)
    assert "--reason must not be empty" in await operator.fails("breaker", "cancel", name, "--reason", " ", status=2)
    told = await operator.says("breaker", "cancel", name, "--reason", "x", "--dry-run")
    assert told == f"Breaker {name} would be cancelled; it holds 0 recipients.\n"
    told = await operator.says(
        "breaker", "cancel", name, "--reason", "old addresses were removed", "--by", "ann", "--yes"
    )
    assert told == f"Breaker {name} cancelled by ann; 0 recipients released.\n"
    assert "no open breaker" in await operator.fails("breaker", "cancel", name, "--reason", "again", "--yes")
    assert "is not open" in await operator.fails("breaker", "cancel", name, "--reason", "again", "--dry-run")
    (past,) = await operator.json("breaker", "list", "--all")
    assert past["reset_reason"] == "old addresses were removed"
    assert "there is no record" in await operator.fails("breaker", "record-trap-hit", "0" * 26)
